#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod child;
mod command;
mod copy;
mod environ;
mod error;
mod family;
mod formats;
mod replace;
mod start;
mod stdio;

pub use child::Child;
pub use command::Command;
pub use error::SpawnError;
pub use family::{
    AT_FDCWD, execl, execle, execlp, execv, execve, execveat, execvp, execvpe, fexecve,
};
pub use formats::{Formats, loader};
pub use stdio::Stdio;
pub use uexec_core as core;
