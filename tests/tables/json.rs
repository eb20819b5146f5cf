//! Tables from JSON Lines: what is discovered, what becomes of records that do not fit, and that cutting, caching, spilling
//! and losing partitions changes nothing.

use std::{collections::BTreeMap, fs, io::Write, sync::Arc};

use emberflow::{
    prelude::*,
    table::{Chunk, DataType, Field, Mode, Reader, Schema, Table, TimeUnit},
    testing::kill_cached_partition,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::files;

/// The schema and the rows, as they print.
fn read(reader: Reader, text: &str) -> (String, String) {
    let (_dir, path) = files(&[("some.jsonl", text)]);
    match reader.json_lines(path) {
        Ok(table) => (table.schema().to_string(), rows(&table)),
        Err(error) => (error.to_string(), String::new()),
    }
}

fn rows(table: &Table) -> String {
    match table.take(usize::MAX) {
        Ok(rows) => rows.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(error) => error.to_string(),
    }
}

/// The types of a column `a` with these values, and the values.
fn column(ctx: &Context, values: &[&str]) -> String {
    let text: String = values.iter().map(|value| format!("{{\"a\": {value}}}\n")).collect();
    let (schema, rows) = read(ctx.read().mode(Mode::FailFast), &text);
    let of: Vec<&str> = schema.lines().skip(1).map(|line| line.split([':', '(']).nth(1).unwrap().trim()).collect();
    let rows = rows.replace("Row(a=", "").replace(")\n", "; ");
    format!("{}: {}", of.join(" "), rows.strip_suffix(')').unwrap_or(&rows))
}

#[test]
fn each_column_gets_the_narrowest_type_that_loses_nothing_of_its_values() {
    let ctx = Context::local(2).unwrap();
    let cases: [(&[&str], &str); 22] = [
        (&["1", "-2"], "integer: 1; -2"),
        (&["1", "3000000000"], "long: 1; 3000000000"),
        (&["18446744073709551615", "0"], "unsigned long: 18446744073709551615; 0"),
        (&["18446744073709551616", "0"], "string: '18446744073709551616'; '0'"),
        (&["18446744073709551615", "-1"], "string: '18446744073709551615'; '-1'"),
        (&["1", "1.5", "null"], "double: 1.0; 1.5; None"),
        (&["12345e67", "-0"], "double: 1.2345e+71; -0.0"),
        (&["9007199254740993", "0.5"], "string: '9007199254740993'; '0.5'"),
        (&["1e400", "1"], "string: '1e400'; '1'"),
        (&["true", "false", "null"], "boolean: True; False; None"),
        (&["true", "1"], "string: 'true'; '1'"),
        (&["\"x\"", "\"1\""], "string: 'x'; '1'"),
        (&["\"2009-12-18\"", "\"true\""], "string: '2009-12-18'; 'true'"),
        (&["\"1\"", "2"], "string: '1'; '2'"),
        (&["null"], "string: None"),
        (&["{}", "{}"], "string: '{}'; '{}'"),
        (&["[]", "null"], "array string: []; None"),
        (&["[1, null]", "[2.5]"], "array double: [1.0, None]; [2.5]"),
        (&["[[1], []]", "[null]"], "array array integer: [[1], []]; [None]"),
        (&["[1]", "1"], "string: '[1]'; '1'"),
        (&[r#"{"b": 1}"#, "[ 1 ]"], r#"string: '{"b": 1}'; '[ 1 ]'"#),
        (&["[1]", "[\"x\\n\", {\"y\":  2}]"], "array string: ['1']; ['x\\n', '{\"y\":  2}']"),
    ];
    for (values, expected) in cases {
        assert_eq!(column(&ctx, values), expected, "{values:?}");
    }
}

#[test]
fn objects_become_structs_whose_fields_stand_in_the_order_in_which_they_are_first_seen() {
    let ctx = Context::local(2).unwrap();
    let text = r#"
{"z": {"b": 1}, "y": null}

  {"x": "one", "z": {"a": [{"d": 1}], "b": 2.5}}
{"z": null}	
{"z": {}, "x": "\u00e9 \"\ud83c\udfac\" \\", "y": 7, "y": true, "caf\u00e9": 1}
"#;
    let (schema, rows) = read(ctx.read().mode(Mode::FailFast), text);
    assert_eq!(
        schema,
        "root\n \
         |-- z: struct (nullable = true)\n \
         |    |-- b: double (nullable = true)\n \
         |    |-- a: array (nullable = true)\n \
         |    |    |-- element: struct (containsNull = true)\n \
         |    |    |    |-- d: integer (nullable = true)\n \
         |-- y: boolean (nullable = true)\n \
         |-- x: string (nullable = true)\n \
         |-- café: integer (nullable = true)\n"
    );
    assert_eq!(
        rows,
        "Row(z=Row(b=1.0, a=None), y=None, x=None, café=None)\n\
         Row(z=Row(b=2.5, a=[Row(d=1)]), y=None, x='one', café=None)\n\
         Row(z=None, y=None, x=None, café=None)\n\
         Row(z=Row(b=None, a=None), y=True, x='é \"🎬\" \\\\', café=1)"
    );
}

#[test]
fn rows_are_read_into_nested_types_of_ones_own() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Film {
        title: String,
        crew: Option<Crew>,
        #[serde(default)]
        scores: Option<Vec<Option<f64>>>,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Crew {
        director: String,
        born: (u16, u8),
    }
    let text = r#"{"title": "Alien", "crew": {"director": "Scott", "born": [1937, 11]}, "scores": [8, null, 7.5]}
{"title": "Brazil", "crew": null, "scores": null}
"#;
    let (_dir, path) = files(&[("films.jsonl", text)]);
    let ctx = Context::local(2).unwrap();
    let films = ctx.read().json_lines(&path).unwrap();
    let crew = Crew { director: "Scott".to_owned(), born: (1937, 11) };
    let alien =
        Film { title: "Alien".to_owned(), crew: Some(crew.clone()), scores: Some(vec![Some(8.0), None, Some(7.5)]) };
    let brazil = Film { title: "Brazil".to_owned(), crew: None, scores: None };
    assert_eq!(films.rows::<Film>().collect().unwrap(), [alien.clone(), brazil]);
    let row = films.first().unwrap().unwrap();
    assert_eq!(row.get::<Crew>("crew").unwrap(), crew);
    assert_eq!(row.get::<(String, Vec<u32>)>("crew").unwrap(), ("Scott".to_owned(), vec![1937, 11]));
    assert_eq!(row.to::<Film>().unwrap(), alien);
    let value =
        json!({"title": "Alien", "crew": {"director": "Scott", "born": [1937, 11]}, "scores": [8.0, null, 7.5]});
    assert_eq!(row.to::<Value>().unwrap(), value);

    let told = |error: Error| error.to_string();
    assert_eq!(
        told(row.get::<[u32; 2]>("scores").unwrap_err()),
        "column \"scores\" holds a list of 3, and 2 are wanted; read it as a Vec"
    );
    assert_eq!(
        told(row.get::<Vec<f64>>("scores").unwrap_err()),
        "column \"scores\" holds a null, for which f64 has no place; read it as an Option<f64>"
    );
    assert!(told(row.get::<String>("crew").unwrap_err()).contains("column \"crew\" is struct<director:string,"));
    assert!(told(row.get::<i32>("crew").unwrap_err()).contains("which is no i32"));
    #[derive(Debug, Deserialize)]
    struct Names {
        #[allow(dead_code)]
        producer: String,
    }
    assert!(told(row.get::<Names>("crew").unwrap_err()).contains("\"producer\"; there are director, born"));
}

#[test]
fn a_schema_that_is_given_chooses_columns_and_makes_dates_of_texts() {
    let ctx = Context::local(2).unwrap();
    let schema = || {
        Schema::new([
            ("day", DataType::Date32),
            ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("n", DataType::Int64),
            ("x", DataType::Float64),
            ("text", DataType::Utf8),
            ("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))),
        ])
    };
    let text = r#"{"more": 1, "day": "2009-12-18", "at": "2009-12-18T10:30:00Z", "n": 7, "x": 1, "text": 1.10, "tags": ["a"]}
{"day": 7, "n": 1.0, "x": "1", "tags": "a", "text": {"a":  1}}
"#;
    let (_, permissive) = read(ctx.read().schema(schema()).corrupt_record("bad"), text);
    assert_eq!(
        permissive,
        "Row(day=datetime.date(2009, 12, 18), at=datetime.datetime(2009, 12, 18, 10, 30), n=7, x=1.0, text='1.10', \
         tags=['a'], bad=None)\n\
         Row(day=None, at=None, n=None, x=None, text='{\"a\":  1}', tags=None, \
         bad='{\"day\": 7, \"n\": 1.0, \"x\": \"1\", \"tags\": \"a\", \"text\": {\"a\":  1}}')"
    );
    let german = ctx.read().schema(Schema::new([("day", DataType::Date32)])).date_format("%d.%m.%Y");
    assert_eq!(read(german, "{\"day\": \"18.12.2009\"}").1, "Row(day=datetime.date(2009, 12, 18))");
    let error = read(ctx.read().schema(Schema::new([("n", DataType::Int8)])), text).0;
    assert_eq!(error, "column \"n\": JSON cannot be read as byte; give it as string to Reader::schema, and convert it");
}

const MESSY: &str = "{\"name\": \"Alien\", \"year\": 1979}\n\n[1]\n{\"name\": \"Cube\", \"year\": \"x\"}\n\
                     {\"name\": \"Dune\", \"year\": 1984\n{\"name\": \"\\ud800\", \"year\": 1}\n{\"name\": \"Fargo\"}\n";

fn messy_schema() -> Schema {
    Schema::new([("name", DataType::Utf8), ("year", DataType::Int32)])
}

#[test]
fn the_modes_say_what_becomes_of_lines_that_do_not_fit() {
    let ctx = Context::local(2).unwrap();
    assert_eq!(
        read(ctx.read().schema(messy_schema()).corrupt_record("bad"), MESSY).1,
        "Row(name='Alien', year=1979, bad=None)\n\
         Row(name=None, year=None, bad='[1]')\n\
         Row(name='Cube', year=None, bad='{\"name\": \"Cube\", \"year\": \"x\"}')\n\
         Row(name=None, year=None, bad='{\"name\": \"Dune\", \"year\": 1984')\n\
         Row(name=None, year=1, bad='{\"name\": \"\\\\ud800\", \"year\": 1}')\n\
         Row(name='Fargo', year=None, bad=None)"
    );
    assert_eq!(
        read(ctx.read().schema(messy_schema()).mode(Mode::DropMalformed), MESSY).1,
        "Row(name='Alien', year=1979)\nRow(name='Fargo', year=None)"
    );
    let said = |text: &str| read(ctx.read().schema(messy_schema()).mode(Mode::FailFast), text).1;
    let error = said(MESSY);
    assert!(error.contains("some.jsonl, line 3: it is no object of JSON, {…}; the record is \"[1]\""), "{error}");
    assert!(error.contains("failed after 1 attempt;"), "{error}");
    let error = said("\n{\"name\": \"Cube\", \"year\": \"x\"}");
    assert!(error.contains("line 2: column \"year\": \"\\\"x\\\"\" is not of type integer"), "{error}");
    let error = said("{\"name\": \"Dune\", \"year\": 1984");
    assert!(error.contains("line 1: it is no JSON: EOF while parsing an object at byte 29 of the line"), "{error}");
    // Lines that are no objects say nothing of the schema, unless there are no others.
    assert_eq!(read(ctx.read().mode(Mode::DropMalformed), "x\n{\"a\": 1}\n").1, "Row(a=1)");
    let error = read(ctx.read(), "{\n  \"a\": 1\n}\n").0;
    assert!(error.contains("no line is an object") && error.contains("some.jsonl, line 1: it is no JSON"), "{error}");
    assert!(read(ctx.read(), "\n \n").0.contains("there is no line that is not blank"));
    assert!(read(ctx.read().multi_line(true), "{\"a\": 1}").0.contains("Reader::multi_line is for CSV"));
    // A field of a struct, and an element.
    let text = "{\"a\": {\"b\": 1}, \"c\": [1]}\n{\"a\": {\"b\": 9007199254740993}, \"c\": [true, 2]}\n";
    let (_, sampled) = read(ctx.read().sampling_ratio(0.01), text);
    assert_eq!(sampled, "Row(a=Row(b=1), c=[1])\nRow(a=Row(b=None), c=[None, 2])");
    let (_, error) = read(ctx.read().sampling_ratio(0.01).mode(Mode::FailFast), text);
    assert!(error.contains("column \"a.b\": \"9007199254740993\" is not of type integer"), "{error}");
    let text = "{\"x\": 0.5}\n{\"x\": 9007199254740993}\n";
    assert_eq!(read(ctx.read().sampling_ratio(0.01), text).1, "Row(x=0.5)\nRow(x=None)");
}

#[test]
fn what_is_nested_too_deep_is_text_and_all_that_is_not_comes_back_from_bytes() {
    let ctx = Context::local(2).unwrap();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        // Arrow cannot read what it wrote from some depth on.
        for depth in [1, 19, 20, 21, 1000, 100_000] {
            let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let (_dir, path) = files(&[("deep.jsonl", &format!("{{\"v\": {value}}}\n"))]);
            let table = ctx.read().json_lines(path).unwrap();
            let printed = table.first().unwrap().unwrap().to_string();
            assert_eq!(printed.contains("='") || printed.contains("['"), depth > 19, "{printed}");
            assert_eq!(table.show_string(1).unwrap().lines().count(), 5);
            let (chunks, config) = (table.chunks().collect().unwrap(), bincode::config::standard());
            let bytes = bincode::serde::encode_to_vec(&chunks, config).unwrap();
            let (back, _): (Vec<Chunk>, usize) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
            assert!(back == chunks, "{depth} levels");
        }
    }
}

#[test]
fn lines_end_as_those_of_text_do_and_marks_are_no_part_of_the_data() {
    let ctx = Context::local(2).unwrap();
    for text in
        ["\u{feff}{\"a\":1}\r\n \t \r\n{\"a\":2}\r\n\u{1a}", "{\"a\":1}\r{\"a\":2}", "\n{\"a\":1} \n\n {\"a\":2}"]
    {
        for mode in [Mode::Permissive, Mode::DropMalformed, Mode::FailFast] {
            assert_eq!(read(ctx.read().mode(mode), text).1, "Row(a=1)\nRow(a=2)", "{text:?}");
        }
    }
    let (_dir, path) = files(&[("bytes.jsonl", "{\"a\": \"?\"}\n")]);
    fs::write(path.join("bytes.jsonl"), b"{\"a\": \"x\"}\n{\"a\": \"\xff\"}\n").unwrap();
    let error = ctx.read().json_lines(&path).err().unwrap().to_string();
    assert!(error.contains("bytes.jsonl") && error.contains("Reader::lossy"), "{error}");
    assert_eq!(rows(&ctx.read().lossy(true).json_lines(&path).unwrap()), "Row(a='x')\nRow(a='\u{fffd}')");
    let error = ctx.read().max_record_bytes(5).json_lines(&path).err().unwrap().to_string();
    assert!(error.contains("Reader::max_record_bytes"), "{error}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sale {
    id: i64,
    place: String,
    amount: Option<f64>,
    items: Vec<Item>,
    by: Option<BTreeMap<String, u32>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    name: String,
    tags: Vec<String>,
}

/// So many sales that the file is cut, as serde_json writes them.
fn sales() -> (tempfile::TempDir, std::path::PathBuf, Vec<Sale>) {
    let (dir, path) = files(&[]);
    let tags = |n: i64| (0..n % 3).map(|tag| format!("\n{tag}\u{1f980}")).collect();
    let sales: Vec<Sale> = (0..20_000_i64)
        .map(|id| Sale {
            id: id << 20,
            place: format!("place \"{}\", {}", id % 97, "é".repeat((id % 13) as usize)),
            amount: (id % 7 != 0).then_some(id as f64 / 8.0),
            items: (0..id % 4).map(|n| Item { name: n.to_string(), tags: tags(id + n) }).collect(),
            by: (id % 5 > 0).then(|| BTreeMap::from([("ann".to_owned(), 1), ("bob".to_owned(), id as u32)])),
        })
        .collect();
    let lines: Vec<String> = sales.iter().map(|sale| serde_json::to_string(sale).unwrap()).collect();
    fs::write(path.join("sales.jsonl"), lines.join("\n")).unwrap();
    (dir, path, sales)
}

#[test]
fn rows_are_the_same_for_any_number_of_partitions_and_rows_of_a_batch_and_compressed() {
    let (_dir, path, sales) = sales();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&fs::read(path.join("sales.jsonl")).unwrap()).unwrap();
    let (_other, zipped) = files(&[]);
    fs::write(zipped.join("sales.jsonl.gz"), gzip.finish().unwrap()).unwrap();
    let mut partitions = Vec::new();
    let mut first: Option<Schema> = None;
    for (cut, rows, from) in [(1, 1000, &path), (3, 1, &path), (7, 100_000, &path), (7, 1000, &zipped)] {
        let ctx = Context::builder().workers(2).default_partitions(cut).batch_rows(rows).build().unwrap();
        let table = ctx.read().mode(Mode::FailFast).json_lines(from).unwrap();
        partitions.push(table.partitions());
        assert_eq!(first.get_or_insert_with(|| table.schema().clone()), table.schema());
        assert!(table.rows::<Sale>().collect().unwrap() == sales, "{cut} partitions, {rows} rows");
    }
    assert!(partitions[0] == 1 && partitions[1] > 2, "{partitions:?}");
}

#[test]
fn a_cached_table_gives_the_same_rows_from_disk_and_after_a_loss() {
    let (_dir, path, sales) = sales();
    for spilled in [false, true] {
        let ctx = Context::builder().workers(2).force_spill(spilled).build().unwrap();
        let table = ctx.read().json_lines(&path).unwrap().cache();
        assert_eq!(table.count().unwrap(), sales.len() as u64);
        assert!(kill_cached_partition(table.chunks(), 1).unwrap(), "it was there");
        assert!(table.rows::<Sale>().collect().unwrap() == sales, "spilled: {spilled}");
    }
}

/// Some value, drawn by `next`, whose argument is the number of choices.
fn some_value(next: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
    match next(if depth == 0 { 7 } else { 10 }) {
        0 => Value::Null,
        1 => json!(next(2) == 0),
        2 => json!(next(9)),
        3 => json!(-(next(1 << 40) as i64)),
        4 => json!(next(1 << 60) as f64 / 1024.0),
        5 => json!(u64::MAX - next(9)),
        6 => json!(["", "é\n", "\"\\", "7", "\u{1f980}"][next(5) as usize]),
        7 => (0..next(4)).map(|_| some_value(next, depth - 1)).collect(),
        _ => some_object(next, depth - 1),
    }
}

fn some_object(next: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
    (0..next(5)).map(|_| (["a", "b", "c", "d é"][next(4) as usize].to_owned(), some_value(next, depth))).collect()
}

/// Whether a value that was read says what was written: the same, or as text.
fn is_same(read: &Value, written: &Value) -> bool {
    match (read, written) {
        (Value::String(text), Value::String(written)) => text == written,
        (Value::String(text), written) => serde_json::to_string(written).unwrap() == *text,
        (Value::Number(read), Value::Number(written)) => read.as_f64() == written.as_f64(),
        (Value::Array(read), Value::Array(written)) => {
            read.len() == written.len() && read.iter().zip(written).all(|(read, written)| is_same(read, written))
        }
        (Value::Object(read), Value::Object(written)) => {
            let all = |(name, value): (&String, &Value)| is_same(value, written.get(name).unwrap_or(&Value::Null));
            written.keys().all(|name| read.contains_key(name)) && read.iter().all(all)
        }
        (read, written) => read == written,
    }
}

#[test]
fn objects_at_random_come_back_with_the_same_schema_however_they_are_cut() {
    let ctx = Context::local(2).unwrap();
    let mut seed = 7_u64;
    let mut next = move |choices: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % choices
    };
    for round in 0..60 {
        let written: Vec<Value> = (0..next(20) + 1).map(|_| some_object(&mut next, 3)).collect();
        let lines: Vec<String> = written.iter().map(|value| format!("{value}\n")).collect();
        if written.iter().all(|value| *value == json!({})) {
            continue;
        }
        let mut before = None;
        for files_of in [lines.len(), 3, 1] {
            let cut: Vec<(String, String)> =
                lines.chunks(files_of).enumerate().map(|(n, part)| (format!("{n:03}.jsonl"), part.concat())).collect();
            let cut: Vec<(&str, &str)> = cut.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            let (_dir, path) = files(&cut);
            let table = ctx.read().mode(Mode::FailFast).json_lines(path).unwrap();
            let read: Vec<Value> = table.take(usize::MAX).unwrap().iter().map(|row| row.to().unwrap()).collect();
            assert_eq!(read.len(), written.len());
            for (read, written) in read.iter().zip(&written) {
                assert!(is_same(read, written), "round {round}: {read} of {written}\n{}", table.schema());
            }
            let all = (table.schema().to_string(), rows(&table));
            assert_eq!(*before.get_or_insert_with(|| all.clone()), all, "round {round}, {files_of} lines a file");
        }
    }
}

#[test]
fn files_of_any_bytes_give_rows_or_an_error_that_is_no_panic() {
    let ctx = Context::local(2).unwrap();
    let mut seed = 11_u64;
    let mut next = move |choices: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % choices
    };
    let sound =
        "{\"a\": 1, \"b\": [1, {\"c\": \"\\u00e9\"}], \"d\": null}\n{\"a\": -2.5e3, \"b\": [], \"d\": true}\r\n{}\n";
    let (_dir, path) = files(&[]);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..600 {
        let mut bytes = sound.repeat(1 + next(3)).into_bytes();
        for _ in 0..next(6) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes.insert(at, b"{}[]\",:\\u0-.\n\x1a"[next(14)]),
                _ => drop(bytes.remove(at)),
            }
        }
        fs::write(path.join("any.jsonl"), &bytes).unwrap();
        let mut reader = ctx.read().lossy(next(2) == 0);
        reader = reader.mode([Mode::Permissive, Mode::DropMalformed, Mode::FailFast][next(3)]);
        if next(2) == 0 {
            reader = reader.corrupt_record("corrupt");
        }
        match reader.json_lines(&path).and_then(|table| Ok((table.count()?, table.collect()?.num_rows() as u64))) {
            Ok((count, collected)) => {
                assert!(count == collected && count <= bytes.len() as u64, "{count} rows of {bytes:?}");
                read += 1;
            }
            Err(error) => {
                assert!(!error.to_string().contains("panicked"), "{error}: {bytes:?}");
                refused += 1;
            }
        }
    }
    assert!(read > 100 && refused > 50, "{read} read, {refused} refused");
}
