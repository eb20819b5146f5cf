//! Types and values in plain words, as rows, tables and errors name them.

use std::fmt::{self, Write};

use arrow_array::Array;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, FieldRef, TimeUnit};

/// Spark's name of a type, where it has one.
pub(crate) fn type_name(of: &DataType) -> String {
    match of {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "byte".to_owned(),
        DataType::Int16 => "short".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::UInt8 => "unsigned byte".to_owned(),
        DataType::UInt16 => "unsigned short".to_owned(),
        DataType::UInt32 => "unsigned integer".to_owned(),
        DataType::UInt64 => "unsigned long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp_ntz".to_owned(),
        DataType::List(element) => format!("array<{}>", type_name(element.data_type())),
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| format!("{}:{}", field.name(), type_name(field.data_type()));
            format!("struct<{}>", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// A value as Arrow shows it: integers, and what Python has no form for.
pub(super) fn write_plainly(to: &mut impl Write, array: &dyn Array, at: usize) -> fmt::Result {
    match ArrayFormatter::try_new(array, &FormatOptions::default()) {
        Ok(values) => write!(to, "{}", values.value(at)),
        Err(_) => write!(to, "<{}>", array.data_type()),
    }
}
