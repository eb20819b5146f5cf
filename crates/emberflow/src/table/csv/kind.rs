//! What a field's text says: which type it fits, and its value as that type.

use std::sync::Arc;

use arrow_array::{
    ArrayRef,
    builder::{
        ArrayBuilder, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    types::{Date32Type, TimestampMicrosecondType},
};
use arrow_cast::parse::Parser;
use arrow_schema::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

/// The types that fields of CSV are read as, after Spark's inference; wider numbers come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Nothing but nulls was seen.
    Null,
    Integer,
    Long,
    Double,
    Date,
    Timestamp,
    Boolean,
    String,
}

impl Kind {
    const DISCOVERED: [Self; 6] = [Self::Integer, Self::Long, Self::Double, Self::Date, Self::Timestamp, Self::Boolean];

    /// The narrowest kind that the text fits.
    pub(super) fn of(text: &str, date_format: Option<&str>) -> Self {
        let fits = |kind: &Self| kind.parse(text, date_format).is_some();
        Self::DISCOVERED.into_iter().find(fits).unwrap_or(Self::String)
    }

    /// The narrowest kind that holds both.
    pub(super) fn merge(self, other: Self) -> Self {
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        match (a, b) {
            _ if a == b => a,
            (Self::Null, b) => b,
            (Self::Integer | Self::Long, Self::Long | Self::Double) => b,
            (Self::Date, Self::Timestamp) => b,
            _ => Self::String,
        }
    }

    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Null | Self::String => DataType::Utf8,
            Self::Integer => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Boolean => DataType::Boolean,
        }
    }

    /// The kind that gives columns of a type.
    pub(super) fn for_type(of: &DataType) -> Option<Self> {
        Self::DISCOVERED.into_iter().chain([Self::String]).find(|kind| kind.data_type() == *of)
    }

    /// The value, if the text has one of this kind.
    pub(super) fn parse<'a>(self, text: &'a str, date_format: Option<&str>) -> Option<Value<'a>> {
        match self {
            Self::Null => None,
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Long => text.parse().ok().map(Value::Long),
            Self::Double => double(text).map(Value::Double),
            Self::Date => match date_format {
                Some(format) => Date32Type::parse_formatted(text, format),
                None => Date32Type::parse(text).filter(|_| begins_with_year(text) && text.len() <= 10),
            }
            .map(Value::Date),
            Self::Timestamp => {
                TimestampMicrosecondType::parse(text).filter(|_| begins_with_year(text)).map(Value::Timestamp)
            }
            Self::Boolean if text.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
            Self::Boolean => None,
            Self::String => Some(Value::String(text)),
        }
    }
}

/// What Rust takes for a number, but for words such as `nan` and `infinity`, of which Spark knows three spellings.
fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ if text.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')) => None,
        _ => text.parse().ok(),
    }
}

/// Arrow's parser takes more for a date than people do.
fn begins_with_year(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i32),
    Long(i64),
    Double(f64),
    Date(i32),
    Timestamp(i64),
    Boolean(bool),
    String(&'a str),
}

/// A column that is being read.
pub(super) enum Column {
    Integer(Int32Builder),
    Long(Int64Builder),
    Double(Float64Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Boolean(BooleanBuilder),
    String(StringBuilder),
}

impl Column {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Integer => Self::Integer(Int32Builder::new()),
            Kind::Long => Self::Long(Int64Builder::new()),
            Kind::Double => Self::Double(Float64Builder::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            Kind::Boolean => Self::Boolean(BooleanBuilder::new()),
            Kind::Null | Kind::String => Self::String(StringBuilder::new()),
        }
    }

    /// Adds a value of the column's kind; one of another kind would be a null.
    pub(super) fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Integer(to), Value::Integer(value)) => to.append_value(value),
            (Self::Long(to), Value::Long(value)) => to.append_value(value),
            (Self::Double(to), Value::Double(value)) => to.append_value(value),
            (Self::Date(to), Value::Date(value)) => to.append_value(value),
            (Self::Timestamp(to), Value::Timestamp(value)) => to.append_value(value),
            (Self::Boolean(to), Value::Boolean(value)) => to.append_value(value),
            (Self::String(to), Value::String(value)) => to.append_value(value),
            (Self::Integer(to), _) => to.append_null(),
            (Self::Long(to), _) => to.append_null(),
            (Self::Double(to), _) => to.append_null(),
            (Self::Date(to), _) => to.append_null(),
            (Self::Timestamp(to), _) => to.append_null(),
            (Self::Boolean(to), _) => to.append_null(),
            (Self::String(to), _) => to.append_null(),
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let builder: &mut dyn ArrayBuilder = match self {
            Self::Integer(builder) => builder,
            Self::Long(builder) => builder,
            Self::Double(builder) => builder,
            Self::Date(builder) => builder,
            Self::Timestamp(builder) => builder,
            Self::Boolean(builder) => builder,
            Self::String(builder) => builder,
        };
        Arc::clone(&builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_narrowest_kind_that_they_fit() {
        let kinds = [
            ("7", Kind::Integer),
            ("-2147483649", Kind::Long),
            ("9223372036854775808", Kind::Double),
            ("1e3", Kind::Double),
            ("NaN", Kind::Double),
            ("nan", Kind::String),
            ("infinity", Kind::String),
            ("2009-12-18", Kind::Date),
            ("2009-12-18T10:00:00", Kind::Timestamp),
            ("2009-12-18 10:00:00.5", Kind::Timestamp),
            ("2009-13-18", Kind::String),
            ("TRUE", Kind::Boolean),
            (" 7", Kind::String),
            ("1,5", Kind::String),
        ];
        for (text, kind) in kinds {
            assert_eq!(Kind::of(text, None), kind, "{text:?}");
        }
        assert_eq!(Kind::of("18.12.2009", Some("%d.%m.%Y")), Kind::Date);
    }

    #[test]
    fn merging_kinds_is_commutative_and_never_narrows() {
        let kinds = Kind::DISCOVERED.into_iter().chain([Kind::Null, Kind::String]).collect::<Vec<_>>();
        for a in &kinds {
            for b in &kinds {
                let both = a.merge(*b);
                assert_eq!(both, b.merge(*a));
                assert_eq!(both.merge(*a), both);
            }
        }
        assert_eq!(Kind::Integer.merge(Kind::Double), Kind::Double);
        assert_eq!(Kind::Integer.merge(Kind::Date), Kind::String);
    }
}
