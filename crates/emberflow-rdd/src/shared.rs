//! The parts that every RDD of a context needs: the engine, and the settings that shape lineage.
//!
//! They are owned by all handles together (contexts, RDDs and actions), and never submit a job.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::SystemTime,
};

use emberflow_core::{
    backend::Backend,
    ids::{RddId, StoreId},
    lineage::{Dependency, Guard, RddNode},
    operator::Operator,
    partitioner::{KeyHasher, Placement},
    place::OpInfo,
};
use emberflow_runtime::Engine;

use crate::sent_plans::SentPlans;

/// The parts that every RDD of a context needs: the engine, and the settings that shape lineage.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    /// Runs the jobs.
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) hasher: KeyHasher,
    pub(crate) default_partitions: usize,
    pub(crate) checkpoint_dir: Mutex<Option<PathBuf>>,
    pub(crate) started_at: SystemTime,
    pub(crate) cached: CachedNodes,
    /// Set for tests: plans go to the engine by way of bytes.
    pub(crate) sent_plans: OnceLock<Arc<SentPlans>>,
    #[cfg(feature = "s3")]
    pub(crate) s3: Arc<emberflow_s3::S3>,
    #[cfg(feature = "ui")]
    pub(crate) ui: OnceLock<emberflow_ui::Served>,
    #[cfg(feature = "ui")]
    pub(crate) event_log: OnceLock<PathBuf>,
}

impl Shared {
    /// Something that releases the store when it is dropped. Does not keep the context alive.
    pub(crate) fn guard(&self, store: StoreId) -> Guard {
        Arc::new(StoreGuard { backend: Arc::downgrade(&self.backend), store })
    }
}

struct StoreGuard {
    backend: Weak<dyn Backend>,
    store: StoreId,
}

impl Drop for StoreGuard {
    fn drop(&mut self) {
        if let Some(backend) = self.backend.upgrade() {
            backend.forget(self.store);
        }
    }
}

/// A node to be: everything but its identity.
pub(crate) struct NodeSpec {
    pub(crate) info: OpInfo,
    pub(crate) partitions: usize,
    pub(crate) op: Arc<dyn Operator>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) placement: Option<Placement>,
}

/// The nodes that were cached, as far as they are still there.
#[derive(Default)]
pub(crate) struct CachedNodes(Mutex<BTreeMap<RddId, Weak<RddNode>>>);

impl CachedNodes {
    pub(crate) fn add(&self, node: &Arc<RddNode>) {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever caches in a loop must not leave a list behind.
        nodes.retain(|_, node| node.strong_count() > 0);
        nodes.insert(node.id, Arc::downgrade(node));
    }

    pub(crate) fn living(&self) -> Vec<Arc<RddNode>> {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.values().filter_map(Weak::upgrade).collect()
    }
}
