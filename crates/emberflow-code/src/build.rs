//! Which program this is.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    sync::OnceLock,
};

use serde::{Deserialize, Serialize};

/// A value that tells executable files apart: their length and a checksum of their content.
///
/// Two builds of a program differ in it, and so do two programs. It is no defence against a file that was made to have
/// it: executables are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuildId {
    bytes: u64,
    checksum: u32,
}

impl BuildId {
    /// The build of the program that runs. Its file is read once, when this is called for the first time: about 0.1 s
    /// for each hundred megabytes.
    ///
    /// # Errors
    /// If the program's file cannot be read.
    pub fn of_this_program() -> io::Result<Self> {
        static KNOWN: OnceLock<BuildId> = OnceLock::new();
        match KNOWN.get() {
            Some(known) => Ok(*known),
            None => Ok(*KNOWN.get_or_init({
                let read = Self::read(executable()?)?;
                move || read
            })),
        }
    }

    fn read(mut file: impl Read) -> io::Result<Self> {
        let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
        let mut block = vec![0; 1 << 20];
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(Self { bytes, checksum: hasher.finalize() }),
                Ok(some) => {
                    hasher.update(&block[..some]);
                    bytes += some as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The file that runs, even if another one has its path by now.
fn executable() -> io::Result<File> {
    if cfg!(target_os = "linux") { File::open("/proc/self/exe") } else { File::open(std::env::current_exe()?) }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}", self.checksum, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_every_time_and_another_one_of_other_bytes() {
        assert_eq!(BuildId::of_this_program().unwrap(), BuildId::of_this_program().unwrap());
        assert_ne!(BuildId::read(&b"ember"[..]).unwrap(), BuildId::read(&b"embers"[..]).unwrap());
        assert_ne!(BuildId::read(&b"ember"[..]).unwrap(), BuildId::read(&b"ambre"[..]).unwrap());
    }
}
