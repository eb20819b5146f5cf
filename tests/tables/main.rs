//! Tables from CSV: what is discovered, what becomes of records that do not fit, and that cutting, caching, spilling and
//! losing partitions changes nothing.

use std::{fs, io::Write, path::PathBuf};

use emberflow::{
    prelude::*,
    table::{DataType, Mode, Schema, TimeUnit},
    testing::kill_cached_partition,
};
use serde::{Deserialize, Serialize};

mod doors;
mod json;
mod printed;
mod write;

/// A directory with files, as texts.
fn files(texts: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in texts {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let path = dir.path().to_path_buf();
    (dir, path)
}

fn shown(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_column_gets_the_narrowest_type_that_holds_all_its_values() {
    let (_dir, path) = files(&[(
        "types.csv",
        "i,l,d,t,ts,b,s,mixed,none\n\
         1,1,1,2009-12-18,2009-12-18,true,x,1,\n\
         2,3000000000,2.5,2010-01-01,2009-12-18 10:30:00,FALSE,7,2009-12-18,\n",
    )]);
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().csv(path).unwrap();
    let types: Vec<DataType> = table.schema().names().map(|n| table.schema().type_of(n).unwrap().clone()).collect();
    assert_eq!(
        types,
        [
            DataType::Int32,
            DataType::Int64,
            DataType::Float64,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Boolean,
            DataType::Utf8,
            DataType::Utf8,
            DataType::Utf8,
        ]
    );
    assert_eq!(
        table.show_string(5).unwrap(),
        shown(&[
            "+---+----------+---+----------+-------------------+-----+---+----------+----+",
            "|  i|         l|  d|         t|                 ts|    b|  s|     mixed|none|",
            "+---+----------+---+----------+-------------------+-----+---+----------+----+",
            "|  1|         1|1.0|2009-12-18|2009-12-18 00:00:00| true|  x|         1|NULL|",
            "|  2|3000000000|2.5|2010-01-01|2009-12-18 10:30:00|false|  7|2009-12-18|NULL|",
            "+---+----------+---+----------+-------------------+-----+---+----------+----+",
        ])
    );
}

/// The types that are discovered and the rows, as `show` prints them: `[a:integer] 1;2`.
fn read(reader: emberflow::table::Reader, text: &str) -> String {
    let (_dir, path) = files(&[("some.csv", text)]);
    match reader.csv(path) {
        Ok(table) => described(&table),
        Err(error) => error.to_string(),
    }
}

fn described(table: &emberflow::table::Table) -> String {
    let types = table.schema().to_string();
    let types: Vec<&str> =
        types.lines().filter_map(|line| Some(line.strip_prefix(" |-- ")?.split(" (").next().unwrap())).collect();
    let rows = match table.show_full_string(usize::MAX) {
        Ok(rows) => rows,
        Err(error) => return error.to_string(),
    };
    let cells = |line: &str| line[1..line.len() - 1].split('|').map(str::trim).collect::<Vec<_>>().join("|");
    let rows: Vec<String> = rows.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect();
    format!("[{}] {}", types.join(", ").replace(": ", ":"), rows.join(";"))
}

#[test]
fn columns_whose_digits_a_number_would_lose_are_strings() {
    let ctx = Context::local(2).unwrap();
    let cases = [
        ("zip\n00501\n94107\n", "[zip:string] 00501;94107"),
        ("n\n-007\n7\n", "[n:string] -007;7"),
        ("n\n00.5\n1.5\n", "[n:string] 00.5;1.5"),
        ("phone\n+4930123456\n4930123457\n", "[phone:string] +4930123456;4930123457"),
        ("v\n1.9\n1.10\n", "[v:double] 1.9;1.1"),
        (
            "id\n18446744073709551615\n18446744073709551614\n7\n",
            "[id:unsigned long] 18446744073709551615;18446744073709551614;7",
        ),
        ("id\n18446744073709551615\n-1\n", "[id:string] 18446744073709551615;-1"),
        ("id\n18446744073709551616\n1\n", "[id:string] 18446744073709551616;1"),
        ("id\n9007199254740993\n0.5\n", "[id:string] 9007199254740993;0.5"),
        ("id\n9007199254740992\n0.5\n", "[id:double] 9.007199254740992E15;0.5"),
        ("v\n9223372036854775807\n-9223372036854775808\n", "[v:long] 9223372036854775807;-9223372036854775808"),
        ("sha\n12345e67\n99999e12\n", "[sha:string] 12345e67;99999e12"),
        ("x\n12345e67\n1.5\n", "[x:double] 1.2345E71;1.5"),
        ("x\n1e5\n-2.5E-3\n", "[x:double] 100000.0;-0.0025"),
        ("x\n1.0e400\n1.5\n", "[x:string] 1.0e400;1.5"),
    ];
    for (text, expected) in cases {
        assert_eq!(read(ctx.read(), text), expected, "{text:?}");
    }
}

#[test]
fn a_schema_that_is_given_makes_numbers_of_whatever_is_one() {
    let ctx = Context::local(2).unwrap();
    let of = |of: DataType| ctx.read().schema(Schema::new([("n", of)]));
    assert_eq!(read(of(DataType::Int32), "n\n00501\n+7\n"), "[n:integer] 501;7");
    assert_eq!(
        read(of(DataType::UInt64), "n\n18446744073709551615\n-1\n"),
        "[n:unsigned long] 18446744073709551615;NULL"
    );
    assert_eq!(read(of(DataType::Float64), "n\n12345e67\n007.5\n"), "[n:double] 1.2345E71;7.5");
    assert_eq!(read(of(DataType::Utf8), "n\n1.10\n"), "[n:string] 1.10");
}

#[test]
fn timestamps_of_the_years_1_to_9999_are_timestamps_with_a_schema_and_without() {
    let ctx = Context::local(2).unwrap();
    let text = "t\n0001-01-01 00:00:00\n1582-10-10 12:00:00.000001\n2018-10-01 00:00:00\n9999-12-31 23:59:59.999999\n";
    let rows = "[t:timestamp_ntz] 0001-01-01 00:00:00;1582-10-10 12:00:00.000001;2018-10-01 00:00:00;\
                9999-12-31 23:59:59.999999";
    let schema = Schema::new([("t", DataType::Timestamp(TimeUnit::Microsecond, None))]);
    for reader in [ctx.read(), ctx.read().schema(schema.clone()), ctx.read().schema(schema).mode(Mode::FailFast)] {
        assert_eq!(read(reader, text), rows);
    }
    let dates = "[t:date] 0001-01-01;9999-12-31";
    assert_eq!(read(ctx.read(), "t\n0001-01-01\n9999-12-31\n"), dates);
}

#[test]
fn dates_beside_timestamps_are_their_midnights_however_dates_are_written() {
    let ctx = Context::local(2).unwrap();
    let rows = "[t:timestamp_ntz] 2009-01-08 00:00:00;2009-12-18 10:00:00";
    assert_eq!(read(ctx.read(), "t\n2009-1-8\n2009-12-18 10:00:00\n"), rows);
    let reader = ctx.read().date_format("%d.%m.%Y");
    assert_eq!(read(reader, "t\n08.01.2009\n2009-12-18 10:00:00\n"), rows);
}

#[test]
fn an_empty_field_is_null_and_one_within_quotes_is_an_empty_string_unless_told_otherwise() {
    let ctx = Context::local(2).unwrap();
    let text = "k,v,n\nx,\"\",\"\"\ny,,7\n\"\",\"NA\",\nz,\"a,\"\"b\",8\n";
    let types = "[k:string, v:string, n:integer]";
    assert_eq!(read(ctx.read(), text), format!("{types} x||NULL;y|NULL|7;|NA|NULL;z|a,\"b|8"));
    assert_eq!(read(ctx.read().null_value("NA"), text), format!("{types} x||NULL;y|NULL|7;|NULL|NULL;z|a,\"b|8"));
    assert_eq!(read(ctx.read().null_value(""), text), format!("{types} x|NULL|NULL;y|NULL|7;NULL|NA|NULL;z|a,\"b|8"));
    let zero = ctx.read().empty_value("0");
    assert_eq!(read(zero, text), format!("{types} x|0|0;y|NULL|7;0|NA|NULL;z|a,\"b|8"));
    let both = ctx.read().empty_value("NA").null_value("NA");
    assert_eq!(read(both, text), format!("{types} x|NULL|NULL;y|NULL|7;NULL|NULL|NULL;z|a,\"b|8"));
    // Nothing but empty strings, and nothing but nulls.
    assert_eq!(read(ctx.read(), "a,b\n\"\",\n\"\",\n"), "[a:string, b:string] |NULL;|NULL");
    assert_eq!(read(ctx.read(), "a\nx\n\"\"\n"), "[a:string] x;");
    // Other quotes and escapes, and no quotes at all.
    let other = ctx.read().quote(b'\'').escape(b'\\').delimiter(b';');
    assert_eq!(read(other, "a;b;c\n'';;'\\';'\n;'';x\n"), "[a:string, b:string, c:string] |NULL|';;NULL||x");
    assert_eq!(read(ctx.read().quote(None), "a,b\n\"\",\n"), "[a:string, b:string] \"\"|NULL");
    // A quote that is open still, and fields of more lines.
    let lines = ctx.read().multi_line(true);
    assert_eq!(
        read(lines, "a,b,c\n\"\",\"x\n\n\",\n,\"\",1\n").split_once(']').unwrap().0,
        "[a:string, b:string, c:integer"
    );
    let lines = ctx.read().multi_line(true).quote(b'\'');
    assert_eq!(read(lines, "a,b\n'','\n").split_once(']').unwrap().1, " |");
}

#[test]
fn records_of_tabs_or_blanks_only_are_records_in_all_modes() {
    let ctx = Context::local(2).unwrap();
    for mode in [Mode::Permissive, Mode::DropMalformed, Mode::FailFast] {
        let reader = || ctx.read().mode(mode);
        let tabs = read(reader().delimiter(b'\t'), "a\tb\nx\ty\n\t\n\nz\tw\n");
        assert_eq!(tabs, "[a:string, b:string] x|y;NULL|NULL;z|w", "{mode:?}");
        let blanks = read(reader().delimiter(b' '), "a b c\nx y z\n  \nu v w\n");
        assert_eq!(blanks, "[a:string, b:string, c:string] x|y|z;NULL|NULL|NULL;u|v|w", "{mode:?}");
        let commas = read(reader(), "a,b\n1,2\n,\n \t, \n");
        assert_eq!(commas, "[a:string, b:string] 1|2;NULL|NULL;\\t|", "{mode:?}");
        let one = read(reader(), " \n\nname\nann\n  \n\nbob\n");
        assert_eq!(one, "[name:string] ann;;bob", "{mode:?}");
    }
    // Blanks where several fields are wanted do not fit.
    let text = "a,b\n1,2\n  \n\n3,4\n";
    let schema = || Schema::new([("a", DataType::Utf8), ("b", DataType::Int32)]);
    assert_eq!(read(ctx.read().schema(schema()), text), "[a:string, b:integer] 1|2;|NULL;3|4");
    assert_eq!(read(ctx.read().schema(schema()).mode(Mode::DropMalformed), text), "[a:string, b:integer] 1|2;3|4");
    let told = read(ctx.read().schema(schema()).mode(Mode::FailFast), text);
    assert!(told.contains("line 3: 1 fields instead of 2"), "{told}");
}

#[test]
fn what_dos_puts_behind_the_end_of_a_file_is_no_row() {
    let ctx = Context::local(2).unwrap();
    for end in ["\u{1a}", "\u{1a}\u{1a}\u{1a}", "\u{1a}\n", "\u{1a}\r\n"] {
        for last in ["2\r\n", "2"] {
            for reader in [ctx.read(), ctx.read().mode(Mode::FailFast), ctx.read().multi_line(true)] {
                assert_eq!(read(reader, &format!("a\r\n1\r\n{last}{end}")), "[a:integer] 1;2", "{last:?}{end:?}");
            }
        }
    }
    // Elsewhere it is a character like others.
    assert!(read(ctx.read(), "a\n1\n\u{1a}\n2\n").starts_with("[a:string] 1;"));
    assert!(read(ctx.read(), "a\n\u{1a}\n\u{1a}").starts_with("[a:string] "));
    // Wherever a large file is cut: the same rows, and all of them.
    for rows in [200_000_u64, 200_001, 262_143] {
        let (_dir, path) = files(&[]);
        let text: String = (0..rows).map(|row| format!("{row:0>31}\r\n")).collect();
        fs::write(path.join("large.csv"), text + "\u{1a}").unwrap();
        let table = ctx.read().header(false).schema(Schema::new([("n", DataType::Int64)])).csv(&path).unwrap();
        assert!(table.partitions() > 2);
        assert_eq!(table.count().unwrap(), rows);
    }
}

#[test]
fn a_value_that_the_sample_missed_is_malformed_where_a_digit_would_be_lost() {
    let ctx = Context::local(2).unwrap();
    let sampled = || ctx.read().sampling_ratio(0.01).corrupt_record("bad");
    assert_eq!(read(sampled(), "n\n1\n007\n2\n"), "[n:integer, bad:string] 1|NULL;NULL|007;2|NULL");
    assert_eq!(
        read(sampled(), "n\n1.5\n9007199254740993\n2\n"),
        "[n:double, bad:string] 1.5|NULL;NULL|9007199254740993;2.0|NULL"
    );
}

const MESSY: &str = "name,year\nAlien,1979\nBrazil\nCube,x\nDune,1984,3\n\"Eden,1\nFargo,1996\n";

fn messy_schema() -> Schema {
    Schema::new([("name", DataType::Utf8), ("year", DataType::Int32)])
}

#[test]
fn permissive_reads_what_fits_and_keeps_the_record_that_did_not() {
    let (_dir, path) = files(&[("messy.csv", MESSY)]);
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().schema(messy_schema()).corrupt_record("bad").csv(path).unwrap();
    assert_eq!(
        table.show_string(20).unwrap(),
        shown(&[
            "+------+----+-----------+",
            "|  name|year|        bad|",
            "+------+----+-----------+",
            "| Alien|1979|       NULL|",
            "|Brazil|NULL|     Brazil|",
            "|  Cube|NULL|     Cube,x|",
            "|  Dune|1984|Dune,1984,3|",
            "|Eden,1|NULL|    \"Eden,1|",
            "| Fargo|1996|       NULL|",
            "+------+----+-----------+",
        ])
    );
}

#[test]
fn drop_malformed_leaves_out_each_record_that_does_not_fit() {
    let (_dir, path) = files(&[("messy.csv", MESSY)]);
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().schema(messy_schema()).mode(Mode::DropMalformed).csv(path).unwrap();
    let names = table.rows::<Film>().map(|film| film.name).collect().unwrap();
    assert_eq!(names, ["Alien", "Fargo"]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Film {
    name: String,
    year: Option<i32>,
}

#[test]
fn fail_fast_names_file_line_column_and_text() {
    let ctx = Context::local(2).unwrap();
    let said = |text: &str| {
        let (_dir, path) = files(&[("films.csv", text)]);
        let table = ctx.read().schema(messy_schema()).mode(Mode::FailFast).csv(path).unwrap();
        table.count().unwrap_err().to_string()
    };
    let error = said("name,year\nAlien,1979\n\nCube,x\n");
    assert!(
        error.contains("films.csv, line 4: column \"year\": \"x\" is not of type integer; the record is \"Cube,x\""),
        "{error}"
    );
    assert!(error.contains("failed after 1 attempt;"), "{error}");
    assert!(said("name,year\nDune,1984,3\n").contains("line 2: 3 fields instead of 2"));
    assert!(said("name,year\n\"Eden,1984\nFargo,1996\n").contains("line 2: a quote is not closed"));
}

#[test]
fn fields_may_hold_line_breaks_where_that_is_asked_for() {
    let (_dir, path) = files(&[("notes.csv", "id,note\n1,\"two\n\nlines, \"\"quoted\"\"\"\n2,plain\n")]);
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().multi_line(true).csv(path).unwrap();
    #[derive(Clone, Serialize, Deserialize)]
    struct Note {
        id: i32,
        note: String,
    }
    let notes = table.rows::<Note>().map(|row| (row.id, row.note)).collect().unwrap();
    assert_eq!(notes, [(1, "two\n\nlines, \"quoted\"".to_owned()), (2, "plain".to_owned())]);
}

#[test]
fn marks_carriage_returns_and_blank_lines_are_no_part_of_the_data() {
    let (_dir, path) = files(&[("windows.csv", "\u{feff}a,b\r\n1,x\r\n\r\n2,y")]);
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().csv(path).unwrap();
    assert_eq!(table.schema().names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(table.count().unwrap(), 2);
}

#[test]
fn records_end_at_lf_crlf_or_cr_and_all_of_them_may_be_mixed() {
    let ctx = Context::local(2).unwrap();
    let expected = [(1, "x"), (2, "y"), (3, "z")].map(|(a, b)| (a, b.to_owned()));
    for text in ["a,b\r1,x\r2,y\r3,z\r", "a,b\r\r\n1,x\r\r\n2,y\r\r\n3,z", "\u{feff}a,b\n1,x\r2,y\r\n3,z"] {
        let (_dir, path) = files(&[("old.csv", text)]);
        let table = ctx.read().csv(&path).unwrap();
        assert_eq!(table.schema().names().collect::<Vec<_>>(), ["a", "b"], "{text:?}");
        assert_eq!(table.rows::<Pair>().map(|Pair { a, b }| (a, b)).collect().unwrap(), expected, "{text:?}");
    }
    let (_dir, path) = files(&[("quoted.csv", "a,b\r1,\"x\ry\"\r")]);
    let table = ctx.read().multi_line(true).csv(&path).unwrap();
    let rows = table.rows::<Pair>().map(|Pair { a, b }| (a, b)).collect().unwrap();
    assert_eq!(rows, [(1, "x\ny".to_owned())]);
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    a: i32,
    b: String,
}

#[cfg(unix)]
#[test]
fn a_pipe_is_a_table_if_its_schema_is_given_and_otherwise_refused_before_it_is_read() {
    let ctx = Context::local(2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = ctx.read().csv(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("pipe") && error.contains("give a schema by Reader::schema"), "{error}");

    let (_dir, twin) = files(&[("twin.csv", "a,b\n1,x\n")]);
    let schema = ctx.read().csv(&twin).unwrap().schema().clone();
    let target = path.clone();
    let writer = std::thread::spawn(move || fs::write(target, "a,b\n2,y\n3,z\n").unwrap());
    assert_eq!(ctx.read().schema(schema).csv(&path).unwrap().count().unwrap(), 2);
    writer.join().unwrap();
}

#[test]
fn columns_without_a_name_or_with_the_same_get_names_as_spark_gives_them() {
    let (_dir, path) = files(&[("names.csv", "a,,a\n1,2,3\n")]);
    let ctx = Context::local(2).unwrap();
    assert_eq!(ctx.read().csv(&path).unwrap().schema().names().collect::<Vec<_>>(), ["a", "_c1", "a2"]);
    let bare = ctx.read().header(false).csv(&path).unwrap();
    assert_eq!((bare.schema().names().collect::<Vec<_>>(), bare.count().unwrap()), (vec!["_c0", "_c1", "_c2"], 2));
}

#[test]
fn other_delimiters_quotes_escapes_and_date_formats_are_read() {
    let (_dir, path) = files(&[("odd.csv", "day|text\n18.12.2009|'a|b\\'c'\n-|'d'\n")]);
    let ctx = Context::local(2).unwrap();
    let reader = ctx.read().delimiter(b'|').quote(b'\'').escape(b'\\').date_format("%d.%m.%Y").null_value("-");
    let table = reader.csv(path).unwrap();
    assert_eq!(
        table.show_string(9).unwrap(),
        shown(&[
            "+----------+-----+",
            "|       day| text|",
            "+----------+-----+",
            "|2009-12-18|a|b'c|",
            "|      NULL|    d|",
            "+----------+-----+",
        ])
    );
}

#[test]
fn a_header_that_names_fewer_columns_than_all_records_have_is_an_error() {
    let ctx = Context::local(2).unwrap();
    let told = read(ctx.read(), "\"a\",\"b\"\n\"1\",10,20\n\"2\",30,40\n");
    assert!(told.contains("some.csv: the header names 2 columns, and all records have 3 fields or more"), "{told}");
    assert!(told.contains("Reader::schema"), "{told}");
    // Delimiters behind the last field are none, and some records that are too long are malformed.
    assert_eq!(read(ctx.read(), "a,b\n1,2,\n3,4,\n"), "[a:integer, b:integer] 1|2;3|4");
    let mixed = read(ctx.read().corrupt_record("bad"), "a,b\n1,2,3\n4,5\n");
    assert_eq!(mixed, "[a:integer, b:integer, bad:string] 1|2|1,2,3;4|5|NULL");
    let schema = Schema::new(["r", "a", "b"].map(|name| (name, DataType::Int32)));
    assert_eq!(read(ctx.read().schema(schema), "a,b\n1,10,20\n"), "[r:integer, a:integer, b:integer] 1|10|20");
}

#[test]
fn fields_that_are_quoted_at_random_come_back_empty_null_or_as_they_were() {
    let ctx = Context::local(2).unwrap();
    let mut state = 11_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for multi_line in [false, true] {
        let texts = ["", "", "a", " ", "\"", "\"\"", ",", "x\"y", "é,", "\t", "\n", "\n\n"];
        let (mut file, mut expected) = ("a,b,c\n".to_owned(), Vec::new());
        for _ in 0..3_000 {
            let row: [Option<String>; 3] = std::array::from_fn(|at| {
                let text = texts[next(if multi_line { texts.len() } else { texts.len() - 2 })];
                let quoted = text.contains(['"', ',', '\n']) || next(2) == 0;
                let field = if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() };
                file.push_str(&field);
                file.push(if at < 2 { ',' } else { '\n' });
                (quoted || !text.is_empty()).then(|| text.to_owned())
            });
            expected.push(row.into());
        }
        let (_dir, path) = files(&[("random.csv", &file)]);
        let table = ctx.read().mode(Mode::FailFast).multi_line(multi_line).csv(path).unwrap();
        assert_eq!(table.rows::<Fields>().collect().unwrap(), expected);
    }
}

type Fields = (Option<String>, Option<String>, Option<String>);

#[test]
fn errors_name_what_a_reader_has() {
    let ctx = Context::local(2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.csv");
    let told = |reader: emberflow::table::Reader, bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = reader.csv(&path).and_then(|table| table.count()).unwrap_err().to_string();
        assert!(error.contains("some.csv") && !error.contains("TextOptions"), "{error}");
        error
    };
    assert!(
        told(ctx.read(), b"a\ncaf\xe9\n")
            .contains("byte 5: not UTF-8; convert the file, or read it with Reader::lossy")
    );
    let long = told(ctx.read().max_record_bytes(100), format!("a\n{}\n", "x".repeat(101)).as_bytes());
    assert!(long.contains("a line of more than 100 bytes") && long.contains("see Reader::max_record_bytes"), "{long}");
    let lines = "x\n".repeat(60);
    let open = told(ctx.read().multi_line(true).max_record_bytes(100), format!("a\n\"{lines}").as_bytes());
    assert!(open.contains("line 2: a record of more than 100 bytes; is a quote not closed?"), "{open}");
    assert!(open.contains("see Reader::max_record_bytes"), "{open}");
    let text = dir.path().join("text");
    fs::write(&text, b"caf\xe9").unwrap();
    let lines = ctx.text_file(&text).unwrap().count().unwrap_err().to_string();
    assert!(lines.contains("read it with TextOptions::lossy"), "{lines}");
    let schema = Schema::new([("a", DataType::Int8)]);
    let error = ctx.read().schema(schema).csv(&path).err().unwrap().to_string();
    assert!(error.contains("column \"a\": CSV cannot be read as byte; give it as string to Reader::schema"), "{error}");
}

#[test]
fn files_with_different_headers_are_refused_with_both_names() {
    let (_dir, path) = files(&[("a.csv", "x,y\n1,2\n"), ("b.csv", "y,x\n1,2\n")]);
    let error = Context::local(2).unwrap().read().csv(path).err().unwrap().to_string();
    assert!(error.contains("b.csv has another header than") && error.contains("a.csv"), "{error}");
}

#[test]
fn an_empty_file_and_a_wrong_ratio_are_clear_errors() {
    let (_dir, path) = files(&[("empty.csv", "\n\n")]);
    let ctx = Context::local(2).unwrap();
    let error = ctx.read().csv(&path).err().unwrap().to_string();
    assert!(error.contains("give one with Reader::schema"), "{error}");
    let error = ctx.read().sampling_ratio(1.5).csv(&path).err().unwrap().to_string();
    assert!(error.contains("Reader::sampling_ratio(1.5)"), "{error}");
}

/// The rows of type `T`, or the error that says why there are none.
fn rows<T: emberflow::ExchangeData + std::fmt::Debug>(text: &str) -> Result<Vec<T>, String> {
    let (_dir, path) = files(&[("some.csv", text)]);
    let ctx = Context::local(2).unwrap();
    ctx.read().csv(path).unwrap().rows::<T>().collect().map_err(|error| error.to_string())
}

#[track_caller]
fn assert_rows<T>(text: &str, expected: &[T])
where
    T: emberflow::ExchangeData + std::fmt::Debug + PartialEq,
{
    assert_eq!(rows::<T>(text).as_deref(), Ok(expected), "{text:?}");
}

#[test]
fn rows_do_not_depend_on_the_types_that_other_rows_make_of_their_columns() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sold {
        item: String,
        price: f64,
    }
    let sold = |item: &str, price| Sold { item: item.to_owned(), price };
    assert_rows("item,price\nbread,2.5\n", &[sold("bread", 2.5)]);
    assert_rows("item,price\nbread,3\n", &[sold("bread", 3.0)]);
    assert_rows("item,price\n7,3\n8,3000000000\n", &[sold("7", 3.0), sold("8", 3e9)]);
    assert_rows("item,price\n2009-12-18,1e10\n", &[sold("2009-12-18", 1e10)]);
    assert_rows("item,price\n2009-12-18T10:00:00,-0\n", &[sold("2009-12-18T10:00:00", -0.0)]);

    assert_rows("n\n10\n", &[(10_i64,)]);
    assert_rows("n\n10\n3000000000\n", &[(10_i64,), (3_000_000_000,)]);
    assert_rows("n\n10\n18446744073709551615\n", &[(10_u64,), (u64::MAX,)]);
    assert_rows("n\n10\n18446744073709551616\n", &[(10_u128,), (18_446_744_073_709_551_616,)]);
    assert_rows("n\n10\n2.0\n", &[(10_u8,), (2,)]);
    assert_rows("n\n10\n2.0\n9007199254740993\n", &[(10_i64,), (2,), (9_007_199_254_740_993,)]);
    assert_rows("n\n10\n\"\"\n", &[(Some(10_i16),), (None,)]);
    assert_rows("n,m\n9007199254740993,\n-7,1.5\n", &[(9_007_199_254_740_993_i64, None), (-7, Some(1.5_f32))]);
    assert_rows("n\n00501\n7\n", &[("00501".to_owned(),), ("7".to_owned(),)]);
    let texts = |texts: [&str; 2]| texts.map(|text| (text.to_owned(),));
    assert_rows("n\n18446744073709551615\n7\n", &texts(["18446744073709551615", "7"]));
    assert_rows("n\n12345e67\n99999e12\n", &texts(["12345e67", "99999e12"]));
    assert_rows(
        "n\n0001-01-01 00:00:00\n9999-12-31 23:59:59\n",
        &texts(["0001-01-01T00:00:00", "9999-12-31T23:59:59"]),
    );
    assert_rows("b,c\ntrue,x\nFALSE,7\n", &[(true, 'x'), (false, '7')]);
    assert_rows("b\ntrue\n\"\"\n", &[(Some(true),), (None,)]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Size {
    Small,
    Large,
}

#[test]
fn rows_are_whatever_serde_makes_of_fields_with_names() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Id(u32);
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct More {
        size: Size,
        seen: Option<String>,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        #[serde(rename = "the id")]
        id: Id,
        #[serde(flatten)]
        more: More,
        #[serde(default)]
        missing: u8,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(Thing);
    let text = "the id,unused,size,seen\n7,1.5,small,2009-12-18\n8,x,large,\n";
    let thing = |id, size, seen: Option<&str>| Thing {
        id: Id(id),
        more: More { size, seen: seen.map(str::to_owned) },
        missing: 0,
    };
    let things = [thing(7, Size::Small, Some("2009-12-18")), thing(8, Size::Large, None)];
    assert_rows(text, &things);
    assert_rows(text, &things.clone().map(Wrapped));
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_rows("a,b\n1,x\n", &[map(&[("a", "1"), ("b", "x")])]);
    assert_rows("a,b\n1,2\n3,4\n", &[vec![1, 2], vec![3, 4]]);
    assert_rows("day,time\n1970-01-02,1970-01-01 00:00:01\n", &[(1_i32, 1_000_000_i64)]);
}

#[test]
fn a_row_that_does_not_fit_says_first_what_is_wrong_and_what_to_do() {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[allow(dead_code)]
    struct Strict {
        name: String,
        year: i32,
    }
    fn told<T: emberflow::ExchangeData + std::fmt::Debug>(text: &str, words: &[&str]) {
        let error = rows::<T>(text).unwrap_err();
        let mut rest = error.as_str();
        for word in words {
            rest = rest.split_once(word).unwrap_or_else(|| panic!("{word:?} in {rest:?} of {error:?}")).1;
        }
        assert!(!error.contains("panicked"), "{error}");
    }
    told::<Strict>(
        "name,year\nAlien,1979\nBrazil,\n",
        &[
            "column \"year\" holds a null",
            "Option<i32>",
            "Row 2 of partition 0 makes no Strict: name = \"Brazil\", year = null",
        ],
    );
    told::<Strict>("name,year\n,1979\n", &["column \"name\" holds a null", "Option<String>"]);
    told::<Strict>(
        "name,year\nAlien,3000000000\n",
        &["column \"year\" holds 3000000000, which does not fit i32; read it as an i64"],
    );
    told::<Strict>("name,year\nAlien,1979.5\n", &["column \"year\" holds 1979.5, which does not fit i32", "an f64"]);
    told::<Strict>(
        "name,year\nAlien,1979\nBrazil,n/a\n",
        &["column \"year\" is string and holds \"n/a\", which is no i32", "Reader::null_value", "Row 2"],
    );
    told::<Strict>("name,year\nAlien,01979\n", &["column \"year\" is string and holds \"01979\"", "no i32"]);
    told::<Strict>("name,year\n1.5,1979\n", &["column \"name\" is double and holds 1.5", "Reader::schema"]);
    told::<Strict>("name,year\nTrue,1979\n", &["column \"name\" is boolean", "Reader::schema"]);
    told::<Strict>("name,yaer\nAlien,1979\n", &["no column for the field \"year\"", "there are name, yaer"]);
    told::<(f64,)>("n\n9007199254740993\n", &["column \"n\" holds 9007199254740993, which does not fit f64"]);
    told::<(f32,)>("n\n16777217\n", &["which does not fit f32; read it as an f64"]);
    told::<(u32,)>("n\n-1\n", &["holds -1, which does not fit u32"]);
    told::<(bool,)>("n\n1\n", &["column \"n\" is integer and holds 1, which is no bool"]);
    told::<(i32, i32)>("n\n1\n", &["wants 2 columns, and there are 1", "Table::select"]);
    told::<String>("n\n1\n", &["a row is a struct", "not String"]);
    told::<(Vec<i32>,)>("n\n1\n", &["column \"n\" is a single value", "a sequence"]);
    told::<(Size,)>("n\nhuge\n", &["column \"n\": unknown variant `huge`"]);
    told::<(std::net::IpAddr,)>("n\n1.2.3.4.5\n", &["column \"n\": invalid IP address"]);
}

#[test]
fn an_error_counts_the_rows_of_its_partition_over_all_chunks() {
    let text: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let (_dir, path) = files(&[("some.csv", &format!("n\n{text}\n70000\n"))]);
    let table = Context::local(2).unwrap().read().csv(path).unwrap();
    let error = table.rows::<(u16,)>().count().unwrap_err().to_string();
    assert!(error.contains("Row 20001 of partition 0 makes no (u16,): n = 70000"), "{error}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sale {
    id: i64,
    place: String,
    amount: Option<f64>,
}

/// So many sales that the file is cut, as the csv crate writes them.
fn sales() -> (tempfile::TempDir, PathBuf, Vec<Sale>) {
    let (dir, path) = files(&[]);
    let sales: Vec<Sale> = (0..120_000_i64)
        .map(|id| Sale {
            id: id << 20,
            place: format!("place \"{}\", {}", id % 97, "é".repeat((id % 13) as usize)),
            amount: (id % 7 != 0).then_some(id as f64 / 8.0),
        })
        .collect();
    let mut writer = csv::Writer::from_path(path.join("sales.csv")).unwrap();
    for sale in &sales {
        writer.serialize(sale).unwrap();
    }
    writer.flush().unwrap();
    (dir, path, sales)
}

#[test]
fn a_large_file_is_cut_and_gives_the_rows_that_another_writer_wrote() {
    let (_dir, path, sales) = sales();
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().csv(path).unwrap();
    assert!(table.partitions() > 2, "{} partitions", table.partitions());
    assert!(table.rows::<Sale>().collect().unwrap() == sales);
    assert_eq!(table.head(3).unwrap().num_rows(), 3);
    assert_eq!(table.collect().unwrap().num_rows(), sales.len());
}

#[test]
fn marks_that_could_cut_a_character_or_mean_two_things_are_refused_at_once() {
    let (_dir, path, _) = sales();
    let ctx = Context::local(1).unwrap();
    let error = |reader: emberflow::table::Reader| reader.csv(&path).err().unwrap().to_string();
    let told = error(ctx.read().delimiter(0xe9));
    assert_eq!(told, "Reader::delimiter(0xe9): give an ASCII character that ends no line, such as b';'");
    assert!(error(ctx.read().escape(b'\n')).starts_with("Reader::escape(0x0a): "));
    assert!(error(ctx.read().delimiter(b'"')).starts_with("quote and delimiter are both '\"'; "));
    let schema = Schema::new([("id", DataType::Utf8)]);
    let quoteless = ctx.read().delimiter(b'"').quote(None).schema(schema.clone()).csv(&path).unwrap();
    assert_eq!(quoteless.schema(), &schema);
}

#[test]
fn a_compressed_file_gives_the_same_rows() {
    let (_dir, path, sales) = sales();
    let text = fs::read(path.join("sales.csv")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    fs::write(path.join("sales.csv.gz"), gzip.finish().unwrap()).unwrap();
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().csv(path.join("sales.csv.gz")).unwrap();
    assert!(table.rows::<Sale>().collect().unwrap() == sales);
}

#[test]
fn a_cached_table_gives_the_same_rows_from_disk_and_after_a_loss() {
    let (_dir, path, sales) = sales();
    for spilled in [false, true] {
        let ctx = Context::builder().workers(2).force_spill(spilled).build().unwrap();
        let table = ctx.read().csv(&path).unwrap().cache();
        assert_eq!(table.count().unwrap(), sales.len() as u64);
        assert!(kill_cached_partition(table.chunks(), 1).unwrap(), "it was there");
        assert!(table.rows::<Sale>().collect().unwrap() == sales, "spilled: {spilled}");
    }
}

/// Whatever stands in a file and whatever options it is read with: rows or an error, no panic.
#[test]
fn files_of_any_bytes_read_with_any_options_give_rows_or_an_error_that_is_no_panic() {
    let (dir, ctx) = (tempfile::tempdir().unwrap(), Context::local(2).unwrap());
    let path = dir.path().join("mutated.csv");
    let sound = "id,name,\"when, and why\",ok\n1,\"a \"\"b\"\"\",2009-12-18,true\n2,é\u{1f980},2010-01-01T10:00:00,false\n\
                 -3,,NaN,\n4,\"two\nlines\",1e308,x\n";
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for _ in 0..1_500 {
        let mut bytes = sound.as_bytes().to_vec();
        for _ in 0..next(6) {
            let at = next(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            if bytes.is_empty() {
                break;
            }
            match next(5) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes.insert(at, *b"\",\n\r\\;\0\xff".get(next(8)).unwrap()),
                2 => _ = bytes.remove(at),
                3 => bytes.truncate(at.max(1)),
                _ => bytes.extend_from_within(at..),
            }
        }
        fs::write(&path, &bytes).unwrap();
        let mut reader = ctx.read().header(next(2) == 0).multi_line(next(2) == 0).lossy(next(2) == 0);
        reader = reader.delimiter(*b",,,;\t\xe9".get(next(6)).unwrap()).quote([Some(b'"'), Some(b'\''), None][next(3)]);
        reader = reader.escape([None, Some(b'\\'), Some(b'"')][next(3)]).null_value(["", "NaN", "é"][next(3)]);
        reader = reader.mode([Mode::Permissive, Mode::DropMalformed, Mode::FailFast][next(3)]);
        reader = reader.sampling_ratio([1.0, 0.3, 0.0][next(3).min(next(3))]);
        if next(3) == 0 {
            reader = reader.corrupt_record("corrupt");
        }
        let rows = reader.csv(&path).and_then(|table| Ok((table.count()?, table.collect()?.num_rows() as u64)));
        match rows {
            Ok((count, collected)) => {
                assert!(count == collected && count <= bytes.len() as u64 + 1, "{count} rows of {bytes:?}");
                read += 1;
            }
            Err(error) => {
                assert!(!error.to_string().contains("panicked"), "{error}: {bytes:?}");
                refused += 1;
            }
        }
    }
    assert!(read > 300 && refused > 300, "{read} read, {refused} refused");
    assert_eq!(ctx.range(0..10_u64).count().unwrap(), 10);
}

#[test]
fn actions_of_a_table_can_be_awaited_and_give_what_their_blocking_forms_give() {
    let (_dir, path) = files(&[("films.csv", "title,year\nAlien,1979\nBrazil,1985\nCube,1997\n")]);
    let ctx = Context::local(2).unwrap();
    let films = ctx.read().csv(path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(films.count_async().await.unwrap(), 3);
        assert_eq!(films.collect_async().await.unwrap(), films.collect().unwrap());
        let head = films.head_async(2).await.unwrap();
        assert_eq!((head.num_rows(), head), (2, films.head(2).unwrap()));
        assert_eq!(films.take_async(2).await.unwrap(), films.take(2).unwrap());
        assert_eq!(films.first_async().await.unwrap(), films.first().unwrap());
        assert_eq!(films.show_string_async(2).await.unwrap(), films.show_string(2).unwrap());
        assert_eq!(films.show_full_string_async(2).await.unwrap(), films.show_full_string(2).unwrap());
    });
    ctx.stop();
    assert!(matches!(films.show_async(1).wait(), Err(Error::ContextClosed)));
    assert!(matches!(films.take(1), Err(Error::ContextClosed)));
}

#[test]
fn a_table_is_read_by_plans_that_went_by_way_of_bytes() {
    let csv = "title,year,seen\nAlien,1979,2009-12-18\nBrazil,x,\nCube,1997,2010-01-01\n";
    let json = "{\"a\": 1, \"b\": {\"c\": [1.5]}}\n{\"a\": 2}\n{\"a\": 3, \"b\": {\"c\": []}}\n";
    let (_dir, path) = files(&[("films.csv", csv), ("rows.json", json)]);
    let read = |ctx: &Context| {
        let films = ctx.read().mode(Mode::DropMalformed).sampling_ratio(0.3).csv(path.join("films.csv")).unwrap();
        let rows = ctx.read().json_lines(path.join("rows.json")).unwrap();
        let texts =
            [films.select(&["year", "title"]).unwrap(), rows.clone()].map(|table| table.show_string(9).unwrap());
        (texts, rows.count().unwrap(), rows.rows::<(i64, Option<serde_json::Value>)>().count().unwrap())
    };
    let (plain, sending) = (Context::local(2).unwrap(), Context::local(2).unwrap());
    let plans = emberflow::testing::send_plans_as_bytes(&sending);
    assert_eq!(read(&sending), read(&plain));
    assert_eq!(plans.refused(), [""; 0]);
    assert!(plans.sent() >= 6, "{}", plans.sent());
}
