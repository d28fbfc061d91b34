//! The rooms of the picture that stand alone, with their own tests: the command itself has no test
//! harness.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "only their tests are wanted here")]

#[path = "../src/picture/canvas.rs"]
mod canvas;
#[path = "../src/picture/size.rs"]
mod size;
