//! The rows and files that the workloads read, the same on every run.
//! Called by: the bench runner, outside the timed part.
//! Never: reads a clock or the system's randomness; the seeds are the constants below.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Seed of the vocabulary and of the words drawn from it.
const TEXT_SEED: u64 = 0x00E3_BE2F_1057_0001;
/// Seed of the pairs.
const PAIRS_SEED: u64 = 0x00E3_BE2F_1057_0002;
/// Seed of the numbers to sort.
const NUMBERS_SEED: u64 = 0x00E3_BE2F_1057_0003;
/// Seed of the permutations.
const PERMUTATION_SEED: u64 = 0x00E3_BE2F_1057_0004;

/// Seed of the points.
const POINTS_SEED: u64 = 0x00E3_BE2F_1057_0005;
/// Seed of the links.
const LINKS_SEED: u64 = 0x00E3_BE2F_1057_0006;

/// Distinct words of a text.
const VOCABULARY: usize = 200_000;
/// Exponent of the law by which words grow rare.
const ZIPF_EXPONENT: f64 = 1.05;
const WORDS_PER_LINE: usize = 10;
const LONGEST_WORD: usize = 12;

/// 2^64 divided by the golden ratio, odd.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Sebastiano Vigna's SplitMix64.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..bound`, even but for a bias of `bound` in 2^64.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 to below 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The output function of SplitMix64: a bijection in which each input bit moves half of the output bits.
#[inline]
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// `n` rows whose keys are drawn evenly from `0..keys` and whose values are any `u64`.
pub fn pairs(n: usize, keys: u64) -> Vec<(u64, u64)> {
    let mut random = SplitMix64::new(PAIRS_SEED);
    (0..n).map(|_| (random.below(keys), random.next_u64())).collect()
}

/// `n` numbers, any `u64`.
pub fn numbers(n: usize) -> Vec<u64> {
    let mut random = SplitMix64::new(NUMBERS_SEED);
    (0..n).map(|_| random.next_u64()).collect()
}

/// Two tables of `n` rows whose keys are the numbers below `n`, each in an order of its own.
pub fn permutations(n: usize) -> [Vec<(u64, u64)>; 2] {
    let mut random = SplitMix64::new(PERMUTATION_SEED);
    [0, 1].map(|_| {
        let mut rows: Vec<(u64, u64)> = (0..n as u64).map(|key| (key, random.next_u64())).collect();
        // Fisher and Yates.
        (1..rows.len()).rev().for_each(|at| rows.swap(at, random.below(at as u64 + 1) as usize));
        rows
    })
}

/// Coordinates of a point.
pub const DIMENSIONS: usize = 10;
/// Heaps that the points lie in.
const HEAPS: u64 = 10;

/// The `at`th point: one of ten heaps, which overlap, so that k-means still moves its centres after ten iterations.
pub fn point(at: u64) -> [f64; DIMENSIONS] {
    let mut random = SplitMix64::new(mix(POINTS_SEED ^ at));
    let mut heap = SplitMix64::new(mix(POINTS_SEED ^ !random.below(HEAPS)));
    // Two uniform numbers make a hill, a third one its place.
    [(); DIMENSIONS].map(|()| 10.0 * random.unit() + 10.0 * random.unit() + 30.0 * heap.unit())
}

/// Most links of a page; on average ten.
const MOST_LINKS: u64 = 19;

/// The pages below `pages` that `page` links to, one or more of them; a page may come twice.
///
/// How many links a page receives follows a power law: the k-th most popular page has about `k^(-2/3)` of what the most
/// popular one has, 1 % of all links of a million pages. Popular pages are scattered over all numbers.
pub fn links(page: u64, pages: u64) -> impl ExactSizeIterator<Item = u32> {
    let mut random = SplitMix64::new(mix(LINKS_SEED ^ page));
    let count = 1 + random.below(MOST_LINKS) as u32;
    (0..count).map(move |_| {
        let place = (pages as f64 * random.unit().powi(3)) as u64;
        SplitMix64::new(place).below(pages) as u32
    })
}

/// Writes lines of ten Zipf words, parted by one space and ended by `\n`, until the file holds `bytes` bytes.
///
/// The last line is whole, so the file may exceed `bytes` by a line. Holds one buffer, never the text.
pub fn zipf_text(path: &Path, bytes: u64) -> io::Result<()> {
    let mut random = SplitMix64::new(TEXT_SEED);
    let words = vocabulary(&mut random);
    let ranks = Zipf::new(words.len(), ZIPF_EXPONENT);
    let mut file = File::create(path)?;
    let mut buffer = vec![0u8; 1 << 20];
    let mut filled = 0;
    let mut written = 0u64;
    while written + (filled as u64) < bytes {
        for _ in 0..WORDS_PER_LINE {
            let word = words[ranks.sample(&mut random)];
            // A copy of constant length is one store; the next word overwrites what is too much.
            buffer[filled..filled + 16].copy_from_slice(&word.padded);
            filled += word.len + 1;
        }
        buffer[filled - 1] = b'\n';
        if buffer.len() - filled < WORDS_PER_LINE * 16 {
            file.write_all(&buffer[..filled])?;
            written += filled as u64;
            filled = 0;
        }
    }
    file.write_all(&buffer[..filled])
}

/// A word, then spaces.
#[derive(Clone, Copy)]
struct Word {
    padded: [u8; 16],
    len: usize,
}

/// Distinct words of 2 to 12 letters, the most frequent first and on average shorter.
fn vocabulary(random: &mut SplitMix64) -> Vec<Word> {
    let mut seen = HashSet::with_capacity(VOCABULARY);
    let mut words = Vec::with_capacity(VOCABULARY);
    while words.len() < VOCABULARY {
        // Half a letter more each time the rank doubles, give or take three: 6.8 letters a word of the text.
        let halves = 7 + u64::from(words.len().max(1).ilog2()) + random.below(14);
        let len = (halves as usize / 2).saturating_sub(3).clamp(2, LONGEST_WORD);
        let mut padded = [b' '; 16];
        padded[..len].fill_with(|| b'a' + random.below(26) as u8);
        if seen.insert(padded) {
            words.push(Word { padded, len });
        }
    }
    words
}

/// Ranks `0..n` with a probability that falls as `(rank + 1)^-exponent`, drawn by Walker's alias method.
struct Zipf {
    /// For each column, the share (of 2^32) that it keeps, and the rank that has the rest.
    columns: Vec<(u32, u32)>,
}

impl Zipf {
    fn new(n: usize, exponent: f64) -> Zipf {
        let weights: Vec<f64> = (1..=n).map(|rank| (rank as f64).powf(-exponent)).collect();
        let scale = n as f64 / weights.iter().sum::<f64>();
        let mut share: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut columns: Vec<(u32, u32)> = (0..n as u32).map(|rank| (u32::MAX, rank)).collect();
        // Frequent ranks come first, so the rich are a prefix; each fills poor columns until it is poor itself.
        let (mut poor, mut rich): (Vec<usize>, Vec<usize>) = (0..n).partition(|&rank| share[rank] < 1.0);
        while let (Some(&giver), Some(taker)) = (rich.last(), poor.pop()) {
            columns[taker] = ((share[taker] * 4_294_967_296.0) as u32, giver as u32);
            share[giver] -= 1.0 - share[taker];
            if share[giver] < 1.0 {
                rich.pop();
                poor.push(giver);
            }
        }
        Zipf { columns }
    }

    #[inline]
    fn sample(&self, random: &mut SplitMix64) -> usize {
        let bits = random.next_u64();
        let column = (((bits >> 32) * self.columns.len() as u64) >> 32) as usize;
        let (keeps, alias) = self.columns[column];
        if (bits as u32) < keeps { column } else { alias as usize }
    }
}
