//! Broadcast values: what all tasks read.
//!
//! Owns: the value, behind an `Arc`, and whether it was destroyed. Within a process nothing is ever copied. To another
//! process it goes as its id and its value, as the environment of [`map_with`](crate::Rdd::map_with) and its siblings.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use emberflow_core::place::Place;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

/// A value that all tasks read, made by [`Context::broadcast`](crate::Context::broadcast). Derefs to the value; cheap
/// to clone.
///
/// A closure that captures one runs in this process only. For a stage that another process could run
/// ([`check_shippable`](crate::Rdd::check_shippable)), hand it to `map_with` or one of its siblings, as an environment:
/// it is serialised, with its id and its value, each time an operator is made with it. Read in another process it is a
/// value of its own with the same id.
///
/// ```
/// use emberflow::prelude::*;
///
/// let ctx = Context::local(2)?;
/// let weights = ctx.broadcast(vec![0.5, 0.25]);
/// let rows = ctx.range(0..2_usize).map_with(weights.clone(), |weights, n| weights[n] * 8.0);
/// rows.check_shippable()?;
/// assert_eq!(rows.collect()?, [4.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
pub struct Broadcast<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    id: u64,
    made_at: String,
    destroyed_at: OnceLock<Place>,
    value: T,
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Broadcast<T> {
    pub(crate) fn new(value: T, made_at: Place) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::with(NEXT.fetch_add(1, Ordering::Relaxed), made_at.to_string(), value)
    }

    fn with(id: u64, made_at: String, value: T) -> Self {
        Self { shared: Arc::new(Shared { id, made_at, destroyed_at: OnceLock::new(), value }) }
    }

    /// Tells this broadcast from the others of the process that made it.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let (a, b) = (ctx.broadcast(1), ctx.broadcast(1));
    /// assert!(a.id() == a.clone().id() && a.id() != b.id());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// Forbids any further use, here and in the closures that hold a clone: it panics, which fails their tasks. The
    /// error names the lines where the broadcast was made, destroyed and used. The memory is freed when the last clone is dropped, closures included.
    ///
    /// It is not needed for the memory's sake; it finds code that still uses a value that should be over. Spark's
    /// `unpersist`, which drops the copies of other processes, has nothing to do here: there are none.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::builder().task_failure_limit(1).build()?;
    /// let offset = ctx.broadcast(7_u64);
    /// let rows = ctx.range(0..3_u64).map({
    ///     let offset = offset.clone();
    ///     move |n| n + *offset
    /// });
    /// assert_eq!(rows.collect()?, [7, 8, 9]);
    /// offset.destroy();
    /// assert!(rows.collect().unwrap_err().to_string().contains("was destroyed at"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn destroy(&self) {
        // The first one counts.
        let _ = self.shared.destroyed_at.set(Place::caller());
    }

    /// Returns whether the broadcast was destroyed.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// let offset = ctx.broadcast(7);
    /// assert!(!offset.is_destroyed());
    /// offset.destroy();
    /// assert!(offset.is_destroyed());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn is_destroyed(&self) -> bool {
        self.shared.destroyed_at.get().is_some()
    }

    /// Why it cannot be used at this place, if it cannot.
    fn misuse(&self, used_at: Option<Place>) -> Option<String> {
        let Shared { id, made_at, .. } = &*self.shared;
        let at = self.shared.destroyed_at.get()?;
        let used_at = used_at.map_or_else(String::new, |place| format!(" and is still used at {place}"));
        Some(format!(
            "broadcast {id}, made at {made_at}, was destroyed at {at}{used_at}; destroy it after its last use"
        ))
    }
}

/// # Panics
/// If the broadcast was [destroyed](Broadcast::destroy). The panic names the line that reads the value, and its message
/// also names the lines that made and destroyed the broadcast.
impl<T> Deref for Broadcast<T> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        if self.shared.destroyed_at.get().is_some() {
            destroyed(self);
        }
        &self.shared.value
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn destroyed<T>(broadcast: &Broadcast<T>) {
    if let Some(misuse) = broadcast.misuse(Some(Place::caller())) {
        panic!("{misuse}");
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destroyed = if self.is_destroyed() { ", destroyed" } else { "" };
        write!(f, "broadcast {} (made at {}{destroyed})", self.shared.id, self.shared.made_at)
    }
}

/// A broadcast is written as its id, its place and its value. A destroyed one is refused.
impl<T: Serialize> Serialize for Broadcast<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.misuse(None) {
            Some(misuse) => Err(ser::Error::custom(misuse)),
            None => (self.shared.id, &self.shared.made_at, &self.shared.value).serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Broadcast<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, made_at, value) = Deserialize::deserialize(deserializer)?;
        Ok(Self::with(id, made_at, value))
    }
}

#[cfg(test)]
mod tests {
    use emberflow_core::codec;

    use super::*;

    #[test]
    fn a_broadcast_travels_as_its_id_and_its_value_and_a_destroyed_one_not_at_all() {
        let sent = Broadcast::new(vec![1_u64, 2], Place::caller());
        let received: Broadcast<Vec<u64>> = codec::decode(&codec::encode(&sent).unwrap()).unwrap();
        assert_eq!((received.id(), &*received), (sent.id(), &vec![1, 2]));
        assert_eq!(format!("{received:?}"), format!("{sent:?}"));
        sent.destroy();
        assert!(!received.is_destroyed(), "another process has a value of its own");
        let refused = std::error::Error::source(&codec::encode(&sent).unwrap_err()).unwrap().to_string();
        assert!(refused.contains("was destroyed at"), "{refused}");
    }
}
