//! The shape of the values of a column, and the type that holds all of them.

use std::collections::HashMap;

use arrow_schema::{DataType, Field};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::{Json, RawValue};
use crate::kind::Forms;

/// Levels of lists and objects; a value that is nested deeper is text. (Arrow's IPC format writes more than 60 levels,
/// but does not read them.)
pub(super) const DEEPEST: usize = 20;

/// The shape of a column as far as it was seen: sets, so that neither parts nor their order matter but for the order of
/// fields, which is that in which they were first seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shape {
    scalars: Forms,
    list: Option<Box<Shape>>,
    object: Option<Fields>,
}

/// The fields of objects, in the order in which they were first seen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    shapes: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
}

impl Fields {
    /// The shape of a field, which comes last if it was not seen before.
    fn shape(&mut self, name: &str) -> &mut Shape {
        let at = match self.places.get(name) {
            Some(at) => *at,
            None => {
                self.places.insert(name.to_owned(), self.shapes.len());
                self.shapes.push((name.to_owned(), Shape::default()));
                self.shapes.len() - 1
            }
        };
        &mut self.shapes[at].1
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shapes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shapes: Vec<(String, Shape)> = Vec::deserialize(deserializer)?;
        let places = shapes.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Ok(Self { shapes, places })
    }
}

impl Shape {
    /// Adds a value that lies so many levels deep.
    pub(super) fn add(&mut self, raw: &RawValue, depth: usize) {
        match Json::of(raw) {
            Ok(Json::Null) => {}
            Ok(Json::Boolean(_)) => self.scalars.add(Forms::BOOLEAN),
            Ok(Json::Number(text)) => self.scalars.add(Forms::of_json_number(text)),
            Ok(Json::List(elements)) if depth < DEEPEST => {
                let shape = self.list.get_or_insert_default();
                elements.into_iter().for_each(|element| shape.add(element, depth + 1));
            }
            Ok(Json::Object(entries)) if depth < DEEPEST => {
                let fields = self.object.get_or_insert_default();
                // The last value of a name is the one that is read.
                let last: HashMap<&str, usize> =
                    entries.iter().enumerate().map(|(at, (name, _))| (&**name, at)).collect();
                for (at, (name, value)) in entries.iter().enumerate() {
                    if last[&**name] == at {
                        fields.shape(name).add(value, depth + 1);
                    }
                }
            }
            Ok(Json::Text(_) | Json::List(_) | Json::Object(_)) | Err(_) => self.scalars.add(Forms::STRING),
        }
    }

    pub(super) fn merge(&mut self, later: Self) {
        self.scalars.add(later.scalars);
        if let Some(list) = later.list {
            self.list.get_or_insert_default().merge(*list);
        }
        if let Some(object) = later.object {
            let fields = self.object.get_or_insert_default();
            for (name, shape) in object.shapes {
                fields.shape(&name).merge(shape);
            }
        }
    }

    /// The fields of objects, in the order in which they were first seen.
    pub(super) fn fields(&self) -> Vec<Field> {
        let fields = self.object.iter().flat_map(|object| &object.shapes);
        fields.map(|(name, shape)| Field::new(name, shape.data_type(), true)).collect()
    }

    /// The type that holds all values: text, if they are of several sorts or if there are none.
    fn data_type(&self) -> DataType {
        match (self.scalars == Forms::default(), &self.list, &self.object) {
            (_, None, None) => self.scalars.kind().data_type(),
            (true, Some(list), None) => DataType::List(Field::new_list_field(list.data_type(), true).into()),
            (true, None, Some(object)) if !object.shapes.is_empty() => DataType::Struct(self.fields().into()),
            _ => DataType::Utf8,
        }
    }
}
