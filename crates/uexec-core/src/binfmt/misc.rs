//! `binfmt_misc` in user space: rules that name an interpreter for files of one kind (MISC-1 to
//! MISC-31). An instance is asked first, before scripts and ELF, as in the kernel.
//!
//! ```
//! use uexec_core::binfmt::misc::{Misc, parse};
//!
//! let mut misc = Misc::default();
//! misc.add(parse(b":jar:M::PK\\x03\\x04::/usr/bin/jexec:P")?)?;
//! let mut head = [0; 256];
//! head[..4].copy_from_slice(b"PK\x03\x04");
//! assert_eq!(misc.find(b"./hello.jar", &head).map(|e| &e.rule.name[..]), Some(&b"jar"[..]));
//! assert_eq!(misc.status(), "enabled\n");
//! misc.write_entry(b"jar", b"0").unwrap();
//! assert!(misc.find(b"./hello.jar", &head).is_none());
//! # Ok::<(), uexec_core::binfmt::misc::BadRule>(())
//! ```

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Binfmt, Rewrite, Verdict};
use crate::abi::BINPRM_BUF_SIZE;
use crate::bprm::{Bprm, File, open_exec};
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::story::{Shown, Story, tell};
use crate::world::{At, World};

mod entry;
mod fault;
mod parse;
mod rule;

pub use entry::{Command, command, parse_entry};
pub use fault::{BadRule, Fault, Field};
pub use parse::{LONGEST, SHORTEST, parse};
pub use rule::{Flags, Rule, Test, extension};

/// Longest name of a rule in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// A registered rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The rule.
    pub rule: Rule,
    /// Whether it is looked at.
    pub enabled: bool,
    /// The interpreter, where it was opened at registration (MISC-28).
    pub interpreter: Option<File>,
}

impl Entry {
    /// The text of its file (MISC-15).
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        self.rule.entry_text(self.enabled)
    }
}

/// One instance: what a mounted `binfmt_misc` file system holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misc {
    /// Oldest first.
    entries: Vec<Entry>,
    enabled: bool,
}

impl Default for Misc {
    /// Enabled and without rules, as a new mount (MISC-34).
    fn default() -> Misc {
        Misc { entries: Vec::new(), enabled: true }
    }
}

impl Misc {
    /// Registers a rule from its text, as writing it to `register` does. With flag `F` the
    /// interpreter is opened now, and its file [kept](World::keep_files).
    ///
    /// # Errors
    /// The [`BadRule`] has the errno, the cause and the bytes at fault.
    pub fn register(&mut self, text: &[u8], world: &mut dyn World) -> Result<&Entry, BadRule> {
        let rule = parse(text)?;
        let mut interpreter = None;
        if rule.flags.contains(Flags::FIX_BINARY) {
            let opened =
                open(world, &mut Story::untold(), &rule.interpreter).map_err(|refusal| {
                    let at = interpreter_at(text, rule.interpreter.len());
                    Fault::Interpreter(Box::new(refusal)).at(at..at + rule.interpreter.len())
                })?;
            interpreter = Some(opened);
            world.keep_files();
        }
        self.enter(Entry { rule, enabled: true, interpreter })
    }

    /// Adds a rule that has been read already. With flag `F` its interpreter is opened when it is
    /// first needed.
    ///
    /// # Errors
    /// The name is too long, or taken (MISC-12).
    pub fn add(&mut self, rule: Rule) -> Result<&Entry, BadRule> {
        self.enter(Entry { rule, enabled: true, interpreter: None })
    }

    /// Adds an entry as it is.
    ///
    /// # Errors
    /// As of [`Misc::add`].
    pub fn enter(&mut self, entry: Entry) -> Result<&Entry, BadRule> {
        let name = &entry.rule.name;
        // The name stands behind the first delimiter.
        let range = 1..1 + name.len();
        if name.len() > NAME_MAX {
            return Err(Fault::NameTooLong { len: name.len() }.at(range));
        }
        if [&b"status"[..], b"register"].contains(&&name[..]) || self.entry(name).is_some() {
            return Err(Fault::Exists.at(range));
        }
        let at = self.entries.len();
        self.entries.push(entry);
        self.entries.get(at).ok_or(Fault::NoName.at(0..0))
    }

    /// The rules in the order in which they are tried: newest first (MISC-21).
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// The rule of this name.
    #[must_use]
    pub fn entry(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.iter().find(|e| e.rule.name == name)
    }

    /// Whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The text of the file `status` (MISC-13).
    #[must_use]
    pub const fn status(&self) -> &'static str {
        if self.enabled { "enabled\n" } else { "disabled\n" }
    }

    /// What writing to the file `status` does (MISC-14): `0` switches off, `1` on, `-1` deletes all
    /// rules.
    ///
    /// # Errors
    /// `EINVAL` for anything else.
    pub fn write_status(&mut self, text: &[u8]) -> Result<(), Errno> {
        match command(text)? {
            Command::Nothing => {}
            Command::Disable => self.enabled = false,
            Command::Enable => self.enabled = true,
            Command::Delete => self.entries.clear(),
        }
        Ok(())
    }

    /// What writing to a rule's file does (MISC-14).
    ///
    /// # Errors
    /// `ENOENT` when there is none of this name, `EINVAL` as of [`Misc::write_status`].
    pub fn write_entry(&mut self, name: &[u8], text: &[u8]) -> Result<(), Errno> {
        let is_it = |e: &Entry| e.rule.name == name;
        let entry = self.entries.iter_mut().find(|e| is_it(e)).ok_or(Errno::ENOENT)?;
        match command(text)? {
            Command::Nothing => {}
            Command::Disable => entry.enabled = false,
            Command::Enable => entry.enabled = true,
            Command::Delete => self.entries.retain(|e| !is_it(e)),
        }
        Ok(())
    }

    /// The rule that takes a file of this name with these first bytes, if one does (MISC-20, 21).
    #[must_use]
    pub fn find(&self, name: &[u8], head: &[u8; BINPRM_BUF_SIZE]) -> Option<&Entry> {
        self.entries().find(|e| self.takes(e, name, head))
    }

    fn takes(&self, e: &Entry, name: &[u8], head: &[u8; BINPRM_BUF_SIZE]) -> bool {
        self.enabled && e.enabled && e.rule.test.matches(name, head)
    }
}

/// Where the interpreter stands in a rule that has been read: before the last delimiter.
fn interpreter_at(text: &[u8], len: usize) -> usize {
    let delimiter = text.first().copied().unwrap_or(b':');
    let last = text.iter().rposition(|b| *b == delimiter).unwrap_or(0);
    last.saturating_sub(len)
}

fn open(world: &mut dyn World, story: &mut Story, path: &[u8]) -> Result<File, Refusal> {
    open_exec(world, story, Stage::MiscInterp, At::Cwd, path, path, true)
}

impl Binfmt for Misc {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("misc")
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        let (head, path) = (bprm.head, bprm.interp.clone());
        for entry in self.entries().filter(|e| self.takes(e, &path, &head)) {
            let rule = &entry.rule;
            tell!(
                bprm.story,
                Stage::Misc,
                "MISC-21",
                "the rule {} takes {}: {} is to run it",
                Shown(&rule.name),
                Shown(&path),
                Shown(&rule.interpreter)
            );
            bprm.check_accessible(Stage::Misc)?;
            let keeps_argv0 = rule.flags.contains(Flags::PRESERVE_ARGV0);
            let argv = Vec::from([rule.interpreter.clone(), path.clone()]);
            bprm.check_room(!keeps_argv0, &argv)?;
            let fixed = rule.flags.contains(Flags::FIX_BINARY);
            let file = match &entry.interpreter {
                Some(file) => file.clone(),
                // It is registered at this moment, and would not be if this failed (MISC-11).
                None if fixed => match open(bprm.world, &mut bprm.story, &rule.interpreter) {
                    Ok(file) => file,
                    Err(refusal) => {
                        let (name, why) = (Shown(&rule.name), refusal.why());
                        tell!(bprm.story, Stage::Misc, "MISC-11", "{name} is no rule: {why}");
                        continue;
                    }
                },
                None => bprm.open_interp(&rule.interpreter, Stage::MiscInterp)?,
            };
            return Ok(Verdict::Again(Rewrite {
                drop_argv0: !keeps_argv0,
                argv0_kept: keeps_argv0,
                keep_file: rule.flags.contains(Flags::OPEN_BINARY),
                file_creds: rule.flags.contains(Flags::CREDENTIALS),
                by: Cow::Owned(format!("misc:{}", String::from_utf8_lossy(&rule.name))),
                argv,
                ..Rewrite::new(&rule.interpreter, file, b"")
            }));
        }
        let reason = Reason::NoFormat { head: Vec::new(), len: bprm.file.stat.size };
        Ok(Verdict::NotMine(Refusal::new(Stage::Misc, reason)))
    }
}
