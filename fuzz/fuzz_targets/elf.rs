//! Any bytes as a program, as its interpreter, or as both.
#![no_main]
#[path = "../../crates/uexec-core/tests/common/mod.rs"]
mod common;
use common::{Mem, feed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| feed::elf(data, &mut Mem::default()));
