//! Code of a program as a value that another process of the same program can use.
//!
//! Another process that runs the same executable has the same code, at other addresses. So code need not be sent, only
//! found again:
//! - A **closure** that captures nothing has no bytes: its type says all of it. [`Code`] writes it as nothing, and makes
//!   it again of nothing. A closure that captures something is refused.
//! - A **value behind a trait** is found by a [`Descriptor`]: a constant of the program that names the value's type and
//!   knows how to make the value of its serialised state. [`Shipped`] is the distance of that constant from a fixed
//!   place in the program, with the state.
//!
//! A descriptor is checked before it is believed: it lies in memory of the program's own file that cannot be written to,
//! it begins with a mark, and it is of the trait that is wanted. The caller has to check that both processes run the
//! same program, by [`BuildId`].
//!
//! The one surprising decision: values are read only inside of [`trusting`], which is `unsafe`. A value that is read
//! runs as code, so bytes of another origin must not be read at all; a plan is trusted as a program is.
//!
//! Owns all `unsafe` code of this kind, in `remake`; the one call of it from elsewhere is in `descriptor`. It never
//! reads anything from a network or a pipe.

mod build;
mod closure;
mod descriptor;
mod head;
mod image;
mod remake;

pub use self::{
    build::BuildId,
    closure::{Code, refusal},
    descriptor::{Descriptor, Make, Shipped},
    image::{CodeError, Flaw},
    remake::trusting,
};
