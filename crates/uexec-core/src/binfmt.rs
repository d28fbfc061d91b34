//! Binary formats and the registry that is asked whose a file is.
//!
//! Formats never call each other: one that names an interpreter answers [`Verdict::Again`], and
//! the search starts anew with the interpreter (PIPE-35, PIPE-36).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abi::MAX_SEARCHES;
use crate::bprm::{Bprm, File};
use crate::coredump::Dumper;
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::image::Image;
use crate::story::{Link, Shown, tell};

pub mod elf;
pub mod script;

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
}

/// A binary format: the kernel's `struct linux_binfmt`.
pub trait Binfmt {
    /// Its name, as in [`Link::format`].
    fn name(&self) -> Cow<'static, str>;

    /// Looks at the file of this round and says what it is.
    ///
    /// # Errors
    /// Anything but "not mine" ends the search with that error (PIPE-32). A refusal whose errno
    /// is `ENOEXEC` is taken as "not mine".
    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal>;

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

/// The formats, in the order in which they are asked.
#[derive(Clone, Copy)]
pub struct Registry<'a> {
    formats: &'a [&'a dyn Binfmt],
}

impl<'a> Registry<'a> {
    /// These formats in this order.
    #[must_use]
    pub const fn new(formats: &'a [&'a dyn Binfmt]) -> Registry<'a> {
        Registry { formats }
    }

    /// The formats, first asked first.
    #[must_use]
    pub const fn formats(&self) -> &'a [&'a dyn Binfmt] {
        self.formats
    }

    /// Asks every format until one has an image: the kernel's `search_binary_handler` and the
    /// loop around it.
    ///
    /// # Errors
    /// `ENOEXEC` when nobody knows the file, `ELOOP` after five rewrites, or a format's own error.
    pub fn search_binary_handler(&self, bprm: &mut Bprm<'_>) -> Result<Image, Refusal> {
        for _ in 0..MAX_SEARCHES {
            bprm.read_head()?;
            bprm.chain.push(Link { path: bprm.interp.clone(), format: Cow::Borrowed("") });
            match self.ask(bprm)? {
                Verdict::Image(image) => return Ok(image),
                Verdict::Again(rewrite) => apply(bprm, rewrite)?,
                Verdict::NotMine(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::new(Stage::Search, Reason::TooManyRewrites).of(&bprm.interp))
    }

    /// One round: the first answer that is not "not mine"; else the most telling refusal.
    fn ask(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        let mut telling: Option<Refusal> = None;
        for format in self.formats {
            let verdict = match format.load_binary(bprm) {
                Err(r) if r.reason.errno() == Errno::ENOEXEC => Verdict::NotMine(r),
                other => other?,
            };
            match verdict {
                Verdict::NotMine(refusal) => {
                    tell!(
                        bprm.story,
                        Stage::Search,
                        "PIPE-32",
                        "{}: not mine: {}",
                        format.name(),
                        refusal.reason.why()
                    );
                    // A format that knew the magic knows best why it is not a program.
                    // Whose class or machine is another's is told better by that one.
                    let other = |r: &Refusal| matches!(r.reason, Reason::ElfMachine { .. });
                    let better = |old: &Refusal| {
                        refusal.reason == Reason::X32 || other(old) && !other(&refusal)
                    };
                    if !matches!(refusal.reason, Reason::NotElf | Reason::NoFormat { .. })
                        && telling.as_ref().is_none_or(better)
                    {
                        telling = Some(refusal);
                    }
                }
                mine => {
                    if let Some(link) = bprm.chain.last_mut() {
                        link.format = format.name();
                    }
                    tell!(
                        bprm.story,
                        Stage::Search,
                        "PIPE-32",
                        "{}: {} is mine",
                        format.name(),
                        Shown(&bprm.interp)
                    );
                    return Ok(mine);
                }
            }
        }
        let len = bprm.file.stat.size;
        let shown = usize::try_from(len).unwrap_or(usize::MAX).min(16);
        let head = bprm.head.get(..shown).unwrap_or(&bprm.head).to_vec();
        Ok(Verdict::NotMine(telling.unwrap_or_else(|| {
            Refusal::new(Stage::Search, Reason::NoFormat { head, len })
                .of(&bprm.interp)
                .at(0, shown.min(4) as u64)
        })))
    }
}

/// Changes the exec as a format asked (PIPE-25, PIPE-36).
fn apply(bprm: &mut Bprm<'_>, rewrite: Rewrite) -> Result<(), Refusal> {
    if rewrite.drop_argv0 && bprm.argc > 0 {
        bprm.args.drop_lowest();
        bprm.argc -= 1;
    }
    for (i, s) in rewrite.argv.iter().enumerate().rev() {
        bprm.args.push(s, "interpreter argument", i).map_err(|r| r.of(&bprm.interp))?;
        bprm.argc += 1;
    }
    bprm.file = rewrite.file;
    bprm.interp = rewrite.interp;
    Ok(())
}
