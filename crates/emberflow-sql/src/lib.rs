//! SQL over emberflow's tables: planned by DataFusion, run by emberflow's own stages.
//!
//! [`SqlContext`] is the one type: tables are registered with it under a name, and a statement gives a
//! [`Table`] again, lazily. DataFusion parses, optimises and makes the physical plan; the plan is cut at its exchanges, each
//! piece becomes a narrow operator over the chunks of a table, and each exchange a shuffle of emberflow. So lineage,
//! recovery of single partitions, spilling of what is shuffled, events and the page are those of every RDD.
//!
//! Owns the cut, and how a piece of a plan runs within a task; owns no operator, no expression and no thread.
//!
//! ```
//! use emberflow::prelude::*;
//! use emberflow_sql::SqlContext;
//!
//! let ctx = Context::local(2)?;
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("films.csv");
//! std::fs::write(&path, "title,genre,revenue\nAlien,Horror,104\nJaws,Horror,470\nUp,Animation,735\n").unwrap();
//! let sql = SqlContext::new(&ctx);
//! sql.register("films", &ctx.read().csv(&path)?)?;
//! let totals = sql.sql("select genre, sum(revenue) as total from films group by genre")?;
//! let mut rows = totals.rows::<(String, i64)>().collect()?;
//! rows.sort();
//! assert_eq!(rows, [("Animation".to_owned(), 735), ("Horror".to_owned(), 574)]);
//! # Ok::<(), Error>(())
//! ```
//!
//! The surprising decision: the list of operators is closed. A plan that holds any other node is refused with the node's
//! name, because an operator is promised to give the same bytes on any number of workers and after any loss, and that was
//! tested node by node.

#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod cut;
mod error;
mod exchange;
mod fragment;
mod input;
mod memory;
mod scan;
mod session;

use std::{fmt, sync::Arc};

use datafusion::{
    common::TableReference,
    execution::SessionState,
    prelude::{SQLOptions, SessionContext},
};
use emberflow::{
    Context, Result,
    table::{Schema, Table},
};
use futures::executor::block_on;

use self::{cut::Cutter, error::SqlError, scan::TableScan};

/// Memory of a task's piece of a plan unless told otherwise.
const TASK_MEMORY: usize = 64 << 20;

/// Tables by name, and the statements that read them.
///
/// Clones share their tables.
#[derive(Clone)]
pub struct SqlContext {
    session: SessionContext,
    task_memory: usize,
}

impl fmt::Debug for SqlContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlContext").field("task_memory", &self.task_memory).finish_non_exhaustive()
    }
}

impl SqlContext {
    /// A place for names without any table. Exchanges have [`Context::default_partitions`] partitions, on every machine.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # use emberflow_sql::SqlContext;
    /// let ctx = Context::local(2)?;
    /// let sql = SqlContext::new(&ctx);
    /// # assert!(sql.sql("select 1 from films").is_err());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(ctx: &Context) -> Self {
        Self { session: session::session(ctx.default_partitions()), task_memory: TASK_MEMORY }
    }

    /// The bytes that the operators of a task may reserve, such as the hash table of an aggregate: 64 MiB unless told
    /// otherwise.
    ///
    /// The limit is fixed and the same for each task, whatever else is in memory, since an aggregate that runs into it adds
    /// up in another order. An aggregate before an exchange passes on what it has and goes on; one behind an exchange ends
    /// with an error. The operators' memory counts in [`Context::memory`] as `working`, and may go beyond the budget by
    /// so much for each worker.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # use emberflow_sql::SqlContext;
    /// # let ctx = Context::local(2)?;
    /// let sql = SqlContext::new(&ctx).task_memory(256 << 20);
    /// # assert!(format!("{sql:?}").contains("268435456"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn task_memory(mut self, bytes: usize) -> Self {
        self.task_memory = bytes;
        self
    }

    /// Gives a table a name for statements, in place of the table that had it. Statements made before keep the old one.
    ///
    /// Names in statements are lower case unless they stand in double quotes: a table or column with capital letters is
    /// written `"Films"`.
    ///
    /// # Errors
    /// If the name is empty.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # use emberflow_sql::SqlContext;
    /// # let ctx = Context::local(2)?;
    /// let sql = SqlContext::new(&ctx);
    /// sql.register("words", &ctx.parallelize(vec![("a".to_owned(), 1_i64)]).to_table()?)?;
    /// assert_eq!(sql.sql("select _2 + 1 as n from words")?.rows::<(i64,)>().collect()?, [(2,)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn register(&self, name: &str, table: &Table) -> Result<()> {
        if name.is_empty() {
            return Err(SqlError::NoName.into());
        }
        let failed = |cause| SqlError::Register { name: name.to_owned(), cause };
        self.session.deregister_table(TableReference::bare(name)).map_err(failed)?;
        let scan = Arc::new(TableScan::new(table.clone()));
        self.session.register_table(TableReference::bare(name), scan).map_err(failed)?;
        Ok(())
    }

    /// The table that a query describes. Plans it, and runs nothing: its rows are computed by the table's actions.
    ///
    /// Filters and projections are narrow; an aggregate is narrow up to its exchange, which is wide. The rows have no
    /// order that one can rely on, but the same one each time.
    ///
    /// # Errors
    /// If the text is no query; if it names a table or a column that is not there; if its plan holds an operator that
    /// is not run on stages (sorting, limits, joins, unions, windows and others), which the error names. Errors name the
    /// statement.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # use emberflow_sql::SqlContext;
    /// # let ctx = Context::local(2)?;
    /// let sql = SqlContext::new(&ctx);
    /// sql.register("words", &ctx.parallelize(vec![("a".to_owned(), 1_i64), ("b".to_owned(), 2)]).to_table()?)?;
    /// assert_eq!(sql.sql("select _1 from words where _2 > 1")?.rows::<(String,)>().collect()?, [("b".to_owned(),)]);
    /// let error = sql.sql("select _1 from words order by _1").err().unwrap();
    /// assert!(error.to_string().contains("(order by)"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sql(&self, statement: &str) -> Result<Table> {
        let statement: Arc<str> = statement.into();
        let state = self.session.state();
        let plan = self.plan(&state, &statement)?;
        let schema = plan.schema();
        let cutter = Cutter::new(statement, state.config().clone(), self.task_memory);
        let chunks = cutter.rows_of(&plan)?;
        Table::from_chunks(&chunks, &Schema::from(schema))
    }

    fn plan(&self, state: &SessionState, statement: &Arc<str>) -> Result<session::Plan, SqlError> {
        let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        // Nothing is waited for: tables are known, and the planner starts no thread.
        let planned = block_on(async {
            let logical = state.create_logical_plan(statement).await?;
            only_queries.verify_plan(&logical)?;
            state.create_physical_plan(&logical).await
        });
        planned.map_err(|cause| SqlError::Plan { statement: Arc::clone(statement), cause })
    }
}
