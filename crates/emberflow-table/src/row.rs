//! `Row`: one row of a table on the driver's side, printed as PySpark prints it.
//!
//! Owns Python's way to write values. Rows share the batch that they came in, and read their cells from it when asked.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{Date32Type, Float32Type, Float64Type, TimestampMicrosecondType},
};
use arrow_schema::{DataType, FieldRef, TimeUnit};
use emberflow_core::error::Result;
use serde::de::DeserializeOwned;

use super::{
    Schema, Table,
    cells::{Rows, read_cell},
    error::TableError,
    known::known,
    plain::write_plainly,
};
use emberflow_rdd::{Action, parts::and_then};

/// One row of a [`Table`]: values with the names of their columns.
///
/// It prints as PySpark prints it, by `{}` and `{:?}` alike, and gives its values by [`get`](Self::get) as types of yours.
/// Rows share the batch in which they came, which is kept as long as one of its rows is. Two rows are equal if their
/// columns have the same names and types, and the same values; doubles are compared by their bits.
///
/// ```
/// # use emberflow::prelude::*;
/// # let ctx = Context::local(2)?;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("films.csv");
/// std::fs::write(&path, "title,seen,score\nAvatar,2009-12-18,7.5\nWorld's End,,\n").unwrap();
/// let rows = ctx.read().csv(&path)?.take(2)?;
/// assert_eq!(
///     format!("{rows:?}"),
///     "[Row(title='Avatar', seen=datetime.date(2009, 12, 18), score=7.5), \
///      Row(title=\"World's End\", seen=None, score=None)]"
/// );
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Row {
    batch: Arc<RecordBatch>,
    at: usize,
}

impl Row {
    /// The rows of a batch, which they share.
    fn all(batch: RecordBatch) -> Vec<Self> {
        let (batch, rows) = (Arc::new(batch), 0..);
        rows.take(batch.num_rows()).map(|at| Self { batch: Arc::clone(&batch), at }).collect()
    }

    /// The names of the columns, in their order.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// let row = ctx.read().csv(&path)?.first()?.unwrap();
    /// assert_eq!(row.names().collect::<Vec<_>>(), ["title", "year"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.batch.schema_ref().fields().iter().map(|field| field.name().as_str())
    }

    /// The value in a column, as a type of yours: a number, a `bool`, a `String`, an enum, a `Vec` of an array, a struct of
    /// a struct, or an `Option` where there may be nulls. [`Table::rows`] says which value fits which type.
    ///
    /// # Errors
    /// If there is no such column, with the names of those that there are; if its value is none of the type.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// let row = ctx.read().csv(&path)?.first()?.unwrap();
    /// assert_eq!(row.get::<String>("title")?, "Alien");
    /// assert_eq!(row.get::<Option<u16>>("year")?, Some(1979));
    /// let error = row.get::<i32>("yaer").unwrap_err();
    /// assert_eq!(error.to_string(), "there is no column \"yaer\"; there are title, year");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        let at = Schema::of(self.batch.schema()).index_of(column)?;
        let cell = self.batch.slice(self.at, 1).project(&[at]).map_err(TableError::from)?;
        let known = known(&cell).map_err(TableError::from)?;
        Ok(read_cell(column, known.column(0), 0).map_err(TableError::from)?)
    }

    /// The whole row as a value of a type of yours: a struct with fields called as the columns are, a tuple of all
    /// columns, or a map. As [`Table::rows`] makes them.
    ///
    /// # Errors
    /// If a field has no column, or a value does not fit its field.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// let row = ctx.read().csv(&path)?.first()?.unwrap();
    /// let (title, year): (String, i32) = row.to()?;
    /// assert_eq!((title.as_str(), year), ("Alien", 1979));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        let row = self.batch.slice(self.at, 1);
        let known = known(&row).map_err(TableError::from)?;
        Ok(Rows::of(&known).read_one(0).map_err(TableError::from)?)
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        let cells = |row: &Self| row.batch.slice(row.at, 1);
        self.names().eq(other.names()) && cells(self).columns() == cells(other).columns()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_row(f, self.batch.schema_ref().fields(), self.batch.columns(), self.at)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Table {
    /// The first `n` rows, to be printed or looked into. Computes no more partitions than it takes.
    ///
    /// Action. [`head`](Self::head) gives the same rows as one of Arrow's batches, and [`rows`](Self::rows) all of them
    /// as an RDD of values of a type of yours.
    ///
    /// # Errors
    /// Those of all [actions](emberflow_rdd::Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\nBrazil,1985\n").unwrap();
    /// let films = ctx.read().csv(&path)?;
    /// assert_eq!(format!("{:?}", films.take(1)?), "[Row(title='Alien', year=1979)]");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take(&self, n: usize) -> Result<Vec<Row>> {
        self.take_async(n).wait()
    }

    /// As [`take`](Self::take), without waiting.
    #[track_caller]
    pub fn take_async(&self, n: usize) -> Action<Vec<Row>> {
        and_then(self.head_async(n), |batch| Ok(Row::all(batch)))
    }

    /// The first row; `None` if there is none.
    ///
    /// Action. As [`take`](Self::take) of one.
    ///
    /// # Errors
    /// Those of all [actions](emberflow_rdd::Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\nBrazil,1985\n").unwrap();
    /// let film = ctx.read().csv(&path)?.first()?.unwrap();
    /// assert_eq!(film.to_string(), "Row(title='Alien', year=1979)");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn first(&self) -> Result<Option<Row>> {
        self.first_async().wait()
    }

    /// As [`first`](Self::first), without waiting.
    #[track_caller]
    pub fn first_async(&self) -> Action<Option<Row>> {
        and_then(self.take_async(1), |mut rows| Ok(rows.pop()))
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, fields: &[FieldRef], columns: &[ArrayRef], at: usize) -> fmt::Result {
    f.write_str("Row(")?;
    for (index, (field, column)) in fields.iter().zip(columns).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{}=", field.name())?;
        write_value(f, column, at)?;
    }
    f.write_char(')')
}

/// A value as Python's `repr` writes that which PySpark makes of it.
fn write_value(f: &mut fmt::Formatter<'_>, array: &ArrayRef, at: usize) -> fmt::Result {
    if array.is_null(at) {
        return f.write_str("None");
    }
    match array.data_type() {
        DataType::Null => f.write_str("None"),
        DataType::Boolean => f.write_str(if array.as_boolean().value(at) { "True" } else { "False" }),
        // Python has no narrower floats.
        DataType::Float32 => write_double(f, array.as_primitive::<Float32Type>().value(at).into()),
        DataType::Float64 => write_double(f, array.as_primitive::<Float64Type>().value(at)),
        DataType::Utf8 => write_text(f, array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => write_text(f, array.as_string::<i64>().value(at)),
        DataType::Date32 => match array.as_primitive::<Date32Type>().value_as_date(at) {
            Some(date) => write!(f, "{}", date.format("datetime.date(%-Y, %-m, %-d)")),
            None => write_plainly(f, array, at),
        },
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            let Some(time) = times.value_as_datetime(at) else { return write_plainly(f, array, at) };
            write!(f, "{}", time.format("datetime.datetime(%-Y, %-m, %-d, %-H, %-M"))?;
            let of_minute = times.value(at).rem_euclid(60_000_000);
            match (of_minute / 1_000_000, of_minute % 1_000_000) {
                (0, 0) => {}
                (second, 0) => write!(f, ", {second}")?,
                (second, micros) => write!(f, ", {second}, {micros}")?,
            }
            f.write_char(')')
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            f.write_str("Decimal('")?;
            write_plainly(f, array, at)?;
            f.write_str("')")
        }
        DataType::List(_) => write_list(f, &array.as_list::<i32>().value(at)),
        DataType::LargeList(_) => write_list(f, &array.as_list::<i64>().value(at)),
        DataType::Struct(fields) => write_row(f, fields, array.as_struct().columns(), at),
        _ => write_plainly(f, array, at),
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, values: &ArrayRef) -> fmt::Result {
    f.write_char('[')?;
    for at in 0..values.len() {
        f.write_str(if at == 0 { "" } else { ", " })?;
        write_value(f, values, at)?;
    }
    f.write_char(']')
}

/// Rust's debug form has Python's digits and switches to an exponent at the same sizes; only the exponent is written
/// differently, as `1e+16` and `1e-05`, and so is `NaN`.
fn write_double(f: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    if number.is_nan() {
        return f.write_str("nan");
    }
    let digits = format!("{number:?}");
    match digits.split_once('e') {
        None => f.write_str(&digits),
        Some((mantissa, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            write!(f, "{mantissa}e{sign}{exponent:0>2}")
        }
    }
}

/// Within single quotes, unless there is an apostrophe in the text and no double quote.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    f.write_char(quote)?;
    for c in text.chars() {
        match (c, u32::from(c)) {
            ('\n', _) => f.write_str("\\n")?,
            ('\r', _) => f.write_str("\\r")?,
            ('\t', _) => f.write_str("\\t")?,
            ('\\', _) => f.write_str("\\\\")?,
            _ if c == quote => write!(f, "\\{c}")?,
            _ if is_printable(c) => f.write_char(c)?,
            (_, code @ 0..=0xff) => write!(f, "\\x{code:02x}")?,
            (_, code @ 0..=0xffff) => write!(f, "\\u{code:04x}")?,
            (_, code) => write!(f, "\\U{code:08x}")?,
        }
    }
    f.write_char(quote)
}

/// Returns whether Python writes a character as it is. Rust escapes the same in a text (controls, formats, separators,
/// and what is unassigned), and marks that combine with the character before only where there is none.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let mut behind_another = [0; 5];
    behind_another[0] = b'a';
    let end = 1 + c.encode_utf8(&mut behind_another[1..]).len();
    let text = std::str::from_utf8(&behind_another[..end]).expect("two characters are text");
    text.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        Decimal128Array, Float32Array, Float64Array, Int8Array, Int32Array, ListArray, NullArray, StringArray,
        StructArray, types::Int32Type,
    };
    use arrow_schema::{Field, Fields};

    use super::*;

    fn repr(array: impl Array + 'static) -> String {
        let array: ArrayRef = Arc::new(array);
        let each = |at| fmt::from_fn(|f| write_value(f, &array, at)).to_string();
        (0..array.len()).map(each).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn texts_are_quoted_and_escaped_as_python_does() {
        let cases = [
            ("Her", "'Her'"),
            ("", "''"),
            ("World's End", r#""World's End""#),
            (r#"The "Burbs""#, r#"'The "Burbs"'"#),
            (r#"Ocean's "11""#, r#"'Ocean\'s "11"'"#),
            ("a\\b", r"'a\\b'"),
            ("a\nb\r\tc", r"'a\nb\r\tc'"),
            ("\0\u{7}\u{7f}\u{85}\u{a0}\u{ad}", r"'\x00\x07\x7f\x85\xa0\xad'"),
            ("Amélie 東京 🎬", "'Amélie 東京 🎬'"),
            // Marks that combine are printed, even the first.
            ("\u{301}e\u{301}", "'\u{301}e\u{301}'"),
            ("\u{200b}\u{2028}\u{3000}\u{feff}\u{e000}", r"'\u200b\u2028\u3000\ufeff\ue000'"),
            ("\u{e0001}\u{10ffff}", r"'\U000e0001\U0010ffff'"),
        ];
        for (text, expected) in cases {
            assert_eq!(repr(StringArray::from(vec![text])), expected);
        }
    }

    #[test]
    fn doubles_are_written_as_python_does() {
        let numbers = [162.0, -0.5, -0.0, 1e-4, 1e-5, 1e15, 1e16, 2.5e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        assert_eq!(
            repr(Float64Array::from(numbers.to_vec())),
            "162.0 -0.5 -0.0 0.0001 1e-05 1000000000000000.0 1e+16 2.5e+300 inf -inf nan"
        );
        assert_eq!(repr(Float32Array::from(vec![0.5, 0.1])), "0.5 0.10000000149011612");
    }

    #[test]
    fn lists_structs_and_nulls_in_them_are_written_as_pyspark_does() {
        let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
        assert_eq!(repr(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)), "[1, None] None []");
        let fields = Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![1, 2])), Arc::new(StringArray::from(vec![Some("it's"), None]))];
        assert_eq!(repr(StructArray::new(fields, columns, None)), "Row(a=1, b=\"it's\") Row(a=2, b=None)");
        assert_eq!(repr(NullArray::new(1)), "None");
        assert_eq!(repr(Int8Array::from(vec![-7])), "-7");
        let money = Decimal128Array::from(vec![110]).with_precision_and_scale(5, 2).unwrap();
        assert_eq!(repr(money), "Decimal('1.10')");
    }
}
