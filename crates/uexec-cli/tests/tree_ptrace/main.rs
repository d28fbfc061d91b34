//! `uexec run --tree --via ptrace`: the same tests as of the other ways.

#[path = "../common/mod.rs"]
mod common;
#[path = "../tree/suite.rs"]
mod suite;

pub(crate) use suite::kit::*;

/// How the trees are served.
const VIA: &str = "ptrace";
