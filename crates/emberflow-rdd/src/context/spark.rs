//! Jobs on Apache Spark (feature `spark`).

use std::{path::PathBuf, sync::Arc};

use emberflow_core::{backend::Backend, error::Result};
use emberflow_runtime::Engine;
use emberflow_spark::{SparkBackend, SparkError, SparkSettings};

use super::settings::invalid;

/// The backend of a master, or the engine itself.
pub(super) fn backend(
    engine: &Arc<Engine>,
    master: Option<String>,
    properties: Option<PathBuf>,
    is_budget_given: bool,
) -> Result<Arc<dyn Backend>> {
    let Some(master) = master else { return Ok(Arc::clone(engine) as Arc<dyn Backend>) };
    let config = engine.config();
    let settings = SparkSettings {
        master,
        app_name: config.app_name.clone(),
        properties,
        batch_rows: config.batch_rows,
        memory_budget: config.memory_budget_bytes,
        is_budget_given,
    };
    match SparkBackend::start(&settings, engine.bus()) {
        Ok(backend) => Ok(Arc::new(backend)),
        Err(SparkError::ReadableSecret(file)) => {
            let reason = SparkError::ReadableSecret(file.clone()).to_string();
            Err(invalid("spark_conf", &file.to_string_lossy(), reason))
        }
        Err(error) => Err(invalid("master", &settings.master, error.to_string())),
    }
}
