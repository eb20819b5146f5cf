//! Tables written to files: what is written reads back equal; whole or not at all; and what becomes of what is there.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use emberflow::{
    prelude::*,
    table::{Compression, DataType, Mode, SaveMode, Schema, Table},
    testing::send_plans_as_bytes,
};
use proptest::prelude::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn texts<const N: usize>(texts: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn strings(ctx: &Context, column: &[&str]) -> Table {
    Table::from_batches(ctx, [batch(vec![("s", Arc::new(StringArray::from(column.to_vec())))])]).unwrap()
}

/// The names below a directory, in their order, hidden ones too.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn temp(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    (dir, path)
}

/// A value of each type, and the values that are easily lost.
fn awkward() -> RecordBatch {
    batch(vec![
        ("plain", texts([Some("a"), None, Some(""), Some("NULL"), Some("1,5"), Some("say \"hi\"")])),
        (
            "spaces, \"quoted\"",
            texts([Some(" "), Some(" x"), Some("x "), Some("\t"), Some("\u{feff}x"), Some("\u{1a}")]),
        ),
        ("é", texts([Some("東京"), Some("'"), Some("\"\""), Some(","), None, Some("")])),
        (
            "double",
            Arc::new(Float64Array::from(vec![
                Some(1e16),
                Some(-0.0),
                Some(f64::MIN_POSITIVE / 4.0),
                Some(0.1 + 0.2),
                None,
                Some(f64::MAX),
            ])),
        ),
        ("hash", Arc::new(Float64Array::from(vec![Some(1e16), Some(2e17), Some(1e300), None, Some(5e22), Some(7e30)]))),
        ("whole", Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None, Some(3.0), Some(-4.0), Some(1e15)]))),
        ("long", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), Some(0), None, Some(1), Some(2)]))),
        ("unsigned", Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(0), None, Some(1), Some(2), Some(3)]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true), Some(true), Some(false)]))),
        // From 0000-01-01 to 9999-12-31.
        ("date", Arc::new(Date32Array::from(vec![Some(-719_528), Some(2_932_896), Some(0), None, Some(-1), Some(1)]))),
        (
            "time",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(-62_135_596_800_000_000),
                Some(253_402_300_799_999_999),
                Some(0),
                Some(-1),
                Some(1_000),
                None,
            ])),
        ),
    ])
}

#[test]
fn csv_reads_back_equal_with_the_types_that_are_discovered() {
    let ctx = Context::local(2).unwrap();
    let (_dir, path) = temp("out");
    let rows = awkward();
    for partitions in [1, 4] {
        let table = Table::from_batches_into(&ctx, [rows.clone()], partitions).unwrap();
        table.write().mode(SaveMode::Overwrite).csv(&path).unwrap();
        let back = ctx.read().mode(Mode::FailFast).csv(&path).unwrap();
        assert_eq!(back.collect().unwrap(), rows);
        table
            .write()
            .mode(SaveMode::Overwrite)
            .delimiter(b'.')
            .quote(b'\'')
            .null_value("n,a")
            .header(false)
            .csv(&path)
            .unwrap();
        let reader = ctx.read().mode(Mode::FailFast).delimiter(b'.').quote(b'\'').null_value("n,a").header(false);
        assert_eq!(reader.schema(table.schema().clone()).csv(&path).unwrap().collect().unwrap(), rows);
    }
}

#[test]
fn json_lines_read_back_equal_with_the_types_that_are_discovered() {
    let ctx = Context::local(2).unwrap();
    let (_dir, path) = temp("out");
    let rows = awkward();
    let table = Table::from_batches_into(&ctx, [rows.clone()], 3).unwrap();
    table.write().json_lines(&path).unwrap();
    assert_eq!(names(&path), ["_SUCCESS", "part-00000.json", "part-00001.json", "part-00002.json"]);
    let reader = ctx.read().mode(Mode::FailFast);
    assert_eq!(reader.clone().schema(table.schema().clone()).json_lines(&path).unwrap().collect().unwrap(), rows);
    // But for dates and timestamps, which JSON has no form for.
    let names: Vec<&str> = table.schema().names().filter(|name| !["date", "time"].contains(name)).collect();
    let back = reader.json_lines(&path).unwrap().select(&names).unwrap();
    assert_eq!(back.collect().unwrap(), table.select(&names).unwrap().collect().unwrap());
}

#[test]
fn arrays_and_structs_are_written_as_json() {
    type Row = (Option<Vec<Option<i32>>>, Option<(String, Option<f64>)>);
    let ctx = Context::local(2).unwrap();
    let (_dir, path) = temp("out.json");
    let rows: Vec<Row> =
        vec![(Some(vec![Some(1), None]), Some(("a\n\"".to_owned(), Some(0.5)))), (None, None), (Some(vec![]), None)];
    let table = ctx.parallelize(rows.clone()).to_table().unwrap();
    table.write().single_file().json_lines(&path).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"_1\":[1,null],\"_2\":{\"_1\":\"a\\n\\\"\",\"_2\":0.5}}\n{\"_1\":null,\"_2\":null}\n{\"_1\":[],\"_2\":null}\n"
    );
    assert_eq!(ctx.read().json_lines(&path).unwrap().rows::<Row>().collect().unwrap(), rows);
}

#[test]
fn line_breaks_in_cells_are_read_by_multi_line_and_in_json_as_they_are() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("out");
    let (lines, unix) = (["a\nb", "\r\n", "c\rd", "\n", "x\n\ny"], ["a\nb", "\n", "c\nd", "\n", "x\n\ny"]);
    let table = strings(&ctx, &lines);
    table.write().csv(&path).unwrap();
    let back = ctx.read().mode(Mode::FailFast).multi_line(true).csv(&path).unwrap();
    assert_eq!(back.collect().unwrap(), strings(&ctx, &unix).collect().unwrap());
    let json = dir.path().join("json");
    table.write().json_lines(&json).unwrap();
    assert_eq!(ctx.read().json_lines(&json).unwrap().collect().unwrap(), table.collect().unwrap());
}

#[test]
fn doubles_that_are_no_numbers_are_written_as_csv_knows_them_and_refused_in_json() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("out");
    let doubles = vec![Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), None];
    let table = Table::from_batches_into(&ctx, [batch(vec![("d", Arc::new(Float64Array::from(doubles)))])], 1).unwrap();
    table.write().csv(&path).unwrap();
    assert_eq!(fs::read_to_string(path.join("part-00000.csv")).unwrap(), "d\nNaN\nInf\n-Inf\n\"\"\n");
    let back: Vec<Option<f64>> = values(&ctx.read().csv(&path).unwrap());
    assert!(back[0].unwrap().is_nan() && back[1..] == [Some(f64::INFINITY), Some(f64::NEG_INFINITY), None]);
    let json = dir.path().join("json");
    let error = table.write().json_lines(&json).unwrap_err().to_string();
    assert!(error.contains("column \"d\" holds NaN, which is no number of JSON"), "{error}");
    assert!(error.contains("Row 1 of partition 0 cannot be written"), "{error}");
    assert_eq!(names(dir.path()), ["out"]);
}

/// The values of a table's only column.
fn values<T: ExchangeData>(table: &Table) -> Vec<T> {
    table.rows::<(T,)>().map(|(value,)| value).collect().unwrap()
}

#[test]
fn columns_of_other_layouts_are_written_as_they_are_read() {
    let ctx = Context::local(2).unwrap();
    let (_dir, path) = temp("out.csv");
    let decimals = Decimal128Array::from(vec![Some(110), None]).with_precision_and_scale(10, 2).unwrap();
    let rows = batch(vec![
        ("byte", Arc::new(Int8Array::from(vec![-7, 7]))),
        ("float", Arc::new(Float32Array::from(vec![0.5, 0.1]))),
        ("decimal", Arc::new(decimals)),
    ]);
    let table = Table::from_batches(&ctx, [rows]).unwrap();
    table.write().single_file().csv(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "byte,float,decimal\n-7,0.5,1.10\n7,0.10000000149011612,\n");
    let back: Vec<(i8, f32, Option<f64>)> = ctx.read().csv(&path).unwrap().rows().collect().unwrap();
    assert_eq!(back, [(-7, 0.5, Some(1.1)), (7, 0.1, None)]);
}

#[test]
fn what_a_format_has_no_form_for_is_an_error_and_leaves_nothing() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("out");
    let one = |name: &str, column: ArrayRef| Table::from_batches_into(&ctx, [batch(vec![(name, column)])], 1).unwrap();
    let csv = |table: &Table| table.write().csv(&path).unwrap_err().to_string();
    let lists = ctx.parallelize([(vec![1],)]).to_table().unwrap();
    assert!(csv(&lists).starts_with("column \"_1\": CSV has no form for array<integer>;"), "{}", csv(&lists));
    let bytes = one("b", Arc::new(BinaryArray::from(vec![&b"x"[..]])));
    let error = bytes.write().json_lines(&path).unwrap_err().to_string();
    assert!(error.starts_with("column \"b\": JSON has no form for Binary;"), "{error}");
    let nulls = csv(&one("s", texts([Some("x"), None])));
    assert!(nulls.contains("column \"s\" holds a null, and is the only column"), "{nulls}");
    assert!(nulls.contains("Row 2 of partition 0"), "{nulls}");
    let late = one("d", Arc::new(Date32Array::from(vec![2_932_897])));
    assert!(csv(&late).contains("column \"d\" holds +10000-01-01, and only years"), "{}", csv(&late));
    let error = late.write().json_lines(&path).unwrap_err().to_string();
    assert!(error.contains("column \"d\" holds +10000-01-01, and only years"), "{error}");
    let beyond = csv(&one("d", Arc::new(Date32Array::from(vec![i32::MAX]))));
    assert!(beyond.contains("holds a time beyond all calendars"), "{beyond}");
    let taken = strings(&ctx, &["NA"]).write().null_value("NA").csv(&path).unwrap_err().to_string();
    assert!(
        taken.contains("holds \"NA\", which stands for null; choose another text by Writer::null_value"),
        "{taken}"
    );
    let error = csv(&lists.select(&[]).unwrap());
    assert!(error.starts_with("a table without columns"), "{error}");
    let table = strings(&ctx, &["x"]);
    let error = table.write().delimiter(b'\n').csv(&path).unwrap_err().to_string();
    assert!(error.starts_with("Writer::delimiter(0x0a): give an ASCII character"), "{error}");
    let error = table.write().delimiter(b'"').csv(&path).unwrap_err().to_string();
    assert_eq!(
        error,
        "quote and delimiter are both '\"'; choose another one for either by Writer::delimiter or Writer::quote"
    );
    let error = table.write().single_file().mode(SaveMode::Append).csv(&path).unwrap_err().to_string();
    assert!(error.starts_with("rows cannot be appended to a single file"), "{error}");
    for (name, compression) in [("a.csv", Compression::Gzip), ("a.csv.gz", Compression::None)] {
        let writer = table.write().single_file().compression(compression);
        let error = writer.csv(dir.path().join(name)).unwrap_err().to_string();
        assert!(error.contains("a file that is compressed by gzip has a name that ends in .gz"), "{error}");
    }
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn a_null_in_the_only_column_is_two_quotes_unless_it_is_of_strings() {
    let ctx = Context::local(2).unwrap();
    let (_dir, path) = temp("out.csv");
    let rows = batch(vec![("n", Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(3)])))]);
    let table = Table::from_batches(&ctx, [rows.clone()]).unwrap();
    table.write().single_file().csv(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "n\n9223372036854775807\n\"\"\n3\n");
    assert_eq!(ctx.read().csv(&path).unwrap().collect().unwrap(), rows);
}

#[test]
fn each_mode_does_what_it_says_about_an_output_that_is_there() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("out");
    let write = |text: &str, mode| strings(&ctx, &[text]).write().mode(mode).csv(&path);
    let there = || values::<String>(&ctx.read().csv(&path).unwrap()).join(" ");
    write("a", SaveMode::Append).unwrap();
    assert_eq!((there(), names(&path)), ("a".to_owned(), vec!["_SUCCESS".to_owned(), "part-00000.csv".to_owned()]));
    assert!(matches!(write("b", SaveMode::ErrorIfExists), Err(Error::OutputExists { path: there }) if there == path));
    write("b", SaveMode::Ignore).unwrap();
    assert_eq!(there(), "a");
    for n in 1..=11 {
        write(&n.to_string(), SaveMode::Append).unwrap();
    }
    assert_eq!(there(), "a 1 2 3 4 5 6 7 8 9 10 11");
    assert_eq!(names(&path)[2..4], ["part-append-0000000001", "part-append-0000000002"]);
    assert_eq!(names(&path.join("part-append-0000000011")), ["_SUCCESS", "part-00000.csv"]);
    write("c", SaveMode::Overwrite).unwrap();
    assert_eq!(there(), "c");
    assert_eq!((names(dir.path()), names(&path).len()), (vec!["out".to_owned()], 2));
}

#[test]
fn a_table_may_replace_the_files_that_it_is_read_from() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("out");
    strings(&ctx, &["x", "y"]).write().csv(&path).unwrap();
    let read = ctx.read().csv(&path).unwrap();
    read.write().mode(SaveMode::Overwrite).csv(&path).unwrap();
    assert_eq!(ctx.read().csv(&path).unwrap().count().unwrap(), 2);
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn only_a_whole_output_or_an_empty_directory_is_replaced() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("home");
    let table = strings(&ctx, &["x"]);
    let overwrite = |path: &Path| table.write().mode(SaveMode::Overwrite).csv(path);
    fs::create_dir(&path).unwrap();
    fs::write(path.join("letter"), "dear").unwrap();
    let error = overwrite(&path).unwrap_err().to_string();
    assert!(error.contains("cannot overwrite") && error.contains("no file _SUCCESS"), "{error}");
    assert_eq!(fs::read_to_string(path.join("letter")).unwrap(), "dear");
    let error = overwrite(&path.join("letter")).unwrap_err().to_string();
    assert!(error.contains("it is a file, and a directory is to be written"), "{error}");
    let error = table.write().single_file().mode(SaveMode::Overwrite).csv(&path).unwrap_err().to_string();
    assert!(error.contains("it is a directory, and a single file is to be written"), "{error}");
    assert_eq!((names(dir.path()), names(&path)), (vec!["home".to_owned()], vec!["letter".to_owned()]));
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    overwrite(&empty).unwrap();
    assert_eq!(names(&empty), ["_SUCCESS", "part-00000.csv"]);
}

#[test]
fn an_output_that_fails_leaves_the_old_one_as_it_was() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("out");
    let file = dir.path().join("one.csv");
    strings(&ctx, &["old"]).write().csv(&path).unwrap();
    strings(&ctx, &["old"]).write().single_file().csv(&file).unwrap();
    let fails = ctx.parallelize_into(0..20_i64, 4).map(|n| (if n == 17 { panic!("seventeen") } else { n },));
    let fails = fails.to_table().unwrap();
    for mode in [SaveMode::Overwrite, SaveMode::Append] {
        let error = fails.write().mode(mode).csv(&path).unwrap_err().to_string();
        assert!(error.contains("seventeen"), "{error}");
    }
    fails.write().mode(SaveMode::Overwrite).single_file().csv(&file).unwrap_err();
    assert_eq!(
        (names(dir.path()), names(&path)),
        (vec!["one.csv".to_owned(), "out".to_owned()], vec!["_SUCCESS".to_owned(), "part-00000.csv".to_owned()])
    );
    assert_eq!(fs::read_to_string(path.join("part-00000.csv")).unwrap(), "s\nold\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "s\nold\n");
}

#[test]
fn one_file_has_the_rows_of_all_partitions_in_their_order_and_one_header() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("numbers.csv.gz");
    let table = ctx.range_into(0..20_000_u64, 7).map(|n| (n,)).to_table().unwrap();
    table.write().single_file().compression(Compression::Gzip).csv(&path).unwrap();
    assert_eq!(names(dir.path()), ["numbers.csv.gz"]);
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
    let wanted: String = std::iter::once("_1\n".to_owned()).chain((0..20_000).map(|n| format!("{n}\n"))).collect();
    assert!(text == wanted, "{} bytes", text.len());
    assert!(matches!(
        table.write().single_file().compression(Compression::Gzip).csv(&path),
        Err(Error::OutputExists { .. })
    ));
    table.write().single_file().mode(SaveMode::Ignore).compression(Compression::Gzip).csv(&path).unwrap();
}

#[test]
fn plans_that_went_by_way_of_bytes_write_the_same_files() {
    let (here, sending) = (Context::local(2).unwrap(), Context::local(2).unwrap());
    let plans = send_plans_as_bytes(&sending);
    let (dir, path) = temp("here");
    let table = Table::from_batches_into(&here, [awkward()], 3).unwrap();
    let sent = Table::from_batches_into(&sending, [awkward()], 3).unwrap();
    table.write().null_value("nil").csv(&path).unwrap();
    sent.write().null_value("nil").csv(dir.path().join("sent")).unwrap();
    assert!(plans.sent() > 0);
    for name in names(&path) {
        let [a, b] = ["here", "sent"].map(|out| fs::read(dir.path().join(out).join(&name)).unwrap());
        assert!(a == b, "{name}");
    }
    sent.write().single_file().json_lines(dir.path().join("one.json")).unwrap();
    assert_eq!(here.read().json_lines(dir.path().join("one.json")).unwrap().count().unwrap(), 6);
}

#[test]
fn compressed_parts_read_back_equal() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("csv");
    let table = ctx.range_into(0..20_000_i64, 3).map(|n| (n << 32, n.to_string() + "x")).to_table().unwrap();
    let writer = table.write().compression(Compression::Gzip);
    writer.clone().csv(&path).unwrap();
    assert_eq!(names(&path), ["_SUCCESS", "part-00000.csv.gz", "part-00001.csv.gz", "part-00002.csv.gz"]);
    let json = dir.path().join("json");
    writer.json_lines(&json).unwrap();
    assert_eq!(names(&json)[1], "part-00000.json.gz");
    let rows = table.rows::<(i64, String)>().collect().unwrap();
    assert_eq!(ctx.read().csv(&path).unwrap().rows::<(i64, String)>().collect().unwrap(), rows);
    assert_eq!(ctx.read().json_lines(&json).unwrap().rows::<(i64, String)>().collect().unwrap(), rows);
}

#[test]
fn a_table_without_rows_or_partitions_still_names_its_columns() {
    let ctx = Context::local(2).unwrap();
    let (dir, path) = temp("none");
    let schema = Schema::new([("a", DataType::Utf8), ("b", DataType::Utf8)]);
    let none = ctx.empty::<(String, String)>().to_table().unwrap();
    assert_eq!(none.partitions(), 0);
    none.write().csv(&path).unwrap();
    assert_eq!(fs::read_to_string(path.join("part-00000.csv")).unwrap(), "_1,_2\n");
    let file = dir.path().join("none.csv");
    none.write().single_file().csv(&file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "_1,_2\n");
    let json = dir.path().join("json");
    none.write().json_lines(&json).unwrap();
    assert_eq!(ctx.read().schema(schema).json_lines(&json).unwrap().count().unwrap(), 0);
}

type Row = (Option<String>, Option<f64>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_texts_and_doubles_there_are_both_formats_give_them_back(
        rows in prop::collection::vec((prop::option::of("[a\"', ;\t\r\n\\\\é\u{feff}1e]{0,4}"), prop::option::of(any::<f64>())), 1..12),
        partitions in 1_usize..4,
    ) {
        let ctx = Context::local(2).unwrap();
        let (dir, path) = temp("out");
        let finite = |(text, double): Row| (text, double.filter(|double| double.is_finite()));
        let rows: Vec<_> = rows.into_iter().map(finite).collect();
        let table = ctx.parallelize_into(rows.clone(), partitions).to_table().unwrap();
        table.write().csv(&path).unwrap();
        let json = dir.path().join("json");
        table.write().json_lines(&json).unwrap();
        let reader = ctx.read().mode(Mode::FailFast).schema(table.schema().clone());
        let back = reader.clone().json_lines(&json).unwrap().rows::<Row>().collect().unwrap();
        prop_assert_eq!(&back, &rows);
        let unix: Vec<Row> = rows
            .into_iter()
            .map(|(text, double)| (text.map(|text| text.replace("\r\n", "\n").replace('\r', "\n")), double))
            .collect();
        let back = reader.multi_line(true).csv(&path).unwrap().rows::<Row>().collect().unwrap();
        prop_assert_eq!(&back, &unix);
    }
}
