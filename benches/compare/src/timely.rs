//! Timely: operators written by hand over tables with a fast hash, as its users do. It has no join, no sort and no
//! grouping of its own.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    hash::{BuildHasher, Hash},
    io::{BufRead, BufReader, Seek, SeekFrom},
    ops::Range,
    path::Path,
    rc::Rc,
    sync::Arc,
};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use timely::{
    Config,
    container::CapacityContainerBuilder,
    dataflow::{
        InputHandle, ProbeHandle,
        channels::pact::{Exchange, Pipeline},
        operators::{
            Operator, Probe,
            vec::{Broadcast, Filter, Map, ToStream},
        },
    },
    worker::Worker,
};

use crate::{
    Check, Data, Pairs, Run,
    baselines::{
        data,
        kmeans::{self, CENTRES, Columns, Point, Sums},
        pagerank,
    },
    timed, words,
};

/// Rows that a worker sends before it lets operators run.
const SEND_AHEAD: usize = 1 << 16;

type Counts<K> = HashMap<K, u64, FixedState>;

pub(crate) fn prepare(workload: &str, data: &Data, threads: usize) -> Option<Run> {
    Some(match data {
        Data::Range(n) => {
            let n = *n;
            timed(move || w1(n, threads).to_string())
        }
        Data::Text(path) => {
            let path = path.clone();
            timed(move || words(&w2(&path, threads)))
        }
        Data::Pairs(pairs) => {
            let (pairs, few) = (Arc::clone(pairs), workload == "W3a");
            timed(move || w3(&pairs, few, threads).answer())
        }
        Data::Pages(pages) => {
            let pages = *pages;
            // Each worker has the pages whose number modulo the number of workers is its own.
            let of = |at| (at..pages).step_by(threads).map(|page| data::links(page, pages).collect()).collect();
            let links: Arc<Vec<Vec<Vec<u32>>>> = Arc::new((0..threads as u64).map(of).collect());
            timed(move || w6(&links))
        }
        Data::Points(points) => {
            let points: Arc<Vec<Point>> = Arc::new((0..*points).map(data::point).collect());
            timed(move || w7(&points, threads))
        }
        Data::Numbers(_) | Data::Tables(_) => return None,
    })
}

/// What each worker makes.
fn on_workers<R: Send + 'static>(threads: usize, job: impl Fn(&mut Worker) -> R + Send + Sync + 'static) -> Vec<R> {
    let guards = timely::execute(Config::process(threads), job).expect("workers start");
    guards.join().into_iter().map(|result| result.expect("no worker panics")).collect()
}

/// The share of `0..len` of this worker.
fn share(len: u64, worker: &Worker) -> Range<u64> {
    let (at, of) = (worker.index() as u64, worker.peers() as u64);
    len * at / of..len * (at + 1) / of
}

fn w1(n: u64, threads: usize) -> u64 {
    let sums = on_workers(threads, move |worker| {
        let (sum, probe, range) = (Rc::new(RefCell::new(0_u64)), ProbeHandle::new(), share(n, worker));
        let into = Rc::clone(&sum);
        worker.dataflow::<u32, _, _>(|scope| {
            range
                .to_stream(scope)
                .map(|x| x.wrapping_mul(2_654_435_761) ^ (x >> 7))
                .filter(|x| x % 3 == 0)
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "sum", |_, _| {
                    move |input, _| {
                        input.for_each_stamp(|_, batches| {
                            let mut sum = into.borrow_mut();
                            batches.for_each(|batch| *sum = batch.drain(..).fold(*sum, u64::wrapping_add));
                        });
                    }
                })
                .probe_with(&probe);
        });
        worker.step_while(|| !probe.done());
        sum.take()
    });
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// Each worker counts the words of its part of the file; what it counts goes to the worker that a word's hash names.
fn w2(path: &Path, threads: usize) -> Vec<(String, u64)> {
    let path = path.to_owned();
    let counts = on_workers(threads, move |worker| {
        let len = path.metadata().expect("the text was written").len();
        let lines = lines_of(&path, share(len, worker));
        let count = |counts: &mut Counts<String>, line: String| {
            for word in line.split_ascii_whitespace() {
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(word.to_owned(), 1)),
                }
            }
        };
        combined(worker, lines, count, |word| FixedState::default().hash_one(word))
    });
    crate::best(counts.into_iter().flatten())
}

/// The lines that begin in a range of a file.
fn lines_of(path: &Path, range: Range<u64>) -> impl Iterator<Item = String> + 'static {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).expect("the text was written"));
    let (mut at, mut line) = (range.start, String::new());
    if at > 0 {
        // A line that begins earlier belongs to another worker.
        file.seek(SeekFrom::Start(at - 1)).expect("a plain file");
        at += file.read_line(&mut line).expect("the text is UTF-8") as u64 - 1;
    }
    std::iter::from_fn(move || {
        let mut line = String::new();
        let read = if at < range.end { file.read_line(&mut line).expect("the text is UTF-8") } else { 0 };
        at += read as u64;
        (read > 0).then_some(line)
    })
}

/// Few keys are combined before they move, many are not.
fn w3(pairs: &Pairs, few: bool, threads: usize) -> Check {
    let pairs = Arc::clone(pairs);
    let checks = on_workers(threads, move |worker| {
        let pairs = Arc::clone(&pairs);
        let rows = share(pairs.len() as u64, worker).map(move |at| pairs[at as usize]);
        let sums = if few { combined(worker, rows, add, |key| *key) } else { exchanged(worker, rows) };
        sums.into_iter().fold(Check::default(), |check, (key, sum)| check.add(key ^ sum))
    });
    checks.into_iter().fold(Check::default(), Check::merge)
}

fn add<K: Eq + Hash>(sums: &mut Counts<K>, (key, value): (K, u64)) {
    let sum = sums.entry(key).or_default();
    *sum = sum.wrapping_add(value);
}

/// Ranks and links stay with their worker, in arrays; what pages give to others moves, and is added up as it comes.
fn w6(links: &Arc<Vec<Vec<Vec<u32>>>>) -> String {
    let (links, threads) = (Arc::clone(links), links.len());
    let shares = on_workers(threads, move |worker| {
        let (links, peers) = (&links[worker.index()], worker.peers());
        let mut ranks = vec![1.0; links.len()];
        // Two rounds may overlap: another worker may be one ahead.
        let sums = Rc::new(RefCell::new([vec![0.0; links.len()], vec![0.0; links.len()]]));
        let (mut input, probe, into) = (InputHandle::new(), ProbeHandle::new(), Rc::clone(&sums));
        worker.dataflow::<usize, _, _>(|scope| {
            let to_owner = Exchange::new(move |gift: &(u32, u32, f64)| u64::from(gift.0) % peers as u64);
            input
                .to_stream(scope)
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(to_owner, "sum", |_, _| {
                    move |input, _| {
                        input.for_each_stamp(|_, batches| {
                            let mut sums = into.borrow_mut();
                            for (page, round, gift) in batches.flat_map(|batch| batch.drain(..)) {
                                sums[round as usize % 2][page as usize / peers] += gift;
                            }
                        });
                    }
                })
                .probe_with(&probe);
        });
        for round in 0..pagerank::ITERATIONS {
            let mut sent = 0;
            for (to, rank) in links.iter().zip(&ranks) {
                let gift = rank / to.len() as f64;
                to.iter().for_each(|page| input.send((*page, round as u32, gift)));
                sent += to.len();
                if sent > SEND_AHEAD {
                    worker.step();
                    sent = 0;
                }
            }
            input.advance_to(round + 1);
            worker.step_while(|| probe.less_than(input.time()));
            let sums = &mut sums.borrow_mut()[round % 2];
            ranks.iter_mut().zip(&mut *sums).for_each(|(rank, sum)| *rank = pagerank::rank(std::mem::take(sum)));
        }
        ranks
    });
    let pages = shares.iter().map(Vec::len).sum();
    pagerank::answer_of(&(0..pages).map(|page| shares[page % threads][page / threads]).collect::<Vec<_>>())
}

/// Points stay with their worker; centres go to all workers, and sums come back to the first one.
fn w7(points: &Arc<Vec<Point>>, threads: usize) -> String {
    let points = Arc::clone(points);
    let centres = on_workers(threads, move |worker| {
        let range = share(points.len() as u64, worker);
        let (points, sums) = (Arc::clone(&points), Rc::new(RefCell::new(Sums::default())));
        let (mut input, probe, into) = (InputHandle::new(), ProbeHandle::new(), Rc::clone(&sums));
        worker.dataflow::<usize, _, _>(|scope| {
            input
                .to_stream(scope)
                .broadcast()
                .map(move |centres: [Point; CENTRES]| {
                    let (columns, mut sums) = (Columns::of(&centres), Sums::default());
                    let points = &points[range.start as usize..range.end as usize];
                    points.iter().for_each(|point| sums.add(columns.nearest(point), point));
                    sums
                })
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Exchange::new(|_: &Sums| 0), "sum", |_, _| {
                    move |input, _| {
                        input.for_each_stamp(|_, batches| {
                            let mut all = into.borrow_mut();
                            batches.flat_map(|batch| batch.drain(..)).for_each(|sums| all.merge(&sums));
                        });
                    }
                })
                .probe_with(&probe);
        });
        let mut centres = kmeans::first_centres();
        for round in 0..kmeans::ITERATIONS {
            if worker.index() == 0 {
                input.send(centres);
            }
            input.advance_to(round + 1);
            worker.step_while(|| probe.less_than(input.time()));
            centres = sums.take().centres(&centres);
        }
        centres
    });
    kmeans::answer(&centres[0])
}

/// Rows moved by key and added up: this worker's share of the sums.
fn exchanged(worker: &mut Worker, rows: impl Iterator<Item = (u64, u64)> + 'static) -> Counts<u64> {
    let (sums, probe) = (Rc::new(RefCell::new(Counts::default())), ProbeHandle::new());
    let into = Rc::clone(&sums);
    worker.dataflow::<u32, _, _>(|scope| {
        rows.to_stream(scope)
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
                Exchange::new(|row: &(u64, u64)| row.0),
                "sum",
                |_, _| {
                    move |input, _| {
                        input.for_each_stamp(|_, batches| {
                            let mut sums = into.borrow_mut();
                            batches.for_each(|batch| batch.drain(..).for_each(|row| add(&mut sums, row)));
                        });
                    }
                },
            )
            .probe_with(&probe);
    });
    worker.step_while(|| !probe.done());
    sums.take()
}

/// Rows added up by `combine` in a table for each worker, and the tables' rows by key: this worker's share of the sums.
fn combined<R: Clone + 'static, K: Clone + Eq + Hash + Send + Serialize + for<'de> Deserialize<'de> + 'static>(
    worker: &mut Worker,
    rows: impl Iterator<Item = R> + 'static,
    combine: impl Fn(&mut Counts<K>, R) + 'static,
    route: impl Fn(&K) -> u64 + 'static,
) -> Counts<K> {
    let (sums, probe) = (Rc::new(RefCell::new(Counts::default())), ProbeHandle::new());
    let into = Rc::clone(&sums);
    worker.dataflow::<u32, _, _>(|scope| {
        rows.to_stream(scope)
            .unary_frontier::<CapacityContainerBuilder<Vec<(K, u64)>>, _, _, _>(Pipeline, "combine", |capability, _| {
                let (mut sums, mut capability) = (Counts::default(), Some(capability));
                move |(input, frontier), output| {
                    input.for_each_stamp(|_, batches| {
                        batches.for_each(|batch| batch.drain(..).for_each(|row| combine(&mut sums, row)));
                    });
                    if frontier.is_empty()
                        && let Some(capability) = capability.take()
                    {
                        output.session(&capability).give_iterator(sums.drain());
                    }
                }
            })
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
                Exchange::new(move |row: &(K, u64)| route(&row.0)),
                "sum",
                |_, _| {
                    move |input, _| {
                        input.for_each_stamp(|_, batches| {
                            let mut sums = into.borrow_mut();
                            batches.for_each(|batch| batch.drain(..).for_each(|row| add(&mut sums, row)));
                        });
                    }
                },
            )
            .probe_with(&probe);
    });
    worker.step_while(|| !probe.done());
    sums.take()
}
