#![doc = include_str!("../README.md")]
// Every function here takes the place of one of libc's, and its contract.
#![allow(clippy::missing_safety_doc, reason = "the contract is libc's")]

mod actions;
mod arena;
mod cancel;
mod exec;
mod family;
mod kernel;
mod popen;
mod rules;
mod shell;
mod spawn;
