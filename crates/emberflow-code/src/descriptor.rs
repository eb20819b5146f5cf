//! Values behind a trait, as the place of their code in the program and their state.

use std::{
    any::{TypeId, type_name},
    error::Error,
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    head::Head,
    image::{self, CodeError, Flaw},
    remake,
};

/// A function that makes a value behind the trait `D` of its state.
pub type Make<D> = fn(&[u8]) -> Result<Arc<D>, Box<dyn Error + Send + Sync>>;

/// A constant of the program that knows how to make values of one type, behind the trait `D`, of their state. To be made
/// in a `const`, one for each type:
///
/// ```
/// use std::sync::Arc;
///
/// use emberflow_code::{Descriptor, Shipped};
/// use serde::{Serialize, de::DeserializeOwned};
///
/// trait Greeter: Send + Sync {
///     fn greet(&self) -> String;
/// }
///
/// struct Sent<G>(G);
///
/// impl<G: Greeter + DeserializeOwned + 'static> Sent<G> {
///     const CODE: &'static Descriptor<dyn Greeter> =
///         &Descriptor::new::<G>(|state| Ok(Arc::new(serde_json::from_slice::<G>(state)?)));
/// }
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Polite {
///     to: String,
/// }
///
/// impl Greeter for Polite {
///     fn greet(&self) -> String {
///         format!("Good morning, {}", self.to)
///     }
/// }
///
/// let state = serde_json::to_vec(&Polite { to: "Ada".into() }).unwrap();
/// let shipped = Shipped::new(Sent::<Polite>::CODE, state).unwrap();
/// let bytes = serde_json::to_vec(&shipped).unwrap();
/// // In another process of the same program:
/// let shipped: Shipped<dyn Greeter> = serde_json::from_slice(&bytes).unwrap();
/// // SAFETY: it was written above.
/// let greeter = unsafe { emberflow_code::trusting(|| shipped.make()) }.unwrap();
/// assert_eq!(greeter.greet(), "Good morning, Ada");
/// ```
#[repr(C)]
pub struct Descriptor<D: ?Sized + 'static> {
    head: Head,
    make: Make<D>,
}

impl<D: ?Sized + 'static> Descriptor<D> {
    /// The descriptor of the type `T`.
    pub const fn new<T: 'static>(make: Make<D>) -> Self {
        Self { head: Head::new::<T, D>(), make }
    }

    /// The name of the type that it makes.
    pub fn name(&self) -> &'static str {
        (self.head.name)()
    }
}

impl<D: ?Sized + 'static> fmt::Debug for Descriptor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", type_name::<D>(), self.name())
    }
}

/// A value behind the trait `D`, as another process of the same program can make it again.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Shipped<D: ?Sized> {
    offset: i64,
    state: Vec<u8>,
    kind: PhantomData<fn() -> Box<D>>,
}

impl<D: ?Sized + 'static> Shipped<D> {
    /// The value that `code` makes of `state`.
    ///
    /// # Errors
    /// [`CodeError::OtherObject`] if the descriptor lies in another shared object than this crate.
    pub fn new(code: &'static Descriptor<D>, state: Vec<u8>) -> Result<Self, CodeError> {
        let offset = image::offset_of(&code.head)?.ok_or_else(|| CodeError::OtherObject { name: code.name() })?;
        Ok(Self { offset, state, kind: PhantomData })
    }

    /// Makes the value. Inside of [`trusting`](crate::trusting) only.
    ///
    /// # Errors
    /// If there is no descriptor of this trait where the value's code should be, or the state cannot be read.
    pub fn make(&self) -> Result<Arc<D>, CodeError> {
        let offset = self.offset;
        let flaw = |flaw| CodeError::NotThere { offset, flaw };
        let address = image::address_at(offset)?;
        if !remake::is_trusting() {
            return Err(flaw(Flaw::Untrusted));
        }
        let head = remake::head_at(address).ok_or_else(|| flaw(Flaw::NoMark))?;
        if (head.kind)() != TypeId::of::<D>() {
            return Err(CodeError::OtherKind { offset, wanted: type_name::<D>(), found: (head.name)() });
        }
        // SAFETY: its kind was just looked at.
        let descriptor: &Descriptor<D> = unsafe { remake::whole(head) };
        (descriptor.make)(&self.state).map_err(|source| CodeError::State { name: descriptor.name(), source })
    }
}

impl<D: ?Sized> fmt::Debug for Shipped<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:+#x} with {} bytes", type_name::<D>(), self.offset, self.state.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    trait Number: Send + Sync {
        fn number(&self) -> u8;
    }

    trait Other {}

    struct Plain(u8);

    impl Number for Plain {
        fn number(&self) -> u8 {
            self.0
        }
    }

    const PLAIN: &Descriptor<dyn Number> = &Descriptor::new::<Plain>(|state| match state {
        [number] => Ok(Arc::new(Plain(*number))),
        _ => Err("one byte is wanted".into()),
    });

    fn shipped(offset: i64, state: &[u8]) -> Shipped<dyn Number> {
        Shipped { offset, state: state.to_vec(), kind: PhantomData }
    }

    fn make<D: ?Sized + 'static>(shipped: &Shipped<D>) -> Result<Arc<D>, CodeError> {
        // SAFETY: the tests write what they read; what they write wrongly is refused before it is used.
        unsafe { crate::trusting(|| shipped.make()) }
    }

    #[test]
    fn a_value_comes_back_by_the_place_of_its_code_and_its_state() {
        let right = Shipped::new(PLAIN, vec![7]).unwrap();
        assert_eq!(make(&right).unwrap().number(), 7);
        assert!(matches!(right.make(), Err(CodeError::NotThere { flaw: Flaw::Untrusted, .. })));
        assert!(matches!(make(&shipped(right.offset, &[])), Err(CodeError::State { .. })));
    }

    #[test]
    fn what_is_no_descriptor_of_the_kind_is_refused_with_a_reason() {
        let right = Shipped::new(PLAIN, vec![7]).unwrap().offset;
        let flaw = |offset| match make(&shipped(offset, &[7])) {
            Err(CodeError::NotThere { flaw, .. }) => Some(flaw),
            _ => None,
        };
        assert_eq!(flaw(right + 1), Some(Flaw::Unaligned));
        assert_eq!(flaw(right + 8), Some(Flaw::NoMark));
        assert_eq!(flaw(right + (1 << 40)), Some(Flaw::NoConstant));
        let stack = 0_u64;
        let at_stack = (&raw const stack).addr() as i64 - (std::ptr::from_ref(PLAIN).addr() as i64 - right);
        assert_eq!(flaw(at_stack), Some(Flaw::NoConstant));
        let other: Shipped<dyn Other> = Shipped { offset: right, state: vec![7], kind: PhantomData };
        let refusal = make(&other).err().unwrap();
        assert!(matches!(refusal, CodeError::OtherKind { .. }), "{refusal}");
    }
}
