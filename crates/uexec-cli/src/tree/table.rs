//! What the `binfmt_misc` of a tree holds: the loader's own rules, those that were in effect outside,
//! and those of the options. An inner tree finds there what it inherits. Registers with that
//! instance alone.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use uexec_core::binfmt::misc::{Entry, Flags, Misc, Rule, Test};
use uexec_linux::{Host, Known};
use uexec_loader::config::{Config, rule, rule_i386};

use super::namespace::Tried;
use super::twin;
use crate::binfmt::table;
use crate::memfile::busy_file;
use crate::run::Interps;

/// What names of rules begin with that only uexec reads or makes.
const OWN: &[u8] = b"uexec.";
/// A rule of this extension, which no file can have, names a pair of dynamic loaders (MISC-21).
const PAIR: &[u8] = b"uexec.interp";
/// Behind this: the rule as it was, of one whose interpreter had to be copied.
const ORIGINAL: &[u8] = b"uexec.original.";

/// What is in effect where a tree begins.
pub(super) struct Inherited {
    pub(super) interps: Interps,
    rules: Vec<Rule>,
}

impl Inherited {
    /// As the table of this namespace says.
    pub(super) fn read() -> Inherited {
        let (entries, enabled) = table::of_kernel(Path::new(table::KERNEL)).unwrap_or_default();
        let mut found = Inherited { interps: Vec::new(), rules: Vec::new() };
        for Entry { mut rule, enabled: on, .. } in entries {
            if rule.test == Test::Extension(PAIR.to_vec()) {
                let mut sides = rule.interpreter.splitn(2, |b| *b == b'=');
                if let (Some(old), Some(new)) = (sides.next(), sides.next()) {
                    found.interps.push((old.to_vec(), new.to_vec()));
                }
            } else if let Some(name) = rule.name.strip_prefix(ORIGINAL) {
                rule.name = name.to_vec();
                found.rules.retain(|r| r.name != rule.name);
                found.rules.push(rule);
            } else if on && enabled && !rule.name.starts_with(OWN) {
                found.rules.push(rule);
            }
        }
        found
    }
}

/// Everything that a new instance is to hold.
pub(super) struct Table<'a> {
    pub(super) interps: &'a Interps,
    pub(super) inherited: &'a Inherited,
    pub(super) with_inherited_rules: bool,
    pub(super) given: &'a Misc,
}

impl Table<'_> {
    /// The loader's file, to be made before the namespaces change.
    pub(super) fn loader(&self) -> Tried<OwnedFd> {
        let known = Known::of(&mut Host::new());
        let config = Config { known, interps: self.interps.clone(), ..Config::default() };
        let image = uexec_loader::image(&config)
            .ok_or(("--interp", io::Error::other("all of them together are too long")))?;
        busy_file("uexec-loader", &image).map_err(|e| ("putting the loader into a file", e))
    }

    /// Registers all of it: what comes last is asked first.
    pub(super) fn fill(&self, place: &Path, loader: &OwnedFd) -> Tried {
        let register = |text: &[u8]| fs::write(place.join("register"), text);
        let path = format!("/proc/self/fd/{}", loader.as_raw_fd());
        register(rule("uexec.x86-64", &path).as_bytes())
            .map_err(|e| ("registering the loader", e))?;
        if !self.interps.is_empty() {
            // Else the kernel loads those as well.
            register(rule_i386("uexec.i386", &path).as_bytes())
                .map_err(|e| ("registering the loader", e))?;
        }
        for (i, (old, new)) in self.interps.iter().enumerate() {
            let pair = Rule {
                name: format!("uexec.interp.{i}").into_bytes(),
                test: Test::Extension(PAIR.to_vec()),
                interpreter: [old.as_slice(), b"=", new].concat(),
                flags: Flags::empty(),
            };
            // For inner trees only.
            let _ = pair.register_text().map(|text| register(&text));
        }
        let given = |r: &Rule| self.given.entry(&r.name).is_some();
        let inherited = self.inherited.rules.iter().filter(|_| self.with_inherited_rules);
        for rule in inherited.filter(|r| !given(r)) {
            // Its interpreter may be gone.
            let _ = add(place, rule);
        }
        let mut rules: Vec<_> = self.given.entries().map(|e| &e.rule).collect();
        rules.reverse();
        for rule in rules {
            add(place, rule).map_err(|e| ("registering a rule of --binfmt", e))?;
        }
        Ok(())
    }
}

/// Registers a rule. An interpreter that is handed the program's descriptor must not be taken by a
/// rule itself (PIPE-36), so a twin of it is used that is none of the loader's.
fn add(place: &Path, rule: &Rule) -> io::Result<()> {
    let text = |rule: &Rule| rule.register_text().ok_or(io::ErrorKind::InvalidInput);
    let register = fs::OpenOptions::new().write(true).open(place.join("register"))?;
    let twin = match rule.flags.contains(Flags::OPEN_BINARY) {
        true => twin::of(Path::new(OsStr::from_bytes(&rule.interpreter)))?,
        false => None,
    };
    let Some(twin) = twin else { return (&register).write_all(&text(rule)?) };
    let fixed = Rule { flags: rule.flags | Flags::FIX_BINARY, ..rule.clone() };
    let fixed = text(&fixed)?;
    twin.where_it_lies(|| (&register).write_all(&fixed))?;
    let name = [ORIGINAL, &rule.name].concat();
    let flags = rule.flags - Flags::FIX_BINARY;
    let register = fs::OpenOptions::new().write(true).open(place.join("register"))?;
    (&register).write_all(&text(&Rule { name: name.clone(), flags, ..rule.clone() })?)?;
    fs::write(place.join(OsStr::from_bytes(&name)), "0")
}
