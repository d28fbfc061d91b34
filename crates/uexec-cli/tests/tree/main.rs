//! `uexec run --tree --via binfmt`: each exec of a tree is served, and nothing else is different from
//! outside.

#[path = "../common/mod.rs"]
mod common;
#[path = "suite.rs"]
mod suite;

pub(crate) use suite::kit::*;

/// How the trees are served.
const VIA: &str = "binfmt";
