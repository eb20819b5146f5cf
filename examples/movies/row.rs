//! One row of a CSV file, its fields turned into values of the types that the schema names.
//!
//! A row holds values only; names and types stay in the one [`Schema`], so a million rows do not carry a million copies
//! of them. A row is made by [`Row::parse`] and printed together with its schema, in PySpark's form.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::schema::{ColumnType, Schema, parse_double};

/// One value of a row. Displayed as Python's `repr` would show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    /// An empty field.
    Null,
    /// Of an `integer` column.
    Int(i32),
    /// Of a `long` column.
    Long(i64),
    /// Of a `double` column.
    Double(f64),
    /// Of a `string` column.
    String(String),
}

impl Value {
    /// The text of a string; nothing for any other value.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A number as a floating-point one; nothing for a string or a null.
    pub(crate) fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Int(number) => Some(number.into()),
            Value::Long(number) => Some(number as f64),
            Value::Double(number) => Some(number),
            Value::Null | Value::String(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("None"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Long(number) => write!(f, "{number}"),
            Value::Double(number) => write_double(f, *number),
            Value::String(text) => write_quoted(f, text),
        }
    }
}

/// Rust's debug form has Python's digits and switches to an exponent at the same sizes; only the exponent is written
/// differently: `1e16` is `1e+16`, `1e-5` is `1e-05`.
fn write_double(f: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    let digits = format!("{number:?}");
    match digits.split_once('e') {
        None => f.write_str(&digits),
        Some((mantissa, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            write!(f, "{mantissa}e{sign}{exponent:0>2}")
        }
    }
}

/// Single quotes, unless there is an apostrophe in the text and no double quote.
fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

/// The values of one row, in the order of the schema's columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// One for each column.
    pub(crate) values: Vec<Value>,
}

/// Why the fields of a record make no row of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ParseError {
    /// The record has more or fewer fields than the header.
    #[error("expected {expected} fields, found {found}; look for a missing comma or an unclosed quote")]
    FieldCount {
        /// Columns of the schema.
        expected: usize,
        /// Fields of the record.
        found: usize,
    },
    /// A field is not of its column's type.
    #[error("column {column}: expected {expected}, found {found:?}; correct the field or leave it empty")]
    NotOfType {
        /// The column's name.
        column: String,
        /// The column's type.
        expected: ColumnType,
        /// The field as it stands in the file.
        found: String,
    },
    /// A field is empty, and its column is not nullable.
    #[error("column {column}: expected {expected}, found an empty field; fill it in")]
    Missing {
        /// The column's name.
        column: String,
        /// The column's type.
        expected: ColumnType,
    },
}

impl Row {
    /// Turns the fields of one record into a row of `schema`. An empty field is a null.
    pub(crate) fn parse<S: AsRef<str>>(fields: &[S], schema: &Schema) -> Result<Row, ParseError> {
        if fields.len() != schema.fields.len() {
            return Err(ParseError::FieldCount { expected: schema.fields.len(), found: fields.len() });
        }
        let mut values = Vec::with_capacity(fields.len());
        for (text, field) in fields.iter().map(AsRef::as_ref).zip(&schema.fields) {
            if text.is_empty() {
                if !field.nullable {
                    return Err(ParseError::Missing { column: field.name.clone(), expected: field.kind });
                }
                values.push(Value::Null);
                continue;
            }
            let value = match field.kind {
                ColumnType::Int => text.parse().ok().map(Value::Int),
                ColumnType::Long => text.parse().ok().map(Value::Long),
                ColumnType::Double => parse_double(text).map(Value::Double),
                ColumnType::Null | ColumnType::String => Some(Value::String(text.to_owned())),
            };
            values.push(value.ok_or_else(|| ParseError::NotOfType {
                column: field.name.clone(),
                expected: field.kind,
                found: text.to_owned(),
            })?);
        }
        Ok(Row { values })
    }

    /// The row as PySpark prints it: `Row(title='Avatar', budget=237000000, runtime=162.0)`.
    pub(crate) fn display<'a>(&'a self, schema: &'a Schema) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            f.write_str("Row(")?;
            for (index, (field, value)) in schema.fields.iter().zip(&self.values).enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{}={value}", field.name)?;
            }
            f.write_str(")")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [&str; 7] = ["title", "genre", "budget", "runtime", "year", "month", "revenue"];

    /// The schema that the given records have under [`HEADER`].
    fn schema_of(records: &[[&str; 7]]) -> Schema {
        let mut schema = Schema::from_header(&HEADER);
        for (index, field) in schema.fields.iter_mut().enumerate() {
            let kinds = records.iter().map(|record| ColumnType::of(record[index]));
            field.kind = kinds.fold(ColumnType::Null, ColumnType::merge);
        }
        schema
    }

    const AVATAR: [&str; 7] = ["Avatar", "Action", "237000000", "162.0", "2009", "12", "2787965087"];
    const JOY_RIDE: [&str; 7] = ["Joy Ride", "", "23000000", "97.0", "2001", "10", "36642838"];

    #[test]
    fn a_row_prints_as_pyspark_prints_it() {
        let schema = schema_of(&[AVATAR, JOY_RIDE]);
        let print = |record| Row::parse(record, &schema).unwrap().display(&schema).to_string();
        assert_eq!(
            print(&AVATAR),
            "Row(title='Avatar', genre='Action', budget=237000000, runtime=162.0, year=2009, month=12, \
             revenue=2787965087)"
        );
        assert_eq!(
            print(&JOY_RIDE),
            "Row(title='Joy Ride', genre=None, budget=23000000, runtime=97.0, year=2001, month=10, revenue=36642838)"
        );
    }

    #[test]
    fn values_take_the_type_of_their_column() {
        let schema = schema_of(&[AVATAR, JOY_RIDE]);
        let row = Row::parse(&JOY_RIDE, &schema).unwrap();
        let expected = [
            Value::String("Joy Ride".to_owned()),
            Value::Null,
            Value::Int(23_000_000),
            Value::Double(97.0),
            Value::Int(2001),
            Value::Int(10),
            Value::Long(36_642_838),
        ];
        assert_eq!(row.values, expected);
    }

    #[test]
    fn strings_are_quoted_as_python_quotes_them() {
        let cases = [
            ("Her", "'Her'"),
            ("World's End", r#""World's End""#),
            (r#"The "Burbs""#, r#"'The "Burbs"'"#),
            (r#"Ocean's "11""#, r#"'Ocean\'s "11"'"#),
            ("a\\b", r"'a\\b'"),
            ("a\nb\r\tc", r"'a\nb\r\tc'"),
            ("\u{7}\u{85}", r"'\x07\x85'"),
            ("Amélie", "'Amélie'"),
        ];
        for (text, repr) in cases {
            assert_eq!(Value::String(text.to_owned()).to_string(), repr);
        }
    }

    #[test]
    fn doubles_are_written_as_python_writes_them() {
        let cases = [
            (162.0, "162.0"),
            (-0.5, "-0.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (2.5e300, "2.5e+300"),
        ];
        for (number, repr) in cases {
            assert_eq!(Value::Double(number).to_string(), repr);
        }
    }

    #[test]
    fn a_field_of_another_type_is_named_with_its_column() {
        let schema = schema_of(&[AVATAR]);
        let mut record = AVATAR;
        record[4] = "soon";
        let error = Row::parse(&record, &schema).unwrap_err();
        let expected =
            ParseError::NotOfType { column: "year".to_owned(), expected: ColumnType::Int, found: "soon".to_owned() };
        assert_eq!(error, expected);
        assert_eq!(
            error.to_string(),
            r#"column year: expected integer, found "soon"; correct the field or leave it empty"#
        );
    }

    #[test]
    fn a_wrong_number_of_fields_is_an_error() {
        let error = Row::parse(&AVATAR[..5], &schema_of(&[AVATAR])).unwrap_err();
        assert_eq!(error, ParseError::FieldCount { expected: 7, found: 5 });
    }

    #[test]
    fn an_empty_field_is_an_error_only_where_the_column_is_not_nullable() {
        let mut schema = schema_of(&[AVATAR]);
        assert!(Row::parse(&JOY_RIDE, &schema).is_ok());
        schema.fields[1].nullable = false;
        let error = Row::parse(&JOY_RIDE, &schema).unwrap_err();
        assert_eq!(error, ParseError::Missing { column: "genre".to_owned(), expected: ColumnType::String });
    }

    #[test]
    fn numbers_come_from_any_numeric_column() {
        assert_eq!(Value::Int(-3).as_f64(), Some(-3.0));
        assert_eq!(Value::Long(2_787_965_087).as_f64(), Some(2_787_965_087.0));
        assert_eq!(Value::Double(0.25).as_f64(), Some(0.25));
        assert_eq!(Value::Null.as_f64(), None);
        assert_eq!(Value::String("7".to_owned()).as_f64(), None);
        assert_eq!(Value::String("Action".to_owned()).as_str(), Some("Action"));
        assert_eq!(Value::Int(7).as_str(), None);
    }
}
