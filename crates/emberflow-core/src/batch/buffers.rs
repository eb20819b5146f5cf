//! Empty buffers for batches, kept by each thread for its next ones.
//!
//! A batch's buffer is large for an allocator: glibc's sweeps all its lists of small pieces for each such request, which
//! costs most where rows are strings. So an operator that has used up an owned batch gives its buffer back, and one
//! that makes a batch asks here first. A few buffers of a few types are kept, and only of a batch's size.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    mem,
};

/// Row types of which a thread keeps buffers.
const TYPES: usize = 16;
/// Buffers of one type.
const BUFFERS: usize = 4;
/// The largest buffer that is kept.
const BUFFER_BYTES: usize = 128 << 10;

thread_local! {
    /// The type that was used last comes first.
    static FREE: RefCell<Vec<(TypeId, Box<dyn Any>)>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, with room if the thread has one to spare.
pub fn take<T: 'static>() -> Vec<T> {
    with(|free: &mut Vec<Vec<T>>| free.pop()).flatten().unwrap_or_default()
}

/// Gives a buffer back; rows that are still in it are dropped.
pub fn give<T: 'static>(mut rows: Vec<T>) {
    rows.clear();
    let bytes = rows.capacity() * mem::size_of::<T>();
    if bytes > 0 && bytes <= BUFFER_BYTES {
        with(|free: &mut Vec<Vec<T>>| {
            if free.len() < BUFFERS {
                free.push(rows);
            }
        });
    }
}

/// Runs `f` on the thread's buffers of rows of type `T`; `None` while the thread ends.
fn with<T: 'static, R>(f: impl FnOnce(&mut Vec<Vec<T>>) -> R) -> Option<R> {
    let found = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        let wanted = TypeId::of::<T>();
        match free.iter().position(|(id, _)| *id == wanted) {
            Some(0) => {}
            Some(at) => free[..=at].rotate_right(1),
            None => {
                free.truncate(TYPES - 1);
                free.insert(0, (wanted, Box::new(Vec::<Vec<T>>::new())));
            }
        }
        free[0].1.downcast_mut::<Vec<Vec<T>>>().map(f)
    });
    found.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_with_its_room() {
        let mut rows = Vec::with_capacity(100);
        rows.push("row".to_owned());
        give(rows);
        give(Vec::<u8>::with_capacity(BUFFER_BYTES + 1));
        let rows: Vec<String> = take();
        assert!(rows.is_empty() && rows.capacity() >= 100);
        assert_eq!(take::<String>().capacity(), 0);
        assert_eq!(take::<u8>().capacity(), 0);
    }
}
