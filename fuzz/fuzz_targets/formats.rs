//! Any bytes as a program or a library of a format that only uexec knows.
#![no_main]
#[path = "../../crates/uexec-core/tests/common/mod.rs"]
mod common;
use common::{Mem, feed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| feed::formats(data, &mut Mem::default()));
