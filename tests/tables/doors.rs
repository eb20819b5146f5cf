//! Tables of rows and of Arrow's batches that the program has: which columns they get, what comes back, and that
//! partitions, batches, caches, spilling, losses and other processes change nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date64Array, Decimal128Array, DictionaryArray, DurationSecondArray,
    FixedSizeListArray, Float32Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeListArray, LargeStringArray,
    NullArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array,
    types::{Int8Type, Int32Type},
};
use emberflow::{
    ExchangeData,
    prelude::*,
    table::{DataType, Field, Schema, Table, TimeUnit},
    testing::{kill_cached_partition, send_plans_as_bytes},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Colour {
    Red,
    Green,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Metres(f64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    name: String,
    at: (i32, Option<f64>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wide {
    bytes: (i8, u8),
    shorts: (i16, u16),
    ints: (i32, u32),
    longs: (i64, u64),
    float: f32,
    double: f64,
    yes: bool,
    text: String,
    colour: Option<Colour>,
    length: Metres,
    parts: Vec<Part>,
    nested: Vec<Vec<Option<String>>>,
    none: Option<Part>,
    fixed: [i64; 2],
    boxed: Box<str>,
    #[serde(rename = "Name with blanks")]
    renamed: String,
    #[serde(rename = "1979")]
    year: i16,
}

fn wide(n: i64) -> Wide {
    let part = |n: i64| Part { name: format!("part \"{n}\"\n"), at: (n as i32, (n % 3 > 0).then_some(n as f64 / 7.0)) };
    Wide {
        bytes: (n as i8, n as u8),
        shorts: (n as i16, n as u16),
        ints: (n as i32, u32::MAX - n as u32),
        longs: (i64::MIN + n, u64::MAX - n as u64),
        float: n as f32 * 0.1,
        double: if n % 11 == 0 { f64::INFINITY } else { n as f64 * 0.1 },
        yes: n % 2 == 0,
        text: "é".repeat((n % 5) as usize),
        colour: [None, Some(Colour::Red), Some(Colour::Green)][(n % 3) as usize],
        length: Metres(-0.0),
        parts: (0..n % 4).map(part).collect(),
        nested: vec![vec![None, Some(n.to_string())]; (n % 3) as usize],
        none: (n % 2 == 0).then(|| part(n)),
        fixed: [n, -n],
        boxed: "b".into(),
        renamed: format!("{n}"),
        year: n as i16,
    }
}

#[test]
fn rows_of_nested_types_become_columns_and_come_back() {
    let ctx = Context::local(2).unwrap();
    let rows: Vec<Wide> = (0..300).map(wide).collect();
    let table = ctx.parallelize(rows.clone()).to_table().unwrap();
    assert!(table.rows::<Wide>().collect().unwrap() == rows);
    assert_eq!(
        table.schema().to_string().lines().take(20).collect::<Vec<_>>(),
        [
            "root",
            " |-- bytes: struct (nullable = false)",
            " |    |-- _1: byte (nullable = false)",
            " |    |-- _2: unsigned byte (nullable = false)",
            " |-- shorts: struct (nullable = false)",
            " |    |-- _1: short (nullable = false)",
            " |    |-- _2: unsigned short (nullable = false)",
            " |-- ints: struct (nullable = false)",
            " |    |-- _1: integer (nullable = false)",
            " |    |-- _2: unsigned integer (nullable = false)",
            " |-- longs: struct (nullable = false)",
            " |    |-- _1: long (nullable = false)",
            " |    |-- _2: unsigned long (nullable = false)",
            " |-- float: float (nullable = false)",
            " |-- double: double (nullable = false)",
            " |-- yes: boolean (nullable = false)",
            " |-- text: string (nullable = false)",
            " |-- colour: string (nullable = true)",
            " |-- length: double (nullable = false)",
            " |-- parts: array (nullable = false)",
        ]
    );
    let row = table.first().unwrap().unwrap();
    assert_eq!(row.to::<Wide>().unwrap(), rows[0]);
    assert_eq!(row.get::<(i64, u64)>("longs").unwrap(), (i64::MIN, u64::MAX));
    let one = ctx.parallelize([(1_u8, "a".to_owned(), Some(Colour::Green))]).to_table().unwrap();
    assert_eq!(format!("{:?}", one.take(9).unwrap()), "[Row(_1=1, _2='a', _3='Green')]");
    let selected = table.select(&["Name with blanks", "yes"]).unwrap();
    assert_eq!(selected.rows::<(String, bool)>().first().unwrap(), Some(("0".to_owned(), true)));
}

#[test]
fn a_table_without_rows_has_the_columns_of_its_type_and_runs_no_job() {
    let ctx = Context::local(1).unwrap();
    let none = ctx.parallelize(Vec::<Part>::new()).to_table().unwrap();
    assert_eq!(none.schema().names().collect::<Vec<_>>(), ["name", "at"]);
    assert_eq!(none.count().unwrap(), 0);
    assert_eq!(none.show_string(5).unwrap(), "+----+---+\n|name| at|\n+----+---+\n+----+---+\n");
    let never = ctx.range(0..9_u64).map(|n| if n < 9 { panic!("a job ran") } else { (n,) }).to_table();
    assert_eq!(never.unwrap().schema().names().collect::<Vec<_>>(), ["_1"]);
}

#[derive(Clone, Serialize, Deserialize)]
struct Bad<V> {
    fine: i32,
    bad: V,
}

#[derive(Clone, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
}

#[derive(Clone, Serialize, Deserialize)]
struct Tree {
    name: String,
    below: Vec<Tree>,
}

/// A day that serde knows as text, as that of chrono is.
#[derive(Clone, Debug, PartialEq)]
struct Day(String);

impl Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() < 8 { Err(serde::de::Error::custom("premature end of input")) } else { Ok(Self(text)) }
    }
}

fn refused<T: ExchangeData>(ctx: &Context) -> String {
    ctx.empty::<T>().to_table().map(|_| ()).unwrap_err().to_string()
}

#[test]
fn types_that_do_not_tell_their_columns_are_refused_with_field_and_reason() {
    let ctx = Context::local(1).unwrap();
    let begins = |told: String, begin: &str| assert!(told.starts_with(begin), "{told}");
    let map = "field bad is a map, and a table has none; make it a struct or a Vec of pairs. ";
    for told in [refused::<Bad<HashMap<String, i32>>>(&ctx), refused::<Bad<Vec<BTreeMap<String, i32>>>>(&ctx)] {
        assert!(told.contains(map), "{told}");
    }
    let told = refused::<Bad<Shape>>(&ctx);
    assert!(told.contains("field bad is an enum with data, and a table has none; "), "{told}");
    let told = refused::<Bad<(i32, Bad<Shape>)>>(&ctx);
    assert!(told.contains("field bad._2.bad is an enum with data, and a table has none; "), "{told}");
    begins(refused::<u64>(&ctx), "no columns can be made of u64: ");
    assert!(refused::<u64>(&ctx).contains("a number n becomes one by map(|n| (n,))"), "{}", refused::<u64>(&ctx));
    begins(refused::<Shape>(&ctx), "no columns can be made of Shape: ");
    begins(refused::<Tree>(&ctx), "no columns can be made of Tree: ");
    begins(refused::<()>(&ctx), "no columns can be made of (): ");
    let told = refused::<Bad<u128>>(&ctx);
    assert!(told.contains(": deserialization failed: u128 is not supported. "), "{told}");
    let (day, json) = (refused::<Bad<Day>>(&ctx), refused::<Bad<serde_json::Value>>(&ctx));
    assert!(day.contains("deserialization failed: premature end of input. "), "{day}");
    assert!(json.contains("its values alone tell what they are. "), "{json}");
    for told in [day, json] {
        assert!(told.contains("Rdd::to_table_as takes a schema"), "{told}");
        assert!(!told.contains("from_samples") && !told.contains("from_type"), "{told}");
    }
}

#[test]
fn a_schema_that_is_given_makes_dates_of_texts_and_leaves_fields_out() {
    let ctx = Context::local(2).unwrap();
    let day = |text: &str| Bad { fine: 1, bad: Day(text.to_owned()) };
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let rows = ctx.parallelize_into([day("1979-05-25"), day("2009-12-18")], 2);
    let table = rows.to_table_as(&Schema::new([("bad", DataType::Date32)])).unwrap();
    assert_eq!(
        format!("{:?}", table.take(9).unwrap()),
        "[Row(bad=datetime.date(1979, 5, 25)), Row(bad=datetime.date(2009, 12, 18))]"
    );
    assert_eq!(table.rows::<(Day,)>().collect().unwrap(), [(Day("1979-05-25".into()),), (Day("2009-12-18".into()),)]);
    let times = ctx.parallelize([("2009-12-18T10:30:00.5".to_owned(), 'x', 7_i64)]);
    let schema = Schema::new([("at", timestamp), ("c", DataType::Utf8), ("n", DataType::Utf8)]);
    assert_eq!(
        times.to_table_as(&schema).unwrap().first().unwrap().unwrap().to_string(),
        "Row(at=datetime.datetime(2009, 12, 18, 10, 30, 0, 500000), c='x', n='7')"
    );
}

#[test]
fn a_row_that_does_not_fit_a_given_schema_names_field_row_and_partition() {
    let ctx = Context::local(1).unwrap();
    let rows = |texts: [&str; 3]| ctx.parallelize_into(texts.map(|text| (text.to_owned(),)), 1);
    let dates = Schema::new([("day", DataType::Date32)]);
    let told = rows(["2009-12-18", "2009-12-19", "x"]).to_table_as(&dates).unwrap().count().unwrap_err().to_string();
    for part in ["field day: ", "Row 3 of partition 0, a (alloc::string::String,), does not fit"] {
        assert!(told.contains(part), "{told}");
    }
    let narrow = Schema::new([("n", DataType::Int8)]);
    let told = ctx.parallelize([(7_i64,), (300,)]).to_table_as(&narrow).unwrap().count().unwrap_err().to_string();
    assert!(told.contains("field n: "), "{told}");
    let twice = Schema::new([("n", DataType::Int8), ("n", DataType::Int8)]);
    let told = ctx.empty::<(i8, i8)>().to_table_as(&twice).map(|_| ()).unwrap_err().to_string();
    assert_eq!(told, "two columns are called \"n\"; rename one of them");
    let odd = Schema::new([("n", DataType::Interval(arrow_schema::IntervalUnit::DayTime))]);
    let told = ctx.empty::<(i8,)>().to_table_as(&odd).map(|_| ()).unwrap_err().to_string();
    assert!(told.starts_with("no columns of this schema can be made of rows: "), "{told}");
}

/// The rows of each chunk, partition by partition.
fn chunk_rows(table: &Table) -> Vec<Vec<usize>> {
    table.chunks().map(|chunk| chunk.batch().num_rows()).glom().collect().unwrap()
}

#[test]
fn chunks_of_rows_end_where_the_rows_say_for_any_workers_and_rows_of_a_batch() {
    let text = |n: u64| if n % 100 < 50 { "x".repeat(10_000) } else { n.to_string() };
    let made = |workers, batch_rows| {
        let ctx = Context::builder().workers(workers).batch_rows(batch_rows).build().unwrap();
        let small = ctx.range_into(0..40_000_u64, 2).map(|n| (n, n % 3 == 0)).to_table().unwrap();
        let large = ctx.range_into(0..1000_u64, 2).map(move |n| (n, text(n))).to_table().unwrap();
        (chunk_rows(&small), chunk_rows(&large), large.collect().unwrap())
    };
    let expected = made(1, 1024);
    assert_eq!(expected.0, [[8192, 8192, 3616], [8192, 8192, 3616]]);
    let large = &expected.1;
    assert!(large.iter().all(|chunks| (2..10).contains(&chunks.len())), "{large:?}");
    for (workers, batch_rows) in [(1, 1), (2, 7), (3, 4096)] {
        assert!(made(workers, batch_rows) == expected, "{workers} workers, {batch_rows} rows");
    }
}

#[test]
fn tables_of_rows_are_cached_spilled_lost_and_sent_without_a_change() {
    let rows: Vec<Wide> = (0..2000).map(wide).collect();
    for spilled in [false, true] {
        let ctx = Context::builder().workers(2).force_spill(spilled).build().unwrap();
        let table = ctx.distribute_into(rows.clone(), 4).to_table().unwrap().cache();
        assert_eq!(table.count().unwrap(), 2000);
        assert!(kill_cached_partition(table.chunks(), 1).unwrap(), "it was there");
        assert!(table.rows::<Wide>().collect().unwrap() == rows, "spilled: {spilled}");
    }
    let ctx = Context::local(2).unwrap();
    let plans = send_plans_as_bytes(&ctx);
    let table = ctx.distribute_into(rows.clone(), 4).to_table().unwrap();
    assert!(table.rows::<Wide>().collect().unwrap() == rows);
    let batches = Table::from_batches_into(&ctx, [table.collect().unwrap()], 3).unwrap();
    assert!(batches.rows::<Wide>().collect().unwrap() == rows);
    assert_eq!(plans.refused(), [""; 0]);
    assert!(plans.sent() >= 3, "{}", plans.sent());
}

#[test]
fn a_table_of_ten_times_the_budget_is_made_cached_and_read() {
    let ctx = Context::builder().workers(2).memory_budget(4 << 20).build().unwrap();
    let table = ctx.range_into(0..400_000_u64, 8).map(|n| (n, format!("{n:0>80}"))).to_table().unwrap().cache();
    for _ in 0..2 {
        let sum = table.rows::<(u64, String)>().map(|(n, text)| n * 80 + text.len() as u64).sum().unwrap();
        assert_eq!(sum, 80 * (400_000 * 399_999 / 2) + 80 * 400_000);
    }
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

fn numbers(from: i64, rows: i64) -> RecordBatch {
    let texts = StringArray::from_iter((from..from + rows).map(|n| (n % 5 > 0).then(|| n.to_string())));
    batch([("n", Arc::new(Int64Array::from_iter_values(from..from + rows))), ("text", Arc::new(texts))])
}

#[test]
fn rows_of_batches_keep_their_order_in_partitions_of_equal_size() {
    let ctx = Context::local(3).unwrap();
    let batches = [numbers(0, 3), numbers(3, 0), numbers(3, 20_000), numbers(20_003, 1)];
    let rows: Vec<(i64, Option<String>)> = (0..20_004).map(|n| (n, (n % 5 > 0).then(|| n.to_string()))).collect();
    let table = Table::from_batches(&ctx, batches.clone()).unwrap();
    assert_eq!(table.partitions(), 3);
    assert!(table.rows::<(i64, Option<String>)>().collect().unwrap() == rows);
    for partitions in [1, 2, 7, 30_000] {
        let table = Table::from_batches_into(&ctx, batches.clone(), partitions).unwrap();
        let sizes: Vec<usize> = chunk_rows(&table).iter().map(|chunks| chunks.iter().sum()).collect();
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (partitions, 20_004));
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        assert!(chunk_rows(&table).into_iter().flatten().all(|rows| (1..=8192).contains(&rows)));
        assert!(table.collect().unwrap() == Table::from_batches(&ctx, batches.clone()).unwrap().collect().unwrap());
    }
    let none = Table::from_batches(&ctx, [numbers(0, 0)]).unwrap();
    assert_eq!((none.partitions(), none.count().unwrap(), none.take(3).unwrap()), (1, 0, vec![]));
}

#[test]
fn chunks_of_an_rdd_are_held_to_the_columns_of_their_table() {
    let ctx = Context::local(2).unwrap();
    let table = Table::from_batches_into(&ctx, [numbers(0, 10)], 3).unwrap();
    let same = Table::from_chunks(table.chunks(), table.schema()).unwrap();
    assert_eq!(same.collect().unwrap(), table.collect().unwrap());

    let other = Schema::new([("n", DataType::Int32), ("text", DataType::Utf8)]);
    let error = Table::from_chunks(table.chunks(), &other).unwrap().count().unwrap_err().to_string();
    let said = "a chunk has the columns n: long, text: string, and its table n: integer, text: string";
    assert!(error.contains(said), "{error}");
    let twice = Schema::new([("n", DataType::Int64), ("n", DataType::Utf8)]);
    let error = Table::from_chunks(table.chunks(), &twice).unwrap_err().to_string();
    assert_eq!(error, "two columns are called \"n\"; rename one of them");
}

#[test]
fn batches_of_other_columns_are_refused_with_both_and_nulls_may_be_in_some() {
    let ctx = Context::local(1).unwrap();
    let refused = |batches: Vec<RecordBatch>| Table::from_batches(&ctx, batches).map(|_| ()).unwrap_err().to_string();
    assert!(refused(vec![]).starts_with("there is no batch, "), "{}", refused(vec![]));
    let other = batch([("n", Arc::new(Int32Array::from(vec![1]))), ("text", Arc::new(StringArray::from(vec!["a"])))]);
    assert_eq!(
        refused(vec![numbers(0, 1), numbers(0, 1), other]),
        "batch 3 has other columns than the first: n: integer, text: string, not n: long, text: string"
    );
    let twice =
        RecordBatch::try_from_iter([("n", numbers(0, 1).column(0).clone()), ("n", numbers(0, 1).column(0).clone())]);
    assert_eq!(refused(vec![twice.unwrap()]), "two columns are called \"n\"; rename one of them");
    let one = |value: Option<i32>, nullable| {
        let array: ArrayRef = Arc::new(Int32Array::from(vec![value]));
        RecordBatch::try_from_iter_with_nullable([("n", array, nullable)]).unwrap()
    };
    let table = Table::from_batches(&ctx, [one(Some(1), false), one(None, true)]).unwrap();
    assert_eq!(table.rows::<(Option<i32>,)>().collect().unwrap(), [(Some(1),), (None,)]);
    assert!(table.schema().to_string().contains("n: integer (nullable = true)"));
    assert_eq!(table.collect().unwrap().num_rows(), 2);
}

fn list_element() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Int8, true))
}

/// Columns of types that no file gives.
fn strange() -> RecordBatch {
    let lists = LargeListArray::from_iter_primitive::<Int8Type, _, _>([Some(vec![Some(1), None]), None]);
    let fixed = FixedSizeListArray::try_new(list_element(), 2, Arc::new(Int8Array::from(vec![1, 2, 3, 4])), None);
    let parts = StructArray::from(vec![(
        Arc::new(Field::new("f", DataType::Float32, true)),
        Arc::new(Float32Array::from(vec![0.1, 2.5])) as ArrayRef,
    )]);
    let money = Decimal128Array::from(vec![Some(110), None]).with_precision_and_scale(5, 2).unwrap();
    let colours: DictionaryArray<Int32Type> = vec![Some("Red"), None].into_iter().collect();
    batch([
        ("i8", Arc::new(Int8Array::from(vec![-128, 127]))),
        ("i16", Arc::new(Int16Array::from(vec![-300, 300]))),
        ("u8", Arc::new(UInt8Array::from(vec![0, 255]))),
        ("u16", Arc::new(UInt16Array::from(vec![0, 65_535]))),
        ("u32", Arc::new(UInt32Array::from(vec![0, u32::MAX]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(0.1), None]))),
        ("large", Arc::new(LargeStringArray::from(vec![Some("a"), None]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("a text that is longer than twelve bytes"), None]))),
        ("colour", Arc::new(colours)),
        ("money", Arc::new(money)),
        ("s", Arc::new(TimestampSecondArray::from(vec![Some(1), None]))),
        ("ms", Arc::new(TimestampMillisecondArray::from(vec![Some(1_500), None]))),
        ("day", Arc::new(Date64Array::from(vec![Some(86_400_000), None]))),
        ("nothing", Arc::new(NullArray::new(2))),
        ("list", Arc::new(lists)),
        ("fixed", Arc::new(fixed.unwrap())),
        ("part", Arc::new(parts)),
        ("bytes", Arc::new(BinaryArray::from_vec(vec![b"a", b"b"]))),
        ("ns", Arc::new(TimestampNanosecondArray::from(vec![1, 2]))),
        ("zoned", Arc::new(TimestampSecondArray::from(vec![1, 2]).with_timezone("+02:00"))),
        ("took", Arc::new(DurationSecondArray::from(vec![1, 2]))),
        ("yes", Arc::new(BooleanArray::from(vec![true, false]))),
    ])
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Strange {
    i8: i8,
    i16: i16,
    u8: u8,
    u16: u16,
    u32: u32,
    f32: Option<f32>,
    large: Option<String>,
    view: Option<String>,
    colour: Option<Colour>,
    money: Option<f64>,
    s: Option<String>,
    ms: Option<i64>,
    nothing: Option<i32>,
    list: Option<Vec<Option<i8>>>,
    fixed: [i8; 2],
    part: BTreeMap<String, f32>,
    yes: bool,
}

#[test]
fn rows_are_made_of_columns_of_all_widths_and_layouts() {
    let ctx = Context::local(2).unwrap();
    let table = Table::from_batches(&ctx, [strange()]).unwrap().cache();
    let part = |f: f32| BTreeMap::from([("f".to_owned(), f)]);
    let first = Strange {
        i8: -128,
        i16: -300,
        u8: 0,
        u16: 0,
        u32: 0,
        f32: Some(0.1),
        large: Some("a".into()),
        view: Some("a text that is longer than twelve bytes".into()),
        colour: Some(Colour::Red),
        money: Some(1.1),
        s: Some("1970-01-01T00:00:01".into()),
        ms: Some(1_500_000),
        nothing: None,
        list: Some(vec![Some(1), None]),
        fixed: [1, 2],
        part: part(0.1),
        yes: true,
    };
    let last = Strange {
        i8: 127,
        i16: 300,
        u8: 255,
        u16: 65_535,
        u32: u32::MAX,
        f32: None,
        large: None,
        view: None,
        colour: None,
        money: None,
        s: None,
        ms: None,
        nothing: None,
        list: None,
        fixed: [3, 4],
        part: part(2.5),
        yes: false,
    };
    assert_eq!(table.rows::<Strange>().collect().unwrap(), [first.clone(), last.clone()]);
    let rows = table.take(2).unwrap();
    assert_eq!([rows[0].to::<Strange>().unwrap(), rows[1].to().unwrap()], [first, last]);
    assert_eq!(rows[0].get::<String>("money").unwrap(), "1.10");
    assert_eq!(rows[1].get::<u32>("u32").unwrap(), u32::MAX);
    assert_eq!(
        rows[1].get::<i16>("u32").unwrap_err().to_string().split(',').next().unwrap(),
        "column \"u32\" holds 4294967295"
    );
    // All of them can be printed and collected, and come back from disk.
    assert!(table.show_string(2).unwrap().contains("| 127|"));
    assert_eq!(table.collect().unwrap(), strange());
    let spilling = Context::builder().workers(2).force_spill(true).build().unwrap();
    let table = Table::from_batches(&spilling, [strange()]).unwrap().cache();
    for _ in 0..2 {
        assert_eq!(table.collect().unwrap(), strange());
    }
}

#[test]
fn columns_that_no_values_are_read_from_are_errors_where_they_are_wanted() {
    let ctx = Context::local(2).unwrap();
    let table = Table::from_batches(&ctx, [strange()]).unwrap();
    let row = table.first().unwrap().unwrap();
    for (column, of) in [("bytes", "Binary"), ("ns", "Timestamp(ns)"), ("took", "Duration(s)")] {
        let told = row.get::<i64>(column).unwrap_err().to_string();
        assert!(told.starts_with(&format!("column {column:?} is {of}, of which no values are read; ")), "{told}");
        let rows = table.select(&[column]).unwrap().rows::<(Option<String>,)>().collect();
        let told = rows.unwrap_err().to_string();
        assert!(told.contains("of which no values are read; ") && told.contains("Row 1 of partition 0"), "{told}");
        let told = row.get::<serde_json::Value>(column).unwrap_err().to_string();
        assert!(told.contains("of which no values are read; "), "{told}");
    }
    assert!(row.get::<String>("zoned").unwrap_err().to_string().contains("of which no values are read; "));
    // A millisecond beyond all years has no microsecond.
    let far: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![i64::MAX]));
    let far = Table::from_batches(&ctx, [batch([("t", far)])]).unwrap();
    assert!(far.rows::<(i64,)>().collect().is_err());
    assert!(far.first().unwrap().unwrap().get::<i64>("t").is_err());
}

#[test]
fn what_is_read_from_a_file_goes_out_as_batches_and_comes_in_again() {
    let (_dir, path) = super::files(&[("films.csv", "title,year,seen\nAlien,1979,2009-12-18\nBrazil,,\n\"\",1,\n")]);
    let ctx = Context::local(2).unwrap();
    let films = ctx.read().csv(path).unwrap();
    let back = Table::from_batches(&ctx, [films.collect().unwrap()]).unwrap();
    assert_eq!((back.schema(), back.take(9).unwrap()), (films.schema(), films.take(9).unwrap()));
    let typed: Rdd<(String, Option<i32>, Option<String>)> = films.rows();
    let again: Rdd<(String, Option<i32>, Option<String>)> = typed.to_table().unwrap().rows();
    assert_eq!(again.collect().unwrap(), typed.collect().unwrap());
}
