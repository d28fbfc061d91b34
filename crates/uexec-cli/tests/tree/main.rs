//! `uexec run --tree --via binfmt`: each exec of a tree is served, and nothing else is different from
//! outside.

#[path = "../common/mod.rs"]
mod common;

mod children;
mod complete;
mod ends;
mod equal;
mod gain;
mod jobs;
mod kit;
mod odd;
mod privilege;
mod rights;
mod rules;
mod storm;
mod work;

pub(crate) use kit::*;

/// How the trees are served.
const VIA: &str = "binfmt";
