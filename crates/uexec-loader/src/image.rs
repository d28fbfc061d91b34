//! The program as bytes.

use alloc::vec::Vec;

use crate::config::{Config, MAGIC};

/// The program: an ELF file for x86-64 at fixed addresses, to be executed from memory.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/uexec-loader"));

/// The program, told something beforehand; `None` when that is too much for its pages.
///
/// ```
/// use uexec_loader::config::Config;
/// let interps = vec![(b"/old".to_vec(), vec![b'n'; 20_000])];
/// let config = Config { interps, ..Config::default() };
/// assert!(uexec_loader::image(&config).is_none());
/// ```
#[must_use]
pub fn image(config: &Config) -> Option<Vec<u8>> {
    let told = config.encode()?;
    let mut image = IMAGE.to_vec();
    let at = told_at()?;
    image.get_mut(at..at + told.len())?.copy_from_slice(&told);
    Some(image)
}

/// Where in the program it is told something, in bytes from its start: there stands a
/// [`Config`], [encoded](Config::encode).
#[must_use]
fn told_at() -> Option<usize> {
    Some(IMAGE.windows(MAGIC.len()).position(|w| w == MAGIC)? + MAGIC.len())
}

/// Where that lies in its memory once it is executed.
///
/// ```
/// assert!(uexec_loader::told_address().is_some());
/// ```
#[must_use]
pub fn told_address() -> Option<u64> {
    const PT_LOAD: u64 = 1;
    let at = told_at()? as u64;
    let word = |at: usize| Some(u64::from_le_bytes(IMAGE.get(at..at + 8)?.try_into().ok()?));
    // `elf(5)`: the first program headers follow the header of 64 bytes, each has 56.
    (64..64 + 4 * 56).step_by(56).find_map(|header| {
        let kind = word(header)? & 0xffff_ffff;
        let (offset, address, len) = (word(header + 8)?, word(header + 16)?, word(header + 32)?);
        let inside = kind == PT_LOAD && (offset..offset + len).contains(&at);
        inside.then(|| address + (at - offset))
    })
}
