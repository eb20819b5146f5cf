//! How numbers are distributed: `histogram, histogram_edges, approx_quantiles`.

use datasketches::tdigest::TDigestMut;
use emberflow_core::{
    data::Data,
    error::{Result, TaskError},
    place::{OpInfo, Place},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Rdd, numbers::Number};
use crate::action::{Action, Driver};

/// Centroids of a t-digest, about: ranks are then off by well below one per cent.
const DIGEST_CENTROIDS: u16 = 200;

impl<T: Data> Rdd<T> {
    /// How many rows lie between each two neighbouring edges.
    ///
    /// Action. A bucket holds its lower edge and not its upper one, but for the last bucket, which holds both. Rows
    /// below the first edge or above the last, and NaN, are in no bucket. After Spark's `histogram(buckets)`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// # Panics
    /// If there are less than two edges, or if they do not rise from each to the next.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let ages = ctx.parallelize(vec![3, 17, 18, 64, 65, 90]);
    /// assert_eq!(ages.histogram_edges(&[0.0, 18.0, 65.0, 90.0])?, [2, 2, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_edges(&self, edges: &[f64]) -> Result<Vec<u64>>
    where
        T: Number,
    {
        self.histogram_edges_async(edges).wait()
    }

    /// As [`histogram_edges`](Self::histogram_edges), without waiting.
    ///
    /// # Panics
    /// As [`histogram_edges`](Self::histogram_edges).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(0..9_u64).histogram_edges_async(&[0.0, 5.0, 10.0]).wait()?, [5, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_edges_async(&self, edges: &[f64]) -> Action<Vec<u64>>
    where
        T: Number,
    {
        let info = OpInfo::new("histogram_edges", Place::caller());
        let edges = checked_edges(edges);
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move { rdd.count_between(&driver, info, edges).await })
    }

    async fn count_between(&self, driver: &Driver, info: OpInfo, edges: Vec<f64>) -> Result<Vec<u64>>
    where
        T: Number,
    {
        let buckets = edges.len() - 1;
        let parts = self.scan(
            driver,
            info,
            edges,
            |edges| vec![0_u64; edges.len() - 1],
            |edges, counts, row| {
                let (row, buckets) = (row.to_f64(), edges.len() - 1);
                // Neither is so of NaN.
                if edges[0] <= row && row <= edges[buckets] {
                    let bucket = edges.partition_point(|edge| *edge <= row) - 1;
                    counts[bucket.min(buckets - 1)] += 1;
                }
                Ok(())
            },
        );
        let mut counts = vec![0; buckets];
        for part in parts.await? {
            counts.iter_mut().zip(part).for_each(|(count, more)| *count += more);
        }
        Ok(counts)
    }

    /// So many equally wide buckets between the smallest and the largest row: their edges, and how many rows each
    /// holds. `None` if there is no row; one bucket if all rows are equal.
    ///
    /// Action, of two jobs: one for the edges, one to count. Buckets are those of [`histogram_edges`](Self::histogram_edges).
    /// After Spark's `histogram(bucketCount)`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions); a row that is infinite or NaN fails the action, since no equal buckets can
    /// be made.
    ///
    /// # Panics
    /// If `buckets` is zero.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (edges, counts) = ctx.range(0..51_u64).histogram(2)?.unwrap();
    /// assert_eq!((edges, counts), (vec![0.0, 25.0, 50.0], vec![25, 26]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram(&self, buckets: usize) -> Result<Option<(Vec<f64>, Vec<u64>)>>
    where
        T: Number,
    {
        assert!(buckets > 0, "rows cannot be counted in no buckets");
        self.histogram_as(OpInfo::new("histogram", Place::caller()), buckets).wait()
    }

    /// As [`histogram`](Self::histogram), without waiting.
    ///
    /// # Panics
    /// As [`histogram`](Self::histogram).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (_, counts) = ctx.range(0..9_u64).histogram_async(3).wait()?.unwrap();
    /// assert_eq!(counts, [3, 3, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_async(&self, buckets: usize) -> Action<Option<(Vec<f64>, Vec<u64>)>>
    where
        T: Number,
    {
        assert!(buckets > 0, "rows cannot be counted in no buckets");
        self.histogram_as(OpInfo::new("histogram", Place::caller()), buckets)
    }

    fn histogram_as(&self, info: OpInfo, buckets: usize) -> Action<Option<(Vec<f64>, Vec<u64>)>>
    where
        T: Number,
    {
        let rdd = self.clone();
        Action::start(self.shared(), move |driver| async move {
            let parts = rdd.scan(
                &driver,
                info.clone(),
                (),
                |()| None,
                |(), extremes: &mut Option<(f64, f64)>, row| {
                    let row = finite(row, "equally wide buckets; filter it out, or give the edges")?;
                    let (min, max) = extremes.unwrap_or((row, row));
                    *extremes = Some((min.min(row), max.max(row)));
                    Ok(())
                },
            );
            let extremes = parts.await?.into_iter().flatten().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            let Some((min, max)) = extremes else { return Ok(None) };
            let edges = equal_edges(min, max, buckets);
            let counts = rdd.count_between(&driver, info, edges.clone()).await?;
            Ok(Some((edges, counts)))
        })
    }

    /// About the rows at the given ranks, if all rows were sorted: `0.5` asks for the median. `None` if there is no row.
    ///
    /// Action. One pass, with a t-digest of a few kilobytes a partition, merged in partition order: the same result
    /// every time. Ranks are off by well below one per cent, by less towards both ends; the ends themselves are exact.
    /// After Dunning's t-digest; Spark has it as `approxQuantile`, with another sketch.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions); a row that is infinite or NaN fails the action.
    ///
    /// # Panics
    /// If a rank is not between 0 and 1.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let found = ctx.range(0..10_001_u64).approx_quantiles(&[0.0, 0.5, 1.0])?.unwrap();
    /// assert_eq!((found[0], found[2]), (0.0, 10_000.0));
    /// assert!((found[1] - 5_000.0).abs() < 100.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn approx_quantiles(&self, ranks: &[f64]) -> Result<Option<Vec<f64>>>
    where
        T: Number,
    {
        self.approx_quantiles_async(ranks).wait()
    }

    /// As [`approx_quantiles`](Self::approx_quantiles), without waiting.
    ///
    /// # Panics
    /// As [`approx_quantiles`](Self::approx_quantiles).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.range(7..8_u64).approx_quantiles_async(&[0.5]).wait()?, Some(vec![7.0]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn approx_quantiles_async(&self, ranks: &[f64]) -> Action<Option<Vec<f64>>>
    where
        T: Number,
    {
        let info = OpInfo::new("approx_quantiles", Place::caller());
        let ranks = checked_ranks(ranks);
        let rdd = self.clone();
        Action::start(self.shared(), |driver| async move {
            let parts = rdd.scan(
                &driver,
                info,
                (),
                |()| Digest { digest: new_digest(), sent: false },
                |(), Digest { digest, .. }, row| {
                    digest.update(finite(row, "quantiles; filter it out")?);
                    Ok(())
                },
            );
            let mut all = new_digest();
            parts.await?.into_iter().for_each(|part| all.merge(&part.settled()));
            Ok(all.quantiles(&ranks).expect("ranks were checked when the action was made"))
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a row is {row}, which has no place among {place}")]
struct NotFinite {
    row: f64,
    place: &'static str,
}

fn finite<T: Number>(row: T, place: &'static str) -> Result<f64, TaskError> {
    let row = row.to_f64();
    if row.is_finite() { Ok(row) } else { Err(TaskError::rejected(NotFinite { row, place })) }
}

/// A digest that can be sent.
struct Digest {
    digest: TDigestMut,
    /// Whether it was sent already.
    sent: bool,
}

impl Digest {
    /// The digest as it is when it was sent once, so that it makes no difference whether it was.
    fn settled(self) -> TDigestMut {
        if self.sent {
            return self.digest;
        }
        let mut digest = self.digest;
        TDigestMut::deserialize(&digest.serialize()).expect("a digest reads what a digest has written")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.digest.clone().serialize().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?;
        let digest = TDigestMut::deserialize(&bytes).map_err(|error| de::Error::custom(error.to_string()))?;
        Ok(Self { digest, sent: true })
    }
}

fn new_digest() -> TDigestMut {
    TDigestMut::new(DIGEST_CENTROIDS).expect("as many centroids as this are allowed")
}

#[track_caller]
fn checked_edges(edges: &[f64]) -> Vec<f64> {
    let rising = edges.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(edges.len() >= 2 && rising, "a histogram needs two or more edges that rise, not {edges:?}");
    edges.to_vec()
}

#[track_caller]
fn checked_ranks(ranks: &[f64]) -> Vec<f64> {
    let bad = ranks.iter().find(|rank| !(0.0..=1.0).contains(*rank));
    assert!(bad.is_none(), "a rank lies between 0 and 1, not at {bad:?}");
    ranks.to_vec()
}

/// Never falls from one edge to the next, since every step of the sum is monotonous; ends exactly at both ends.
fn equal_edges(min: f64, max: f64, buckets: usize) -> Vec<f64> {
    if min == max {
        return vec![min, max];
    }
    let share = |bucket: usize| bucket as f64 / buckets as f64;
    // The span of very large numbers is infinite, but half of it is not.
    let half_span = max / 2.0 - min / 2.0;
    let inner = (1..buckets).map(|bucket| match (max - min).is_finite() {
        true => min + (max - min) * share(bucket),
        false => (min / 2.0 + half_span * share(bucket)) * 2.0,
    });
    [min].into_iter().chain(inner.map(|edge| edge.clamp(min, max))).chain([max]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_edges_rise_and_end_where_they_should() {
        for (min, max) in [(0.0, 1.0), (-3.5, 7.25), (1.0, 1.0 + f64::EPSILON), (f64::MIN, f64::MAX), (-0.1, 0.2)] {
            for buckets in [1, 2, 3, 7, 10] {
                let edges = equal_edges(min, max, buckets);
                assert_eq!((edges.len(), edges[0], edges[buckets]), (buckets + 1, min, max));
                assert!(edges.windows(2).all(|pair| pair[0] <= pair[1]), "{edges:?}");
            }
        }
        assert_eq!(equal_edges(2.0, 2.0, 5), [2.0, 2.0]);
    }
}
