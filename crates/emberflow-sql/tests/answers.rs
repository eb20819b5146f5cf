//! Answers are those of plain DataFusion; statements that cannot be run are refused with a reason.

mod support;

use emberflow::{prelude::*, table::Table};
use emberflow_sql::SqlContext;

use self::support::{answer, context, films, lines, sales, spread, table_of};

#[track_caller]
fn same(table: &Table, ctx: &Context, statement: &str) {
    let found = table_of(ctx, "t", table, statement).collect().unwrap();
    assert_eq!(lines(&found), answer("t", table.collect().unwrap(), statement), "{statement}");
}

#[test]
fn the_revenue_by_genre_is_that_of_datafusion() {
    let ctx = context(2);
    let films = spread(&ctx, &films(&ctx), 5);
    let statement = "select genre, sum(revenue) from films group by genre";
    let totals = table_of(&ctx, "films", &films, statement);
    let found = lines(&totals.collect().unwrap());
    assert_eq!(found[0], "genre: Utf8, sum(films.revenue): Int64");
    assert!(found.len() > 5, "{found:?}");
    assert_eq!(found, answer("films", films.collect().unwrap(), statement));
    // One stage up to the exchange and one behind it.
    assert_eq!(totals.to_debug_string().matches("[stage ").count(), 2, "{}", totals.to_debug_string());
    assert_eq!(totals.partitions(), 4);
}

#[test]
fn the_films_of_the_file_itself_are_summed() {
    let ctx = context(2);
    same(&films(&ctx), &ctx, "select genre, sum(revenue), count(*) from t group by genre");
}

#[test]
fn filters_and_projections_are_those_of_datafusion() {
    let ctx = context(2);
    let films = spread(&ctx, &films(&ctx), 3);
    same(&films, &ctx, "select * from t");
    same(&films, &ctx, "select title, revenue - budget as profit from t where revenue > 2 * budget and year >= 2000");
    same(&films, &ctx, "select upper from (select title as upper, runtime / 60 as hours from t) where hours > 2.5");
    same(&films, &ctx, "select title from t where revenue < 0");
    same(
        &films,
        &ctx,
        "select case when year < 2000 then 'old' else 'new' end as age, title from t where title like 'A%'",
    );
}

#[test]
fn aggregates_by_two_keys_are_those_of_datafusion() {
    let ctx = context(4);
    let films = spread(&ctx, &films(&ctx), 6);
    same(
        &films,
        &ctx,
        "select genre, year, count(*), count(revenue), min(title), max(revenue), avg(runtime) from t group by genre, year",
    );
    same(&films, &ctx, "select genre, max(year) - min(year) from t group by genre having count(*) > 3");
    same(&films, &ctx, "select distinct genre, year from t");
    same(&films, &ctx, "select genre, count(distinct year) from t group by genre");
    same(
        &films,
        &ctx,
        "select years, count(*) from (select genre, count(*) as years from t group by genre) group by years",
    );
}

#[test]
fn aggregates_of_all_rows_are_those_of_datafusion() {
    let ctx = context(4);
    let films = spread(&ctx, &films(&ctx), 6);
    same(&films, &ctx, "select count(*) from t");
    same(&films, &ctx, "select count(*), sum(revenue), avg(runtime), min(title), max(year) from t");
    same(&films, &ctx, "select count(*), sum(revenue), max(title) from t where revenue < 0");
    same(&films, &ctx, "select sum(revenue) filter (where year > 2005) from t");
}

#[test]
fn nulls_and_keys_of_several_chunks_are_those_of_datafusion() {
    let ctx = context(4);
    let sales = sales(&ctx, 3, 5, |_| {});
    same(
        &sales,
        &ctx,
        "select region, shop, count(*), sum(units), min(units), max(price) from t group by region, shop",
    );
    same(&sales, &ctx, "select units, count(*) from t where region is null group by units");
    // More groups than a batch has rows.
    same(&sales, &ctx, "select price, shop, units, region, count(*) from t group by price, shop, units, region");
}

#[test]
fn a_table_of_a_statement_is_one_like_any_other() {
    let ctx = context(2);
    let sql = SqlContext::new(&ctx);
    sql.register("films", &spread(&ctx, &films(&ctx), 3)).unwrap();
    let totals = sql.sql("select genre, sum(revenue) as total from films group by genre").unwrap().cache();
    sql.register("totals", &totals).unwrap();
    let best = sql.sql("select max(total) as best from totals").unwrap();
    let expected = totals.rows::<(Option<String>, i64)>().map(|(_, total)| total).reduce(|a, b| a.max(b)).unwrap();
    assert_eq!(best.rows::<(i64,)>().collect().unwrap(), [(expected.unwrap(),)]);
    // A name is taken over by the table that gets it; what was made before reads the old one.
    sql.register("totals", &best).unwrap();
    assert_eq!(sql.sql("select * from totals").unwrap().count().unwrap(), 1);
}

#[test]
fn an_operator_that_is_not_run_is_named() {
    let ctx = context(2);
    let sql = SqlContext::new(&ctx);
    sql.register("films", &spread(&ctx, &films(&ctx), 3)).unwrap();
    for (statement, named) in [
        ("select title from films order by title", "SortPreservingMergeExec (order by)"),
        ("select title from films limit 3", "limit"),
        ("select a.title from films a join films b on a.title = b.title", "JoinExec (join)"),
        ("select title from films union all select title from films", "UnionExec (union)"),
        ("select rank() over (partition by genre order by year) from films", "(over)"),
        ("select 1", "PlaceholderRowExec"),
        ("select title from films where 1 > 2", "EmptyExec (a condition that is never true)"),
        ("explain select title from films", "ExplainExec (explain)"),
        ("select genre, stddev(revenue) from films group by genre", "the aggregate stddev"),
        ("select genre, sum(distinct year), count(distinct title) from films group by genre", "(distinct)"),
        ("select title from films where year = (select max(year) from films)", "JoinExec (join)"),
    ] {
        let error = sql.sql(statement).err().unwrap_or_else(|| panic!("{statement}")).to_string();
        assert!(error.contains(named) && error.contains(statement), "{statement}: {error}");
    }
}

#[test]
fn a_statement_that_cannot_be_planned_says_why() {
    let ctx = context(2);
    let sql = SqlContext::new(&ctx);
    sql.register("films", &films(&ctx)).unwrap();
    for (statement, said) in [
        ("select gnere, sum(revenue) from films group by gnere", ["gnere", "genre"]),
        ("select genre from flims", ["flims", "not found"]),
        ("selct genre from films", ["selct", "Expected"]),
        ("select sum(genre) from films", ["sum", "Utf8"]),
        ("create table x as select genre from films", ["DDL not supported", "Create"]),
    ] {
        let error = sql.sql(statement).err().unwrap_or_else(|| panic!("{statement}")).to_string();
        assert!(said.iter().all(|part| error.contains(part)) && error.contains(statement), "{statement}: {error}");
    }
    assert!(sql.register("", &films(&ctx)).unwrap_err().to_string().contains("needs a name"));
}

#[test]
fn a_row_that_cannot_be_computed_fails_the_job_with_the_statement() {
    let ctx = context(2);
    let films = spread(&ctx, &films(&ctx), 3);
    let table = table_of(&ctx, "films", &films, "select genre, sum(revenue / (year - 2009)) from films group by genre");
    let error = table.collect().unwrap_err().to_string();
    assert!(error.contains("Divide by zero") && error.contains("revenue / (year - 2009)"), "{error}");
    assert_eq!(films.count().unwrap(), 119, "the context goes on");
}
