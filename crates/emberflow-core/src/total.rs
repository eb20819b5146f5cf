//! Floating-point numbers in a total order.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Deserialize, Serialize};

/// A floating-point number that can be sorted by, compared, and used as a key.
///
/// `f64` itself has neither `Ord` nor `Eq` nor `Hash`, since NaN equals nothing. `Total` takes the order of
/// [`f64::total_cmp`]: the negative NaNs, -∞, the negative numbers, -0, 0, the positive numbers, ∞, the positive NaNs.
/// Two of them are equal if their bits are: a NaN equals itself, and -0 is less than 0. Serde writes the number alone.
///
/// ```
/// use emberflow_core::total::Total;
///
/// let mut numbers = [2.5, f64::NAN, -1.0, f64::INFINITY].map(Total);
/// numbers.sort();
/// assert_eq!(numbers, [-1.0, 2.5, f64::INFINITY, f64::NAN].map(Total));
/// assert_eq!((Total::from(0.5).to_string(), f64::from(Total(0.5)), Total(0.5_f32).0), ("0.5".to_owned(), 0.5, 0.5));
/// ```
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Total<F = f64>(pub F);

macro_rules! total {
    ($($float:ty),*) => {$(
        impl Ord for Total<$float> {
            #[inline]
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.total_cmp(&other.0)
            }
        }

        impl PartialOrd for Total<$float> {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for Total<$float> {
            #[inline]
            fn eq(&self, other: &Self) -> bool {
                self.0.to_bits() == other.0.to_bits()
            }
        }

        impl Eq for Total<$float> {}

        impl Hash for Total<$float> {
            #[inline]
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.to_bits().hash(state);
            }
        }

        impl From<$float> for Total<$float> {
            fn from(number: $float) -> Self {
                Self(number)
            }
        }

        impl From<Total<$float>> for $float {
            fn from(Total(number): Total<$float>) -> Self {
                number
            }
        }
    )*};
}

total!(f32, f64);

impl<F: fmt::Display> fmt::Display for Total<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn order_equality_and_hash_agree_on_every_special_number() {
        let rising = [-f64::NAN, f64::NEG_INFINITY, f64::MIN, -1.0, -f64::MIN_POSITIVE, -5e-324, -0.0];
        let rising = rising.into_iter().chain(rising.into_iter().rev().map(|number| -number)).map(Total);
        let rising: Vec<Total> = rising.collect();
        for (at, a) in rising.iter().enumerate() {
            for (other, b) in rising.iter().enumerate() {
                assert_eq!((a.cmp(b), a == b), (at.cmp(&other), at == other), "{a:?} and {b:?}");
            }
        }
        assert_eq!(rising.iter().collect::<HashSet<_>>().len(), rising.len());
    }
}
