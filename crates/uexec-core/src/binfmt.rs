//! Binary formats, and the [registry](Registry) that is asked whose a file is.
//!
//! Formats never call each other: one that names an interpreter answers [`Verdict::Again`], and
//! the search starts anew with the interpreter (PIPE-35, PIPE-36).
//!
//! # A format of one's own
//!
//! Modules of WebAssembly, handed to their runtime. The same few lines serve Python's ZIP
//! applications, or whatever else begins with bytes that tell it apart:
//!
//! ```
//! use std::borrow::Cow;
//! use uexec_core::binfmt::{Binfmt, Rewrite, Verdict};
//! use uexec_core::error::{Reason, Refusal, Stage};
//! use uexec_core::{Bprm, KERNEL_FORMATS};
//!
//! struct Wasm {
//!     runtime: Vec<u8>,
//! }
//!
//! impl Binfmt for Wasm {
//!     fn name(&self) -> Cow<'static, str> {
//!         "wasm".into()
//!     }
//!
//!     fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
//!         if !bprm.head.starts_with(b"\0asm") {
//!             let reason = Reason::NoFormat { head: bprm.head[..4].to_vec(), len: bprm.file.stat.size };
//!             return Ok(Verdict::NotMine(Refusal::new(Stage::Search, reason)));
//!         }
//!         bprm.check_accessible(Stage::Search)?;
//!         let path = bprm.interp.clone();
//!         let file = bprm.open_interp(&self.runtime, Stage::Search)?;
//!         Ok(Verdict::Again(Rewrite::new(&self.runtime, file, &path)))
//!     }
//! }
//!
//! let wasm = Wasm { runtime: b"/usr/bin/wasmtime".to_vec() };
//! let mut formats = KERNEL_FORMATS;
//! formats.register(&wasm);
//! assert_eq!(formats.names().last().as_deref(), Some("wasm"));
//! // Now plan(exec, &mut world, &formats), or uexec_linux's Exec::new(…).formats(formats).
//! ```
//!
//! The example `zipapp` of `uexec-linux` is a whole program of this kind, in 51 lines.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::bprm::{Bprm, File};
use crate::coredump::Dumper;
use crate::error::{Reason, Refusal, Stage};
use crate::image::Image;
use crate::shlib::{Library, Shlib};

pub mod aout;
pub mod elf;
pub mod misc;
mod registry;
pub mod script;

pub use registry::{Registry, Resolver};

/// A format's answer for a file.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// "Not mine": the next format is asked. The kernel's `ENOEXEC`.
    NotMine(Refusal),
    /// "Run this instead."
    Again(Rewrite),
    /// "Mine, and this is what it is."
    Image(Image),
}

/// How a format that names an interpreter changes the exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Whether the first argument is dropped.
    pub drop_argv0: bool,
    /// Strings put in front of the arguments, first to last.
    pub argv: Vec<Vec<u8>>,
    /// The interpreter, already opened.
    pub file: File,
    /// Its name, for the next format that rewrites.
    pub interp: Vec<u8>,
    /// The file of this round is kept, and handed on as an open descriptor (`AT_EXECFD`, MISC-26).
    /// Every rewrite after that fails with `ENOEXEC` (PIPE-36).
    pub keep_file: bool,
    /// Credentials come from the kept file, not from the one that runs in the end (MISC-27).
    pub file_creds: bool,
    /// The interpreter is told by `AT_FLAGS` that `argv[0]` was not dropped (MISC-25).
    pub argv0_kept: bool,
    /// Who asks for it, for [`Link::format`](crate::story::Link::format); empty: the format.
    pub by: Cow<'static, str>,
}

impl Rewrite {
    /// "Run this interpreter with the file's name": what was `argv[0]` is dropped.
    #[must_use]
    pub fn new(interp: &[u8], file: File, path: &[u8]) -> Rewrite {
        Rewrite {
            drop_argv0: true,
            argv: alloc::vec![interp.to_vec(), path.to_vec()],
            file,
            interp: interp.to_vec(),
            keep_file: false,
            file_creds: false,
            argv0_kept: false,
            by: Cow::Borrowed(""),
        }
    }
}

/// A binary format: the kernel's `struct linux_binfmt`.
pub trait Binfmt {
    /// Its name, as in [`Link::format`](crate::story::Link::format).
    fn name(&self) -> Cow<'static, str>;

    /// Looks at the file of this round and says what it is.
    ///
    /// # Errors
    /// Anything but "not mine" ends the search with that error (PIPE-32). A refusal whose errno
    /// is `ENOEXEC` is taken as "not mine".
    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal>;

    /// Looks at a file that `uselib(2)` would have mapped. Most formats have no such libraries.
    ///
    /// # Errors
    /// Anything but `ENOEXEC` ends the search with that error.
    fn load_shlib(&self, library: &mut Library<'_>) -> Result<Shlib, Refusal> {
        Err(Refusal::new(Stage::Search, Reason::NotElf).of(&library.file.path))
    }

    /// What plans the core of a process of this format: the kernel's `core_dump`. A format may have
    /// none, and then its processes leave no core (CORE-2).
    fn core_dump(&self) -> Option<Dumper> {
        None
    }

    /// Below this `RLIMIT_CORE`, in bytes, there is no core (CORE-5).
    fn min_coredump(&self) -> u64 {
        0
    }
}
