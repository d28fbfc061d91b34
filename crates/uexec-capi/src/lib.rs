#![doc = include_str!("../README.md")]
// Every function here is called from C, with pointers; what they have to be is said in `uexec.h`.
#![allow(clippy::missing_safety_doc, reason = "uexec.h is the contract")]

mod error;
mod exec;
mod spawn;
pub mod strings;
mod variadic;

pub use error::{uexec_error, uexec_last_error};
pub use exec::{
    uexec_execl, uexec_execle, uexec_execlp, uexec_execv, uexec_execve, uexec_execveat,
    uexec_execvp, uexec_execvpe, uexec_explain, uexec_fexecve,
};
pub use spawn::{uexec_how, uexec_spawn, uexec_spawnp};
