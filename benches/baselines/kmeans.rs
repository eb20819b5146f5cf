//! W7's arithmetic: which centre is next to a point, and where the centres move.
//! Called by: all programs of W7 but the idiom, so that none of them wins by a better loop over ten centres.
//! Never: sees more than one point.

use super::data::{self, DIMENSIONS};
use serde::{Deserialize, Serialize};

/// How many centres.
pub const CENTRES: usize = 10;
/// How often they move.
pub const ITERATIONS: usize = 10;

pub type Point = [f64; DIMENSIONS];

/// The first centres: points like all others.
pub fn first_centres() -> [Point; CENTRES] {
    std::array::from_fn(|at| data::point(at as u64))
}

/// Centres as columns, so that a coordinate of all of them is one row of vector instructions.
#[derive(Clone, Debug)]
pub struct Columns {
    coordinates: [[f64; CENTRES]; DIMENSIONS],
    /// Half of each centre's squared length.
    halves: [f64; CENTRES],
}

impl Columns {
    pub fn of(centres: &[Point; CENTRES]) -> Columns {
        Columns {
            coordinates: std::array::from_fn(|d| centres.map(|centre| centre[d])),
            halves: centres.map(|centre| centre.iter().map(|x| x * x).sum::<f64>() / 2.0),
        }
    }

    /// The number of the centre next to `point`: half of the squared distance, less half of the point's squared length,
    /// is least.
    #[inline]
    pub fn nearest(&self, point: &Point) -> usize {
        let mut far = self.halves;
        for (x, column) in point.iter().zip(&self.coordinates) {
            for (far, c) in far.iter_mut().zip(column) {
                *far -= x * c;
            }
        }
        let (mut best, mut least) = (0, far[0]);
        for (at, far) in far.into_iter().enumerate().skip(1) {
            // Without a branch, which would often be missed.
            best = if far < least { at } else { best };
            least = if far < least { far } else { least };
        }
        best
    }
}

/// Sums and numbers of the points of each centre.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    sums: [Point; CENTRES],
    counts: [u64; CENTRES],
}

impl Sums {
    #[inline]
    pub fn add(&mut self, centre: usize, point: &Point) {
        self.sums[centre].iter_mut().zip(point).for_each(|(sum, x)| *sum += x);
        self.counts[centre] += 1;
    }

    pub fn merge(&mut self, other: &Sums) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| {
            sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
        });
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
    }

    /// The centres of these points; one without points stays.
    pub fn centres(&self, before: &[Point; CENTRES]) -> [Point; CENTRES] {
        std::array::from_fn(|at| match self.counts[at] {
            0 => before[at],
            count => self.sums[at].map(|sum| sum / count as f64),
        })
    }
}

/// The answer, rounded: the order in which numbers are added up is nobody's duty.
pub fn answer(centres: &[Point; CENTRES]) -> String {
    let line = |centre: &Point| centre.map(|x| format!("{x:.6}")).join(" ");
    centres.iter().map(line).collect::<Vec<_>>().join("; ")
}
