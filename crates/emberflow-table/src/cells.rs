//! The rows of a batch, as serde's deserializers: what a field of a row type may be made of.
//!
//! It depends on the value whether it fits a field, not on the others in its column: a column of integers is read into
//! `f64`, and one of doubles into `i32` if it holds whole numbers only. Nothing is made of a value that would lose a part.

use std::borrow::Cow;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{DataType, TimeUnit};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor,
    value::{StrDeserializer, StringDeserializer},
};

use super::{
    kind::{plain_double, plain_integer},
    plain::{type_name, write_plainly},
};

/// Why no row was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CellError {
    #[error("column {column:?} holds a null, for which {wanted} has no place; read it as an Option<{wanted}>")]
    Null { column: String, wanted: &'static str },
    #[error("column {column:?} holds {value}, which does not fit {wanted}; read it as {advice}")]
    DoesNotFit { column: String, value: String, wanted: &'static str, advice: &'static str },
    #[error(
        "column {column:?} is {of} and holds {value}, which is no {wanted}; read it as another type or, if it stands \
         for null, name it by Reader::null_value"
    )]
    OtherType { column: String, of: String, value: String, wanted: &'static str },
    #[error(
        "column {column:?} is {of} and holds {value}, which may have stood otherwise in its file (a double forgets the \
         zeros at its end); read it as that type, or make the column a string by Reader::schema"
    )]
    NoText { column: String, of: String, value: String },
    #[error(
        "column {column:?} is {of}, of which no values are read; leave its field out, or cast the column before it \
         becomes part of a table"
    )]
    NotRead { column: String, of: String },
    #[error("column {column:?} is a single value, not {wanted}")]
    Single { column: String, wanted: &'static str },
    #[error(
        "there is no column for the field {field:?}; there are {there}. If it may be missing, give it #[serde(default)]"
    )]
    NoColumn { field: &'static str, there: String },
    #[error("{wanted} wants {fields} columns, and there are {columns}; choose them by Table::select")]
    Columns { wanted: &'static str, fields: usize, columns: usize },
    #[error("column {column:?} holds a list of {there}, and {wanted} are wanted; read it as a Vec")]
    Elements { column: String, wanted: usize, there: usize },
    #[error("a row is a struct with a field for each column, a tuple or a map, not {0}")]
    NoRow(&'static str),
    #[error("column {column:?}: {message}")]
    Field { column: String, message: String },
    #[error("{0}")]
    Other(String),
}

impl CellError {
    /// The error with its column, if nothing has said which.
    fn of(self, column: &str) -> Self {
        match self {
            Self::Other(message) => Self::Field { column: column.to_owned(), message },
            known => known,
        }
    }

    /// With the columns that there are, if it is that one is missing.
    fn among(self, columns: &[(&str, Column<'_>)]) -> Self {
        match self {
            Self::NoColumn { field, there } if there.is_empty() => {
                let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
                Self::NoColumn { field, there: names.join(", ") }
            }
            known => known,
        }
    }
}

impl de::Error for CellError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::NoColumn { field, there: String::new() }
    }
}

/// The columns of a batch.
pub(crate) struct Rows<'a> {
    columns: Vec<(&'a str, Column<'a>)>,
    rows: usize,
}

pub(super) enum Column<'a> {
    Boolean(&'a BooleanArray),
    Integer(&'a Int32Array),
    Long(&'a Int64Array),
    Unsigned(&'a UInt64Array),
    Double(&'a Float64Array),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    String(&'a StringArray),
    /// With the elements of all its lists.
    List(&'a ListArray, Box<Column<'a>>),
    Struct(&'a StructArray, Vec<(&'a str, Column<'a>)>),
    /// A column of a type that no values are read from.
    Other(&'a ArrayRef),
}

impl<'a> Column<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        let any = array.as_any();
        let column = match array.data_type() {
            DataType::Boolean => any.downcast_ref().map(Self::Boolean),
            DataType::Int32 => any.downcast_ref().map(Self::Integer),
            DataType::Int64 => any.downcast_ref().map(Self::Long),
            DataType::UInt64 => any.downcast_ref().map(Self::Unsigned),
            DataType::Float64 => any.downcast_ref().map(Self::Double),
            DataType::Date32 => any.downcast_ref().map(Self::Date),
            DataType::Timestamp(TimeUnit::Microsecond, None) => any.downcast_ref().map(Self::Timestamp),
            DataType::Utf8 => any.downcast_ref().map(Self::String),
            DataType::List(_) => any.downcast_ref().map(|lists: &ListArray| {
                let elements = Box::new(Self::of(lists.values()));
                Self::List(lists, elements)
            }),
            DataType::Struct(fields) => any.downcast_ref().map(|structs: &StructArray| {
                let names = fields.iter().map(|field| field.name().as_str());
                Self::Struct(structs, names.zip(structs.columns().iter().map(Self::of)).collect())
            }),
            _ => Some(Self::Other(array)),
        };
        column.expect("an array is of the type that it says")
    }

    fn array(&self) -> &'a dyn Array {
        match self {
            Self::Boolean(array) => *array,
            Self::Integer(array) => *array,
            Self::Long(array) => *array,
            Self::Unsigned(array) => *array,
            Self::Double(array) => *array,
            Self::Date(array) => *array,
            Self::Timestamp(array) => *array,
            Self::String(array) => *array,
            Self::List(array, _) => *array,
            Self::Struct(array, _) => *array,
            Self::Other(array) => *array,
        }
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn of(batch: &'a RecordBatch) -> Self {
        let column =
            |(field, array): (&'a arrow_schema::FieldRef, &'a ArrayRef)| (field.name().as_str(), Column::of(array));
        let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(column).collect();
        Self { columns, rows: batch.num_rows() }
    }

    /// The rows in their order, until one is none of `T`'s.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<T, CellError>> {
        (0..self.rows).map(|at| self.read_one(at))
    }

    /// One of the rows.
    pub(crate) fn read_one<T: DeserializeOwned>(&self, at: usize) -> Result<T, CellError> {
        T::deserialize(Row { columns: &self.columns, at }).map_err(|error| error.among(&self.columns))
    }

    /// The cells of a row, in the order of the columns.
    pub(super) fn cells(&self, at: usize) -> impl Iterator<Item = Cell<'_, 'a>> {
        self.columns.iter().map(move |(name, column)| Cell { name, column, at })
    }

    /// A row as text, to find it by.
    pub(crate) fn describe(&self, at: usize) -> String {
        const MOST: usize = 200;
        let mut text = String::new();
        for (n, (name, column)) in self.columns.iter().enumerate() {
            if text.len() > MOST {
                text.push_str(", …");
                break;
            }
            let comma = if n == 0 { "" } else { ", " };
            text.push_str(&format!("{comma}{name} = {}", Cell { name, column, at }.shown()));
        }
        text
    }
}

/// One cell of a column.
pub(crate) fn read_cell<T: DeserializeOwned>(name: &str, array: &ArrayRef, at: usize) -> Result<T, CellError> {
    T::deserialize(Cell { name, column: &Column::of(array), at }).map_err(|error| error.of(name))
}

#[derive(Clone, Copy)]
struct Row<'r, 'a> {
    columns: &'r [(&'a str, Column<'a>)],
    at: usize,
}

impl<'r, 'a> Row<'r, 'a> {
    fn cell(&self, column: usize) -> Cell<'r, 'a> {
        let (name, column) = &self.columns[column];
        Cell { name, column, at: self.at }
    }

    fn fields<'de, V: Visitor<'de>>(
        self,
        wanted: &'static str,
        fields: usize,
        visitor: V,
    ) -> Result<V::Value, CellError> {
        if fields != self.columns.len() {
            return Err(CellError::Columns { wanted, fields, columns: self.columns.len() });
        }
        visitor.visit_seq(Fields { row: self, next: 0 })
    }
}

macro_rules! no_row {
    ($($method:ident: $wanted:literal,)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CellError> {
            Err(CellError::NoRow($wanted))
        })*
    };
}

impl<'de> Deserializer<'de> for Row<'_, '_> {
    type Error = CellError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_map(Fields { row: self, next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CellError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_seq(Fields { row: self, next: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, fields: usize, visitor: V) -> Result<V::Value, CellError> {
        self.fields("the tuple", fields, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: usize,
        visitor: V,
    ) -> Result<V::Value, CellError> {
        self.fields(name, fields, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, CellError> {
        Err(CellError::NoRow(name))
    }

    no_row! {
        deserialize_bool: "bool", deserialize_i8: "i8", deserialize_i16: "i16", deserialize_i32: "i32",
        deserialize_i64: "i64", deserialize_i128: "i128", deserialize_u8: "u8", deserialize_u16: "u16",
        deserialize_u32: "u32", deserialize_u64: "u64", deserialize_u128: "u128", deserialize_f32: "f32",
        deserialize_f64: "f64", deserialize_char: "char", deserialize_str: "String", deserialize_string: "String",
        deserialize_bytes: "bytes", deserialize_byte_buf: "bytes", deserialize_identifier: "String",
    }
}

/// The cells of a row, one after the other.
struct Fields<'r, 'a> {
    row: Row<'r, 'a>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_, '_> {
    type Error = CellError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, CellError> {
        if self.next == self.row.columns.len() {
            return Ok(None);
        }
        let cell = self.row.cell(self.next);
        self.next += 1;
        seed.deserialize(cell).map(Some).map_err(|error| error.of(cell.name))
    }
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = CellError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, CellError> {
        match self.row.columns.get(self.next) {
            Some((name, _)) => seed.deserialize(StrDeserializer::new(name)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, CellError> {
        let cell = self.row.cell(self.next);
        self.next += 1;
        seed.deserialize(cell).map_err(|error| error.of(cell.name))
    }
}

/// A value that may be null.
#[derive(Clone, Copy)]
pub(super) struct Cell<'r, 'a> {
    pub(super) name: &'r str,
    pub(super) column: &'r Column<'a>,
    pub(super) at: usize,
}

impl<'r, 'a> Cell<'r, 'a> {
    pub(super) fn is_null(&self) -> bool {
        self.column.array().is_null(self.at)
    }

    fn of(&self) -> String {
        type_name(self.column.array().data_type())
    }

    /// The value as text, as it is shown.
    pub(super) fn text(&self) -> Cow<'a, str> {
        let at = self.at;
        match self.column {
            Column::Boolean(array) => array.value(at).to_string().into(),
            Column::Integer(array) => array.value(at).to_string().into(),
            Column::Long(array) => array.value(at).to_string().into(),
            Column::Unsigned(array) => array.value(at).to_string().into(),
            Column::Double(array) => format!("{:?}", array.value(at)).into(),
            Column::Date(array) => array.value_as_date(at).map_or_else(String::new, |date| date.to_string()).into(),
            Column::Timestamp(array) => {
                array.value_as_datetime(at).map_or_else(String::new, |time| format!("{time:?}")).into()
            }
            Column::String(array) => array.value(at).into(),
            Column::List(..) | Column::Struct(..) | Column::Other(_) => {
                let mut text = String::new();
                write_plainly(&mut text, self.column.array(), at).expect("a string takes whatever is written to it");
                text.into()
            }
        }
    }

    /// The value in an error.
    fn shown(&self) -> String {
        match self.column {
            _ if self.is_null() => "null".to_owned(),
            Column::String(_) => format!("{:?}", self.text()),
            _ => self.text().into_owned(),
        }
    }

    fn some(&self, wanted: &'static str) -> Result<(), CellError> {
        let column = || self.name.to_owned();
        match self.column {
            _ if self.is_null() => Err(CellError::Null { column: column(), wanted }),
            Column::Other(_) => Err(CellError::NotRead { column: column(), of: self.of() }),
            _ => Ok(()),
        }
    }

    fn other_type(&self, wanted: &'static str) -> CellError {
        CellError::OtherType { column: self.name.to_owned(), of: self.of(), value: self.shown(), wanted }
    }

    fn does_not_fit(&self, wanted: &'static str, advice: &'static str) -> CellError {
        CellError::DoesNotFit { column: self.name.to_owned(), value: self.shown(), wanted, advice }
    }

    /// A whole number, whatever the column's type is; a date's days and a timestamp's microseconds since 1970.
    fn integer(&self, wanted: &'static str) -> Result<i128, CellError> {
        self.some(wanted)?;
        let at = self.at;
        let value = match self.column {
            Column::Integer(array) => Some(array.value(at).into()),
            Column::Long(array) => Some(array.value(at).into()),
            Column::Unsigned(array) => Some(array.value(at).into()),
            Column::Date(array) if matches!(wanted, "i32" | "i64") => Some(array.value(at).into()),
            Column::Timestamp(array) if wanted == "i64" => Some(array.value(at).into()),
            Column::Double(array) => {
                return whole(array.value(at)).ok_or_else(|| self.does_not_fit(wanted, "an f64"));
            }
            Column::String(array) => {
                let text = array.value(at);
                plain_integer(text).or_else(|| whole(plain_double(text)?))
            }
            _ => None,
        };
        value.ok_or_else(|| self.other_type(wanted))
    }

    fn double(&self, wanted: &'static str) -> Result<f64, CellError> {
        self.some(wanted)?;
        let at = self.at;
        let whole: i128 = match self.column {
            Column::Integer(array) => array.value(at).into(),
            Column::Long(array) => array.value(at).into(),
            Column::Unsigned(array) => array.value(at).into(),
            Column::Double(array) => return Ok(array.value(at)),
            Column::String(array) => return plain_double(array.value(at)).ok_or_else(|| self.other_type(wanted)),
            _ => return Err(self.other_type(wanted)),
        };
        let double = whole as f64;
        if double as i128 == whole { Ok(double) } else { Err(self.does_not_fit(wanted, "an i64, u64 or String")) }
    }

    /// The text that stood in the file.
    fn exact_text(&self, wanted: &'static str) -> Result<Cow<'a, str>, CellError> {
        self.some(wanted)?;
        match self.column {
            Column::Double(_) | Column::Boolean(_) => {
                Err(CellError::NoText { column: self.name.to_owned(), of: self.of(), value: self.shown() })
            }
            Column::List(..) | Column::Struct(..) => Err(self.other_type(wanted)),
            _ => Ok(self.text()),
        }
    }

    /// The elements of a list.
    pub(super) fn elements(&self, wanted: &'static str) -> Result<Elements<'r, 'a>, CellError> {
        self.some(wanted)?;
        match self.column {
            Column::List(lists, elements) => {
                let bounds = [lists.value_offsets()[self.at], lists.value_offsets()[self.at + 1]];
                let [next, end] = bounds.map(|at| usize::try_from(at).expect("offsets are not negative"));
                Ok(Elements { name: self.name, column: elements, next, end })
            }
            _ => Err(CellError::Single { column: self.name.to_owned(), wanted }),
        }
    }

    /// The fields of a struct.
    fn parts(&self, wanted: &'static str) -> Result<Row<'r, 'a>, CellError> {
        self.some(wanted)?;
        match self.column {
            Column::Struct(_, columns) => Ok(Row { columns, at: self.at }),
            Column::List(..) => Err(self.other_type(wanted)),
            _ => Err(CellError::Single { column: self.name.to_owned(), wanted }),
        }
    }
}

/// The elements of a list, one after the other.
pub(super) struct Elements<'r, 'a> {
    name: &'r str,
    column: &'r Column<'a>,
    next: usize,
    end: usize,
}

impl<'r, 'a> Iterator for Elements<'r, 'a> {
    type Item = Cell<'r, 'a>;

    fn next(&mut self) -> Option<Cell<'r, 'a>> {
        let cell = Cell { name: self.name, column: self.column, at: self.next };
        (self.next < self.end).then(|| {
            self.next += 1;
            cell
        })
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = CellError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, CellError> {
        let Some(cell) = self.next() else { return Ok(None) };
        seed.deserialize(cell).map(Some).map_err(|error| error.of(cell.name))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.end - self.next)
    }
}

/// The integer that a double is equal to.
fn whole(double: f64) -> Option<i128> {
    let whole = double as i128;
    (whole as f64 == double).then_some(whole)
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty: $name:literal,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
            match <$type>::try_from(self.integer($name)?) {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(self.does_not_fit($name, "an i64, u64 or String")),
            }
        })*
    };
}

macro_rules! texts {
    ($($method:ident: $name:literal,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
            match self.exact_text($name)? {
                Cow::Borrowed(text) => visitor.visit_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Cell<'_, '_> {
    type Error = CellError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        match self.column {
            _ if self.is_null() => visitor.visit_unit(),
            Column::Boolean(array) => visitor.visit_bool(array.value(self.at)),
            Column::Integer(array) => visitor.visit_i32(array.value(self.at)),
            Column::Long(array) => visitor.visit_i64(array.value(self.at)),
            Column::Unsigned(array) => visitor.visit_u64(array.value(self.at)),
            Column::Double(array) => visitor.visit_f64(array.value(self.at)),
            Column::String(array) => visitor.visit_str(array.value(self.at)),
            Column::Date(_) | Column::Timestamp(_) => visitor.visit_string(self.text().into_owned()),
            Column::List(..) => visitor.visit_seq(self.elements("a sequence")?),
            Column::Struct(_, columns) => visitor.visit_map(Fields { row: Row { columns, at: self.at }, next: 0 }),
            Column::Other(_) => Err(CellError::NotRead { column: self.name.to_owned(), of: self.of() }),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        self.some("bool")?;
        match self.column {
            Column::Boolean(array) => visitor.visit_bool(array.value(self.at)),
            Column::String(array) if array.value(self.at).eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            Column::String(array) if array.value(self.at).eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            _ => Err(self.other_type("bool")),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8: "i8",
        deserialize_i16 visit_i16 i16: "i16",
        deserialize_i32 visit_i32 i32: "i32",
        deserialize_i64 visit_i64 i64: "i64",
        deserialize_i128 visit_i128 i128: "i128",
        deserialize_u8 visit_u8 u8: "u8",
        deserialize_u16 visit_u16 u16: "u16",
        deserialize_u32 visit_u32 u32: "u32",
        deserialize_u64 visit_u64 u64: "u64",
        deserialize_u128 visit_u128 u128: "u128",
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        let double = self.double("f32")?;
        let float = double as f32;
        let is_integer = matches!(self.column, Column::Integer(_) | Column::Long(_) | Column::Unsigned(_));
        // Fractions are rounded whatever they are read as; a whole number is not.
        if (is_integer && f64::from(float) != double) || float.is_finite() != double.is_finite() {
            return Err(self.does_not_fit("f32", "an f64"));
        }
        visitor.visit_f32(float)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_f64(self.double("f64")?)
    }

    texts! {
        deserialize_char: "char",
        deserialize_str: "String",
        deserialize_string: "String",
        deserialize_identifier: "String",
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_bytes(self.exact_text("Vec<u8>")?.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_newtype_struct(self)
    }

    /// By the name of a variant without fields.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CellError> {
        visitor.visit_enum(StringDeserializer::new(self.exact_text(name)?.into_owned()))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_seq(self.elements("a sequence")?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, fields: usize, visitor: V) -> Result<V::Value, CellError> {
        if let Column::Struct(..) = self.column {
            return self.parts("a tuple")?.fields("the tuple", fields, visitor);
        }
        let elements = self.elements("a tuple")?;
        match elements.end - elements.next {
            there if there == fields => visitor.visit_seq(elements),
            there => Err(CellError::Elements { column: self.name.to_owned(), wanted: fields, there }),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: usize,
        visitor: V,
    ) -> Result<V::Value, CellError> {
        self.deserialize_tuple(fields, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CellError> {
        visitor.visit_map(Fields { row: self.parts("a map")?, next: 0 })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        wanted: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CellError> {
        let row = self.parts(wanted)?;
        visitor.visit_map(Fields { row, next: 0 }).map_err(|error| error.among(row.columns))
    }
}
