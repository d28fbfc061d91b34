//! The slots of a program's global offset table: what its loader will write there, and when.

use std::fmt::Write as _;

use serde::Serialize;
use uexec_ld::{Binding, Slot};

use super::model::{Hex, shown};

/// One slot.
#[derive(Debug, Serialize)]
pub(crate) struct BindingInfo {
    /// Where the slot is in the file's own addresses.
    pub(crate) address: Hex,
    /// `plt` for functions that are called, `got` for addresses.
    pub(crate) slot: &'static str,
    pub(crate) symbol: String,
    pub(crate) version: Option<String>,
    pub(crate) weak: bool,
    /// The object that defines the symbol.
    pub(crate) defined_by: Option<String>,
    /// Bound at the first call, not before the program starts.
    pub(crate) lazy: bool,
}

impl From<&Binding> for BindingInfo {
    fn from(b: &Binding) -> BindingInfo {
        BindingInfo {
            address: Hex(b.address),
            slot: if b.slot == Slot::Plt { "plt" } else { "got" },
            symbol: shown(&b.symbol),
            version: b.version.as_deref().map(shown),
            weak: b.weak,
            defined_by: b.defined_by.as_deref().map(shown),
            lazy: b.lazy,
        }
    }
}

/// The slots as a person reads them.
pub(crate) fn text(bindings: &[BindingInfo]) -> String {
    let mut out = String::new();
    for b in bindings {
        let version = b.version.as_ref().map_or_else(String::new, |v| format!("@{v}"));
        let by = match (&b.defined_by, b.weak) {
            (Some(path), _) => path.as_str(),
            (None, true) => "nobody, and it may be missing",
            (None, false) => "nobody",
        };
        let when = if b.lazy { "lazily" } else { "now" };
        let name = format!("{}{version}", b.symbol);
        let _ = writeln!(out, "  {:>#10x} {} {when:<6} {name:<40} {by}", b.address.0, b.slot);
    }
    out
}
