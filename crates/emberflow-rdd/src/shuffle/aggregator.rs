//! How values that have equal keys are merged.

use emberflow_core::ship::Env;

/// How values become combiners, and combiners one.
pub(crate) trait Aggregator<V, C>: Env {
    fn create(&self, value: V) -> C;

    fn merge_value(&self, sum: C, value: V) -> C;

    fn merge(&self, a: C, b: C) -> C;
}
