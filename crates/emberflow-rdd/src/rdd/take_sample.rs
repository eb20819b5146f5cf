//! `take_sample`: so many rows by chance.

use emberflow_core::{
    data::{Data, ExchangeData},
    error::{Result, TaskError},
    ids::PartitionIndex,
    place::{OpInfo, Place},
    result::ResultClaim,
    size,
};
use rand::Rng;

use super::{Rdd, sample::random_of};
use crate::action::{Action, Driver};

/// The number of the caller that draws the rows, where partitions are numbered from zero.
const CALLER: PartitionIndex = usize::MAX;

impl<T: Data> Rdd<T> {
    /// Exactly `n` rows by chance, in random order, decided by `seed` alone; every row is as likely as any other.
    ///
    /// Action. Without replacement no row comes twice, and all come if there are no more than `n`: one job, that holds
    /// about `2n` rows a partition. With replacement there are always `n`, unless there is no row at all: one job to
    /// count the rows, and one to read those that were drawn, from the partitions that have some. Unlike
    /// [`sample`](Self::sample), the size is exact, and the rows are here. After Spark's `takeSample`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions). With replacement, rows that are others when they are read again fail the
    /// action if it can tell.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let some = ctx.range(0..1000_u64).take_sample(false, 5, 42)?;
    /// assert_eq!(some.len(), 5);
    /// assert_eq!(ctx.range(0..1000_u64).take_sample(false, 5, 42)?, some);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_sample(&self, with_replacement: bool, n: usize, seed: u64) -> Result<Vec<T>>
    where
        T: ExchangeData,
    {
        self.take_sample_async(with_replacement, n, seed).wait()
    }

    /// As [`take_sample`](Self::take_sample), without waiting.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..3_u64).take_sample_async(true, 10, 42).wait()?.len(), 10);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_sample_async(&self, with_replacement: bool, n: usize, seed: u64) -> Action<Vec<T>>
    where
        T: ExchangeData,
    {
        let info = OpInfo::new("take_sample", Place::caller());
        let rdd = self.clone();
        Action::start(self.shared(), move |driver| async move {
            match (n, with_replacement) {
                (0, _) => Ok(Vec::new()),
                (_, false) => rdd.sample_once(&driver, info, n, seed).await,
                (_, true) => rdd.sample_again(&driver, info, n, seed).await,
            }
        })
    }
}

impl<T: ExchangeData> Rdd<T> {
    /// Each row gets a random number; the rows with the `n` smallest ones are the sample.
    async fn sample_once(&self, driver: &Driver, info: OpInfo, n: usize, seed: u64) -> Result<Vec<T>> {
        let parts = driver.run(self, info, self.all_partitions(), (n, seed), |(n, seed), partition, mut rows, cx| {
            let (n, mut random) = (*n, random_of("take_sample", *seed, partition));
            let (mut best, mut count): (Vec<(u64, T)>, u64) = (Vec::new(), 0);
            let (room, mut worst) = (n.saturating_mul(2).saturating_add(64), u64::MAX);
            while let Some(batch) = rows.next()? {
                cx.check_cancelled()?;
                count += batch.len() as u64;
                for row in batch.as_slice() {
                    let number = random.next_u64();
                    if number <= worst {
                        best.push((number, row.clone()));
                    }
                    if best.len() >= room {
                        keep_smallest(&mut best, n);
                        worst = best[n - 1].0;
                    }
                }
            }
            keep_smallest(&mut best, n);
            let mut room = ResultClaim::new(cx.workspace());
            room.force(size::estimate_of(&best, |(_, row)| row));
            Ok(((best, room), count))
        });
        let mut best: Vec<(u64, T)> = parts.await?.into_iter().flat_map(|(best, _room)| best).collect();
        keep_smallest(&mut best, n);
        Ok(best.into_iter().map(|(_, row)| row).collect())
    }

    /// Draws numbers of rows, and reads these.
    async fn sample_again(&self, driver: &Driver, info: OpInfo, n: usize, seed: u64) -> Result<Vec<T>> {
        let counts = driver.run(self, info.clone(), self.all_partitions(), (), |(), _, mut rows, cx| {
            let mut count = 0;
            while let Some(batch) = rows.next()? {
                cx.check_cancelled()?;
                count += batch.len() as u64;
            }
            Ok((count, count))
        });
        let counts = counts.await?;
        let ends: Vec<u64> = counts
            .iter()
            .scan(0, |end, count| {
                *end += count;
                Some(*end)
            })
            .collect();
        let Some(total) = ends.last().copied().filter(|total| *total > 0) else { return Ok(Vec::new()) };

        // For each partition the rows that were drawn from it, with their places in the sample, in row order.
        let mut drawn: Vec<Vec<(u64, usize)>> = vec![Vec::new(); counts.len()];
        let mut random = random_of("take_sample", seed, CALLER);
        for place in 0..n {
            let row = ((u128::from(random.next_u64()) * u128::from(total)) >> 64) as u64;
            let partition = ends.partition_point(|end| *end <= row);
            drawn[partition].push((row - (ends[partition] - counts[partition]), place));
        }
        drawn.iter_mut().for_each(|rows| rows.sort_unstable());
        let wanted = (0..counts.len()).filter(|partition| !drawn[*partition].is_empty()).collect();

        let parts = driver.run(self, info, wanted, (drawn, counts), |(drawn, counts), partition, mut rows, cx| {
            let mut wanted = drawn[partition].iter().peekable();
            let (mut found, mut count): (Vec<(usize, T)>, u64) = (Vec::new(), 0);
            let mut room = ResultClaim::new(cx.workspace());
            while wanted.peek().is_some() {
                let Some(batch) = rows.next()? else {
                    return Err(TaskError::rejected(OtherRows { counted: counts[partition], found: count }));
                };
                cx.check_cancelled()?;
                let (first, before) = (count, found.len());
                count += batch.len() as u64;
                while let Some((row, place)) = wanted.next_if(|(row, _)| *row < count) {
                    found.push((*place, batch.as_slice()[(row - first) as usize].clone()));
                }
                room.grow(size::estimate_of(&found[before..], |(_, row)| row))?;
            }
            Ok(((found, room), count))
        });
        let mut sample: Vec<(usize, T)> = parts.await?.into_iter().flat_map(|(found, _room)| found).collect();
        sample.sort_unstable_by_key(|(place, _)| *place);
        Ok(sample.into_iter().map(|(_, row)| row).collect())
    }
}

/// Stable, so that of equal numbers the first rows stay.
fn keep_smallest<T>(best: &mut Vec<(u64, T)>, n: usize) {
    best.sort_by_key(|(number, _)| *number);
    best.truncate(n);
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the partition had {counted} rows when they were counted, and {found} when they were read again; make what computes \
     them deterministic, or cache them"
)]
struct OtherRows {
    counted: u64,
    found: u64,
}
