//! `Schema`: the names and types of a table's columns, printed as a tree.

use std::{fmt, sync::Arc};

use arrow_schema::{DataType, Field, SchemaRef};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{error::TableError, plain::type_name};

/// The names and types of a table's columns, in their order.
///
/// Prints as Spark's `printSchema` does:
///
/// ```
/// use emberflow::table::{DataType, Schema};
///
/// let schema = Schema::new([("title", DataType::Utf8), ("year", DataType::Int32)]);
/// assert_eq!(
///     schema.to_string(),
///     "root\n |-- title: string (nullable = true)\n |-- year: integer (nullable = true)\n"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema(SchemaRef);

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        arrow_schema::Schema::deserialize(deserializer).map(|schema| Self(Arc::new(schema)))
    }
}

impl Schema {
    /// Columns that may hold nulls.
    ///
    /// ```
    /// use emberflow::table::{DataType, Schema};
    ///
    /// assert_eq!(Schema::new([("a", DataType::Int64)]).names().collect::<Vec<_>>(), ["a"]);
    /// ```
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, DataType)>) -> Self {
        let fields: Vec<Field> = columns.into_iter().map(|(name, of)| Field::new(name, of, true)).collect();
        Self(Arc::new(arrow_schema::Schema::new(fields)))
    }

    /// The names of the columns.
    ///
    /// ```
    /// use emberflow::table::{DataType, Schema};
    ///
    /// let schema = Schema::new([("a", DataType::Int64), ("b", DataType::Utf8)]);
    /// assert_eq!(schema.names().collect::<Vec<_>>(), ["a", "b"]);
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.fields().iter().map(|field| field.name().as_str())
    }

    /// The type of a column, if there is one of that name.
    ///
    /// ```
    /// use emberflow::table::{DataType, Schema};
    ///
    /// let schema = Schema::new([("a", DataType::Int64)]);
    /// assert_eq!(schema.type_of("a"), Some(&DataType::Int64));
    /// assert_eq!(schema.type_of("b"), None);
    /// ```
    pub fn type_of(&self, name: &str) -> Option<&DataType> {
        self.0.column_with_name(name).map(|(_, field)| field.data_type())
    }

    pub(crate) fn of(schema: SchemaRef) -> Self {
        Self(schema)
    }

    /// The schema as Arrow has it.
    ///
    /// ```
    /// use emberflow::table::{DataType, Schema};
    ///
    /// assert_eq!(Schema::new([("a", DataType::Int64)]).arrow().field(0).data_type(), &DataType::Int64);
    /// ```
    pub fn arrow(&self) -> &SchemaRef {
        &self.0
    }

    /// Where a column is.
    pub(crate) fn index_of(&self, name: &str) -> Result<usize, TableError> {
        self.0.column_with_name(name).map(|(at, _)| at).ok_or_else(|| TableError::NoSuchColumn {
            name: name.to_owned(),
            there: self.names().map(str::to_owned).collect(),
        })
    }

    /// Fails if two columns have the same name.
    pub(crate) fn check(self) -> Result<Self, TableError> {
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(TableError::TwoColumns { name: pair[0].to_owned() }),
            None => Ok(self),
        }
    }
}

/// A schema of Arrow's, as it is.
///
/// ```
/// use std::sync::Arc;
///
/// use emberflow::table::{DataType, Schema};
///
/// let schema = Schema::new([("a", DataType::Int64)]);
/// assert_eq!(Schema::from(Arc::clone(schema.arrow())), schema);
/// ```
impl From<SchemaRef> for Schema {
    fn from(schema: SchemaRef) -> Self {
        Self(schema)
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "root")?;
        self.0.fields().iter().try_for_each(|field| write_branch(f, 0, field.name(), field, "nullable"))
    }
}

/// A column and what it is made of, as branches of a tree.
fn write_branch(f: &mut fmt::Formatter<'_>, depth: usize, name: &str, field: &Field, null: &str) -> fmt::Result {
    let of = match field.data_type() {
        DataType::List(_) => "array".to_owned(),
        DataType::Struct(_) => "struct".to_owned(),
        other => type_name(other),
    };
    writeln!(f, "{} |-- {name}: {of} ({null} = {})", " |   ".repeat(depth), field.is_nullable())?;
    match field.data_type() {
        DataType::List(element) => write_branch(f, depth + 1, "element", element, "containsNull"),
        DataType::Struct(fields) => {
            fields.iter().try_for_each(|field| write_branch(f, depth + 1, field.name(), field, "nullable"))
        }
        _ => Ok(()),
    }
}
