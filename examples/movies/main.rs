//! Which genres of film earn most? Reads a CSV file of films, finds its schema, and sums the revenue of each genre.
//!
//! ```text
//! cargo run --release --example movies [PATH] [--plain]
//! cargo run --release --features s3 --example movies [s3://BUCKET/KEY] [--plain]
//! ```
//!
//! Without a path it reads the films that come with emberflow: with the feature `s3` from a server that it starts for
//! itself on the loopback interface, as `s3://jigsaw-labs/imdb_movies.csv`. Another file of the same shape may be given,
//! or an object of yours: a header, then a film a line, with at least the columns `genre` and `revenue`. `--plain` prints
//! the totals alone.

mod row;
mod schema;
#[cfg(feature = "s3")]
mod store;
#[path = "../support/table.rs"]
mod table;

use std::{
    collections::HashSet,
    error::Error,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use bytesize::ByteSize;
use emberflow::{ContextBuilder, Event, prelude::*, system};

use crate::{
    row::Row,
    schema::{ColumnType, Schema},
};

type Failure = Box<dyn Error + Send + Sync>;

/// A row that cannot be used, and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{}, line {line}: {cause}", path.display())]
struct BadLine {
    path: PathBuf,
    line: u64,
    cause: Failure,
}

fn main() -> std::process::ExitCode {
    let (mut path, mut plain) = (None, false);
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--plain") => plain = true,
            Some(option) if option.starts_with("--") => {
                eprintln!("movies: no option {option}; usage: movies [PATH] [--plain]");
                return std::process::ExitCode::from(2);
            }
            _ => path = Some(PathBuf::from(argument)),
        }
    }
    let ran = match path {
        Some(path) => run(&path, Context::builder(), plain),
        None => run_default(plain),
    };
    match ran {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) if was_read_enough(&error) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("movies: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Returns whether the reader of the output has gone, as `head` does when it has read enough.
fn was_read_enough(error: &Failure) -> bool {
    error.downcast_ref().is_some_and(|error: &std::io::Error| error.kind() == ErrorKind::BrokenPipe)
}

/// The films that come with emberflow.
const FILMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/films.csv");

#[cfg(not(feature = "s3"))]
fn run_default(plain: bool) -> Result<(), Failure> {
    run(Path::new(FILMS), Context::builder(), plain)
}

#[cfg(feature = "s3")]
fn run_default(plain: bool) -> Result<(), Failure> {
    let store = store::Store::start(Path::new(FILMS))?;
    run(Path::new(store::FILMS), Context::builder().s3(store.config()), plain)
}

fn run(path: &Path, builder: ContextBuilder, plain: bool) -> Result<(), Failure> {
    let (began, mut out) = (Instant::now(), std::io::stdout());
    let ctx = builder.app_name("movies").build()?;
    let events = ctx.events();

    // The lines with their numbers, in memory: the file is read once.
    let lines = ctx.text_file(path)?.cache().zip_with_index().map(|(line, at)| (at + 1, line));
    let Some((_, header)) = lines.first()? else {
        return Err(format!("{} is empty; it should begin with a header", path.display()).into());
    };
    let names = fields_of(&header)?;
    let columns = names.len();
    let source = Arc::new(path.to_owned());
    let at = move |line, cause: Failure| BadLine { path: source.to_path_buf(), line, cause };

    // Every line as its fields; what has too many or too few ends the program with its place.
    let bad_line = at.clone();
    let records =
        lines.filter(|(number, line)| *number > 1 && !line.trim().is_empty()).try_map(move |(number, line)| {
            let fields = fields_of(&line).map_err(|cause| bad_line(number, cause))?;
            if fields.len() == columns {
                Ok((number, fields))
            } else {
                let cause = format!("{} fields, but the header has {columns}", fields.len());
                Err(bad_line(number, cause.into()))
            }
        });

    // The schema: the narrowest type that all the values of a column fit.
    let mut schema = Schema::from_header(&names);
    let kinds = records.aggregate(
        vec![ColumnType::Null; columns],
        |kinds, (_, fields)| merge(kinds, fields.iter().map(|field| ColumnType::of(field))),
        |a, b| merge(a, b.into_iter()),
    )?;
    for (field, kind) in schema.fields.iter_mut().zip(kinds) {
        field.kind = kind;
    }
    let schema = Arc::new(schema);
    let (genre, revenue) = (column(&schema, "genre", path)?, column(&schema, "revenue", path)?);
    let found = schema.fields[revenue].kind;
    if found == ColumnType::String {
        return Err(format!("{}: the column \"revenue\" is not a number but {found}", path.display()).into());
    }

    let of = Arc::clone(&schema);
    let films =
        records.try_map(move |(number, fields)| Row::parse(&fields, &of).map_err(|cause| at(number, cause.into())));
    let films = films.cache();

    // The question itself.
    let totals = films
        .filter_with(genre, |genre, film| film.values[*genre].as_str().is_some_and(|genre| !genre.is_empty()))
        .map_with((genre, revenue), |(genre, revenue), film| {
            let genre = film.values[*genre].as_str().unwrap_or_default().to_owned();
            (genre, film.values[*revenue].as_f64().unwrap_or(0.0))
        })
        .reduce_by_key(|a, b| a + b);
    let best = totals.top_by(5, |(genre, revenue)| (Total(*revenue), std::cmp::Reverse(genre.clone())))?;

    if plain {
        for (genre, revenue) in best {
            writeln!(out, "{genre} {revenue}")?;
        }
        return Ok(());
    }
    match films.first()? {
        Some(film) => writeln!(out, "{}\n", film.display(&schema))?,
        None => writeln!(out, "(no films)\n")?,
    }
    writeln!(out, "{schema}\n")?;
    let rows: Vec<Vec<String>> = best.into_iter().map(|(genre, revenue)| vec![genre, revenue.to_string()]).collect();
    writeln!(out, "{}\n", table::aligned(&["genre", "revenue"], &rows, &[false, true]))?;
    writeln!(out, "{}", totals.to_debug_string())?;

    let (films, partitions) = (films.count()?, films.partitions());
    drop((lines, records, totals));
    ctx.stop();
    let stages = events.filter_map(|record| match record.event {
        Event::StageStarted { stage, .. } => Some(stage),
        _ => None,
    });
    let (stages, peak) = (stages.collect::<HashSet<_>>().len(), system::peak_resident_bytes().map(ByteSize));
    writeln!(
        out,
        "{films} rows, {partitions} partitions, {stages} stages, {:.3} s, peak memory {}",
        began.elapsed().as_secs_f64(),
        peak.map_or_else(|| "unknown".to_owned(), |peak| peak.to_string()),
    )?;
    Ok(())
}

/// The fields of one line of CSV.
fn fields_of(line: &str) -> Result<Vec<String>, Failure> {
    if !line.contains('"') {
        // Most lines need no parser, and making one costs more than splitting a line.
        return Ok(line.split(',').map(str::to_owned).collect());
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).buffer_capacity(1 << 10).from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record)?;
    Ok(record.iter().map(str::to_owned).collect())
}

fn merge(kinds: Vec<ColumnType>, others: impl Iterator<Item = ColumnType>) -> Vec<ColumnType> {
    kinds.into_iter().zip(others).map(|(kind, other)| kind.merge(other)).collect()
}

fn column(schema: &Schema, name: &str, path: &Path) -> Result<usize, String> {
    schema.index_of(name).ok_or_else(|| {
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        format!("{} has no column \"{name}\"; it has {}", path.display(), names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{BufRead, BufReader, Read},
        process::{Command, Stdio},
    };

    use super::*;

    /// Runs itself as a child, whose output goes to a pipe that has no reader any more when it is told to begin.
    #[test]
    fn a_reader_that_has_read_enough_is_no_error() {
        const CHILD: &str = "EMBERFLOW_TEST_READ_ENOUGH";
        if env::var_os(CHILD).is_some() {
            eprintln!("ready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            let error = run(Path::new(FILMS), Context::builder(), true).unwrap_err();
            eprintln!("read enough: {}", was_read_enough(&error));
            return;
        }
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tests::a_reader_that_has_read_enough_is_no_error", "--nocapture"])
            .env(CHILD, "on")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut said, mut line) = (BufReader::new(child.stderr.take().unwrap()), String::new());
        while line != "ready\n" {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the child has ended");
        }
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        // The harness of the child cannot say how its test ended.
        let _ = child.wait().unwrap();
        assert!(rest.contains("read enough: true"), "{rest}");
    }
}
