//! Makes the odd programs: a folder of files, and how they are started. Everything comes from the
//! draws of the case; nothing is judged.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use uexec_oracle::launch::Exec;

use crate::args::Kind;
use crate::rng::Rng;

pub(crate) mod base;
mod handmade;
mod mutate;
mod place;
mod script;
mod start;

pub(crate) use base::Bases;

/// One odd program, ready to be started.
#[derive(Debug)]
pub(crate) struct Case {
    /// What is odd.
    pub(crate) kind: Kind,
    /// What was done, in words.
    pub(crate) what: String,
    /// How it is started.
    pub(crate) exec: Exec,
    /// Files held open for writing while it is.
    #[expect(dead_code, reason = "held, not used")]
    pub(crate) held: Vec<File>,
}

/// What a case is made with.
pub(crate) struct Maker<'a> {
    pub(crate) rng: Rng,
    pub(crate) bases: &'a Bases,
    /// The case's own folder, relative to the working directory.
    pub(crate) dir: PathBuf,
    /// Programs are for i386.
    pub(crate) i386: bool,
    /// Whether ids, owners and other users can be chosen.
    pub(crate) root: bool,
    pub(crate) what: String,
    pub(crate) held: Vec<File>,
    /// Started as usual, without other limits: whether a program fits into them is a matter of
    /// chance when a set-id bit brings randomisation back, and `uexec explain`, which is asked in
    /// another user's place, has to start itself.
    pub(crate) plain: bool,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(
        mut rng: Rng,
        bases: &'a Bases,
        dir: &Path,
        [root, i386]: [bool; 2],
    ) -> Maker<'a> {
        rng.i386 = i386;
        let (what, held, dir) = (String::new(), Vec::new(), dir.to_owned());
        Maker { rng, bases, dir, i386, root, what, held, plain: false }
    }

    /// Makes the files of one case.
    pub(crate) fn make(mut self, kind: Kind) -> io::Result<Case> {
        std::fs::create_dir_all(&self.dir)?;
        let exec = match kind {
            Kind::Elf => mutate::program(&mut self)?,
            Kind::Made => handmade::program(&mut self)?,
            Kind::Interp => handmade::with_interp(&mut self)?,
            Kind::Short => mutate::short(&mut self)?,
            Kind::Script => script::scripts(&mut self)?,
            Kind::Place => place::place(&mut self)?,
            Kind::Args => Exec::new(self.bases.small(&mut self.rng)),
        };
        let exec = start::dress(&mut self, exec, kind);
        Ok(Case { kind, what: self.what, exec, held: self.held })
    }

    /// A file of the case, by a path that is relative or, half the time, absolute.
    pub(crate) fn path(&mut self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        match self.rng.percent(50) {
            true => path,
            false => std::env::current_dir().unwrap_or_default().join(path),
        }
    }

    /// Writes an executable file of the case.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        uexec_oracle::elf::write_program(&self.dir.join(name), bytes)?;
        Ok(self.path(name))
    }

    /// Remembers what was done.
    pub(crate) fn tell(&mut self, what: impl std::fmt::Display) {
        use std::fmt::Write as _;
        let _ = write!(self.what, "{}{what}", if self.what.is_empty() { "" } else { "; " });
    }
}

pub(crate) fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
