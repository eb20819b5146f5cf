//! The bounds on row types. After Timely's and Renoir's `Data` and `ExchangeData`.

use std::hash::Hash;

use serde::{Serialize, de::DeserializeOwned};

/// A row that stays within its task: cheap to clone or at least clonable, and free to move between threads.
///
/// Implemented for every type that fits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a row: rows are `Clone + Send + Sync + 'static`",
    note = "own the data (`String` rather than `&str`, `Arc` rather than `Rc`)"
)]
pub trait Data: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> Data for T {}

/// A row that may leave its task: through a shuffle, into a cache, to the caller of an action.
///
/// It must be a serde type, since rows that leave memory are serialised. Implemented for every type that fits.
///
/// Rows come back as serde gives them. A field with `#[serde(skip)]` comes back as its default, in those rows that were on
/// disk, which nothing can find out: let a row's serde be complete, or have it make the field again, as the documentation
/// of `Rdd` shows. A type that is read from the name of a field or from its absence
/// (`skip_serializing_if`, `untagged`, `flatten`) does not go through bincode: its rows stay in memory when they should
/// be spilled, with a warning in the log, and are an error in files.
#[diagnostic::on_unimplemented(
    message = "rows of `{Self}` cannot leave their task: shuffled, cached and collected rows are serde types",
    note = "derive `serde::Serialize` and `serde::Deserialize` (and `Clone`); use `String` rather than `&'static str`"
)]
pub trait ExchangeData: Data + Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Data + Serialize + DeserializeOwned> ExchangeData for T {}

/// A key: rows of equal keys meet in one partition.
///
/// `Eq` and `Hash` must agree, as for `std::collections::HashMap`. Implemented for every type that fits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key: keys are serde types with `Eq` and `Hash`",
    note = "floating-point numbers have no `Eq`: wrap them in `emberflow::Total`, as in `.map(|x| (Total(x), 1))`"
)]
pub trait Key: ExchangeData + Eq + Hash {}

#[diagnostic::do_not_recommend]
impl<K: ExchangeData + Eq + Hash> Key for K {}

/// Rows or keys in a total order, by which they are sorted and compared.
///
/// Implemented for every type that has `Ord`; floating-point numbers have it as [`Total`](crate::total::Total).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no total order (`Ord`), by which rows are sorted and compared",
    note = "wrap floating-point numbers in `emberflow::Total`, as in `.sort_by(|x| Total(*x))`, or give the comparison to \
            `sort_by_cmp`, `top_by_cmp`, `take_ordered_by_cmp`, `min_by` or `max_by`"
)]
pub trait Ordered: Ord {}

#[diagnostic::do_not_recommend]
impl<T: Ord> Ordered for T {}

/// Rows or values that are told apart by their hash, to be counted.
///
/// Implemented for every type that has `Hash`; floating-point numbers have it as [`Total`](crate::total::Total).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no `Hash`, by which different values are counted",
    note = "derive `Hash`, or wrap floating-point numbers in `emberflow::Total`, as in `.map(|x| Total(x))`"
)]
pub trait Hashed: Hash {}

#[diagnostic::do_not_recommend]
impl<T: Hash> Hashed for T {}
