//! `count_approx_distinct` and `count_approx_distinct_by_key`: how many different values, about.

use std::hash::Hash;

use datasketches::hll::{HllSketch, HllType, HllUnion};
use emberflow_core::{
    data::{Data, ExchangeData, Hashed, Key},
    error::Result,
    place::{OpInfo, Place},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Rdd, wide};
use crate::{
    action::Action,
    shuffle::{Aggregator, IntoPartitioning, MapSide},
};

/// The standard error of merged sketches of one register; that of `n` registers is smaller by the root of `n`.
const ERROR_OF_ONE: f64 = 1.04;
/// Most and fewest registers, as powers of two.
const LG_REGISTERS: std::ops::RangeInclusive<u8> = 4..=21;

impl<T: Data> Rdd<T> {
    /// About how many different rows there are, with a relative standard error of `relative_error`: of a hundred
    /// answers, some 68 are off by no more.
    ///
    /// Action. One pass, with a HyperLogLog sketch a partition, merged in partition order: the same result every time.
    /// A sketch takes about `(1.04 / relative_error)²` bytes: 0.05 takes half a kilobyte, 0.01 sixteen. Exact for a few
    /// rows. Unlike [`distinct`](Self::distinct) and [`count`](Self::count), it moves no row. After Spark's
    /// `countApproxDistinct`.
    ///
    /// # Errors
    /// Those of all [actions](Rdd#actions).
    ///
    /// # Panics
    /// If `relative_error` is not between 0.001 and 0.25.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let about = ctx.range(0..100_000_u64).map(|n| n % 10_000).count_approx_distinct(0.02)?;
    /// assert!((9_500..10_500).contains(&about));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_approx_distinct(&self, relative_error: f64) -> Result<u64>
    where
        T: Hashed,
    {
        self.count_approx_distinct_async(relative_error).wait()
    }

    /// As [`count_approx_distinct`](Self::count_approx_distinct), without waiting.
    ///
    /// # Panics
    /// As [`count_approx_distinct`](Self::count_approx_distinct).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.parallelize(vec!["a", "b", "a"]).count_approx_distinct_async(0.05).wait()?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_approx_distinct_async(&self, relative_error: f64) -> Action<u64>
    where
        T: Hashed,
    {
        let info = OpInfo::new("count_approx_distinct", Place::caller());
        let sketches = Sketches::of_error(relative_error);
        let rdd = self.clone();
        Action::start(self.shared(), move |driver| async move {
            let parts = driver.run(&rdd, info, rdd.all_partitions(), sketches, |sketches, _, mut rows, cx| {
                let (mut sketch, mut count) = (sketches.start(), 0);
                while let Some(batch) = rows.next()? {
                    cx.check_cancelled()?;
                    count += batch.len() as u64;
                    batch.as_slice().iter().for_each(|row| sketch.update(row));
                }
                Ok((Sketch(sketch), count))
            });
            let all = parts.await?.into_iter().reduce(|a, b| sketches.merge_sketches(&a, &b));
            Ok(all.map_or(0, |Sketch(all)| counted(&all)))
        })
    }
}

impl<K: Data, V: Data> Rdd<(K, V)> {
    /// About how many different values each key has, with a relative standard error of `relative_error`.
    ///
    /// Wide or narrow, and order, as [`reduce_by_key`](Self::reduce_by_key); the result is placed by key. Holds a sketch
    /// for each key of a partition, as large as for [`count_approx_distinct`](Rdd::count_approx_distinct) where a key
    /// has many values. After Spark's `countApproxDistinctByKey`.
    ///
    /// # Panics
    /// If `relative_error` is not between 0.001 and 0.25.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let visits = ctx.parallelize(vec![('a', 7), ('b', 1), ('a', 7), ('a', 9)]);
    /// assert_eq!(visits.count_approx_distinct_by_key(0.05).collect_as_map()?[&'a'], 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn count_approx_distinct_by_key(&self, relative_error: f64) -> Rdd<(K, u64)>
    where
        K: Key,
        V: ExchangeData + Hashed,
    {
        self.count_approx_distinct_by_key_into(relative_error, self.shared().default_partitions)
    }

    /// As [`count_approx_distinct_by_key`](Self::count_approx_distinct_by_key), into so many partitions or by a
    /// partitioner.
    ///
    /// # Panics
    /// As [`count_approx_distinct_by_key`](Self::count_approx_distinct_by_key).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let counts = ctx.range(0..1000_u64).map(|n| (n % 2, n % 10)).count_approx_distinct_by_key_into(0.05, 3);
    /// assert_eq!((counts.partitions(), counts.collect_as_map()?[&1]), (3, 5));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use = "an RDD is lazy: nothing happens before an action such as `collect` or `count`"]
    #[track_caller]
    pub fn count_approx_distinct_by_key_into(
        &self,
        relative_error: f64,
        into: impl IntoPartitioning<K>,
    ) -> Rdd<(K, u64)>
    where
        K: Key,
        V: ExchangeData + Hashed,
    {
        let info = OpInfo::new("count_approx_distinct_by_key", Place::caller());
        let sketches = Sketches::of_error(relative_error);
        let combined = wide::combine(self, info.clone(), into, MapSide::Combine, sketches);
        combined.map_values_env(info, (), |(), Sketch(sketch)| counted(&sketch))
    }
}

/// The estimate that follows from the registers alone. The other one of the crate (HIP) also depends on the order in which
/// they were filled, which is another one after a sketch was serialised.
fn counted(sketch: &HllSketch) -> u64 {
    sketch.composite_estimate().round() as u64
}

/// Makes and merges sketches of one size.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Sketches {
    lg_registers: u8,
}

impl Sketches {
    #[track_caller]
    fn of_error(relative_error: f64) -> Self {
        assert!(
            (0.001..=0.25).contains(&relative_error),
            "a relative error lies between 0.001 and 0.25, not at {relative_error}"
        );
        let registers = (ERROR_OF_ONE / relative_error).powi(2);
        let lg_registers = (registers.log2().ceil() as u8).clamp(*LG_REGISTERS.start(), *LG_REGISTERS.end());
        Self { lg_registers }
    }

    fn start(self) -> HllSketch {
        HllSketch::new(self.lg_registers, HllType::Hll8).expect("the number of registers was clamped")
    }

    fn merge_sketches(self, a: &Sketch, b: &Sketch) -> Sketch {
        let mut union = HllUnion::new(self.lg_registers).expect("the number of registers was clamped");
        union.update(&a.0);
        union.update(&b.0);
        Sketch(union.to_sketch(HllType::Hll8))
    }
}

impl<V: Hash> Aggregator<V, Sketch> for Sketches {
    fn create(&self, value: V) -> Sketch {
        self.merge_value(Sketch(self.start()), value)
    }

    fn merge_value(&self, mut sum: Sketch, value: V) -> Sketch {
        sum.0.update(value);
        sum
    }

    fn merge(&self, a: Sketch, b: Sketch) -> Sketch {
        self.merge_sketches(&a, &b)
    }
}

/// A sketch that can be shuffled.
#[derive(Clone)]
struct Sketch(HllSketch);

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?;
        HllSketch::deserialize(&bytes).map(Self).map_err(|error| de::Error::custom(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sketches_have_as_many_registers_as_the_error_asks_for() {
        let registers = |error| Sketches::of_error(error).lg_registers;
        assert_eq!([0.25, 0.05, 0.01, 0.001].map(registers), [5, 9, 14, 21]);
    }

    #[test]
    fn a_sketch_that_was_serialised_counts_the_same() {
        let mut sketch = Sketches::of_error(0.02).start();
        (0..5000_u64).for_each(|n| sketch.update(n));
        let bytes = emberflow_core::codec::encode(&Sketch(sketch.clone())).unwrap();
        let Sketch(back) = emberflow_core::codec::decode(&bytes).unwrap();
        assert_eq!(back.composite_estimate().to_bits(), sketch.composite_estimate().to_bits());
        assert!(emberflow_core::codec::decode::<Sketch>(&bytes[..20]).is_err());
    }

    #[test]
    fn sketches_that_were_serialised_merge_as_those_that_were_not() {
        let sketches = Sketches::of_error(0.05);
        let again = |sketch: &Sketch| {
            let bytes = emberflow_core::codec::encode(sketch).unwrap();
            emberflow_core::codec::decode::<Sketch>(&bytes).unwrap()
        };
        let of = |from: u64, many: u64| {
            let mut sketch = sketches.start();
            (from..from + many).for_each(|n| sketch.update(n));
            Sketch(sketch)
        };
        let merged = |a: &Sketch, b: &Sketch| {
            let merged = sketches.merge_sketches(a, b);
            (merged.0.composite_estimate().to_bits(), again(&merged).0.composite_estimate().to_bits())
        };
        for (first, second) in (0..200).flat_map(|n| [0, 1, 2, 5, 9, 20, 60, 150, 5_000].map(|m| (n, m))) {
            let (a, b) = (of(0, first), of(first / 2, second));
            let plain = merged(&a, &b);
            assert_eq!(plain.0, plain.1, "{first} and {second}");
            for (a, b) in [(&again(&a), &again(&b)), (&again(&a), &b), (&a, &again(&again(&b)))] {
                assert_eq!(merged(a, b), plain, "{first} and {second}");
            }
        }
    }
}
