//! DataFusion's session: its settings, none of which may depend on the machine or on the moment.
//!
//! Owns the half of the promise of equal bytes that is about plans: the same statement over the same tables has the same
//! plan everywhere.

use std::sync::Arc;

use datafusion::{
    execution::session_state::SessionStateBuilder,
    physical_plan::ExecutionPlan,
    prelude::{SessionConfig, SessionContext},
};

/// A physical plan.
pub(crate) type Plan = Arc<dyn ExecutionPlan>;

/// Rows of a batch of an operator, unless they are the last ones; as many as a chunk of a table has.
pub(crate) const BATCH_ROWS: usize = 8192;

/// A session without tables, whose exchanges have so many partitions.
pub(crate) fn session(partitions: usize) -> SessionContext {
    // All defaults are constants but for the number of the machine's cores, which is replaced twice.
    let mut config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(BATCH_ROWS);
    let options = config.options_mut();
    options.execution.planning_concurrency = 1;
    // Rows go where their partition or their key says, never to a reader that happens to be free.
    options.optimizer.enable_round_robin_repartition = false;
    options.execution.enable_file_stream_work_stealing = false;
    // Plans do not follow from the number of rows that somebody has counted.
    options.execution.collect_statistics = false;
    options.execution.use_row_number_estimates_to_optimize_partitioning = false;
    options.optimizer.join_reordering = false;
    // Filters that one task learns from another's rows would make its rows depend on timing.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // Its table of the first rows is hashed by random seeds.
    options.optimizer.enable_topk_aggregation = false;
    // A scalar subquery of its own kind keeps its value in a state that instances of a plan share.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    // Views of strings hold on to whole buffers of which they show a part.
    options.sql_parser.map_string_types_to_utf8view = false;
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    SessionContext::new_with_state(state)
}
