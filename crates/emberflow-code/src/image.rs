//! Where the program lies in memory.

use std::{io, mem, sync::OnceLock};

use crate::head::Head;

/// Why code cannot be sent, or is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// The code lies in another shared object than this crate.
    #[error(
        "the code of {name} lies in another shared object than emberflow itself, and another process would not find it: \
         link emberflow statically, and load no operators from plugins"
    )]
    OtherObject {
        /// The type whose code it is.
        name: &'static str,
    },
    /// At the place that was named there is no descriptor that could be believed.
    #[error("there is no code at {offset:+#x}: {flaw}")]
    NotThere {
        /// The distance from the fixed place in the program, in bytes.
        offset: i64,
        /// The check that failed.
        flaw: Flaw,
    },
    /// A descriptor of another trait was found.
    #[error("at {offset:+#x} there is {found}, which is no {wanted}")]
    OtherKind {
        /// The distance from the fixed place in the program, in bytes.
        offset: i64,
        /// The trait that was wanted.
        wanted: &'static str,
        /// The type that was found.
        found: &'static str,
    },
    /// The state of a value could not be read.
    #[error("the state of {name} cannot be read: {source}")]
    State {
        /// The value's type.
        name: &'static str,
        /// The serialisation's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program's place in memory cannot be found out.
    #[error("the program's own memory map cannot be read: {0}")]
    Map(#[source] io::Error),
}

/// Why there is no descriptor at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// No descriptor begins at such an address.
    #[error("the place is not aligned")]
    Unaligned,
    /// The place is outside of the program's constants.
    #[error("the place is not among the constants of this program")]
    NoConstant,
    /// The constant there does not begin with the mark.
    #[error("the constant there is no descriptor")]
    NoMark,
    /// Nothing may be read here: the thread is outside of [`trusting`](crate::trusting).
    #[error("code is read only from another process of the same program")]
    Untrusted,
}

/// The mappings of the program's own file that can be read and not written to.
struct Image {
    constants: Vec<(usize, usize)>,
}

/// The fixed place from which distances are measured.
static BASE: [u64; 2] = [0x656d_6265_7266_6c6f, 0x7721_2062_6173_6521];

fn base() -> usize {
    std::ptr::from_ref(&BASE).expose_provenance()
}

/// The distance of a constant of this program from the fixed place; nothing if it lies in another shared object.
pub(crate) fn offset_of(head: &'static Head) -> Result<Option<i64>, CodeError> {
    let address = std::ptr::from_ref(head).expose_provenance();
    Ok(image()?.holds(address).then(|| (address as i64).wrapping_sub(base() as i64)))
}

/// The address at that distance, if a descriptor may lie there.
pub(crate) fn address_at(offset: i64) -> Result<usize, CodeError> {
    let address = (base() as i64).wrapping_add(offset) as usize;
    let flaw = |flaw| CodeError::NotThere { offset, flaw };
    if !address.is_multiple_of(mem::align_of::<Head>()) {
        return Err(flaw(Flaw::Unaligned));
    }
    if image()?.holds(address) { Ok(address) } else { Err(flaw(Flaw::NoConstant)) }
}

fn image() -> Result<&'static Image, CodeError> {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    match IMAGE.get() {
        Some(image) => Ok(image),
        None => {
            let read = Image::read().map_err(CodeError::Map)?;
            Ok(IMAGE.get_or_init(|| read))
        }
    }
}

impl Image {
    fn read() -> io::Result<Self> {
        let maps = proc_maps::get_process_maps(std::process::id() as proc_maps::Pid)?;
        let own = maps.iter().find(|map| (map.start()..map.start() + map.size()).contains(&base()));
        let own = own.and_then(|map| map.filename()).ok_or(io::ErrorKind::NotFound)?;
        let own = maps.iter().filter(|map| map.filename() == Some(own) && map.is_read() && !map.is_write());
        let mut constants: Vec<(usize, usize)> = own.map(|map| (map.start(), map.start() + map.size())).collect();
        // Constants that hold addresses and those that hold none may lie in mappings side by side.
        constants.sort_unstable();
        Ok(Self { constants })
    }

    fn holds(&self, address: usize) -> bool {
        // A head is the longer part of a descriptor, which has one pointer more.
        let end = address.checked_add(mem::size_of::<Head>() + mem::size_of::<usize>());
        self.constants.iter().any(|(from, to)| *from <= address && end.is_some_and(|end| end <= *to))
    }
}
