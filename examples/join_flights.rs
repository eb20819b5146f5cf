//! Two tables, joined: which countries' flights leave late, and which routes are busiest and longest?
//!
//! ```text
//! cargo run --release --example join_flights [FLIGHTS]
//! ```
//!
//! The airports are real and come from a file; the flights between them are made up. Each flight meets the airports
//! twice, by its origin and by its destination. A few flights name an airport that is not in the file: outer joins keep
//! them, so that they can be reported. All of it is checked against loops over hash maps.

#[path = "support/table.rs"]
mod table;

use std::{
    cmp::Reverse, collections::HashMap, env, fmt::Debug, hash::Hash, path::Path, process::ExitCode, time::Instant,
};

use ecow::EcoString;
use emberflow::prelude::*;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;
/// The three letters of an airport. Cheap to clone: short text lies within, without an allocation.
type Code = EcoString;
/// Two airports, the one that is first in the alphabet first: a route counts both ways.
type Route = (Code, Code);

const HEADER: &str = "code,city,country,latitude,longitude";
/// Codes that no airport has.
const UNKNOWN: [&str; 3] = ["QQQ", "XXX", "ZZZ"];
const PARTITIONS: usize = 8;
/// A flight that leaves so many minutes after its time is late.
const LATE: i64 = 15;
const SHOWN: usize = 10;
/// The mean radius of the Earth.
const EARTH_KM: f64 = 6371.0088;

fn main() -> ExitCode {
    let flights = match env::args().nth(1).map(|text| text.parse::<u64>()) {
        None => 1_000_000,
        Some(Ok(flights)) if flights >= 1 => flights,
        Some(_) => {
            eprintln!("join_flights: give a number of flights, at least 1");
            return ExitCode::from(2);
        }
    };
    match run(flights) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("join_flights: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Airport {
    city: EcoString,
    country: EcoString,
    /// In degrees, north and east positive.
    latitude: f64,
    longitude: f64,
}

impl Airport {
    /// From a line of the file. None of its fields holds a comma.
    fn parse(line: &str) -> Result<(Code, Airport), Failure> {
        let fields: Vec<&str> = line.split(',').collect();
        let [code, city, country, latitude, longitude] = fields[..] else {
            return Err(format!("{line:?} has {} fields, not those of {HEADER:?}", fields.len()).into());
        };
        let (latitude, longitude) = (latitude.parse()?, longitude.parse()?);
        Ok((code.into(), Airport { city: city.into(), country: country.into(), latitude, longitude }))
    }

    /// Along a great circle, by the haversine formula.
    fn km_to(&self, other: &Airport) -> f64 {
        let (here, there) = (self.latitude.to_radians(), other.latitude.to_radians());
        let east = (other.longitude - self.longitude).to_radians();
        let haversine = ((there - here) / 2.0).sin().powi(2) + here.cos() * there.cos() * (east / 2.0).sin().powi(2);
        2.0 * EARTH_KM * haversine.sqrt().min(1.0).asin()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Flight {
    from: Code,
    to: Code,
    /// In minutes; negative if it left early.
    delay: i64,
}

impl Flight {
    /// The flight with this number, and the same one whoever asks. Airports that come first in the list have more
    /// flights; some airports are worse than others at being on time.
    fn new(codes: &[Code], number: u64) -> Self {
        let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) % below
        };
        let airports = codes.len() as u64;
        let from = next(airports) * next(airports) / airports;
        let to = next(airports - 1) * next(airports - 1) / (airports - 1);
        let to = if to >= from { to + 1 } else { to };
        let delay = (next(60) * next(60) * (2 + from * 7 % 5) / 300) as i64 - 5;
        let [from, to] = [from, to].map(|at| match next(1000) {
            0 => UNKNOWN[at as usize % UNKNOWN.len()].into(),
            _ => codes[at as usize].clone(),
        });
        Self { from, to, delay }
    }

    fn route(&self) -> Route {
        let (from, to) = (self.from.clone(), self.to.clone());
        if from <= to { (from, to) } else { (to, from) }
    }
}

/// What some flights add up to. Whole numbers, whose sum is the same in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Delays {
    flights: u64,
    late: u64,
    minutes: i64,
}

impl Delays {
    fn of(flight: &Flight) -> Self {
        Self { flights: 1, late: u64::from(flight.delay >= LATE), minutes: flight.delay }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            flights: self.flights + other.flights,
            late: self.late + other.late,
            minutes: self.minutes + other.minutes,
        }
    }

    fn mean(&self) -> f64 {
        self.minutes as f64 / self.flights as f64
    }

    fn late_per_cent(&self) -> f64 {
        100.0 * self.late as f64 / self.flights as f64
    }
}

/// A flight with what is known of its airports.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Leg {
    flight: Flight,
    from: Option<Airport>,
    to: Option<Airport>,
}

fn run(number: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let ctx = Context::builder().app_name("join_flights").build()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/airports.csv");
    let lines = ctx.text_file(&path)?.filter(|line| line != HEADER);
    let airports = lines.try_map(|line| Airport::parse(&line)).cache();
    let codes = airports.keys().collect()?;
    if codes.len() < 2 {
        return Err(format!("{} has {} airports; flights need two", path.display(), codes.len()).into());
    }
    let flights = ctx.range_into(0..number, PARTITIONS).map_with(codes, |codes, number| Flight::new(codes, number));

    // By origin with a shuffle, as for two large tables: flights and airports of equal codes meet.
    let with_origin = flights.key_by(|flight| flight.from.clone()).left_outer_join(&airports);
    // By destination without: the airports are few, and go to the flights, which stay where they are.
    let legs = with_origin
        .map(|(_, (flight, from))| (flight.to.clone(), (flight, from)))
        .broadcast_left_outer_join(&airports)
        .map(|(_, ((flight, from), to))| Leg { flight, from, to })
        .cache();

    let countries = legs
        .flat_map_ref(|leg, out| {
            if let (Some(from), Some(_)) = (&leg.from, &leg.to) {
                out.push((from.country.clone(), Delays::of(&leg.flight)));
            }
        })
        .reduce_by_key(Delays::plus)
        .cache();
    let routes = legs
        .flat_map_ref(|leg, out| {
            if let (Some(from), Some(to)) = (&leg.from, &leg.to) {
                out.push((leg.flight.route(), (Delays::of(&leg.flight), from.km_to(to))));
            }
        })
        .reduce_by_key(|(a, km), (b, _)| (a.plus(b), km))
        .cache();
    // What the outer joins have kept: codes that found no airport, as origins and as destinations.
    let strangers = legs
        .flat_map_ref(|leg, out| {
            if leg.from.is_none() {
                out.push((leg.flight.from.clone(), (1_u64, 0_u64)));
            }
            if leg.to.is_none() {
                out.push((leg.flight.to.clone(), (0, 1)));
            }
        })
        .reduce_by_key(|a, b| (a.0 + b.0, a.1 + b.1));

    let worst = countries.top_by(SHOWN, |(country, delays)| (rank(delays.mean()), Reverse(country.clone())))?;
    let busiest = routes.top_by(SHOWN, |(route, (delays, _))| (delays.flights, Reverse(route.clone())))?;
    let longest = routes.top_by(SHOWN, |(route, (_, km))| (rank(*km), Reverse(route.clone())))?;
    let mut strangers = strangers.collect()?;
    strangers.sort();
    let seconds = began.elapsed().as_secs_f64();

    let cities = airports.map_values(|airport| airport.city).collect_as_map()?;
    let name = |(a, b): &Route| [a, b].map(|code| format!("{} ({code})", cities[code])).join(" – ");
    let cells = worst.iter().map(|(country, delays)| {
        let (late, mean) = (format!("{:.1}", delays.late_per_cent()), format!("{:.2}", delays.mean()));
        vec![country.to_string(), delays.flights.to_string(), late, mean]
    });
    print_table("Latest departures, by country", &["country", "flights", "late, %", "mean delay, min"], cells);
    let cells = |routes: &[(Route, (Delays, f64))]| {
        let cells = routes.iter().map(|(route, (delays, km))| {
            vec![name(route), delays.flights.to_string(), format!("{km:.0}"), format!("{:.2}", delays.mean())]
        });
        cells.collect::<Vec<_>>()
    };
    let headers = ["route", "flights", "km", "mean delay, min"];
    print_table("Busiest routes", &headers, cells(&busiest));
    print_table("Longest routes", &headers, cells(&longest));
    let cells = strangers.iter().map(|(code, (from, to))| vec![code.to_string(), from.to_string(), to.to_string()]);
    print_table("Airports that nobody knows", &["code", "as origin", "as destination"], cells);

    let known = countries.map_ref(|(_, delays)| delays.flights).sum()?;
    println!("{number} flights, {} without one of their airports: {seconds:.2} s", u128::from(number) - known);
    let found = Found {
        worst: worst.into_iter().map(|(country, _)| country).collect(),
        busiest: busiest.into_iter().map(|(route, _)| route).collect(),
        longest: longest.into_iter().map(|(route, _)| route).collect(),
        countries: countries.collect_as_map()?,
        routes: routes.collect_as_map()?,
        strangers: strangers.into_iter().collect(),
        legs: legs.count()?,
    };
    found.check(number, &path)?;
    println!("checked against hash maps: every country, route, distance, unknown airport and rank");
    Ok(())
}

/// Rows are ranked by what has a total order, which floating-point numbers have not: by millionths.
fn rank(number: f64) -> i64 {
    (number * 1e6).round() as i64
}

/// The first column is text, the others are numbers.
fn print_table(title: &str, headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let right: Vec<bool> = (0..headers.len()).map(|column| column > 0).collect();
    println!("{title}\n{}\n", table::aligned(headers, &rows.into_iter().collect::<Vec<_>>(), &right));
}

/// All that the joins have led to.
struct Found {
    worst: Vec<EcoString>,
    busiest: Vec<Route>,
    longest: Vec<Route>,
    countries: HashMap<EcoString, Delays>,
    routes: HashMap<Route, (Delays, f64)>,
    strangers: HashMap<Code, (u64, u64)>,
    legs: u64,
}

impl Found {
    /// The same, by hand: the file read by another reader, the same flights, and two lookups each.
    fn check(&self, number: u64, path: &Path) -> Result<(), Failure> {
        let (mut codes, mut airports) = (Vec::new(), HashMap::new());
        for record in csv::Reader::from_path(path)?.deserialize() {
            let (code, city, country, latitude, longitude): (Code, _, EcoString, _, _) = record?;
            codes.push(code.clone());
            airports.insert(code, Airport { city, country, latitude, longitude });
        }
        let mut countries: HashMap<EcoString, Delays> = HashMap::new();
        let mut routes: HashMap<Route, Delays> = HashMap::new();
        let mut strangers: HashMap<Code, (u64, u64)> = HashMap::new();
        for number in 0..number {
            let flight = Flight::new(&codes, number);
            match (airports.get(&flight.from), airports.get(&flight.to)) {
                (Some(from), Some(_)) => {
                    let mut ends = [flight.from, flight.to];
                    ends.sort();
                    let country = countries.entry(from.country.clone()).or_default();
                    for sum in [country, routes.entry(ends.into()).or_default()] {
                        sum.flights += 1;
                        sum.minutes += flight.delay;
                        if flight.delay >= LATE {
                            sum.late += 1;
                        }
                    }
                }
                (from, to) => {
                    if from.is_none() {
                        strangers.entry(flight.from).or_default().0 += 1;
                    }
                    if to.is_none() {
                        strangers.entry(flight.to).or_default().1 += 1;
                    }
                }
            }
        }

        if self.legs != number {
            return Err(format!("{} flights came out of the joins, of {number}", self.legs).into());
        }
        same("country", &self.countries, &countries)?;
        same("unknown airport", &self.strangers, &strangers)?;
        let delays = self.routes.iter().map(|(route, (delays, _))| (route.clone(), *delays)).collect();
        same("route", &delays, &routes)?;
        for ((a, b), (_, km)) in &self.routes {
            let plain = by_vectors(&airports[a], &airports[b]);
            if (km - plain).abs() > 0.001 {
                return Err(format!("from {a} to {b} it is {km} km, and {plain} km by another formula").into());
            }
        }

        first("latest countries", &self.worst, &countries, |_, delays| rank(delays.mean()))?;
        first("busiest routes", &self.busiest, &routes, |_, delays| delays.flights as i64)?;
        first("longest routes", &self.longest, &routes, |(a, b), _| rank(airports[a].km_to(&airports[b])))
    }
}

fn same<K: Eq + Hash + Debug, V: PartialEq + Debug>(
    what: &str,
    found: &HashMap<K, V>,
    expected: &HashMap<K, V>,
) -> Result<(), Failure> {
    for key in found.keys().chain(expected.keys()) {
        let (found, expected) = (found.get(key), expected.get(key));
        if found != expected {
            return Err(format!("{what} {key:?}: found {found:?}, by a hash map {expected:?}").into());
        }
    }
    Ok(())
}

/// That these keys rank first, and equal ones by their names.
fn first<K: Ord + Debug, V>(
    what: &str,
    found: &[K],
    all: &HashMap<K, V>,
    rank: impl Fn(&K, &V) -> i64,
) -> Result<(), Failure> {
    let mut expected: Vec<(i64, &K)> = all.iter().map(|(key, value)| (-rank(key, value), key)).collect();
    expected.sort();
    let expected: Vec<&K> = expected.into_iter().take(SHOWN).map(|(_, key)| key).collect();
    if found.iter().eq(expected.iter().copied()) {
        Ok(())
    } else {
        Err(format!("the {what} are {found:?}, and by sorting all of them {expected:?}").into())
    }
}

/// The distance by the angle between two arrows from the centre of the Earth.
fn by_vectors(a: &Airport, b: &Airport) -> f64 {
    let arrow = |airport: &Airport| {
        let (north, east) = (airport.latitude.to_radians(), airport.longitude.to_radians());
        [north.cos() * east.cos(), north.cos() * east.sin(), north.sin()]
    };
    let ([ax, ay, az], [bx, by, bz]) = (arrow(a), arrow(b));
    let cross = [ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx];
    let sine = cross.iter().map(|x| x * x).sum::<f64>().sqrt();
    EARTH_KM * sine.atan2(ax * bx + ay * by + az * bz)
}
