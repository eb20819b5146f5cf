//! The head of a descriptor: the part that is the same whatever the descriptor makes.

use std::any::{TypeId, type_name};

/// The part of a descriptor that is the same whatever it makes.
#[repr(C)]
pub(crate) struct Head {
    mark: [u64; 2],
    /// The trait whose descriptor it is.
    pub(crate) kind: fn() -> TypeId,
    /// The type whose values are made.
    pub(crate) name: fn() -> &'static str,
}

impl Head {
    /// Two numbers that stand nowhere else in a program, but for a chance of one in 2^128.
    pub(crate) const MARK: [u64; 2] = [0xd1f0_5ee4_9c62_b7a3, 0x3a8b_04c7_e95d_126f];

    /// The head of the descriptor of `T` behind the trait `D`.
    pub(crate) const fn new<T: 'static, D: ?Sized + 'static>() -> Self {
        Self { mark: Self::MARK, kind: TypeId::of::<D>, name: type_name::<T> }
    }
}
