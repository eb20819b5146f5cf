//! The meaning of a field's text: the type that it fits, and its value as that type.

use std::sync::{Arc, LazyLock};

use arrow_array::{
    ArrayRef,
    builder::{
        ArrayBuilder, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
        TimestampMicrosecondBuilder, UInt64Builder,
    },
    timezone::Tz,
    types::Date32Type,
};
use arrow_cast::parse::{Parser, string_to_datetime};
use arrow_schema::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

/// The types that fields of CSV are read as, after Spark's inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Integer,
    Long,
    Unsigned,
    Double,
    Date,
    Timestamp,
    Boolean,
    String,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Integer,
        Self::Long,
        Self::Unsigned,
        Self::Double,
        Self::Date,
        Self::Timestamp,
        Self::Boolean,
        Self::String,
    ];

    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Integer => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Unsigned => DataType::UInt64,
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Boolean => DataType::Boolean,
        }
    }

    /// The kind that gives columns of a type.
    pub(super) fn for_type(of: &DataType) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.data_type() == *of)
    }

    /// The value, if the text has one of this kind. Takes more than a column is found to be from, such as `007` for an
    /// integer: who gives a schema has said what is meant.
    pub(super) fn parse<'a>(self, text: &'a str, date_format: Option<&str>) -> Option<Value<'a>> {
        match self {
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Long => text.parse().ok().map(Value::Long),
            Self::Unsigned => text.parse().ok().map(Value::Unsigned),
            Self::Double => double(text).map(Value::Double),
            Self::Date => date(text, date_format).map(Value::Date),
            Self::Timestamp => timestamp(text, date_format).map(Value::Timestamp),
            Self::Boolean if text.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
            Self::Boolean => None,
            Self::String => Some(Value::String(text)),
        }
    }
}

const MICROS_OF_A_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// The forms of the texts of a column: a set, so that it does not matter in which order and in which parts they are
/// seen. The column's kind follows from the whole set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Forms(u16);

impl Forms {
    const INTEGER: Self = Self(1);
    const LONG: Self = Self(1 << 1);
    /// An integer above those of 64 bits with a sign.
    const UNSIGNED: Self = Self(1 << 2);
    const NEGATIVE: Self = Self(1 << 3);
    /// An integer that no double is equal to.
    const NO_DOUBLE: Self = Self(1 << 4);
    const DOUBLE: Self = Self(1 << 5);
    /// A number such as `12345e67`, which is as likely the beginning of a hash.
    const HASH: Self = Self(1 << 6);
    const DATE: Self = Self(1 << 7);
    const TIMESTAMP: Self = Self(1 << 8);
    pub(super) const BOOLEAN: Self = Self(1 << 9);
    pub(super) const STRING: Self = Self(1 << 10);

    const NUMBERS: Self = Self((1 << 7) - 1);
    const TIMES: Self = Self::DATE.or(Self::TIMESTAMP);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, form: Self) -> bool {
        self.0 & form.0 != 0
    }

    const fn has_only(self, forms: Self) -> bool {
        self.0 & !forms.0 == 0
    }

    pub(super) fn add(&mut self, other: Self) {
        *self = self.or(other);
    }

    /// The form of one text.
    pub(super) fn of(text: &str, date_format: Option<&str>) -> Self {
        if let Some(form) = Self::of_number(text) {
            return form;
        }
        let forms = [(Kind::Date, Self::DATE), (Kind::Timestamp, Self::TIMESTAMP), (Kind::Boolean, Self::BOOLEAN)];
        let fits = |(kind, form): (Kind, Self)| kind.parse(text, date_format).map(|_| form);
        forms.into_iter().find_map(fits).unwrap_or(Self::STRING)
    }

    /// The form of a text that is a number and nothing else: `00501` may be a zip code, and `+49301234567` calls somebody.
    fn of_number(text: &str) -> Option<Self> {
        if is_padded(text) {
            return None;
        }
        if is_whole(text) {
            return Self::of_integer(text);
        }
        if is_like_a_hash(text) {
            return Some(double(text).map_or(Self::STRING, |_| Self::HASH));
        }
        double(text).map(|_| Self::DOUBLE)
    }

    /// The form of a number of JSON: it is one, unless it would lose something.
    pub(super) fn of_json_number(text: &str) -> Self {
        let form = if is_whole(text) { Self::of_integer(text) } else { double(text).map(|_| Self::DOUBLE) };
        form.unwrap_or(Self::STRING)
    }

    /// Returns whether a number that looks so is equal to a double.
    pub(super) fn is_double(self) -> bool {
        !self.has(Self::NO_DOUBLE.or(Self::STRING))
    }

    fn of_integer(text: &str) -> Option<Self> {
        // An integer has no negative zero.
        if text == "-0" {
            return Some(Self::DOUBLE);
        }
        let form = match (text.parse::<i32>(), text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(_), ..) => Self::INTEGER,
            (_, Ok(_), _) => Self::LONG,
            (.., Ok(_)) => Self::UNSIGNED,
            _ => return Some(Self::STRING),
        };
        let is_double = text.parse::<i128>().is_ok_and(|value| value as f64 as i128 == value);
        let exact = if is_double { Self::default() } else { Self::NO_DOUBLE };
        let sign = if text.starts_with('-') { Self::NEGATIVE } else { Self::default() };
        Some(form.or(exact).or(sign))
    }

    /// Returns whether the kind will be a string whatever is added.
    pub(super) fn are_settled(self) -> bool {
        let alike = [Self::NUMBERS, Self::TIMES, Self::BOOLEAN];
        !alike.into_iter().any(|forms| self.has_only(forms))
    }

    /// The narrowest kind that holds all of them without loss.
    pub(super) fn kind(self) -> Kind {
        let kinds = [
            (Kind::Integer, Self::INTEGER.or(Self::NEGATIVE)),
            (Kind::Long, Self::INTEGER.or(Self::LONG).or(Self::NEGATIVE).or(Self::NO_DOUBLE)),
            (Kind::Unsigned, Self::INTEGER.or(Self::LONG).or(Self::UNSIGNED).or(Self::NO_DOUBLE)),
            (Kind::String, Self::HASH),
            (Kind::Date, Self::DATE),
            (Kind::Timestamp, Self::TIMES),
            (Kind::Boolean, Self::BOOLEAN),
        ];
        let numbers = Self(Self::NUMBERS.0 & !Self::NO_DOUBLE.0);
        match kinds.into_iter().find(|(_, forms)| self.has_only(*forms)) {
            _ if self == Self::default() => Kind::String,
            Some((kind, _)) => kind,
            // Integers become doubles beside doubles, not for being too long.
            None if self.has_only(numbers) && self.has(Self::DOUBLE.or(Self::HASH)) => Kind::Double,
            None => Kind::String,
        }
    }

    /// Returns whether a text that was not looked at is of the kind that was found.
    pub(super) fn take(self, text: &str, date_format: Option<&str>) -> bool {
        let kind = self.kind();
        kind == Kind::String || self.or(Self::of(text, date_format)).kind() == kind
    }
}

/// The integer that a text is and that prints as the text.
pub(super) fn plain_integer(text: &str) -> Option<i128> {
    if is_padded(text) || !is_whole(text) { None } else { text.parse().ok() }
}

/// The double that a text is, without loss of a digit of an integer.
pub(super) fn plain_double(text: &str) -> Option<f64> {
    match plain_integer(text) {
        Some(value) => Some(value as f64).filter(|double| *double as i128 == value),
        None if is_padded(text) || is_whole(text) => None,
        None => double(text),
    }
}

/// Begins with a plus sign or with a zero before other digits.
fn is_padded(text: &str) -> bool {
    let begins = text.strip_prefix('-').unwrap_or(text).as_bytes();
    begins.first() == Some(&b'+') || (begins.len() > 1 && begins[0] == b'0' && begins[1].is_ascii_digit())
}

/// Digits, with a minus sign or without.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits, an `e` and two digits or more.
fn is_like_a_hash(text: &str) -> bool {
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once(['e', 'E']).is_some_and(|(a, b)| all_digits(a) && b.len() > 1 && all_digits(b))
}

/// The number that Rust takes the text for, but for words such as `nan` and `infinity`, of which Spark knows three
/// spellings, and numbers beyond what a double holds, which would be infinite or zero.
fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ if text.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')) => None,
        _ => text.parse().ok().filter(|value: &f64| {
            let mantissa = || text.split(['e', 'E']).next().unwrap_or(text);
            value.is_finite() && (*value != 0.0 || !mantissa().contains(|c| matches!(c, '1'..='9')))
        }),
    }
}

/// Microseconds since 1970: of a timestamp, or of the midnight with which a date begins. Arrow's parser for columns of
/// microseconds goes by way of nanoseconds, which end in 2262.
fn timestamp(text: &str, date_format: Option<&str>) -> Option<i64> {
    static UTC: LazyLock<Tz> = LazyLock::new(|| "+00:00".parse().expect("an offset"));
    let micros = string_to_datetime(&*UTC, text).ok().filter(|_| begins_with_year(text));
    let micros = micros.map(|timestamp| timestamp.timestamp_micros());
    micros.or_else(|| Some(i64::from(date(text, date_format)?) * MICROS_OF_A_DAY))
}

/// Days since 1970.
fn date(text: &str, format: Option<&str>) -> Option<i32> {
    match format {
        Some(format) => Date32Type::parse_formatted(text, format),
        None => Date32Type::parse(text)
            .filter(|_| begins_with_year(text) && text.len() <= 10 && text.ends_with(|c: char| c.is_ascii_digit())),
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
    Unsigned(u64),
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
    Unsigned(UInt64Builder),
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
            Kind::Unsigned => Self::Unsigned(UInt64Builder::new()),
            Kind::Double => Self::Double(Float64Builder::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            Kind::Boolean => Self::Boolean(BooleanBuilder::new()),
            Kind::String => Self::String(StringBuilder::new()),
        }
    }

    /// Adds a value of the column's kind; one of another kind would be a null.
    pub(super) fn push(&mut self, value: Value<'_>) {
        match (self, value) {
            (Self::Integer(to), Value::Integer(value)) => to.append_value(value),
            (Self::Long(to), Value::Long(value)) => to.append_value(value),
            (Self::Unsigned(to), Value::Unsigned(value)) => to.append_value(value),
            (Self::Double(to), Value::Double(value)) => to.append_value(value),
            (Self::Date(to), Value::Date(value)) => to.append_value(value),
            (Self::Timestamp(to), Value::Timestamp(value)) => to.append_value(value),
            (Self::Boolean(to), Value::Boolean(value)) => to.append_value(value),
            (Self::String(to), Value::String(value)) => to.append_value(value),
            (Self::Integer(to), _) => to.append_null(),
            (Self::Long(to), _) => to.append_null(),
            (Self::Unsigned(to), _) => to.append_null(),
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
            Self::Unsigned(builder) => builder,
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
    fn texts_alone_have_the_narrowest_kind_that_they_fit_without_loss() {
        let kinds = [
            ("7", Kind::Integer),
            ("-7", Kind::Integer),
            ("0", Kind::Integer),
            ("-0", Kind::Double),
            ("-2147483649", Kind::Long),
            ("9223372036854775808", Kind::Unsigned),
            ("18446744073709551615", Kind::Unsigned),
            ("18446744073709551616", Kind::String),
            ("-9223372036854775809", Kind::String),
            ("00501", Kind::String),
            ("-007", Kind::String),
            ("00.5", Kind::String),
            ("0.5", Kind::Double),
            ("-0.5", Kind::Double),
            ("+4930123456", Kind::String),
            ("+1.5", Kind::String),
            ("1e3", Kind::Double),
            ("1e+10", Kind::Double),
            ("-1e10", Kind::Double),
            ("1.0e10", Kind::Double),
            ("12345e67", Kind::String),
            ("1E10", Kind::String),
            ("1.0e400", Kind::String),
            ("1.0e-400", Kind::String),
            ("0.0e-400", Kind::Double),
            ("NaN", Kind::Double),
            ("nan", Kind::String),
            ("infinity", Kind::String),
            ("2009-12-18", Kind::Date),
            ("2009-1-8", Kind::Date),
            ("2009-1-8 ", Kind::String),
            ("2009-12-18T10:00:00", Kind::Timestamp),
            ("2009-12-18 10:00:00.5", Kind::Timestamp),
            ("2009-13-18", Kind::String),
            ("TRUE", Kind::Boolean),
            (" 7", Kind::String),
            ("-", Kind::String),
            ("1,5", Kind::String),
        ];
        for (text, kind) in kinds {
            assert_eq!(Forms::of(text, None).kind(), kind, "{text:?}");
        }
        assert_eq!(Forms::of("18.12.2009", Some("%d.%m.%Y")).kind(), Kind::Date);
        assert_eq!(Forms::of("01022009", Some("%d%m%Y")).kind(), Kind::Date);
    }

    #[test]
    fn texts_together_have_the_kind_that_loses_nothing_of_any_in_whatever_order() {
        let kinds: [(&[&str], Kind); 17] = [
            (&["1", "1.5"], Kind::Double),
            (&["1", "2009-12-18"], Kind::String),
            (&["2009-12-18", "2009-12-18T10:00:00"], Kind::Timestamp),
            (&["true", "1"], Kind::String),
            (&["1", "00501"], Kind::String),
            (&["1", "+1"], Kind::String),
            (&["1", "18446744073709551615"], Kind::Unsigned),
            (&["-1", "18446744073709551615"], Kind::String),
            (&["-1", "9223372036854775808"], Kind::String),
            (&["1.5", "18446744073709551615"], Kind::String),
            (&["1.5", "9007199254740992"], Kind::Double),
            (&["1.5", "9007199254740993"], Kind::String),
            (&["-9007199254740993", "9007199254740993"], Kind::Long),
            (&["12345e67", "99999e12"], Kind::String),
            (&["12345e67", "1.5"], Kind::Double),
            (&["12345e67", "1234e567"], Kind::String),
            (&["12345e67", "9007199254740993"], Kind::String),
        ];
        for (texts, kind) in kinds {
            let all = |texts: &mut dyn Iterator<Item = &&str>| {
                texts.fold(Forms::default(), |forms, text| forms.or(Forms::of(text, None)))
            };
            assert_eq!(all(&mut texts.iter()).kind(), kind, "{texts:?}");
            assert_eq!(all(&mut texts.iter().rev()).kind(), kind, "{texts:?}");
        }
        assert_eq!(Forms::default().kind(), Kind::String);
    }

    #[test]
    fn timestamps_of_all_years_have_the_microsecond_that_they_say() {
        // Days by hand: 719,162 from 0001-01-01 to 1970-01-01, and 2,932,896 from there to 9999-12-31.
        let day = 86_400_000_000_i64;
        let timestamps = [
            ("0001-01-01 00:00:00", -719_162 * day),
            ("0001-01-01", -719_162 * day),
            ("0001-01-01T00:00:00.000001", -719_162 * day + 1),
            ("1677-09-21 00:12:43", -106_752 * day + 763_000_000),
            ("1969-12-31 23:59:59.999999", -1),
            ("1970-01-01 00:00:00.000001999", 1),
            ("1970-01-01T02:00:00+02:00", 0),
            ("2262-04-12 00:00:00", 106_752 * day),
            ("9999-12-31 23:59:59.999999", 2_932_897 * day - 1),
            ("9999-12-31T23:59:59Z", 2_932_897 * day - 1_000_000),
        ];
        for (text, micros) in timestamps {
            assert_eq!(Kind::Timestamp.parse(text, None), Some(Value::Timestamp(micros)), "{text:?}");
        }
        for text in ["10000-01-01 00:00:00", "-0001-01-01 00:00:00", "2009-02-29 00:00:00", "2009-12-18 24:00:00"] {
            assert_eq!(Kind::Timestamp.parse(text, None), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_settled_is_a_string_whatever_is_added() {
        for forms in (0..1 << 11).map(Forms).filter(|forms| forms.are_settled()) {
            for more in (0..1 << 11).map(Forms) {
                assert_eq!(forms.or(more).kind(), Kind::String, "{forms:?} {more:?}");
            }
        }
    }

    #[test]
    fn every_text_has_a_value_of_the_kind_that_it_was_found_to_have() {
        let texts = [
            "7",
            "-0",
            "3000000000",
            "18446744073709551615",
            "1.5",
            "1e3",
            "12345e67",
            "2009-1-8",
            "2009-12-18",
            "2009-12-18 10:00:00",
            "TRUE",
            "x",
            "00501",
        ];
        for a in texts {
            for b in texts {
                let kind = Forms::of(a, None).or(Forms::of(b, None)).kind();
                assert!(kind.parse(a, None).is_some() && kind.parse(b, None).is_some(), "{a:?}, {b:?}: {kind:?}");
            }
        }
    }
}
