//! Any bytes as a rule of `binfmt_misc`.
#![no_main]
#[path = "../../crates/uexec-core/tests/common/mod.rs"]
mod common;
use common::{Mem, feed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| feed::misc(data, &mut Mem::default()));
