//! `uexec run --tree --via notify`: the same tests as of the other ways.

#[path = "../common/mod.rs"]
mod common;

#[path = "../tree/children.rs"]
mod children;
#[path = "../tree/complete.rs"]
mod complete;
#[path = "../tree/ends.rs"]
mod ends;
#[path = "../tree/equal.rs"]
mod equal;
#[path = "../tree/gain.rs"]
mod gain;
#[path = "../tree/jobs.rs"]
mod jobs;
#[path = "../tree/kit.rs"]
mod kit;
#[path = "../tree/odd.rs"]
mod odd;
#[path = "../tree/privilege.rs"]
mod privilege;
#[path = "../tree/rights.rs"]
mod rights;
#[path = "../tree/rules.rs"]
mod rules;
#[path = "../tree/storm.rs"]
mod storm;
#[path = "../tree/work.rs"]
mod work;

mod aside;

pub(crate) use kit::*;

/// How the trees are served.
const VIA: &str = "notify";
