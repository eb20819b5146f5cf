//! W7: k-means.
//! Called by: the bench runner.
//! Never: copies a point, or starts a thread for less than a share of all points.

use super::super::kmeans::{self, Columns, Point, Sums};
use super::on_each;

/// W7: the centres after ten iterations, rounded.
///
/// Knows that there are ten coordinates and ten centres. Limited by arithmetic, a hundred multiplications a point,
/// then by choosing the least of ten numbers.
pub fn w7(points: &[Point], threads: usize) -> String {
    let mut centres = kmeans::first_centres();
    for _ in 0..kmeans::ITERATIONS {
        let columns = Columns::of(&centres);
        let sums = on_each(points.chunks(points.len().div_ceil(threads).max(1)), |points| {
            let mut sums = Sums::default();
            points.iter().for_each(|point| sums.add(columns.nearest(point), point));
            sums
        });
        let mut all = Sums::default();
        sums.iter().for_each(|sums| all.merge(sums));
        centres = all.centres(&centres);
    }
    kmeans::answer(&centres)
}
