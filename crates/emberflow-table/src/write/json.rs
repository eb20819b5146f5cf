//! A table's rows as JSON Lines.
//!
//! Owns the form of each value. All columns are written, nulls too, so that a reader finds them all in their order.

use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap},
};

use super::{Unwritable, time_text};
use crate::{
    cells::{Cell, Column, Rows},
    plain::type_name,
};

/// Writes a row.
pub(super) fn push_row(rows: &Rows<'_>, at: usize, to: &mut Vec<u8>) -> Result<(), Unwritable> {
    to.push(b'{');
    for (column, cell) in rows.cells(at).enumerate() {
        if column > 0 {
            to.push(b',');
        }
        let failed = |error: serde_json::Error| Unwritable::new(cell, error.to_string());
        serde_json::to_writer(&mut *to, cell.name).map_err(failed)?;
        to.push(b':');
        serde_json::to_writer(&mut *to, &cell).map_err(failed)?;
    }
    to.extend_from_slice(b"}\n");
    Ok(())
}

impl Serialize for Cell<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.at;
        match self.column {
            _ if self.is_null() => serializer.serialize_none(),
            Column::Boolean(array) => serializer.serialize_bool(array.value(at)),
            Column::Integer(array) => serializer.serialize_i32(array.value(at)),
            Column::Long(array) => serializer.serialize_i64(array.value(at)),
            Column::Unsigned(array) => serializer.serialize_u64(array.value(at)),
            Column::Double(array) => match array.value(at) {
                double if double.is_finite() => serializer.serialize_f64(double),
                double => Err(S::Error::custom(format_args!(
                    "{double}, which is no number of JSON; make a null of it, or write CSV"
                ))),
            },
            Column::String(array) => serializer.serialize_str(array.value(at)),
            Column::Date(_) | Column::Timestamp(_) => {
                serializer.serialize_str(&time_text(*self).map_err(|fault| S::Error::custom(fault.reason))?)
            }
            Column::List(..) => serializer.collect_seq(self.elements("a list").map_err(S::Error::custom)?),
            Column::Struct(_, columns) => {
                let mut map = serializer.serialize_map(Some(columns.len()))?;
                for (name, column) in columns {
                    map.serialize_entry(name, &Cell { name, column, at })?;
                }
                map.end()
            }
            // Found before the rows are.
            Column::Other(array) => Err(S::Error::custom(type_name(array.data_type()))),
        }
    }
}
