//! Operators, store writers and actions as values that another process can make again: the descriptors of their types.
//!
//! Owns nothing but those constants, one for each type that is shipped; see [`ship`](crate::ship).

use std::marker::PhantomData;

use emberflow_code::{Descriptor, Shipped};
use serde::de::DeserializeOwned;

use crate::{
    operator::{ActionOperator, Operator, StoreWriter},
    ship::{Env, NotShippable, of, read},
};

/// Ships an operator by its serde form.
///
/// # Errors
/// If a part of it cannot be sent.
pub fn operator<O: Operator + Env>(value: &O) -> Result<Shipped<dyn Operator>, NotShippable> {
    of(value, Made::<O>::OPERATOR)
}

/// Ships a store writer by its serde form.
///
/// # Errors
/// As [`operator`].
pub fn writer<W: StoreWriter + Env>(value: &W) -> Result<Shipped<dyn StoreWriter>, NotShippable> {
    of(value, Made::<W>::WRITER)
}

/// Ships an action by its serde form.
///
/// # Errors
/// As [`operator`].
pub fn action<A: ActionOperator + Env>(value: &A) -> Result<Shipped<dyn ActionOperator>, NotShippable> {
    of(value, Made::<A>::ACTION)
}

struct Made<T>(PhantomData<T>);

impl<O: Operator + DeserializeOwned> Made<O> {
    const OPERATOR: &'static Descriptor<dyn Operator> = &Descriptor::new::<O>(|state| Ok(read::<O>(state)?));
}

impl<W: StoreWriter + DeserializeOwned> Made<W> {
    const WRITER: &'static Descriptor<dyn StoreWriter> = &Descriptor::new::<W>(|state| Ok(read::<W>(state)?));
}

impl<A: ActionOperator + DeserializeOwned> Made<A> {
    const ACTION: &'static Descriptor<dyn ActionOperator> = &Descriptor::new::<A>(|state| Ok(read::<A>(state)?));
}
