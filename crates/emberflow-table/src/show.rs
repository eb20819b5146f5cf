//! `show`: the first rows in aligned columns, laid out as Spark does.
//!
//! Owns Spark's way to write values, which is Java's.

use std::{
    fmt::{self, Write},
    io::{self, Write as _},
};

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{Date32Type, Float32Type, Float64Type, TimestampMicrosecondType},
};
use arrow_schema::{DataType, TimeUnit};
use emberflow_core::error::Result;
use unicode_width::UnicodeWidthStr;

use super::{Table, error::TableError, plain::write_plainly, together};
use emberflow_rdd::{Action, parts::and_then};

/// Characters of a cell, unless all are wanted.
const CUT: usize = 20;

/// Places of a column, at least.
const NARROWEST: usize = 3;

impl Table {
    /// The first `n` rows, as one of Arrow's batches. Computes no more partitions than it takes.
    ///
    /// # Errors
    /// Those of all [actions](emberflow_rdd::Rdd#actions).
    #[track_caller]
    pub fn head(&self, n: usize) -> Result<RecordBatch> {
        self.head_async(n).wait()
    }

    /// As [`head`](Self::head), without waiting.
    #[track_caller]
    pub fn head_async(&self, n: usize) -> Action<RecordBatch> {
        let schema = self.schema().clone();
        // No chunk is empty.
        and_then(self.chunks.map_with(n, |n, chunk| chunk.head(*n)).take_async(n), move |chunks| {
            let rows = together(&schema, chunks)?;
            Ok(rows.slice(0, n.min(rows.num_rows())))
        })
    }

    /// Prints the first `n` rows to standard output, in columns, as Spark's `show` does: values stand at the right, those
    /// of more than 20 characters are cut, and an empty line follows. A last line says so if there are more rows.
    ///
    /// Action. Computes no more partitions than it takes for `n + 1` rows. [`show_string`](Self::show_string) gives the
    /// text, and [`show_full`](Self::show_full) cuts nothing.
    ///
    /// # Errors
    /// Those of all [actions](emberflow_rdd::Rdd#actions), and one if standard output cannot be written to.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\nBrazil,1985\n").unwrap();
    /// ctx.read().csv(&path)?.show(1)?;
    /// // +-----+----+
    /// // |title|year|
    /// // +-----+----+
    /// // |Alien|1979|
    /// // +-----+----+
    /// // only showing top 1 row
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn show(&self, n: usize) -> Result<()> {
        self.show_async(n).wait()
    }

    /// As [`show`](Self::show), without waiting: it is printed when the action is awaited and its job is done.
    #[track_caller]
    pub fn show_async(&self, n: usize) -> Action<()> {
        and_then(self.show_string_async(n), |text| print(&text))
    }

    /// Prints the first `n` rows as [`show`](Self::show) does, but whole and at the left, as Spark's `show` does with
    /// `truncate = false`.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of [`show`](Self::show).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nThe Unbearable Lightness of Being,1988\n").unwrap();
    /// ctx.read().csv(&path)?.show_full(20)?;
    /// // +---------------------------------+----+
    /// // |title                            |year|
    /// // +---------------------------------+----+
    /// // |The Unbearable Lightness of Being|1988|
    /// // +---------------------------------+----+
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn show_full(&self, n: usize) -> Result<()> {
        self.show_full_async(n).wait()
    }

    /// As [`show_full`](Self::show_full), without waiting: it is printed when the action is awaited and its job is done.
    #[track_caller]
    pub fn show_full_async(&self, n: usize) -> Action<()> {
        and_then(self.show_full_string_async(n), |text| print(&text))
    }

    /// The text that [`show`](Self::show) prints, to be logged or compared; without the empty line behind it.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](emberflow_rdd::Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nThe Unbearable Lightness of Being,1988\nBrazil,\n").unwrap();
    /// assert_eq!(ctx.read().csv(&path)?.show_string(20)?, "\
    /// +--------------------+----+
    /// |               title|year|
    /// +--------------------+----+
    /// |The Unbearable Li...|1988|
    /// |              Brazil|NULL|
    /// +--------------------+----+
    /// ");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn show_string(&self, n: usize) -> Result<String> {
        self.show_string_async(n).wait()
    }

    /// As [`show_string`](Self::show_string), without waiting.
    #[track_caller]
    pub fn show_string_async(&self, n: usize) -> Action<String> {
        and_then(self.head_async(n.saturating_add(1)), move |rows| Ok(laid_out(&rows, n, Some(CUT))))
    }

    /// The text that [`show_full`](Self::show_full) prints, to be logged or compared; without the empty line behind it.
    ///
    /// Action.
    ///
    /// # Errors
    /// Those of all [actions](emberflow_rdd::Rdd#actions).
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nThe Unbearable Lightness of Being,1988\nBrazil,\n").unwrap();
    /// assert_eq!(ctx.read().csv(&path)?.show_full_string(20)?, "\
    /// +---------------------------------+----+
    /// |title                            |year|
    /// +---------------------------------+----+
    /// |The Unbearable Lightness of Being|1988|
    /// |Brazil                           |NULL|
    /// +---------------------------------+----+
    /// ");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn show_full_string(&self, n: usize) -> Result<String> {
        self.show_full_string_async(n).wait()
    }

    /// As [`show_full_string`](Self::show_full_string), without waiting.
    #[track_caller]
    pub fn show_full_string_async(&self, n: usize) -> Action<String> {
        and_then(self.head_async(n.saturating_add(1)), move |rows| Ok(laid_out(&rows, n, None)))
    }

    /// Prints the names and types of the columns to standard output, as Spark's `printSchema` does. No job runs;
    /// [`schema`](Self::schema) gives the text.
    ///
    /// # Panics
    /// If standard output cannot be written to, as `println!` does.
    ///
    /// ```
    /// # use emberflow::prelude::*;
    /// # let ctx = Context::local(2)?;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("films.csv");
    /// # std::fs::write(&path, "title,year\nAlien,1979\n").unwrap();
    /// ctx.read().csv(&path)?.print_schema();
    /// // root
    /// //  |-- title: string (nullable = true)
    /// //  |-- year: integer (nullable = true)
    /// # Ok::<(), Error>(())
    /// ```
    pub fn print_schema(&self) {
        println!("{}", self.schema);
    }
}

/// Prints a text of whole lines, and an empty line behind it, as Spark does.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush()).map_err(TableError::Print)?)
}

/// The first `n` of some rows in columns: cut after so many characters and at the right, or whole and at the left.
fn laid_out(rows: &RecordBatch, n: usize, cut: Option<usize>) -> String {
    let shown = n.min(rows.num_rows());
    let header = rows.schema_ref().fields().iter().map(|field| escaped(field.name())).collect();
    let row = |at| rows.columns().iter().map(|column| shortened(escaped(&text_of(column, at)), cut)).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header).chain((0..shown).map(row)).collect();
    let widths: Vec<usize> = (0..rows.num_columns())
        .map(|column| lines.iter().map(|line| line[column].width()).fold(NARROWEST, usize::max))
        .collect();

    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let rule = format!("+{}+\n", rules.join("+"));
    let mut text = rule.clone();
    for (at, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| {
            let blanks = " ".repeat(width - cell.width());
            if cut.is_some() { blanks + cell } else { cell.clone() + &blanks }
        });
        text += &format!("|{}|\n", cells.collect::<Vec<_>>().join("|"));
        if at == 0 {
            text += &rule;
        }
    }
    text += &rule;
    if rows.num_rows() > n {
        text += &format!("only showing top {n} {}\n", if n == 1 { "row" } else { "rows" });
    }
    text
}

/// A text on one line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{c}' => escaped.push_str("\\f"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{b}' => escaped.push_str("\\v"),
            '\u{7}' => escaped.push_str("\\a"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// At most so many characters, the last three of which are dots if some are left out.
fn shortened(text: String, cut: Option<usize>) -> String {
    match cut {
        Some(most) if text.chars().count() > most => text.chars().take(most - 3).chain("...".chars()).collect(),
        _ => text,
    }
}

/// A value as Spark's cast to a string writes it, and `NULL`.
fn text_of(array: &ArrayRef, at: usize) -> String {
    let mut text = String::new();
    write_value(&mut text, array, at).expect("a string takes whatever is written to it");
    text
}

fn write_value(to: &mut String, array: &ArrayRef, at: usize) -> fmt::Result {
    if array.is_null(at) || *array.data_type() == DataType::Null {
        return to.write_str("NULL");
    }
    match array.data_type() {
        DataType::Float32 => write_double(to, array.as_primitive::<Float32Type>().value(at)),
        DataType::Float64 => write_double(to, array.as_primitive::<Float64Type>().value(at)),
        DataType::Utf8 => to.write_str(array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 => to.write_str(array.as_string::<i64>().value(at)),
        DataType::Date32 => match array.as_primitive::<Date32Type>().value_as_date(at) {
            Some(date) => write!(to, "{date}"),
            None => write_plainly(to, array, at),
        },
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            let Some(time) = times.value_as_datetime(at) else { return write_plainly(to, array, at) };
            write!(to, "{}", time.format("%Y-%m-%d %H:%M:%S"))?;
            match times.value(at).rem_euclid(1_000_000) {
                0 => Ok(()),
                micros => to.write_str(format!(".{micros:06}").trim_end_matches('0')),
            }
        }
        DataType::List(_) => write_all(to, '[', array.as_list::<i32>().value(at), ']'),
        DataType::LargeList(_) => write_all(to, '[', array.as_list::<i64>().value(at), ']'),
        DataType::Struct(_) => {
            to.write_char('{')?;
            for (index, column) in array.as_struct().columns().iter().enumerate() {
                to.write_str(if index == 0 { "" } else { ", " })?;
                write_value(to, column, at)?;
            }
            to.write_char('}')
        }
        _ => write_plainly(to, array, at),
    }
}

fn write_all(to: &mut String, open: char, values: ArrayRef, close: char) -> fmt::Result {
    to.write_char(open)?;
    for at in 0..values.len() {
        to.write_str(if at == 0 { "" } else { ", " })?;
        write_value(to, &values, at)?;
    }
    to.write_char(close)
}

/// A number as Java writes it: `100000.0`, but `1.0E7` and `1.0E-4`.
fn write_double<F: Copy + Into<f64> + fmt::Debug + fmt::LowerExp>(to: &mut String, number: F) -> fmt::Result {
    let size = number.into().abs();
    if size.is_infinite() {
        return to.write_str(if number.into() > 0.0 { "Infinity" } else { "-Infinity" });
    }
    if size.is_nan() || size == 0.0 || (1e-3..1e7).contains(&size) {
        return write!(to, "{number:?}");
    }
    let digits = format!("{number:e}");
    let (mantissa, exponent) = digits.split_once('e').expect("the form has an exponent");
    write!(to, "{mantissa}{}E{exponent}", if mantissa.contains('.') { "" } else { ".0" })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float32Array, Float64Array, Int32Array, ListArray, StringArray, StructArray, types::Int32Type};
    use arrow_schema::{Field, Fields};

    use super::*;

    fn texts(array: impl Array + 'static) -> String {
        let array: ArrayRef = Arc::new(array);
        (0..array.len()).map(|at| text_of(&array, at)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn doubles_are_written_as_java_does() {
        let numbers = vec![1.0, -0.5, -0.0, 0.001, 0.0001, 9_999_999.5, 1e7, 2_787_965_087.0, -1.25e-300, 1e22];
        assert_eq!(
            texts(Float64Array::from(numbers)),
            "1.0 -0.5 -0.0 0.001 1.0E-4 9999999.5 1.0E7 2.787965087E9 -1.25E-300 1.0E22"
        );
        let strange = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(texts(Float64Array::from(strange)), "NaN Infinity -Infinity");
        assert_eq!(texts(Float32Array::from(vec![0.1, 1.0e10])), "0.1 1.0E10");
    }

    #[test]
    fn lists_and_structs_are_written_as_spark_does() {
        let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
        assert_eq!(texts(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)), "[1, NULL] NULL []");
        let fields = Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![1, 2])), Arc::new(StringArray::from(vec![Some("x"), None]))];
        assert_eq!(texts(StructArray::new(fields, columns, None)), "{1, x} {2, NULL}");
    }
}
