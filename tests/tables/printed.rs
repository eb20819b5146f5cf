//! Rows and tables as they are printed, and values taken from rows.

use emberflow::{
    prelude::*,
    table::{DataType, Schema},
};
use serde::Deserialize;

use super::{files, shown};

const FILMS: &str = "title,genre,revenue,seen,at,score,note,ok\n\
                     Avatar,Action,2787965087,2009-12-18,2009-12-18 10:30:00,7.2,,true\n\
                     World's End,\"a \"\"b\"\"\",-1,0001-01-01,2010-01-01 00:00:07.5,1e16,,false\n\
                     ,,,,,,,\n\
                     Amélie 東京,\"it's \"\"x\"\"\\\",0,9999-12-31,1969-12-31 23:59:59.000001,NaN,,\n";

#[test]
fn rows_print_as_pyspark_prints_them() {
    let (_dir, path) = files(&[("films.csv", FILMS)]);
    let ctx = Context::local(2).unwrap();
    let films = ctx.read().csv(path).unwrap();
    let avatar = "Row(title='Avatar', genre='Action', revenue=2787965087, seen=datetime.date(2009, 12, 18), \
                  at=datetime.datetime(2009, 12, 18, 10, 30), score=7.2, note=None, ok=True)";
    assert_eq!(format!("{:?}", films.take(1).unwrap()), format!("[{avatar}]"));
    assert_eq!(format!("{:?} {0}", films.first().unwrap().unwrap()), format!("{avatar} {avatar}"));
    let rows: Vec<String> = films.take(9).unwrap().iter().skip(1).map(ToString::to_string).collect();
    assert_eq!(
        rows,
        [
            "Row(title=\"World's End\", genre='a \"b\"', revenue=-1, seen=datetime.date(1, 1, 1), \
             at=datetime.datetime(2010, 1, 1, 0, 0, 7, 500000), score=1e+16, note=None, ok=False)",
            "Row(title=None, genre=None, revenue=None, seen=None, at=None, score=None, note=None, ok=None)",
            "Row(title='Amélie 東京', genre='it\\'s \"x\"\\\\', revenue=0, seen=datetime.date(9999, 12, 31), \
             at=datetime.datetime(1969, 12, 31, 23, 59, 59, 1), score=nan, note=None, ok=None)",
        ]
    );
}

#[test]
fn as_many_rows_are_taken_as_there_are_from_however_many_partitions() {
    let texts: Vec<String> = (0..7).map(|file| format!("n,text\n{},a\n{},b\n", file * 2, file * 2 + 1)).collect();
    let named: Vec<(String, &str)> = texts.iter().enumerate().map(|(n, text)| (format!("{n}.csv"), &**text)).collect();
    let named: Vec<(&str, &str)> = named.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let (_dir, path) = files(&named);
    let ctx = Context::local(3).unwrap();
    let table = ctx.read().csv(path).unwrap();
    for n in [0, 1, 2, 3, 13, 14, 15, usize::MAX] {
        let numbers: Vec<usize> = table.take(n).unwrap().iter().map(|row| row.get("n").unwrap()).collect();
        assert_eq!(numbers, (0..n.min(14)).collect::<Vec<_>>());
        let shown = table.show_string(n).unwrap();
        assert_eq!(shown.lines().filter(|line| line.starts_with('|')).count(), 1 + n.min(14));
        let last = shown.lines().last().unwrap();
        match n {
            1 => assert_eq!(last, "only showing top 1 row"),
            0..14 => assert_eq!(last, format!("only showing top {n} rows")),
            _ => assert_eq!(last, "+---+----+"),
        }
    }
}

#[test]
fn values_of_a_row_are_read_by_name_and_errors_name_the_columns() {
    let (_dir, path) = files(&[("films.csv", FILMS)]);
    let ctx = Context::local(2).unwrap();
    let films = ctx.read().csv(path).unwrap();
    let rows = films.take(9).unwrap();
    let row = &rows[0];
    assert_eq!(row.names().collect::<Vec<_>>(), films.schema().names().collect::<Vec<_>>());
    assert_eq!(row.get::<String>("title").unwrap(), "Avatar");
    assert_eq!(row.get::<u64>("revenue").unwrap(), 2_787_965_087);
    assert_eq!(row.get::<f64>("revenue").unwrap(), 2_787_965_087.0);
    assert_eq!(
        row.get::<(f64, bool)>("score").unwrap_err().to_string(),
        "column \"score\" is a single value, not a tuple"
    );
    assert_eq!(row.get::<Option<bool>>("note").unwrap(), None);
    assert_eq!(rows[2].get::<Option<i32>>("revenue").unwrap(), None);
    let told = |column: &str| row.get::<i32>(column).unwrap_err().to_string();
    assert_eq!(
        told("budget"),
        "there is no column \"budget\"; there are title, genre, revenue, seen, at, score, note, ok"
    );
    assert_eq!(told("note"), "column \"note\" holds a null, for which i32 has no place; read it as an Option<i32>");
    assert_eq!(
        told("revenue"),
        "column \"revenue\" holds 2787965087, which does not fit i32; read it as an i64, u64 or String"
    );
    assert!(told("title").starts_with("column \"title\" is string and holds \"Avatar\", which is no i32"));

    #[derive(Debug, PartialEq, Deserialize)]
    struct Film {
        title: String,
        seen: String,
    }
    assert_eq!(row.to::<Film>().unwrap(), Film { title: "Avatar".to_owned(), seen: "2009-12-18".to_owned() });
    let error = rows[2].to::<Film>().unwrap_err().to_string();
    assert_eq!(error, "column \"title\" holds a null, for which String has no place; read it as an Option<String>");
    // Rows are equal by what they hold, wherever it lies.
    assert_eq!(films.take(9).unwrap(), rows);
    assert_eq!(films.first().unwrap().as_ref(), Some(row));
    assert_ne!(rows[0], rows[1]);
    assert_ne!(films.select(&["title"]).unwrap().first().unwrap().unwrap(), rows[0]);
}

#[test]
fn a_table_without_rows_gives_none_and_shows_its_header() {
    let (_dir, path) = files(&[("films.csv", "title,n\n")]);
    let ctx = Context::local(2).unwrap();
    let films = ctx.read().csv(path).unwrap();
    assert_eq!((films.take(3).unwrap(), films.first().unwrap()), (vec![], None));
    let empty = shown(&["+-----+---+", "|title|  n|", "+-----+---+", "+-----+---+"]);
    for n in [0, 5, usize::MAX] {
        assert_eq!(films.show_string(n).unwrap(), empty);
    }
}

#[test]
fn long_values_are_cut_and_wide_ones_take_the_places_that_they_need() {
    let (_dir, path) = files(&[(
        "wide.csv",
        "a column with a name of its own,x\n12345678901234567890 ,1\n123456789012345678901,22\n\
         東京東京東京東京東京東京東京東京東京東京東,\n東京,\ne\u{301}\u{1f3ac},4444\n\"tab\there\u{7}\",5\n",
    )]);
    let ctx = Context::local(2).unwrap();
    let table = ctx.read().schema(Schema::new([("text", DataType::Utf8), ("x", DataType::Int32)])).csv(path).unwrap();
    assert_eq!(
        table.show_string(9).unwrap(),
        shown(&[
            "+-------------------------------------+----+",
            "|                                 text|   x|",
            "+-------------------------------------+----+",
            "|                 12345678901234567...|   1|",
            "|                 12345678901234567...|  22|",
            "|東京東京東京東京東京東京東京東京東...|NULL|",
            "|                                 東京|NULL|",
            "|                                  e\u{301}\u{1f3ac}|4444|",
            "|                          tab\\there\\a|   5|",
            "+-------------------------------------+----+",
        ])
    );
    assert_eq!(
        table.show_full_string(2).unwrap(),
        shown(&[
            "+---------------------+---+",
            "|text                 |x  |",
            "+---------------------+---+",
            "|12345678901234567890 |1  |",
            "|123456789012345678901|22 |",
            "+---------------------+---+",
            "only showing top 2 rows",
        ])
    );
}

/// Set where this program runs itself, to see what it prints.
const PRINTS: &str = "EMBERFLOW_TEST_PRINTS";

#[test]
fn show_and_print_schema_print_to_standard_output() {
    if std::env::var_os(PRINTS).is_some() {
        let (_dir, path) = files(&[("films.csv", "title,year\nAlien,1979\nBrazil,1985\n")]);
        let ctx = Context::local(2).unwrap();
        let films = ctx.read().csv(path).unwrap();
        films.print_schema();
        films.show(1).unwrap();
        films.show_full_async(2).wait().unwrap();
        return;
    }
    let test = "printed::show_and_print_schema_print_to_standard_output";
    let program = std::env::current_exe().unwrap();
    let run = std::process::Command::new(program).args(["--exact", test, "--nocapture"]).env(PRINTS, "1").output();
    let printed = String::from_utf8(run.unwrap().stdout).unwrap();
    let expected = shown(&[
        "root",
        " |-- title: string (nullable = true)",
        " |-- year: integer (nullable = true)",
        "",
        "+-----+----+",
        "|title|year|",
        "+-----+----+",
        "|Alien|1979|",
        "+-----+----+",
        "only showing top 1 row",
        "",
        "+------+----+",
        "|title |year|",
        "+------+----+",
        "|Alien |1979|",
        "|Brazil|1985|",
        "+------+----+",
        "",
    ]);
    assert!(printed.contains(&expected), "{printed}");
}
