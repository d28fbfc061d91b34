#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::todo
)]

extern crate alloc;

pub mod abi;
pub mod arch;
mod args;
pub mod auxv;
pub mod binfmt;
mod bprm;
pub mod clone;
pub mod coredump;
mod creds;
mod errno;
pub mod error;
pub mod image;
mod layout;
pub mod lookup;
pub mod mm;
mod pipeline;
mod plan;
mod reason;
pub mod shlib;
mod stack;
pub mod story;
pub mod world;

pub use args::ArgArea;
pub use binfmt::{Binfmt, Registry};
pub use bprm::{Bprm, Exec, File, Handover, Privileges, flags};
pub use creds::NewCreds;
pub use errno::Errno;
pub use error::{ExecError, Reason, Stage};
pub use pipeline::plan;
pub use plan::{MmFields, Op, Plan, Registers};
pub use reason::machine_name;
pub use stack::Stack;
pub use world::{Facts, World};

use binfmt::aout::Aout;
use binfmt::elf::foreign::Foreign;
use binfmt::elf::{CompatElf, Elf};
use binfmt::script::Script;

/// The formats of the kernel's own list that uexec has, in the kernel's order (PIPE-32).
pub const KERNEL_FORMATS: Registry<'static> =
    Registry::new(&[&Script, &Elf, &CompatElf, &Aout::AsKernel]);

/// The same, and those that the kernel has lost: what `uexec run` runs.
pub const ALL_FORMATS: Registry<'static> = Registry::new(&[&Script, &Elf, &CompatElf, &Aout::On]);

/// The same, and programs of other machines: for explaining only, nothing can carry such a plan
/// out.
pub const EVERY_FORMAT: Registry<'static> =
    Registry::new(&[&Script, &Elf, &CompatElf, &Aout::On, &Foreign]);
