//! The columns of a CSV file: their names, and the narrowest type that holds every value seen.
//!
//! Made from the header, then filled in from what [`ColumnType::of`] says of each value. `merge` gives the same answer
//! in any order and grouping, so the types of a large file can be inferred partition by partition.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a column holds, each type able to hold those before it. Named as Spark names them when displayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum ColumnType {
    /// Nothing but empty fields so far.
    Null,
    /// Whole numbers of 32 bits.
    Int,
    /// Whole numbers of 64 bits.
    Long,
    /// Numbers with a fraction or an exponent, and whole ones beyond 64 bits.
    Double,
    /// Anything.
    String,
}

impl ColumnType {
    /// The narrowest type of one field. Words that Rust would read as numbers (`inf`, `nan`) are text.
    pub(crate) fn of(text: &str) -> ColumnType {
        if text.is_empty() {
            ColumnType::Null
        } else if text.parse::<i32>().is_ok() {
            ColumnType::Int
        } else if text.parse::<i64>().is_ok() {
            ColumnType::Long
        } else if parse_double(text).is_some() {
            ColumnType::Double
        } else {
            ColumnType::String
        }
    }

    /// The narrowest type that holds both: commutative, associative, idempotent, with `Null` as its neutral element.
    pub(crate) fn merge(self, other: ColumnType) -> ColumnType {
        self.max(other)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ColumnType::Int => "integer",
            ColumnType::Long => "long",
            ColumnType::Double => "double",
            // A column without a single value is text, as in Spark.
            ColumnType::Null | ColumnType::String => "string",
        })
    }
}

/// The number that `text` writes down, when it does so with digits and stays finite.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    text.parse::<f64>().ok().filter(|number| has_digit && number.is_finite())
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Field {
    /// As in the header, or `_c` and its index when the header leaves it empty.
    pub(crate) name: String,
    /// What its values are.
    pub(crate) kind: ColumnType,
    /// Whether an empty field is a null or an error.
    pub(crate) nullable: bool,
}

/// The columns of a file, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schema {
    /// One for each field of the header.
    pub(crate) fields: Vec<Field>,
}

impl Schema {
    /// The columns that a header names, all nullable and of no type yet. A column without a name, such as the index
    /// that pandas writes first, is called `_c{index}` as Spark does.
    pub(crate) fn from_header<S: AsRef<str>>(names: &[S]) -> Schema {
        let field = |(index, name): (usize, &S)| {
            let name = match name.as_ref() {
                "" => format!("_c{index}"),
                name => name.to_owned(),
            };
            Field { name, kind: ColumnType::Null, nullable: true }
        };
        Schema { fields: names.iter().enumerate().map(field).collect() }
    }

    /// Where the column of this name is; the first, should there be several.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

/// The tree of Spark's `printSchema`, without a line end after the last column.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("root")?;
        for Field { name, kind, nullable } in &self.fields {
            write!(f, "\n |-- {name}: {kind} (nullable = {nullable})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ColumnType; 5] =
        [ColumnType::Null, ColumnType::Int, ColumnType::Long, ColumnType::Double, ColumnType::String];

    #[test]
    fn a_field_has_the_narrowest_type_that_holds_it() {
        let cases = [
            ("", ColumnType::Null),
            ("0", ColumnType::Int),
            ("-12", ColumnType::Int),
            ("2147483647", ColumnType::Int),
            ("2147483648", ColumnType::Long),
            ("-9223372036854775808", ColumnType::Long),
            ("9223372036854775808", ColumnType::Double),
            ("162.0", ColumnType::Double),
            ("1e5", ColumnType::Double),
            ("Up", ColumnType::String),
            (" 7", ColumnType::String),
            ("1.2.3", ColumnType::String),
        ];
        for (text, kind) in cases {
            assert_eq!(ColumnType::of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn titles_that_rust_reads_as_numbers_are_text() {
        for title in ["Infinity", "inf", "NaN", "nan", "1e999"] {
            assert_eq!(ColumnType::of(title), ColumnType::String, "{title:?}");
        }
    }

    #[test]
    fn merge_is_commutative_associative_and_idempotent_with_null_as_neutral_element() {
        for a in ALL {
            assert_eq!(a.merge(a), a);
            assert_eq!(a.merge(ColumnType::Null), a);
            for b in ALL {
                assert_eq!(a.merge(b), b.merge(a));
                for c in ALL {
                    assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
                }
            }
        }
        assert_eq!(ColumnType::Int.merge(ColumnType::Double), ColumnType::Double);
        assert_eq!(ColumnType::Long.merge(ColumnType::String), ColumnType::String);
    }

    #[test]
    fn a_column_without_a_name_is_named_by_its_index() {
        let schema = Schema::from_header(&["", "title", ""]);
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["_c0", "title", "_c2"]);
        assert_eq!(schema.index_of("_c2"), Some(2));
        assert_eq!(schema.index_of("title"), Some(1));
        assert_eq!(schema.index_of("genre"), None);
    }

    #[test]
    fn a_schema_prints_as_sparks_tree() {
        let mut schema = Schema::from_header(&["", "title", "runtime", "revenue", "notes"]);
        let kinds = [ColumnType::Int, ColumnType::String, ColumnType::Double, ColumnType::Long, ColumnType::Null];
        for (field, kind) in schema.fields.iter_mut().zip(kinds) {
            field.kind = kind;
        }
        schema.fields[0].nullable = false;
        let tree = "root
 |-- _c0: integer (nullable = false)
 |-- title: string (nullable = true)
 |-- runtime: double (nullable = true)
 |-- revenue: long (nullable = true)
 |-- notes: string (nullable = true)";
        assert_eq!(schema.to_string(), tree);
    }
}
