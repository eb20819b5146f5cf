//! The two things that safe Rust cannot say: a closure made of nothing, and a constant found at an address.

use std::{cell::Cell, mem, ptr::NonNull};

use crate::head::Head;

thread_local! {
    static TRUSTING: Cell<bool> = const { Cell::new(false) };
}

/// Calls `read`, in which [`Code`](crate::Code) and [`Shipped`](crate::Shipped) can be read on this thread.
///
/// # Safety
/// All values of these types that `read` reads were written by the same types, in a process that ran the same
/// executable file ([`BuildId`](crate::BuildId)).
pub unsafe fn trusting<R>(read: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also after a panic.
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            TRUSTING.set(self.0);
        }
    }
    let _leave = Leave(TRUSTING.replace(true));
    read()
}

/// Returns whether the thread is inside of [`trusting`].
pub(crate) fn is_trusting() -> bool {
    TRUSTING.get()
}

/// Makes a value of a type that has no bytes and nothing to drop. Gives nothing for another type, and outside of
/// [`trusting`].
pub(crate) fn of_nothing<F>() -> Option<F> {
    if mem::size_of::<F>() != 0 || mem::needs_drop::<F>() || !is_trusting() {
        return None;
    }
    // SAFETY: a read of a type without bytes needs a pointer that is aligned and not null, which a dangling one is. That
    // the type has a value at all, unlike `Infallible`, is promised by the caller of `trusting`: one was written. A
    // second value takes nothing from the first, for it has no bytes and no destructor. A type without bytes that stands
    // for a right, and cannot be copied, can be doubled so by a closure that captures it: this is documented at `Code`.
    Some(unsafe { NonNull::<F>::dangling().read() })
}

/// The head of the descriptor at `address`, of which the caller has found out that it is aligned for it and that it and
/// all of a descriptor lie in one mapping of this program's file that can be read and not written to. Gives nothing
/// outside of [`trusting`].
pub(crate) fn head_at(address: usize) -> Option<&'static Head> {
    debug_assert!(address.is_multiple_of(mem::align_of::<Head>()));
    if !is_trusting() {
        return None;
    }
    let head = std::ptr::with_exposed_provenance::<Head>(address);
    // SAFETY: the caller vouches for alignment and for memory that can be read, that is not written to, and that stays
    // for as long as the program runs, for it is the program's own. The mark, two integers, comes first and is valid
    // whatever the bytes are; the function pointers behind it are looked at by `Head::kind` and its siblings only after
    // the mark was found, which the caller of `trusting` promises to stand before descriptors only.
    let mark = unsafe { head.cast::<[u64; 2]>().read() };
    // SAFETY: as above, and the mark stands there.
    (mark == Head::MARK).then(|| unsafe { &*head })
}

/// The descriptor that has this head.
///
/// # Safety
/// The head's kind is that of `D`, and it was found by [`head_at`].
pub(crate) unsafe fn whole<D>(head: &'static Head) -> &'static D {
    // SAFETY: a descriptor of the kind begins with this head, and lies where the head lies.
    unsafe { &*std::ptr::from_ref(head).cast::<D>() }
}
