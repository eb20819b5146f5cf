//! The cut: from a physical plan to RDDs of chunks.
//!
//! Owns the list of nodes that are run, and where a plan is cut. A piece goes from its root down to a scan, a hash exchange
//! or a gathering of all partitions; it becomes one narrow operator. An exchange becomes a shuffle.
//!
//! ```text
//! AggregateExec FinalPartitioned   ┐ piece 2, in each reducer
//!   RepartitionExec Hash           ┴ shuffle
//!     AggregateExec Partial        ┐ piece 1, in each partition of the table
//!       ScanExec                   ┴
//! ```

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::DataFusionError,
    physical_expr_common::physical_expr::is_volatile,
    physical_plan::{
        InputOrderMode, Partitioning,
        aggregates::{AggregateExec, AggregateMode},
        coalesce_partitions::CoalescePartitionsExec,
        coop::CooperativeExec,
        execution_plan::replace_children_if_necessary,
        filter::FilterExec,
        projection::ProjectionExec,
        repartition::RepartitionExec,
    },
    prelude::SessionConfig,
};
use emberflow::{Partitioner, Partitioning as Placing, Rdd, table::Chunk};

use crate::{
    error::{FragmentError, SqlError},
    exchange::{Spread, exchanged},
    fragment::Fragment,
    input::InputExec,
    scan::ScanExec,
    session::Plan,
};

/// The aggregates whose results were compared, on any number of workers and after losses.
const AGGREGATES: [&str; 5] = ["count", "sum", "min", "max", "avg"];

/// Makes RDDs of the plan of one statement.
pub(crate) struct Cutter {
    statement: Arc<str>,
    config: SessionConfig,
    task_memory: usize,
}

/// A piece of a plan and what it reads.
struct Piece {
    fragment: Arc<Fragment>,
    input: Rdd<Chunk>,
}

/// The lower end of a piece.
struct End {
    input: Rdd<Chunk>,
    /// The columns that are read; all of them if there is none.
    projection: Option<Vec<usize>>,
}

impl Cutter {
    pub(crate) fn new(statement: Arc<str>, config: SessionConfig, task_memory: usize) -> Self {
        Self { statement, config, task_memory }
    }

    /// The rows of a plan, partition by partition.
    #[track_caller]
    pub(crate) fn rows_of(&self, plan: &Plan) -> Result<Rdd<Chunk>, SqlError> {
        let Piece { fragment, input } = self.piece(plan)?;
        let chunks = input.map_partitions_with_index(move |partition, chunks| {
            // Operators may pass on batches without rows; chunks have some.
            fragment.open(partition, chunks).filter_map(|batch| batch.map(Chunk::new).transpose())
        });
        Ok(chunks.try_map(|chunk: Result<Chunk, FragmentError>| chunk))
    }

    /// The rows of a plan behind an exchange.
    #[track_caller]
    fn exchange_of(&self, plan: &Plan, spread: Spread) -> Result<Rdd<Chunk>, SqlError> {
        let Piece { fragment, input } = self.piece(plan)?;
        let partitions = spread.partitions();
        let chunks = input
            .map_partitions_with_index(move |partition, chunks| exchanged(fragment.open(partition, chunks), &spread));
        let placed = chunks.try_map(|chunk: Result<(usize, Chunk), FragmentError>| chunk);
        Ok(placed.partition_by(Placing::custom(ByNumber { partitions })).values())
    }

    #[track_caller]
    fn piece(&self, plan: &Plan) -> Result<Piece, SqlError> {
        let (template, end) = self.template(plan)?;
        let fragment = Fragment {
            statement: Arc::clone(&self.statement),
            template,
            projection: end.projection,
            config: self.config.clone(),
            memory: self.task_memory,
        };
        Ok(Piece { fragment: Arc::new(fragment), input: end.input })
    }

    /// The nodes of a piece over a leaf in place of its lower end.
    #[track_caller]
    fn template(&self, plan: &Plan) -> Result<(Plan, End), SqlError> {
        if plan.fetch().is_some() {
            return Err(self.refused("a limit".to_owned()));
        }
        if let Some(end) = self.end(plan)? {
            return Ok((Arc::new(InputExec::new(plan.properties())), end));
        }
        self.check(plan)?;
        let &[child] = &plan.children()[..] else {
            return Err(self.refused(plan.name().to_owned()));
        };
        let (child, end) = self.template(child)?;
        let template = replace_children_if_necessary(Arc::clone(plan), vec![child]);
        Ok((template.map_err(|cause| self.failed(cause))?, end))
    }

    /// The rows that a piece reads, if it ends here.
    #[track_caller]
    fn end(&self, plan: &Plan) -> Result<Option<End>, SqlError> {
        if let Some(scan) = plan.downcast_ref::<ScanExec>() {
            let (input, projection) = (scan.table.chunks().clone(), scan.projection.clone());
            return Ok(Some(End { input, projection }));
        }
        let (below, spread) = if let Some(exchange) = plan.downcast_ref::<RepartitionExec>() {
            let Partitioning::Hash(keys, partitions) = exchange.partitioning() else {
                return Err(self.refused(format!("RepartitionExec by {}", exchange.partitioning())));
            };
            if exchange.preserve_order() {
                return Err(self.refused("RepartitionExec that keeps an order".to_owned()));
            }
            self.check_expressions(plan)?;
            (exchange.input(), Spread::Hash { keys: keys.clone(), partitions: *partitions })
        } else if let Some(gather) = plan.downcast_ref::<CoalescePartitionsExec>() {
            (gather.input(), Spread::One)
        } else {
            return Ok(None);
        };
        Ok(Some(End { input: self.exchange_of(below, spread)?, projection: None }))
    }

    /// Refuses nodes that are not on the list.
    fn check(&self, plan: &Plan) -> Result<(), SqlError> {
        if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            self.check_aggregate(aggregate)?;
        } else if !plan.is::<FilterExec>() && !plan.is::<ProjectionExec>() && !plan.is::<CooperativeExec>() {
            let name = plan.name();
            return Err(self.refused(match clause(name) {
                Some(clause) => format!("{name} ({clause})"),
                None => name.to_owned(),
            }));
        }
        self.check_expressions(plan)
    }

    fn check_aggregate(&self, aggregate: &AggregateExec) -> Result<(), SqlError> {
        let is_known = match aggregate.mode() {
            AggregateMode::Partial
            | AggregateMode::Final
            | AggregateMode::FinalPartitioned
            | AggregateMode::Single
            | AggregateMode::SinglePartitioned => true,
            AggregateMode::PartialReduce => false,
        };
        if !is_known || *aggregate.input_order_mode() != InputOrderMode::Linear {
            return Err(self.refused(format!("AggregateExec in mode {:?}", aggregate.mode())));
        }
        if aggregate.limit_options().is_some() {
            return Err(self.refused("a limit".to_owned()));
        }
        for function in aggregate.aggr_expr() {
            let name = function.fun().name();
            if !AGGREGATES.contains(&name) {
                return Err(self.refused(format!("the aggregate {name}")));
            }
            // Its values come out of a hash table with random seeds.
            if function.is_distinct() {
                return Err(self.refused(format!("the aggregate {name}(distinct) beside others")));
            }
        }
        Ok(())
    }

    /// Refuses expressions that give something else each time.
    fn check_expressions(&self, plan: &Plan) -> Result<(), SqlError> {
        let mut volatile = None;
        let seen = plan.apply_expressions(&mut |expression| {
            if is_volatile(expression) {
                volatile.get_or_insert_with(|| expression.to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        seen.map_err(|cause| self.failed(cause))?;
        match volatile {
            Some(expression) => Err(self.refused(format!("{expression}, which has another value each time"))),
            None => Ok(()),
        }
    }

    fn refused(&self, needs: String) -> SqlError {
        SqlError::Refused { statement: Arc::clone(&self.statement), needs }
    }

    fn failed(&self, cause: DataFusionError) -> SqlError {
        SqlError::Plan { statement: Arc::clone(&self.statement), cause }
    }
}

/// The words of a statement that lead to a node.
fn clause(node: &str) -> Option<&'static str> {
    Some(match node {
        "SortExec" | "SortPreservingMergeExec" => "order by",
        "GlobalLimitExec" | "LocalLimitExec" => "limit",
        "UnionExec" | "InterleaveExec" => "union",
        "PlaceholderRowExec" => "a select without a table",
        "EmptyExec" => "a condition that is never true",
        "ExplainExec" | "AnalyzeExec" => "explain",
        name if name.ends_with("JoinExec") => "join",
        name if name.contains("Window") => "over",
        _ => return None,
    })
}

/// Places chunks by the number of the partition that they are for.
struct ByNumber {
    partitions: usize,
}

impl Partitioner<usize> for ByNumber {
    fn partitions(&self) -> usize {
        self.partitions
    }

    fn partition(&self, number: &usize) -> usize {
        *number
    }
}
