//! Accumulators and broadcast values: what the driver shares with tasks.

use emberflow_core::{data::Data, place::Place};

use super::Context;
use crate::sharing::{
    accumulator::{Accumulate, Accumulator, CollectionAccumulator, DoubleAccumulator, Gather, LongAccumulator},
    broadcast::Broadcast,
};

impl Context {
    /// A sum of whole numbers that tasks add to. The name stands in errors. It may be empty, as Spark's may be missing:
    /// the place of this call stands for it then.
    ///
    /// [`Accumulator`] says what counts, and when.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let bad = ctx.long_accumulator("bad rows");
    /// let seen = bad.clone();
    /// let rows = ctx.parallelize(vec!["1".to_owned(), "x".to_owned()]);
    /// let numbers = rows.flat_map(move |row| row.parse::<u64>().inspect_err(|_| seen.add(1)).ok());
    /// assert_eq!(numbers.collect()?, [1]);
    /// assert_eq!(bad.value(), 1);
    /// let unnamed = ctx.long_accumulator("");
    /// assert!(unnamed.name().contains(".rs:"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn long_accumulator(&self, name: impl Into<String>) -> LongAccumulator {
        LongAccumulator::new(name.into())
    }

    /// A sum of floating-point numbers that tasks add to, bit-identical in every run. See [`Accumulator`]. Its name may be
    /// empty, as that of a [`long_accumulator`](Self::long_accumulator).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let total = ctx.double_accumulator("total");
    /// let seen = total.clone();
    /// ctx.range(0..4_u32).for_each(move |n| seen.add(f64::from(n) / 2.0))?;
    /// assert_eq!((total.value(), total.mean()), (3.0, Some(0.75)));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn double_accumulator(&self, name: impl Into<String>) -> DoubleAccumulator {
        DoubleAccumulator::new(name.into())
    }

    /// A list that tasks add to, in the order of partitions. See [`Accumulator`]. Its name may be empty, as that of a
    /// [`long_accumulator`](Self::long_accumulator).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let odd = ctx.collection_accumulator("odd rows");
    /// let seen = odd.clone();
    /// ctx.range(0..6_u64).for_each(move |n| if n % 2 == 1 { seen.add(n) })?;
    /// assert_eq!(odd.value(), [1, 3, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn collection_accumulator<T: Data>(&self, name: impl Into<String>) -> CollectionAccumulator<T> {
        Accumulator::new(name.into(), Gather::new())
    }

    /// An accumulator of your own kind; see [`Accumulate`] for an example. Its name may be empty, as that of a
    /// [`long_accumulator`](Self::long_accumulator).
    ///
    /// ```
    /// # use emberflow::{Accumulate, prelude::*};
    /// # struct Any;
    /// # impl Accumulate for Any {
    /// #     type Input = bool;
    /// #     type Value = bool;
    /// #     fn zero(&self) -> bool { false }
    /// #     fn add(&self, any: &mut bool, input: bool) { *any |= input; }
    /// #     fn merge(&self, any: &mut bool, other: bool) { *any |= other; }
    /// # }
    /// # let ctx = Context::local(2)?;
    /// let negative = ctx.accumulator("negative", Any);
    /// let seen = negative.clone();
    /// ctx.range(-3..3_i64).for_each(move |n| seen.add(n < 0))?;
    /// assert!(negative.value());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn accumulator<A: Accumulate>(&self, name: impl Into<String>, kind: A) -> Accumulator<A> {
        Accumulator::new(name.into(), kind)
    }

    /// A value that all tasks read: closures capture the handle, which derefs to the value.
    ///
    /// The value is moved in, and shared by all the tasks of this process without being copied.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let names = ctx.broadcast(vec!["zero", "one", "two"]);
    /// let rows = ctx.range(0..3_usize).map({
    ///     let names = names.clone();
    ///     move |n| names[n].to_owned()
    /// });
    /// assert_eq!(rows.collect()?, ["zero", "one", "two"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn broadcast<T: Send + Sync + 'static>(&self, value: T) -> Broadcast<T> {
        Broadcast::new(value, Place::caller())
    }
}
