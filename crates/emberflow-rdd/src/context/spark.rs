//! Jobs on Apache Spark (feature `spark`).

use std::sync::Arc;

use emberflow_core::{backend::Backend, error::Result};
use emberflow_runtime::Engine;
use emberflow_spark::SparkBackend;

use super::settings::invalid;

/// The backend of a master, or the engine itself.
pub(super) fn backend(engine: &Arc<Engine>, master: Option<String>) -> Result<Arc<dyn Backend>> {
    let Some(master) = master else { return Ok(Arc::clone(engine) as Arc<dyn Backend>) };
    let config = engine.config();
    match SparkBackend::start(&master, &config.app_name, config.batch_rows, config.memory_budget_bytes) {
        Ok(backend) => Ok(Arc::new(backend)),
        Err(error) => Err(invalid("master", &master, error.to_string())),
    }
}
