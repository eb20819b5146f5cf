//! Accumulators: values that tasks only add to, and that the driver reads.
//!
//! Owns: the merged value, behind a lock that is held while one update is merged. An addition inside a task goes into
//! the attempt's own buffer ([`TaskContext::update`]), without a lock; the buffers of the attempts that count come back
//! with the result of their job and are merged on the thread that takes it, in an order that the plan dictates. It
//! never sees an attempt that failed, was lost, or came second.
//!
//! An accumulator that is part of an operator's environment can be sent to other processes. There it is another one with
//! the same id, whose updates are sent back; where it comes back to the process that it is from, it is itself.

use std::{
    any::Any,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use emberflow_core::{
    codec::{self, CodecError},
    data::Data,
    error::TaskError,
    place::Place,
    task::TaskContext,
    update::{self, Sent, Update, UpdateFailed},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

/// The behaviour of an [`Accumulator`] of your own: a commutative monoid, and how an input is added to it.
///
/// `merge` must be associative, and `zero` must change nothing. It is best commutative, too: values meet in a fixed
/// order within a job, but jobs that run at the same time end in any order.
///
/// ```
/// use emberflow::{Accumulate, prelude::*};
///
/// /// The largest number seen.
/// struct Largest;
///
/// impl Accumulate for Largest {
///     type Input = u64;
///     type Value = Option<u64>;
///
///     fn zero(&self) -> Option<u64> {
///         None
///     }
///
///     fn add(&self, largest: &mut Option<u64>, input: u64) {
///         *largest = (*largest).max(Some(input));
///     }
///
///     fn merge(&self, largest: &mut Option<u64>, other: Option<u64>) {
///         *largest = (*largest).max(other);
///     }
/// }
///
/// let ctx = Context::local(2)?;
/// let longest = ctx.accumulator("longest word", Largest);
/// let seen = longest.clone();
/// let words = ctx.parallelize(vec!["to".to_owned(), "question".to_owned()]);
/// words.for_each(move |word| seen.add(word.len() as u64))?;
/// assert_eq!(longest.value(), Some(8));
/// # Ok::<(), Error>(())
/// ```
pub trait Accumulate: Send + Sync + 'static {
    /// The type of the values that are added.
    type Input;
    /// The type of the total.
    type Value: Clone + Send + 'static;

    /// Nothing yet.
    fn zero(&self) -> Self::Value;

    /// Adds an input to what an attempt, or the driver, has so far.
    fn add(&self, value: &mut Self::Value, input: Self::Input);

    /// Adds what a whole attempt has added. Must not ask for the value of the same accumulator: it is locked meanwhile.
    fn merge(&self, value: &mut Self::Value, other: Self::Value);
}

/// A value that tasks only add to. Cheap to clone; clones add to the same value.
///
/// Inside a task, [`add`](Self::add) goes into a buffer of the attempt. Outside of one, on the driver, it adds at once.
///
/// # What counts
/// An attempt's additions count when the attempt does, all of them or none, and are merged when its job succeeds,
/// before the action returns. So a task that is retried, lost, or answered twice counts once, and one that panics not
/// at all. More precisely:
/// - in the **last stage** of a job, the one that runs the action, each partition counts exactly once;
/// - in a stage that fills a **shuffle** or a [cache](crate::Rdd::cache), each stored partition counts once, with the
///   first job that reads it and succeeds, though it be lost and computed again. A cache that is
///   [released](crate::Rdd::unpersist) and filled anew counts anew;
/// - a job that **fails or is cancelled** adds nothing, now or later, but for the partitions that it stored: they count
///   when a later job reads them and succeeds.
///
/// An RDD that is neither cached nor shuffled is computed again by every job, and counts again: add in an action such
/// as [`for_each`](crate::Rdd::for_each) where that matters. Actions such as [`take`](crate::Rdd::take) stop at the row
/// that they need, so how many rows they let through is up to them.
///
/// Only the thread that runs a task is in it: a thread that your closure starts adds at once, and each time.
///
/// # Order
/// Updates are merged in the order of the plan: stages parents first, partitions in theirs. So even sums of
/// floating-point numbers are bit-identical in every run, whatever the workers and faults.
///
/// # In other processes
/// Tasks that run in another process, such as those on [Spark](crate::ContextBuilder::master), add to it where it is part of
/// an environment: [`for_each_with`](crate::Rdd::for_each_with), [`map_with`](crate::Rdd::map_with) and so on. A kind of
/// your own has to be `Serialize` and `Deserialize` for that, and so has its value. Without them it counts as before, in
/// closures that capture it.
///
/// # Cost
/// A few nanoseconds an addition; one buffered value an attempt. After Spark's `AccumulatorV2`, which counts a
/// recomputed map partition again.
///
/// ```
/// use emberflow::prelude::*;
///
/// let ctx = Context::local(2)?;
/// let odd = ctx.long_accumulator("odd");
/// let seen = odd.clone();
/// ctx.range(0..100_u64).for_each(move |n| if n % 2 == 1 { seen.add(1) })?;
/// assert_eq!(odd.value(), 50);
/// # Ok::<(), Error>(())
/// ```
pub struct Accumulator<A: Accumulate> {
    shared: Arc<Shared<A>>,
}

struct Shared<A: Accumulate> {
    id: u64,
    name: String,
    kind: A,
    value: Mutex<A::Value>,
    /// How updates are written and read, once the accumulator is sent.
    form: OnceLock<Form<A::Value>>,
}

/// How values of a type are written and read: known where its traits are.
struct Form<V> {
    encode: fn(&V) -> Result<Vec<u8>, CodecError>,
    decode: fn(&[u8]) -> Result<V, CodecError>,
}

impl<V: Serialize + DeserializeOwned> Form<V> {
    fn new() -> Self {
        Self { encode: codec::encode_plan::<V>, decode: codec::decode_plan::<V> }
    }
}

impl<A: Accumulate> Shared<A> {
    /// The value may be half merged if a merge panicked; the job that caused that was told.
    fn lock(&self) -> MutexGuard<'_, A::Value> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Accumulate> Sent for Shared<A> {
    fn decode(self: Arc<Self>, bytes: &[u8]) -> Result<Box<dyn Update>, CodecError> {
        let form = self.form.get().expect("an accumulator that was sent has a form");
        let value = (form.decode)(bytes)?;
        Ok(Box::new(Buffer { shared: self, value }))
    }
}

impl<A: Accumulate + Serialize> Serialize for Accumulator<A>
where
    A::Value: Serialize + DeserializeOwned,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.form.get_or_init(Form::new);
        let sent: Weak<dyn Sent> = Arc::downgrade(&self.shared) as _;
        update::remember_sent(self.shared.id, sent);
        (self.shared.id, &self.shared.name, &self.shared.kind).serialize(serializer)
    }
}

impl<'de, A: Accumulate + Deserialize<'de>> Deserialize<'de> for Accumulator<A>
where
    A::Value: Serialize + DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, name, kind) = <(u64, String, A)>::deserialize(deserializer)?;
        let here = update::find_sent(id).map(|sent| sent as Arc<dyn Any + Send + Sync>);
        if let Some(Ok(shared)) = here.map(Arc::downcast) {
            return Ok(Self { shared });
        }
        let value = Mutex::new(kind.zero());
        Ok(Self { shared: Arc::new(Shared { id, name, kind, value, form: OnceLock::from(Form::new()) }) })
    }
}

impl<A: Accumulate> Clone for Accumulator<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A: Accumulate> Accumulator<A> {
    /// One of this name, or of the caller's place if that is empty.
    #[track_caller]
    pub(crate) fn new(mut name: String, kind: A) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if name.is_empty() {
            name = Place::caller().to_string();
        }
        let value = Mutex::new(kind.zero());
        Self {
            shared: Arc::new(Shared {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                name,
                kind,
                value,
                form: OnceLock::new(),
            }),
        }
    }

    /// Adds `input`: inside a task to what the attempt adds, else at once.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let words = ctx.collection_accumulator("words");
    /// words.add("outside of any task");
    /// assert_eq!(words.value(), ["outside of any task"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn add(&self, input: A::Input) {
        let kind = &self.shared.kind;
        match TaskContext::current() {
            Some(task) => {
                let start = || Buffer { shared: Arc::clone(&self.shared), value: kind.zero() };
                task.update(self.shared.id, start, |buffer| kind.add(&mut buffer.value, input));
            }
            None => kind.add(&mut self.shared.lock(), input),
        }
    }

    /// The value so far.
    ///
    /// # Panics
    /// Inside a task, which sees nothing but its own additions.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.collection_accumulator("rows");
    /// let seen = rows.clone();
    /// ctx.range_into(0..4_u64, 2).for_each(move |n| seen.add(n))?;
    /// assert_eq!(rows.value(), [0, 1, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn value(&self) -> A::Value {
        self.on_the_driver("read");
        self.shared.lock().clone()
    }

    /// Begins again from nothing.
    ///
    /// # Panics
    /// Inside a task.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let rows = ctx.collection_accumulator("rows");
    /// rows.add(1);
    /// rows.reset();
    /// assert!(rows.value().is_empty());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reset(&self) {
        self.on_the_driver("reset");
        *self.shared.lock() = self.shared.kind.zero();
    }

    /// The name that it was made with, or the place where it was made if that was empty.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// assert_eq!(ctx.collection_accumulator::<u64>("rows").name(), "rows");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    #[track_caller]
    fn on_the_driver(&self, what: &str) {
        assert!(
            TaskContext::current().is_none(),
            "accumulator {:?} was {what} inside a task, which can only add to it; {what} it after the action",
            self.shared.name
        );
    }
}

impl<A: Accumulate<Value: fmt::Debug>> fmt::Debug for Accumulator<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Accumulator");
        debug.field("name", &self.shared.name);
        if TaskContext::current().is_none() {
            debug.field("value", &*self.shared.lock());
        }
        debug.finish_non_exhaustive()
    }
}

/// The updates of one attempt.
struct Buffer<A: Accumulate> {
    shared: Arc<Shared<A>>,
    value: A::Value,
}

impl<A: Accumulate> Update for Buffer<A> {
    fn apply(self: Box<Self>) -> Result<(), UpdateFailed> {
        let Self { shared, value } = *self;
        catch_unwind(AssertUnwindSafe(|| shared.kind.merge(&mut shared.lock(), value))).map_err(|payload| {
            let error = TaskError::of_panic(payload);
            let message = if let TaskError::Panicked { message } = error { message } else { error.to_string() };
            UpdateFailed { accumulator: shared.name.clone(), message }
        })
    }

    fn encode(&self) -> Result<Vec<u8>, TaskError> {
        let Some(form) = self.shared.form.get() else {
            let reason = format!("accumulator {:?} belongs to this process alone", self.shared.name);
            return Err(TaskError::io_permanent(reason));
        };
        (form.encode)(&self.value).map_err(TaskError::io_permanent)
    }
}

/// The sum and the number of the inputs of a [`LongAccumulator`] or a [`DoubleAccumulator`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Total<N> {
    sum: N,
    count: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Sum<N>(PhantomData<fn() -> N>);

/// Numbers that can be summed up.
trait Number: Copy + Default + Send + 'static {
    fn plus(self, other: Self) -> Self;
}

impl Number for i64 {
    fn plus(self, other: Self) -> Self {
        // Checked or saturating sums would depend on the order in which they meet.
        self.wrapping_add(other)
    }
}

impl Number for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl<N: Number> Accumulate for Sum<N> {
    type Input = N;
    type Value = Total<N>;

    fn zero(&self) -> Total<N> {
        Total::default()
    }

    fn add(&self, total: &mut Total<N>, input: N) {
        self.merge(total, Total { sum: input, count: 1 });
    }

    fn merge(&self, total: &mut Total<N>, other: Total<N>) {
        total.sum = total.sum.plus(other.sum);
        total.count += other.count;
    }
}

macro_rules! number_accumulator {
    ($(#[$doc:meta])* $name:ident, $number:ty, $make:literal, $zero:literal, $average:literal) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        pub struct $name(Accumulator<Sum<$number>>);

        impl $name {
            #[track_caller]
            pub(crate) fn new(name: String) -> Self {
                Self(Accumulator::new(name, Sum(PhantomData)))
            }

            /// Adds a number: inside a task to what the attempt adds, else at once.
            ///
            /// ```
            /// # use emberflow::prelude::*;
            /// # let ctx = Context::local(2)?;
            #[doc = concat!("let total = ctx.", $make, "(\"total\");")]
            #[doc = concat!("total.add(2", $zero, ");")]
            #[doc = concat!("assert_eq!(total.value(), 2", $zero, ");")]
            /// # Ok::<(), Error>(())
            /// ```
            #[inline]
            pub fn add(&self, number: $number) {
                self.0.add(number);
            }

            /// The sum so far.
            ///
            /// # Panics
            /// Inside a task, which sees nothing but its own additions.
            ///
            /// ```
            /// # use emberflow::prelude::*;
            /// # let ctx = Context::local(2)?;
            #[doc = concat!("assert_eq!(ctx.", $make, "(\"total\").value(), 0", $zero, ");")]
            /// # Ok::<(), Error>(())
            /// ```
            #[track_caller]
            pub fn value(&self) -> $number {
                self.0.value().sum
            }

            /// How many numbers were added.
            ///
            /// # Panics
            /// Inside a task.
            ///
            /// ```
            /// # use emberflow::prelude::*;
            /// # let ctx = Context::local(2)?;
            #[doc = concat!("let total = ctx.", $make, "(\"total\");")]
            #[doc = concat!("total.add(7", $zero, ");")]
            /// assert_eq!(total.count(), 1);
            /// # Ok::<(), Error>(())
            /// ```
            #[track_caller]
            pub fn count(&self) -> u64 {
                self.0.value().count
            }

            /// The mean of the numbers; `None` if there is none.
            ///
            /// # Panics
            /// Inside a task.
            ///
            /// ```
            /// # use emberflow::prelude::*;
            /// # let ctx = Context::local(2)?;
            #[doc = concat!("let total = ctx.", $make, "(\"total\");")]
            /// assert_eq!(total.mean(), None);
            #[doc = concat!("[1", $zero, ", 2", $zero, "].map(|n| total.add(n));")]
            #[doc = concat!("assert_eq!(total.mean(), Some(", $average, "));")]
            /// # Ok::<(), Error>(())
            /// ```
            #[track_caller]
            pub fn mean(&self) -> Option<f64> {
                let Total { sum, count } = self.0.value();
                (count > 0).then(|| sum as f64 / count as f64)
            }

            /// Begins again from zero.
            ///
            /// # Panics
            /// Inside a task.
            ///
            /// ```
            /// # use emberflow::prelude::*;
            /// # let ctx = Context::local(2)?;
            #[doc = concat!("let total = ctx.", $make, "(\"total\");")]
            #[doc = concat!("total.add(7", $zero, ");")]
            /// total.reset();
            /// assert_eq!(total.count(), 0);
            /// # Ok::<(), Error>(())
            /// ```
            #[track_caller]
            pub fn reset(&self) {
                self.0.reset();
            }

            /// The name that it was made with, or the place where it was made if that was empty.
            ///
            /// ```
            /// # use emberflow::prelude::*;
            /// # let ctx = Context::local(2)?;
            #[doc = concat!("assert_eq!(ctx.", $make, "(\"total\").name(), \"total\");")]
            /// # Ok::<(), Error>(())
            /// ```
            pub fn name(&self) -> &str {
                self.0.name()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

number_accumulator!(
    /// An [`Accumulator`] of whole numbers: their sum, count and mean. A sum beyond `i64` wraps around, as Java's does.
    /// Made by [`Context::long_accumulator`](crate::Context::long_accumulator), where its example is.
    LongAccumulator, i64, "long_accumulator", "", "1.5"
);

number_accumulator!(
    /// An [`Accumulator`] of floating-point numbers: their sum, count and mean, bit-identical in every run.
    /// Made by [`Context::double_accumulator`](crate::Context::double_accumulator), where its example is.
    DoubleAccumulator, f64, "double_accumulator", ".0", "1.5"
);

/// Gathers inputs in a list: the [`Accumulate`] of a [`CollectionAccumulator`].
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Gather<T>(PhantomData<fn(T)>);

impl<T> fmt::Debug for Gather<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gather")
    }
}

impl<T> Gather<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Data> Accumulate for Gather<T> {
    type Input = T;
    type Value = Vec<T>;

    fn zero(&self) -> Vec<T> {
        Vec::new()
    }

    fn add(&self, all: &mut Vec<T>, input: T) {
        all.push(input);
    }

    fn merge(&self, all: &mut Vec<T>, mut other: Vec<T>) {
        all.append(&mut other);
    }
}

/// An [`Accumulator`] that keeps everything that is added, in the order of partitions and within them. For the few rows
/// that are worth looking at: all of them are held in memory.
pub type CollectionAccumulator<T> = Accumulator<Gather<T>>;
