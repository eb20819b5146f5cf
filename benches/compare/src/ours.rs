//! emberflow: the programs of the other bench, but for W3 and W5, whose answer is one that SQL can give, too.

use std::sync::Arc;

use emberflow::prelude::*;

use crate::{Check, Data, Run, engine, timed, words};

pub(crate) fn prepare(workload: &str, data: &Data, threads: usize) -> Result<Run, String> {
    let fail = |error: Error| format!("{workload}: {error}");
    let ctx = Context::local(threads).map_err(fail)?;
    // An RDD does not keep its context running: each run holds it.
    let rows = |rows: &Arc<Vec<_>>| ctx.parallelize(rows.to_vec());
    Ok(match data {
        Data::Range(n) => {
            let n = *n;
            timed(move || engine::w1(&ctx, n).expect("W1 runs").to_string())
        }
        Data::Text(path) => {
            let path = path.clone();
            timed(move || words(&engine::w2(&ctx, &path).expect("W2 runs")))
        }
        Data::Pairs(pairs) => {
            let pairs = rows(pairs);
            timed(move || {
                let _ = &ctx;
                let sums = pairs.reduce_by_key(|a, b| a.wrapping_add(b));
                check(&sums.map(|(key, sum)| key ^ sum)).expect("W3 runs")
            })
        }
        Data::Numbers(numbers) => {
            let numbers = ctx.parallelize(numbers.to_vec());
            timed(move || {
                let _ = &ctx;
                let order = engine::w4(&numbers).expect("W4 runs");
                format!("{} {} {}", order.count, order.sum, order.weighted)
            })
        }
        Data::Tables(tables) => {
            let [left, right] = [rows(&tables[0]), rows(&tables[1])];
            timed(move || {
                let _ = &ctx;
                check(&left.join(&right).map(|(key, (v, w))| key ^ v ^ w)).expect("W5 runs")
            })
        }
        Data::Pages(pages) => {
            let links = engine::w6_links(&ctx, *pages).map_err(fail)?;
            timed(move || {
                let _ = &ctx;
                engine::w6(&links).expect("W6 runs")
            })
        }
        Data::Points(points) => {
            let points = engine::w7_points(&ctx, *points).map_err(fail)?;
            timed(move || {
                let _ = &ctx;
                engine::w7(&points).expect("W7 runs")
            })
        }
    })
}

fn check(mixed: &Rdd<u64>) -> Result<String> {
    Ok(mixed.aggregate(Check::default(), Check::add, Check::merge)?.answer())
}
