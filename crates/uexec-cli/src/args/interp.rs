//! The dynamic loader that a program is to have. Parses only.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// What `--interp` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interp {
    /// This one for the program.
    Only(OsString),
    /// The second wherever a program names the first.
    Instead(Vec<u8>, Vec<u8>),
}

impl From<OsString> for Interp {
    fn from(text: OsString) -> Interp {
        let mut sides = text.as_bytes().splitn(2, |b| *b == b'=');
        match (sides.next(), sides.next()) {
            (Some(old), Some(new)) => Interp::Instead(old.to_vec(), new.to_vec()),
            _ => Interp::Only(text),
        }
    }
}
