//! The same bytes on any number of workers, after the loss of any partition, and with any budget.

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use datafusion::arrow::array::RecordBatch;
use emberflow::{
    Context, Sums,
    table::Table,
    testing::{kill_cached_partition, kill_map_output},
};
use emberflow_sql::SqlContext;

use self::support::{CHUNK_ROWS, answer, context, lines, sales, table_of};

const STATEMENTS: [&str; 4] = [
    "select region, sum(price), avg(price), count(units) from t group by region",
    "select region, shop, sum(price), min(price), max(units) from t where units > 3 group by region, shop",
    "select sum(price), avg(price) from t",
    "select shop, price * 3 as triple from t where price > 1400",
];

#[test]
fn one_worker_and_four_give_the_same_bytes() {
    let all = |workers: usize| {
        let ctx = context(workers);
        let sales = sales(&ctx, 6, 3, |_| {});
        STATEMENTS.map(|statement| table_of(&ctx, "t", &sales, statement).collect().unwrap())
    };
    let one = all(1);
    // Not in sorted order: row by row, and floats to the last bit.
    assert_eq!(one, all(4));
    assert_eq!(one, all(4));
    assert!(one.iter().all(|batch| batch.num_rows() > 0));
}

#[test]
fn a_lost_map_output_is_computed_again_and_nothing_else() {
    let ctx = context(2);
    let computed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&computed);
    let sales = sales(&ctx, 5, 2, move |partition| seen.lock().unwrap().push(partition));
    let take = || {
        let mut partitions = std::mem::take(&mut *computed.lock().unwrap());
        partitions.sort_unstable();
        partitions
    };
    for statement in &STATEMENTS[..3] {
        let table = table_of(&ctx, "t", &sales, statement);
        let expected = table.collect().unwrap();
        assert_eq!(take(), [0, 1, 2, 3, 4], "{statement}");
        for lost in [3, 0] {
            assert!(kill_map_output(table.chunks(), lost).unwrap());
            assert_eq!(table.collect().unwrap(), expected, "{statement}");
            assert_eq!(take(), [lost], "{statement}");
        }
    }
}

#[test]
fn a_lost_partition_of_a_cached_table_is_computed_again_and_nothing_else() {
    let ctx = context(2);
    let computed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&computed);
    let sales = sales(&ctx, 5, 2, move |partition| seen.lock().unwrap().push(partition)).cache();
    let totals = || table_of(&ctx, "t", &sales, STATEMENTS[0]).cache();
    let first = totals();
    let expected = first.collect().unwrap();
    assert_eq!(computed.lock().unwrap().len(), 5);
    // Of the table that the statement reads: a new statement needs all of it.
    assert!(kill_cached_partition(sales.chunks(), 2).unwrap());
    assert_eq!(totals().collect().unwrap(), expected);
    assert_eq!(computed.lock().unwrap()[5..], [2]);
    // Of the statement's own rows: the reducer reads its blocks again, and no map task runs.
    let lost = (0..4).find(|lost| kill_cached_partition(first.chunks(), *lost).unwrap());
    assert!(lost.is_some());
    assert_eq!(first.collect().unwrap(), expected);
    assert_eq!(computed.lock().unwrap().len(), 6);
}

#[test]
fn an_attempt_that_ends_half_way_leaves_nothing_to_the_next() {
    let expected = {
        let ctx = context(2);
        let sales = sales(&ctx, 4, 3, |_| {});
        table_of(&ctx, "t", &sales, STATEMENTS[1]).collect().unwrap()
    };
    let ctx = context(2);
    let sales = sales(&ctx, 4, 3, |_| {});
    let is_first = AtomicBool::new(true);
    let read = Mutex::new(0);
    let breaking = sales.chunks().map(move |chunk| {
        let mut read = read.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *read += 1;
        // Some chunks are in the aggregate's table by now.
        assert!(*read != 6 || !is_first.swap(false, Ordering::AcqRel), "on purpose");
        chunk
    });
    let breaking = Table::from_chunks(&breaking, sales.schema()).unwrap();
    assert_eq!(table_of(&ctx, "t", &breaking, STATEMENTS[1]).collect().unwrap(), expected);
}

#[test]
fn a_budget_of_a_tenth_gives_the_same_bytes_within_the_account() {
    const BUDGET: u64 = 4 << 20;
    let (partitions, chunks) = (16, 17);
    let answers = |ctx: &Context, sales: &Table| {
        // What the operators of both tasks may have fits the budget, beside kept rows.
        let sql = SqlContext::new(ctx).task_memory(256 << 10);
        sql.register("t", sales).unwrap();
        let statements = [STATEMENTS[0], STATEMENTS[1], STATEMENTS[2], "select count(*) as rows from t"];
        statements.map(|statement| sql.sql(statement).unwrap().collect().unwrap())
    };
    let plenty = context(4);
    let sales_of = |ctx: &Context| sales(ctx, partitions, chunks, |_| {});
    let expected = answers(&plenty, &sales_of(&plenty));
    let size = |sales: &Table| sales.chunks().map(|chunk| chunk.batch().get_array_memory_size() as u64).sum().unwrap();
    assert!(size(&sales_of(&plenty)) >= u128::from(10 * BUDGET));
    assert_eq!(lines(&expected[3])[1].trim_matches(['|', ' ']), (partitions * chunks * CHUNK_ROWS).to_string());

    // The rows of the table's RDD are chunks: a batch of one is enough for a budget of two dozen of them.
    let small = Context::builder().workers(2).default_partitions(4).memory_budget(BUDGET).batch_rows(1);
    let small = small.build().unwrap();
    assert_eq!(answers(&small, &sales_of(&small)), expected);
    let memory = small.memory();
    assert!(memory.peak > 0 && memory.peak <= BUDGET, "{memory:?}");

    // The same from a table that is kept, most of it on disk. The statements take no more than keeping it took.
    let kept = sales_of(&small).cache();
    kept.count().unwrap();
    let filled = small.memory();
    assert!(filled.spilled >= 5 * BUDGET, "{filled:?}");
    assert_eq!(answers(&small, &kept), expected);
    assert_eq!(small.memory().peak, filled.peak);
}

#[test]
fn a_task_of_little_memory_gives_the_same_bytes_on_any_number_of_workers() {
    let statement = "select region, shop, sum(price), sum(units) from t group by region, shop";
    let all = |workers: usize, task_memory: usize| {
        let ctx = context(workers);
        let sales = sales(&ctx, 4, 6, |_| {});
        let sql = SqlContext::new(&ctx).task_memory(task_memory);
        sql.register("t", &sales).unwrap();
        let table = sql.sql(statement).unwrap();
        (table.collect().unwrap(), sales.collect().unwrap())
    };
    let (one, rows) = all(1, 150 << 10);
    assert_eq!(one, all(4, 150 << 10).0);
    // Partial aggregates that pass on what they have add up in another order; what is exact stays what it was.
    let exact = |batch: &RecordBatch| lines(&batch.project(&[0, 1, 3]).unwrap());
    let (plenty, _) = all(1, 64 << 20);
    assert_eq!(exact(&one), exact(&plenty));
    let units = "select region, shop, sum(units) from t group by region, shop";
    assert_eq!(exact(&plenty), answer("t", rows, units));
}

#[test]
fn groups_that_do_not_fit_a_task_are_an_error_that_says_what_to_do() {
    let ctx = context(2);
    let sql = SqlContext::new(&ctx).task_memory(100 << 10);
    sql.register("t", &sales(&ctx, 4, 6, |_| {})).unwrap();
    let table = sql.sql("select price, shop, units, count(*) from t group by price, shop, units").unwrap();
    let error = table.collect().unwrap_err().to_string();
    assert!(
        error.contains("raise SqlContext::task_memory") && error.contains("group by price, shop, units"),
        "{error}"
    );
    // All that was taken is given back when the tasks beside the one that failed have ended.
    let deadline = Instant::now() + Duration::from_secs(60);
    while ctx.memory().working > 0 {
        assert!(Instant::now() < deadline, "{:?}", ctx.memory());
        std::thread::yield_now();
    }
}
