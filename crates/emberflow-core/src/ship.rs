//! The parts of stages, as values that another process of the same program can make again.
//!
//! An operator, a store writer and an action are shipped by serde: their fields are parameters, environments and
//! functions, and a function ships as [`Code`] does, if it captures nothing. So such a type derives `Serialize` and
//! `Deserialize`, and its `ship` is one call in [`remake`](crate::remake). Functions that make functions are
//! no hindrance: one that captures nothing but functions that capture nothing is of size zero, too. Values that cannot
//! leave the process say so as [`Local`].

use std::{
    any::{Any, type_name},
    ops::Deref,
    sync::Arc,
};

use emberflow_code::CodeError;
pub use emberflow_code::{Code, Descriptor, Shipped};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned, ser};

use crate::codec::{self, CodecError};

/// Says why something cannot be sent to another process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotShippable(pub String);

impl From<CodeError> for NotShippable {
    fn from(error: CodeError) -> Self {
        Self(error.to_string())
    }
}

/// A value that operators carry along with their functions.
pub trait Env: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<E: Serialize + DeserializeOwned + Send + Sync + 'static> Env for E {}

/// Ships a value behind a trait by its serde form; `code` is the descriptor of its type.
///
/// # Errors
/// If a part of the value cannot be sent.
pub fn of<D: ?Sized + 'static, V: Serialize>(
    value: &V,
    code: &'static Descriptor<D>,
) -> Result<Shipped<D>, NotShippable> {
    let state = codec::encode_plan(value).map_err(|error| NotShippable(error.cause()))?;
    Ok(Shipped::new(code, state)?)
}

/// Reads the state of a shipped value, for its descriptor.
///
/// # Errors
/// If the bytes are no such value.
pub fn read<V: DeserializeOwned>(state: &[u8]) -> Result<Arc<V>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Arc::new(codec::decode_plan(state)?))
}

/// Writes the value of a task, for [`ActionOperator::encode`](crate::operator::ActionOperator::encode).
///
/// # Errors
/// If it is of another type, or cannot leave the process.
pub fn encode_value<R: Serialize + 'static>(value: &(dyn Any + Send)) -> Result<Vec<u8>, NotShippable> {
    let value = value
        .downcast_ref::<R>()
        .ok_or_else(|| NotShippable(format!("the value of the task is no {}", type_name::<R>())))?;
    codec::encode_plan(value).map_err(|error| NotShippable(error.cause()))
}

/// Reads the value of a task, for [`ActionOperator::decode`](crate::operator::ActionOperator::decode).
///
/// # Errors
/// If the bytes are no such value.
pub fn decode_value<R: DeserializeOwned + Send + 'static>(bytes: &[u8]) -> Result<Box<dyn Any + Send>, CodecError> {
    Ok(Box::new(codec::decode_plan::<R>(bytes)?))
}

/// A trait whose values can be part of what is shipped, as [`Sent`].
pub trait Ship: Send + Sync + 'static {
    /// Describes this value so that another process can make it again.
    ///
    /// # Errors
    /// If it cannot be sent.
    fn ship(&self) -> Result<Shipped<Self>, NotShippable>;
}

/// A value behind a trait, as a field of a shipped operator.
pub struct Sent<D: ?Sized>(pub Arc<D>);

impl<D: ?Sized> Clone for Sent<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: ?Sized> Deref for Sent<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.0
    }
}

impl<D: ?Sized + std::fmt::Debug> std::fmt::Debug for Sent<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<D: ?Sized + Ship> Serialize for Sent<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.ship().map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de, D: ?Sized + Ship> Deserialize<'de> for Sent<D> {
    fn deserialize<R: Deserializer<'de>>(deserializer: R) -> Result<Self, R::Error> {
        Shipped::<D>::deserialize(deserializer)?.make().map(Self).map_err(de::Error::custom)
    }
}

/// A function together with a value that it needs, shared by all partitions of an operator.
pub struct With<E, F>(Arc<(E, Code<F>)>);

impl<E, F> With<E, F> {
    /// The function `f`, which is called with `env` as its first argument.
    pub fn new(env: E, f: F) -> Self {
        Self(Arc::new((env, Code::new(f))))
    }

    /// The value and the function.
    #[inline]
    pub fn parts(&self) -> (&E, &F) {
        (&self.0.0, &self.0.1)
    }
}

impl<E, F> Clone for With<E, F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Serialize, F> Serialize for With<E, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (*self.0).serialize(serializer)
    }
}

impl<'de, E: Deserialize<'de>, F> Deserialize<'de> for With<E, F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(Deserialize::deserialize(deserializer)?)))
    }
}

/// A value that several parts of an operator share, or the tasks of one.
#[derive(Debug, Default)]
pub struct Held<T>(pub Arc<T>);

impl<T> Held<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> AsRef<Arc<T>> for Held<T> {
    fn as_ref(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: Serialize> Serialize for Held<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (*self.0).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Held<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

/// A value that cannot leave the process that it is in, with the reason, which says what to do instead.
#[derive(Clone, Copy, Debug)]
pub struct Local<T> {
    value: T,
    reason: &'static str,
}

impl<T> Local<T> {
    /// Wraps the value. The reason is the rest of a sentence that begins with the operator.
    pub fn new(value: T, reason: &'static str) -> Self {
        Self { value, reason }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Local<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> AsRef<T> for Local<T> {
    fn as_ref(&self) -> &T {
        &self.value
    }
}

impl<T> Serialize for Local<T> {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom(self.reason))
    }
}

impl<'de, T> Deserialize<'de> for Local<T> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("a value that cannot leave its process"))
    }
}
