//! W2: counting words.
//! Called by: the bench runner.
//! Never: allocates for a word of up to 12 letters, or looks at a byte twice to find where words end.

use super::{Turns, on_threads};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Bytes of a text that a thread takes at a time; its buffer stays in the second-level cache.
const PIECE: usize = 256 << 10;
/// Bytes whose word ends are found before any of their words is counted.
const SPAN: usize = 4 << 10;
/// Letters that a table slot holds; longer words are counted in a map on the side.
const INLINE: usize = 12;

/// W2: the ten most frequent words, by count down, then by word up.
///
/// A word is whatever stands between bytes up to `' '`. Knows that few words have more than 12 letters.
/// Limited by branch misses and cache misses of the table, one look-up a word.
pub fn w2(path: &Path, threads: usize) -> Vec<(String, u64)> {
    let len = fs::metadata(path).expect("the runner wrote the text").len() as usize;
    let turns = Turns::new(len.div_ceil(PIECE));
    let tables = on_threads(threads, || {
        let mut file = File::open(path).expect("the runner wrote the text");
        let mut words = WordTable::new();
        let mut buffer = Vec::new();
        for turn in turns.take() {
            let text = read_piece(&mut file, turn * PIECE, len, &mut buffer);
            count_words(&buffer, text, &mut words);
        }
        words
    });
    let mut tables = tables.into_iter();
    let mut all = tables.next().unwrap_or_else(WordTable::new);
    tables.for_each(|table| all.merge(table));
    all.top(10)
}

/// Reads the piece that begins at `from` into `buffer` and returns where in it the words stand.
///
/// A word belongs to the piece that holds the byte before it; a break is imagined before the text and behind it.
/// What is returned ends with a break, and behind it the buffer has room for reads of constant length.
fn read_piece(file: &mut File, from: usize, len: usize, buffer: &mut Vec<u8>) -> Range<usize> {
    const SLACK: usize = 64;
    let to = len.min(from + PIECE);
    // Byte 0 of the buffer is the one before the piece.
    let mut filled = usize::from(from == 0);
    file.seek(SeekFrom::Start((from + filled) as u64 - 1)).expect("a plain file");
    let mut end = to - from;
    buffer.resize(1 + PIECE + 2 * SLACK, b' ');
    buffer[0] = b' ';
    loop {
        let wanted = (len + 1 - from).min(buffer.len() - SLACK);
        file.read_exact(&mut buffer[filled..wanted]).expect("the text keeps its length");
        filled = wanted;
        if filled == len + 1 - from {
            buffer[filled..].fill(b' ');
            filled += 1;
        }
        if let Some(more) = buffer[end..filled].iter().position(|&byte| byte <= b' ') {
            end += more;
            break;
        }
        end = filled;
        buffer.resize(2 * buffer.len(), b' ');
    }
    let start = buffer[..end].iter().position(|&byte| byte <= b' ').map_or(end, |before| before + 1);
    start..end + 1
}

/// Counts the words in `text`, which ends with a break.
fn count_words(buffer: &[u8], text: Range<usize>, words: &mut WordTable) {
    let mut breaks = [0u32; SPAN + 64];
    let mut start = text.start;
    for span in text.clone().step_by(SPAN) {
        let found = find_breaks(buffer, span..text.end.min(span + SPAN), &mut breaks);
        for &end in &breaks[..found] {
            let end = end as usize;
            words.count(buffer, start, end);
            start = end + 1;
        }
    }
}

/// Writes where the breaks of `span` are, and returns how many there are.
fn find_breaks(buffer: &[u8], span: Range<usize>, breaks: &mut [u32; SPAN + 64]) -> usize {
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let mut found = 0;
    for at in span.clone().step_by(64) {
        let mut mask = 0u64;
        for i in 0..8 {
            let bytes = u64::from_le_bytes(buffer[at + 8 * i..at + 8 * i + 8].try_into().expect("eight bytes"));
            // The top bit of each byte that is above ' ', then those of the others side by side.
            let letters = ((bytes & !TOPS) + 0x5F5F_5F5F_5F5F_5F5F) | bytes;
            let tops = !letters & TOPS;
            mask |= ((tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
        }
        if span.end - at < 64 {
            mask &= (1 << (span.end - at)) - 1;
        }
        // A dozen without asking: a branch that depends on how many there are would often be missed.
        let count = mask.count_ones() as usize;
        let places = &mut breaks[found..];
        for place in &mut places[..12] {
            *place = at as u32 + mask.trailing_zeros();
            mask &= mask.wrapping_sub(1);
        }
        let mut next = 12;
        while mask != 0 {
            places[next] = at as u32 + mask.trailing_zeros();
            mask &= mask - 1;
            next += 1;
        }
        found += count;
    }
    found
}

/// One word and its count; `head` and `tail` are its letters, then zeros. Empty if `head` is 0. No word comes 2^32 times.
#[derive(Clone, Copy, Default)]
#[repr(align(16))]
struct Slot {
    head: u64,
    tail: u32,
    count: u32,
}

/// Counts by word: open addressing, the next slot on a collision, words inside the slots.
struct WordTable {
    slots: Vec<Slot>,
    len: usize,
    long: HashMap<Vec<u8>, u64>,
}

/// What is left of 12 bytes when only the first so many are letters.
const LETTERS: [(u64, u32); INLINE + 1] = {
    let mut masks = [(0, 0); INLINE + 1];
    let mut len = 1;
    while len <= INLINE {
        let bits = (1u128 << (8 * len)) - 1;
        masks[len] = (bits as u64, (bits >> 64) as u32);
        len += 1;
    }
    masks
};

impl WordTable {
    fn new() -> WordTable {
        WordTable { slots: vec![Slot::default(); 1 << 16], len: 0, long: HashMap::new() }
    }

    #[inline]
    fn count(&mut self, buffer: &[u8], start: usize, end: usize) {
        let len = end - start;
        if len.wrapping_sub(1) >= INLINE {
            return self.count_long(&buffer[start..end]);
        }
        let bytes: &[u8; INLINE] = buffer[start..start + INLINE].try_into().expect("twelve bytes");
        let (head, tail) = LETTERS[len];
        let head = head & u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let tail = tail & u32::from_le_bytes(bytes[8..].try_into().expect("four bytes"));
        self.add(head, tail, 1);
    }

    #[inline]
    fn add(&mut self, head: u64, tail: u32, count: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash(head, tail) as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.head == head && slot.tail == tail {
                slot.count += count;
                return;
            }
            if slot.head == 0 {
                *slot = Slot { head, tail, count };
                self.len += 1;
                if self.len > mask / 8 * 7 {
                    self.grow();
                }
                return;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn count_long(&mut self, word: &[u8]) {
        if !word.is_empty() {
            *self.long.entry(word.to_vec()).or_default() += 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let bigger = vec![Slot::default(); 2 * self.slots.len()];
        self.len = 0;
        let slots = std::mem::replace(&mut self.slots, bigger);
        slots.iter().filter(|slot| slot.head != 0).for_each(|slot| self.add(slot.head, slot.tail, slot.count));
    }

    fn merge(&mut self, other: WordTable) {
        other.slots.iter().filter(|slot| slot.head != 0).for_each(|slot| self.add(slot.head, slot.tail, slot.count));
        other.long.into_iter().for_each(|(word, count)| *self.long.entry(word).or_default() += count);
    }

    fn top(mut self, n: usize) -> Vec<(String, u64)> {
        // Read as big numbers, padded words stand in the order of the alphabet.
        let order = |slot: &Slot| (Reverse(slot.count), slot.head.swap_bytes(), slot.tail.swap_bytes());
        self.slots.retain(|slot| slot.head != 0);
        if self.slots.len() > n {
            self.slots.select_nth_unstable_by_key(n, order);
            self.slots.truncate(n);
        }
        let letters = |slot: Slot| [&slot.head.to_le_bytes()[..], &slot.tail.to_le_bytes()].concat();
        let short = self.slots.into_iter().map(|slot| (letters(slot), u64::from(slot.count)));
        let mut all: Vec<(String, u64)> = short
            .chain(self.long)
            .map(|(word, count)| (String::from_utf8_lossy(&word).trim_end_matches('\0').to_owned(), count))
            .collect();
        all.sort_unstable_by(|(left, more), (right, most)| most.cmp(more).then_with(|| left.cmp(right)));
        all.truncate(n);
        all
    }
}

#[inline]
fn hash(head: u64, tail: u32) -> u64 {
    let product = u128::from(head ^ 0x243F_6A88_85A3_08D3) * u128::from(u64::from(tail) ^ 0x1319_8A2E_0370_7344);
    product as u64 ^ (product >> 64) as u64
}
