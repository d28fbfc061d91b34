//! `uexec run --tree --via notify`: the same tests as of the other ways, and its own.

mod aside;
#[path = "../common/mod.rs"]
mod common;
#[path = "../tree/suite.rs"]
mod suite;

pub(crate) use suite::kit::*;

/// How the trees are served.
const VIA: &str = "notify";
