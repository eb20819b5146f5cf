//! The types of columns that rows are read from, and those that are turned into one of them first.
//!
//! Files give few types. Batches of Arrow's that come from elsewhere hold any: narrower and wider numbers, other layouts of
//! strings and lists, other units of time. Each is read as the known type that loses nothing of it; a type that none does
//! that for is left as it is, and is an error only where a row wants its value.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, TimeUnit};

/// The known type that holds all values of another one; nothing if that is known, or if there is none.
fn known_type(of: &DataType) -> Option<DataType> {
    match of {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => Some(DataType::Int32),
        DataType::UInt32 => Some(DataType::Int64),
        DataType::Float16 | DataType::Float32 => Some(DataType::Float64),
        DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8),
        // As text, which keeps all digits and is read into numbers, too.
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            Some(DataType::Utf8)
        }
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None) | DataType::Date64 => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        DataType::Dictionary(_, values) => Some(known_type(values).unwrap_or_else(|| values.as_ref().clone())),
        DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            Some(DataType::List(known_field(element).unwrap_or_else(|| Arc::clone(element))))
        }
        DataType::List(element) => known_field(element).map(DataType::List),
        DataType::Struct(fields) => {
            let known: Vec<Option<FieldRef>> = fields.iter().map(known_field).collect();
            known.iter().any(Option::is_some).then(|| {
                let known =
                    known.into_iter().zip(fields).map(|(known, field)| known.unwrap_or_else(|| Arc::clone(field)));
                DataType::Struct(known.collect())
            })
        }
        _ => None,
    }
}

/// The type that values of a type are read as: itself, if no other one is known for it.
pub(super) fn known_or_same(of: &DataType) -> DataType {
    known_type(of).unwrap_or_else(|| of.clone())
}

fn known_field(field: &FieldRef) -> Option<FieldRef> {
    let known = known_type(field.data_type())?;
    Some(Arc::new(Field::new(field.name(), known, true)))
}

/// The batch with columns of known types, as far as they can be made.
///
/// # Errors
/// If a value has no place in the known type, as a millisecond far beyond all years.
pub(super) fn known(batch: &RecordBatch) -> Result<Cow<'_, RecordBatch>, ArrowError> {
    let schema = batch.schema_ref();
    let fields: Vec<Option<FieldRef>> = schema.fields().iter().map(known_field).collect();
    if fields.iter().all(Option::is_none) {
        return Ok(Cow::Borrowed(batch));
    }
    // A value that does not fit is an error, not a null.
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let columns = fields.iter().zip(batch.columns()).map(|(known, column)| match known {
        Some(field) => cast_with_options(column, field.data_type(), &strict),
        None => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let fields =
        fields.into_iter().zip(schema.fields()).map(|(known, field)| known.unwrap_or_else(|| Arc::clone(field)));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &counted).map(Cow::Owned)
}
