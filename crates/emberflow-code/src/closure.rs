//! Closures that capture nothing, as serde values.

use std::{any::type_name, fmt, mem, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::remake;

/// A closure, or another value whose type says all of it, which another process of the same program can make again.
///
/// It is written as nothing. A value that has bytes of its own, as a closure that captures something has, works as well
/// as any other in this process; writing it is an error that names its type and the number of bytes.
///
/// A type without bytes may still mean something: a token that proves that a lock is held, say. A closure that captures
/// one would carry it to another process, where nothing was locked. Do not let such closures capture tokens.
///
/// ```
/// use emberflow_code::Code;
///
/// let double = Code::new(|x: u32| x * 2);
/// assert_eq!(double(4), 8);
/// assert_eq!(serde_json::to_string(&double).unwrap(), "null");
/// let by = 2;
/// let refusal = serde_json::to_string(&Code::new(move |x: u32| x * by)).unwrap_err().to_string();
/// assert!(refusal.ends_with("captures 4 bytes of its surroundings"), "{refusal}");
/// ```
pub struct Code<F>(F);

impl<F> Code<F> {
    /// Wraps a closure.
    pub fn new(code: F) -> Self {
        Self(code)
    }
}

/// Says why a value of this type cannot be sent as code, if it cannot.
pub fn refusal<F>() -> Option<String> {
    let bytes = mem::size_of::<F>();
    match bytes {
        0 if !mem::needs_drop::<F>() => None,
        0 => Some(format!("{} captures a value that has to be dropped", type_name::<F>())),
        _ => Some(format!("{} captures {bytes} bytes of its surroundings", type_name::<F>())),
    }
}

impl<F> Deref for Code<F> {
    type Target = F;

    #[inline]
    fn deref(&self) -> &F {
        &self.0
    }
}

impl<F> fmt::Debug for Code<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<F>())
    }
}

impl<F> Serialize for Code<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match refusal::<F>() {
            None => serializer.serialize_unit(),
            Some(refusal) => Err(ser::Error::custom(refusal)),
        }
    }
}

impl<'de, F> Deserialize<'de> for Code<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        let code = remake::of_nothing();
        code.map(Self).ok_or_else(|| de::Error::custom("code is read only from another process of the same program"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<F>(_: &Code<F>) -> Result<Code<F>, serde_json::Error> {
        // SAFETY: it was written by the caller, of this type.
        unsafe { crate::trusting(|| serde_json::from_str("null")) }
    }

    #[test]
    fn closures_that_capture_nothing_or_only_such_closures_come_back() {
        let add = |a: u32, b: u32| a + b;
        let nested = Code::new(move |a: u32| add(a, add(a, 1)));
        assert_eq!(again(&nested).unwrap()(3), 7);
        let function = Code::new(u32::count_ones);
        assert_eq!(again(&function).unwrap()(7), 3);
    }

    #[test]
    fn what_captures_bytes_or_needs_a_drop_does_not_and_nothing_does_without_trust() {
        let text = String::from("ember");
        let owning = Code::new(move || text.len());
        let pointer = Code::new(u32::count_ones as fn(u32) -> u32);
        assert!(again(&owning).is_err() && again(&pointer).is_err());
        assert!(serde_json::to_string(&pointer).unwrap_err().to_string().contains("captures 8 bytes"));
        struct Dropped;
        impl Drop for Dropped {
            fn drop(&mut self) {}
        }
        let dropped = Dropped;
        let dropping = Code::new(move || _ = &dropped);
        assert!(again(&dropping).is_err());
        assert!(serde_json::to_string(&dropping).unwrap_err().to_string().contains("has to be dropped"));
        assert!(serde_json::from_str::<Code<fn()>>("null").is_err());
        fn untrusted<F>(_: &Code<F>) -> bool {
            serde_json::from_str::<Code<F>>("null").is_err()
        }
        assert!(untrusted(&Code::new(|| ())));
    }
}
