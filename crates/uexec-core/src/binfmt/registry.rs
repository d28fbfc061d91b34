//! The registry: which formats there are, in which order they are asked, and who is asked when none
//! of them knows a file. Knows no format.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Binfmt, Rewrite, Verdict};
use crate::abi::MAX_SEARCHES;
use crate::bprm::Bprm;
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::image::Image;
use crate::story::{Link, Shown, tell};

/// The formats, in the order in which they are asked: the kernel's list of `struct linux_binfmt`
/// (PIPE-32).
///
/// ```
/// use uexec_core::KERNEL_FORMATS;
/// use uexec_core::binfmt::misc::Misc;
///
/// let rules = Misc::default();
/// let mut formats = KERNEL_FORMATS;
/// formats.insert(&rules); // asked first, as the kernel does
/// assert_eq!(formats.names().next().as_deref(), Some("misc"));
/// assert!(formats.unregister("script"));
/// assert!(!formats.unregister("script"));
/// ```
#[derive(Clone)]
pub struct Registry<'a> {
    /// Needs no memory.
    fixed: &'a [&'a dyn Binfmt],
    /// The list in its place, once it has been changed.
    own: Option<Vec<&'a dyn Binfmt>>,
    resolver: Option<&'a dyn Resolver>,
}

/// Who is asked when no format knows a file, as the kernel asked for a module (PIPE-34).
pub trait Resolver {
    /// Another format, which is then asked as the last one for the rest of this exec; or `None`.
    /// Called at most once an exec.
    ///
    /// # Errors
    /// Ends the exec.
    fn resolve(&self, bprm: &mut Bprm<'_>) -> Result<Option<Box<dyn Binfmt + '_>>, Refusal>;
}

/// What the resolver of an exec has answered, once it was asked.
type Late<'a> = Option<Option<Box<dyn Binfmt + 'a>>>;

impl<'a> Registry<'a> {
    /// These formats in this order.
    #[must_use]
    pub const fn new(formats: &'a [&'a dyn Binfmt]) -> Registry<'a> {
        Registry { fixed: formats, own: None, resolver: None }
    }

    /// The formats, first asked first.
    #[must_use]
    pub fn formats(&self) -> &[&'a dyn Binfmt] {
        self.own.as_deref().unwrap_or(self.fixed)
    }

    /// Their names, first asked first.
    pub fn names(&self) -> impl Iterator<Item = Cow<'static, str>> {
        self.formats().iter().map(|f| f.name())
    }

    /// Adds a format that is asked last: the kernel's `register_binfmt`.
    pub fn register(&mut self, format: &'a dyn Binfmt) {
        self.own().push(format);
    }

    /// Adds a format that is asked first: the kernel's `insert_binfmt`.
    pub fn insert(&mut self, format: &'a dyn Binfmt) {
        self.own().insert(0, format);
    }

    /// Takes away the format of this name that is asked first; whether there was one.
    pub fn unregister(&mut self, name: &str) -> bool {
        let Some(at) = self.names().position(|n| n == name) else { return false };
        self.own().remove(at);
        true
    }

    /// Asks this one when no format knows a file.
    #[must_use]
    pub fn with_resolver(mut self, resolver: &'a dyn Resolver) -> Registry<'a> {
        self.resolver = Some(resolver);
        self
    }

    fn own(&mut self) -> &mut Vec<&'a dyn Binfmt> {
        let fixed = self.fixed;
        self.own.get_or_insert_with(|| fixed.to_vec())
    }

    /// Asks every format until one has an image: the kernel's `search_binary_handler` and the
    /// loop around it.
    ///
    /// # Errors
    /// `ENOEXEC` when nobody knows the file, `ELOOP` after five rewrites, or a format's own error.
    pub fn search_binary_handler(&self, bprm: &mut Bprm<'_>) -> Result<Image, Refusal> {
        let mut late: Late<'_> = None;
        for _ in 0..MAX_SEARCHES {
            bprm.read_head()?;
            bprm.chain.push(Link { path: bprm.interp.clone(), format: Cow::Borrowed("") });
            let verdict = match ask(self.formats(), bprm)? {
                Verdict::NotMine(refusal) => self.ask_late(bprm, &mut late, refusal)?,
                mine => mine,
            };
            match verdict {
                Verdict::Image(image) => return Ok(image),
                Verdict::Again(rewrite) => apply(bprm, rewrite)?,
                Verdict::NotMine(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::new(Stage::Search, Reason::TooManyRewrites).of(&bprm.interp))
    }

    /// Nobody knows the file: asks the resolver, or the format it has named before.
    fn ask_late<'s>(
        &'s self,
        bprm: &mut Bprm<'_>,
        late: &mut Late<'s>,
        refusal: Refusal,
    ) -> Result<Verdict, Refusal> {
        let Some(resolver) = self.resolver else { return Ok(Verdict::NotMine(refusal)) };
        let answer = match late {
            Some(answer) => answer,
            None => {
                tell!(
                    bprm.story,
                    Stage::Search,
                    "PIPE-34",
                    "nobody knows it: the resolver is asked"
                );
                late.insert(resolver.resolve(bprm)?)
            }
        };
        let Some(format) = answer else { return Ok(Verdict::NotMine(refusal)) };
        Ok(match ask(&[format.as_ref()], bprm)? {
            // What the others said tells more.
            Verdict::NotMine(_) => Verdict::NotMine(refusal),
            mine => mine,
        })
    }
}

/// One round: the first answer that is not "not mine"; else the most telling refusal.
fn ask(formats: &[&dyn Binfmt], bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
    let mut telling: Option<Refusal> = None;
    for format in formats {
        let verdict = match format.load_binary(bprm) {
            Err(r) if r.reason.errno() == Errno::ENOEXEC => Verdict::NotMine(r),
            other => other?,
        };
        let by = match verdict {
            Verdict::NotMine(refusal) => {
                tell!(
                    bprm.story,
                    Stage::Search,
                    "PIPE-32",
                    "{}: not mine: {}",
                    format.name(),
                    refusal.reason.why()
                );
                if tells_more(&refusal, telling.as_ref()) {
                    telling = Some(refusal);
                }
                continue;
            }
            Verdict::Again(Rewrite { ref by, .. }) if !by.is_empty() => by.clone(),
            _ => format.name(),
        };
        tell!(bprm.story, Stage::Search, "PIPE-32", "{by}: {} is mine", Shown(&bprm.interp));
        if let Some(link) = bprm.chain.last_mut() {
            link.format = by;
        }
        return Ok(verdict);
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

/// Whether a refusal says more than the one so far. A format that knew the magic knows best why it
/// is not a program; whose class or machine is another's is told better by that one.
fn tells_more(new: &Refusal, old: Option<&Refusal>) -> bool {
    let other = |r: &Refusal| matches!(r.reason, Reason::ElfMachine { .. });
    if matches!(new.reason, Reason::NotElf | Reason::NotAout | Reason::NoFormat { .. }) {
        return false;
    }
    old.is_none_or(|old| new.reason == Reason::X32 || other(old) && !other(new))
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
    bprm.argv0_kept |= rewrite.argv0_kept;
    bprm.file_creds |= rewrite.file_creds;
    let old = core::mem::replace(&mut bprm.file, rewrite.file);
    let name = core::mem::replace(&mut bprm.interp, rewrite.interp);
    if bprm.kept.is_some() {
        return Err(Refusal::new(Stage::Search, Reason::RewriteAfterKept).of(&name));
    }
    if rewrite.keep_file {
        bprm.kept = Some(old);
    }
    Ok(())
}
