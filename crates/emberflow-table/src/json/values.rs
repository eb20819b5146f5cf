//! From JSON to columns: values that fit their column's type, nulls where they do not.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef, Fields};

use serde::{Deserialize, Serialize};

use super::text::{Json, RawValue};
use crate::{
    error::RecordFault,
    kind::{Column, Forms, Kind, Value},
    plain::type_name,
};

/// The type that a column is read as.
#[derive(Serialize, Deserialize)]
pub(super) enum Wanted {
    Scalar(Kind),
    List(Box<Wanted>),
    Object(Parts),
}

impl Wanted {
    /// Nothing if columns of that type are not made of JSON.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::List(element) => Self::List(Box::new(Self::of(element.data_type())?)),
            DataType::Struct(fields) if !fields.is_empty() => Self::Object(Parts::of(fields)?),
            other => Self::Scalar(Kind::for_type(other)?),
        })
    }

    fn type_name(&self) -> String {
        match self {
            Self::Scalar(kind) => type_name(&kind.data_type()),
            Self::List(element) => format!("array<{}>", element.type_name()),
            Self::Object(_) => "struct".to_owned(),
        }
    }
}

/// The fields of an object, by their names.
#[derive(Serialize, Deserialize)]
pub(super) struct Parts {
    wanted: Vec<(String, Wanted)>,
    places: HashMap<String, usize>,
}

impl Parts {
    pub(super) fn of(fields: &Fields) -> Option<Self> {
        let part = |field: &FieldRef| Some((field.name().clone(), Wanted::of(field.data_type())?));
        let wanted = fields.iter().map(part).collect::<Option<Vec<_>>>()?;
        let places = wanted.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Some(Self { wanted, places })
    }

    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }
}

/// One value, for a column of its type.
pub(super) enum Parsed<'a> {
    Null,
    Text(Cow<'a, str>),
    Scalar(Value<'static>),
    List(Vec<Parsed<'a>>),
    Object(Vec<Parsed<'a>>),
}

/// Where a value is: its column, or its field of one.
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    name: &'p str,
}

impl Path<'_> {
    fn name(&self) -> String {
        self.parent.map_or_else(String::new, |parent| parent.name() + ".") + self.name
    }
}

/// Makes values of raw ones, and remembers the first that does not fit.
pub(super) struct Parser<'o> {
    pub(super) date_format: Option<&'o str>,
    /// Whether a number must be equal to the double that is made of it.
    pub(super) exact: bool,
    pub(super) fault: Option<RecordFault>,
}

impl Parser<'_> {
    /// The values of an object's fields.
    pub(super) fn record<'a>(&mut self, parts: &Parts, entries: Vec<(Cow<'a, str>, &'a RawValue)>) -> Vec<Parsed<'a>> {
        self.parts(parts, entries, None)
    }

    fn parts<'a>(
        &mut self,
        parts: &Parts,
        entries: Vec<(Cow<'a, str>, &'a RawValue)>,
        parent: Option<&Path<'_>>,
    ) -> Vec<Parsed<'a>> {
        let mut raw: Vec<Option<&RawValue>> = vec![None; parts.len()];
        for (name, value) in entries {
            if let Some(at) = parts.places.get(&*name) {
                raw[*at] = Some(value);
            }
        }
        let parsed = |(raw, (name, wanted)): (Option<&'a RawValue>, &(String, Wanted))| match raw {
            Some(raw) => self.value(wanted, raw, &Path { parent, name }),
            None => Parsed::Null,
        };
        raw.into_iter().zip(&parts.wanted).map(parsed).collect()
    }

    fn value<'a>(&mut self, wanted: &Wanted, raw: &'a RawValue, path: &Path<'_>) -> Parsed<'a> {
        let json = Json::of(raw);
        let scalar = |value: Option<Value<'static>>| value.map(Parsed::Scalar);
        let parsed = match (wanted, json) {
            (_, Ok(Json::Null)) => Some(Parsed::Null),
            (Wanted::List(element), Ok(Json::List(elements))) => {
                Some(Parsed::List(elements.into_iter().map(|raw| self.value(element, raw, path)).collect()))
            }
            (Wanted::Object(parts), Ok(Json::Object(entries))) => {
                Some(Parsed::Object(self.parts(parts, entries, Some(path))))
            }
            (Wanted::Scalar(Kind::String), Ok(Json::Text(text))) => Some(Parsed::Text(text)),
            // As it stands in the file.
            (Wanted::Scalar(Kind::String), Ok(_)) => Some(Parsed::Text(Cow::Borrowed(raw.get()))),
            (Wanted::Scalar(Kind::Boolean), Ok(Json::Boolean(value))) => scalar(Some(Value::Boolean(value))),
            (Wanted::Scalar(kind @ (Kind::Date | Kind::Timestamp)), Ok(Json::Text(text))) => {
                scalar(owned(kind.parse(&text, self.date_format)))
            }
            (Wanted::Scalar(kind @ (Kind::Integer | Kind::Long | Kind::Unsigned)), Ok(Json::Number(text))) => {
                scalar(owned(kind.parse(text, None)))
            }
            (Wanted::Scalar(Kind::Double), Ok(Json::Number(text))) => {
                let is_exact = !self.exact || Forms::of_json_number(text).is_double();
                scalar(owned(Kind::Double.parse(text, None).filter(|_| is_exact)))
            }
            _ => None,
        };
        parsed.unwrap_or_else(|| {
            self.fault.get_or_insert_with(|| RecordFault::Field {
                column: path.name(),
                text: raw.get().to_owned(),
                wanted: wanted.type_name(),
            });
            Parsed::Null
        })
    }
}

/// A value that is no text.
fn owned(value: Option<Value<'_>>) -> Option<Value<'static>> {
    Some(match value? {
        Value::Null | Value::String(_) => return None,
        Value::Integer(value) => Value::Integer(value),
        Value::Long(value) => Value::Long(value),
        Value::Unsigned(value) => Value::Unsigned(value),
        Value::Double(value) => Value::Double(value),
        Value::Date(value) => Value::Date(value),
        Value::Timestamp(value) => Value::Timestamp(value),
        Value::Boolean(value) => Value::Boolean(value),
    })
}

/// A column that is being made.
pub(super) enum Builder {
    Scalar(Column),
    List { element: FieldRef, ends: Vec<i32>, valid: Vec<bool>, values: Box<Builder> },
    Object { fields: Fields, valid: Vec<bool>, columns: Vec<Builder> },
}

impl Builder {
    /// For a type that [`Wanted`] knows.
    pub(super) fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::List(element) => Self::List {
                element: Arc::clone(element),
                ends: vec![0],
                valid: Vec::new(),
                values: Box::new(Self::new(element.data_type())),
            },
            DataType::Struct(fields) => Self::Object {
                fields: fields.clone(),
                valid: Vec::new(),
                columns: fields.iter().map(|field| Self::new(field.data_type())).collect(),
            },
            other => Self::Scalar(Column::new(Kind::for_type(other).unwrap_or(Kind::String))),
        }
    }

    /// Adds a value of the column's type; one of another type would be a null.
    pub(super) fn push(&mut self, value: Parsed<'_>) {
        match (self, value) {
            (Self::Scalar(column), Parsed::Text(text)) => column.push(Value::String(&text)),
            (Self::Scalar(column), Parsed::Scalar(value)) => column.push(value),
            (Self::Scalar(column), _) => column.push(Value::Null),
            (Self::List { ends, valid, values, .. }, value) => {
                let mut end = *ends.last().expect("there is the first");
                valid.push(matches!(value, Parsed::List(_)));
                if let Parsed::List(elements) = value {
                    end += i32::try_from(elements.len()).expect("a chunk is far smaller");
                    elements.into_iter().for_each(|element| values.push(element));
                }
                ends.push(end);
            }
            (Self::Object { valid, columns, .. }, Parsed::Object(values)) => {
                valid.push(true);
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            }
            (Self::Object { valid, columns, .. }, _) => {
                valid.push(false);
                columns.iter_mut().for_each(|column| column.push(Parsed::Null));
            }
        }
    }

    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Scalar(mut column) => column.finish(),
            Self::List { element, ends, valid, values } => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(ListArray::try_new(element, offsets, values.finish()?, nulls(valid))?)
            }
            Self::Object { fields, valid, columns } => {
                let columns = columns.into_iter().map(Self::finish).collect::<Result<_, _>>()?;
                Arc::new(StructArray::try_new(fields, columns, nulls(valid))?)
            }
        })
    }
}

fn nulls(valid: Vec<bool>) -> Option<NullBuffer> {
    Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0)
}
