//! The program as bytes.

use alloc::vec::Vec;

use crate::config::{Config, MAGIC};

/// The program: an ELF file for x86-64 at fixed addresses, to be executed from memory.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/uexec-loader"));

/// The program, told something beforehand; `None` when that is too much for its page.
///
/// ```
/// use uexec_loader::config::Config;
/// let interps = vec![(b"/old".to_vec(), vec![b'n'; 50_000])];
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
pub fn told_at() -> Option<usize> {
    Some(IMAGE.windows(MAGIC.len()).position(|w| w == MAGIC)? + MAGIC.len())
}
