//! Any program headers, strings, limits, settings and draws.
#![no_main]
#[path = "../../crates/uexec-core/tests/common/mod.rs"]
mod common;
use common::{Mem, feed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| feed::plan(data, &mut Mem::default()));
