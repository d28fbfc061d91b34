#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo
    )
)]

mod bindings;
mod cache;
mod cpu;
mod disk;
mod elf;
mod files;
mod glibc;
mod graph;
mod ld;
mod loader;
mod map;
mod module;
mod musl;
mod symbols;
mod token;
mod walk;

pub use bindings::{Binding, Slot};
pub use cpu::Cpu;
pub use disk::Disk;
pub use elf::Flaw;
pub use files::{FileStat, Files, ReadAt};
pub use ld::{Error, Ld, Settings};
pub use loader::Libc;
pub use map::{Broken, How, LinkMap, Missing, MissingVersion, Object};
