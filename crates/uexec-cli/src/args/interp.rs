//! The dynamic loader that a program is to have. Parses only.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// What `--interp` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interp {
    /// This one for the program.
    Only(OsString),
    /// The second wherever a program names the first.
    Instead(Vec<u8>, Vec<u8>),
}

impl Interp {
    /// Reads one; no path is empty.
    fn parse(text: OsString) -> Result<Interp, &'static str> {
        let mut sides = text.as_bytes().splitn(2, |b| *b == b'=');
        match (sides.next(), sides.next()) {
            (Some(b""), Some(_)) => Err("no path in front of ="),
            (_, Some(b"")) => Err("no path behind ="),
            (Some(old), Some(new)) => Ok(Interp::Instead(old.to_vec(), new.to_vec())),
            _ if text.is_empty() => Err("no path"),
            _ => Ok(Interp::Only(text)),
        }
    }

    /// For the command line.
    pub(crate) fn parser() -> impl TypedValueParser<Value = Interp> {
        OsStringValueParser::new().try_map(Interp::parse)
    }
}
