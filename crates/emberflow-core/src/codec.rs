//! The one place that knows bincode: environments of operators, rows in files, and spilled rows.
//!
//! Integers have a fixed length, measured six times as fast as the variable-length default. Nothing is decoded without
//! a limit, since a damaged length would otherwise be allocated as it stands.

use std::mem;

use serde::{Serialize, de::DeserializeOwned};

use crate::faithful::Faithful;

/// The most that one value may claim to be when it is decoded.
pub const DECODE_LIMIT_BYTES: usize = 64 << 20;

/// A value that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value's `Serialize` refused, or asked for what bincode cannot express.
    #[error("cannot serialise {type_name}")]
    Encode {
        /// The value's type.
        type_name: &'static str,
        /// The error of bincode.
        source: bincode::error::EncodeError,
    },
    /// The bytes are not such a value.
    #[error("cannot deserialise {type_name}")]
    Decode {
        /// The type that was asked for.
        type_name: &'static str,
        /// The error of bincode.
        source: bincode::error::DecodeError,
    },
    /// The value ended before the bytes did.
    #[error("{left} bytes are left over after {type_name}")]
    TrailingBytes {
        /// The type that was asked for.
        type_name: &'static str,
        /// How many bytes were not used.
        left: usize,
    },
}

impl CodecError {
    /// The cause alone, as a value's own `Serialize` or `Deserialize` said it.
    pub fn cause(&self) -> String {
        match self {
            Self::Encode { source: bincode::error::EncodeError::OtherString(text), .. }
            | Self::Decode { source: bincode::error::DecodeError::OtherString(text), .. } => text.clone(),
            _ => std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string),
        }
    }

    /// The error in one line, with its cause.
    pub fn told(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<DECODE_LIMIT_BYTES>()
}

/// As [`encode`], of a plan or a part of one, which may be of any length.
///
/// # Errors
/// If the value cannot be serialised.
pub fn encode_plan<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(Faithful(value), plan_config())
        .map_err(|source| CodecError::Encode { type_name: std::any::type_name::<T>(), source })
}

/// Reads a plan or a part of one. Bytes that become operators are trusted, and so are the lengths in them.
///
/// # Errors
/// If the bytes are no such value.
pub fn decode_plan<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = decode_first_of_plan(bytes)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError::TrailingBytes { type_name: std::any::type_name::<T>(), left }),
    }
}

/// As [`decode_plan`], of the first of several values; returns how many bytes it took, too.
pub(crate) fn decode_first_of_plan<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, plan_config())
        .map_err(|source| CodecError::Decode { type_name: std::any::type_name::<T>(), source })
}

fn plan_config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding()
}

/// Serialises `value`.
///
/// # Errors
/// [`CodecError::Encode`] if the type's `Serialize` fails or uses what bincode cannot express.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(Faithful(value), config())
        .map_err(|source| CodecError::Encode { type_name: std::any::type_name::<T>(), source })
}

/// As [`encode`], behind what `out` holds already: for many values one after the other.
///
/// # Errors
/// As [`encode`]; `out` may then hold a part of the value.
pub fn encode_onto<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<usize, CodecError> {
    bincode::serde::encode_into_std_write(Faithful(value), out, config())
        .map_err(|source| CodecError::Encode { type_name: std::any::type_name::<T>(), source })
}

/// Reads the first of several values that [`encode_onto`] wrote, and says how many bytes it took.
///
/// # Errors
/// [`CodecError::Decode`] if the bytes do not begin with such a value.
pub fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, config())
        .map_err(|source| CodecError::Decode { type_name: std::any::type_name::<T>(), source })
}

/// Reads so many values that [`encode_onto`] wrote, into vectors of at most `each` that `take` gives; all the bytes must
/// be used.
///
/// # Errors
/// [`CodecError::Decode`] or [`CodecError::TrailingBytes`] if the bytes are anything else.
pub fn decode_many<T: DeserializeOwned>(
    bytes: &[u8],
    count: usize,
    each: usize,
    take: impl FnMut() -> Vec<T>,
) -> Result<Vec<Vec<T>>, CodecError> {
    // Of values that own nothing, no length that they could claim would be allocated; and to count what they claim costs
    // more than to read them.
    let values = if mem::needs_drop::<T>() {
        read_many(bytes, count, each, take, config())
    } else {
        read_many(bytes, count, each, take, bincode::config::standard().with_fixed_int_encoding())
    };
    let type_name = std::any::type_name::<T>();
    match values {
        Ok((values, 0)) => Ok(values),
        Ok((_, left)) => Err(CodecError::TrailingBytes { type_name, left }),
        Err(source) => Err(CodecError::Decode { type_name, source }),
    }
}

/// The values, and how many bytes are left over.
fn read_many<T: DeserializeOwned>(
    mut bytes: &[u8],
    count: usize,
    each: usize,
    mut take: impl FnMut() -> Vec<T>,
    config: impl bincode::config::Config,
) -> Result<(Vec<Vec<T>>, usize), bincode::error::DecodeError> {
    let (mut all, mut left) = (Vec::with_capacity(count.div_ceil(each.max(1))), count);
    while left > 0 {
        let (mut values, some) = (take(), left.min(each.max(1)));
        values.reserve(some);
        for _ in 0..some {
            let (value, used) = bincode::serde::decode_from_slice(bytes, config)?;
            values.push(value);
            bytes = &bytes[used..];
        }
        all.push(values);
        left -= some;
    }
    Ok((all, bytes.len()))
}

/// Reads one value that [`encode`] wrote; all the bytes must be used.
///
/// # Errors
/// [`CodecError::Decode`] or [`CodecError::TrailingBytes`] if the bytes are anything else.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = decode_first(bytes)?;
    if used != bytes.len() {
        return Err(CodecError::TrailingBytes { type_name: std::any::type_name::<T>(), left: bytes.len() - used });
    }
    Ok(value)
}

/// The number of bytes that [`encode`] would write, without writing them.
///
/// # Errors
/// As [`encode`].
pub fn encoded_len<T: Serialize>(value: &T) -> Result<usize, CodecError> {
    let mut size = bincode::enc::write::SizeWriter::default();
    bincode::serde::encode_into_writer(value, &mut size, config())
        .map_err(|source| CodecError::Encode { type_name: std::any::type_name::<T>(), source })?;
    Ok(size.bytes_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_as_it_went() {
        let value = (7_u64, "ember".to_owned(), vec![1.5_f64, -0.0]);
        let bytes = encode(&value).unwrap();
        assert_eq!(encoded_len(&value).unwrap(), bytes.len());
        assert_eq!(decode::<(u64, String, Vec<f64>)>(&bytes).unwrap(), value);
    }

    #[test]
    fn a_value_with_a_field_left_out_is_refused_however_deep_it_is() {
        #[derive(serde::Serialize)]
        struct Order {
            #[serde(skip_serializing_if = "is_zero")]
            discount: u64,
            items: Vec<u64>,
        }
        fn is_zero(n: &u64) -> bool {
            *n == 0
        }
        let order = |discount| Order { discount, items: vec![0] };
        assert_eq!(encode(&Some((1_u8, [order(7)]))).unwrap().len(), 1 + 1 + 8 + 8 + 8);
        let error = encode(&Some((1_u8, [order(7), order(0)]))).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("field `discount` is left out"), "{cause}");
    }

    #[test]
    fn values_behind_one_another_come_back_one_by_one() {
        let mut bytes = Vec::new();
        let first = encode_onto(&"ember".to_owned(), &mut bytes).unwrap();
        encode_onto(&7_u64, &mut bytes).unwrap();
        assert_eq!(decode_first::<String>(&bytes).unwrap(), ("ember".to_owned(), first));
        assert_eq!(decode_first::<u64>(&bytes[first..]).unwrap(), (7, 8));
        assert!(decode_first::<u64>(&bytes[first + 1..]).is_err());
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_large_allocation() {
        let mut bytes = encode(&"ember".to_owned()).unwrap();
        bytes[..8].fill(0xff);
        assert!(matches!(decode::<String>(&bytes), Err(CodecError::Decode { .. })));
        let mut long = encode(&1_u64).unwrap();
        long.push(0);
        assert!(matches!(decode::<u64>(&long), Err(CodecError::TrailingBytes { left: 1, .. })));
    }
}
