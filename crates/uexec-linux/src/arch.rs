//! One room per processor architecture. Each has raw system calls, the trampoline and the jump;
//! nothing outside knows a register's name.

#[cfg(target_arch = "x86_64")]
#[path = "arch/x86_64_create.rs"]
mod create;
#[cfg(target_arch = "x86_64")]
#[path = "arch/x86_64.rs"]
mod imp;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("uexec-linux carries plans out on x86-64 only");

pub(crate) use create::{ChildMain, create_and_call, create_and_return, nr as create_nr};
pub(crate) use imp::*;
