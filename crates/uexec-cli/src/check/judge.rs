//! Decides about one program after the other. Reads files; runs nothing, changes nothing.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use uexec_core::abi::BINPRM_BUF_SIZE;
use uexec_core::binfmt::misc::Misc;
use uexec_core::error::{Refusal, Stage};
use uexec_core::story::{Link, Shown};
use uexec_core::world::{At, World};
use uexec_core::{Errno, Exec, KERNEL_FORMATS, Plan, Privileges, Reason, plan};
use uexec_ld::{Disk, Ld, Settings};
use uexec_linux::Host;

use super::elf::{self, Ident};
use super::finding::{Finding, Outcome};
use crate::libraries::{self, Missing};

/// Interpreters of scripts whose libraries are remembered.
const INTERPRETERS_MAX: usize = 1000;

/// What a judge is made from; can be sent to its thread.
pub(crate) struct Seat {
    host: Host,
    rules: Arc<Misc>,
    /// Not the whole file system is looked at: what we may not read says nothing about others.
    rooted: bool,
    /// Where libraries are looked for, if they are.
    disk: Option<Disk>,
}

/// Decides on one host, for one thread.
pub(crate) struct Judge {
    host: Host,
    rules: Arc<Misc>,
    rooted: bool,
    loader: Option<Loader>,
}

/// Follows dynamic loaders.
struct Loader {
    ld: Ld,
    settings: Settings,
    /// What is missing for programs that scripts name.
    interpreters: HashMap<Vec<u8>, Vec<Missing>>,
}

impl Seat {
    /// A place to judge from the whole file system, or what is below `root`.
    ///
    /// # Errors
    /// When the root cannot be opened.
    pub(crate) fn new(
        root: Option<&[u8]>,
        rules: Arc<Misc>,
        libraries: bool,
    ) -> Result<Seat, String> {
        let mut host = Host::new();
        // Where this very process's mappings end says nothing about another exec.
        host.facts_mut().mmap_base = None;
        // The same draws for every program, and in every run: the same answer twice.
        host.seed(0);
        if let Some(root) = root {
            host.in_root(root).map_err(|e| e.to_string())?;
        }
        let disk = match root {
            Some(root) => Disk::inside(std::ffi::OsStr::from_bytes(root).as_ref()),
            None => Ok(Disk::host()),
        };
        let disk = disk.map_err(|e| e.to_string())?;
        Ok(Seat { host, rules, rooted: root.is_some(), disk: libraries.then_some(disk) })
    }
}

impl Judge {
    /// Takes a seat.
    pub(crate) fn new(seat: Seat) -> Judge {
        let Seat { host, rules, rooted, disk } = seat;
        // This process's environment says nothing about another root's programs.
        let settings = if rooted { Settings::default() } else { Settings::from_env() };
        let loader =
            disk.map(|disk| Loader { ld: Ld::new(disk), settings, interpreters: HashMap::new() });
        Judge { host, rules, rooted, loader }
    }

    /// What becomes of an exec of `path` without arguments and environment.
    pub(crate) fn decide(&mut self, path: Vec<u8>) -> Finding {
        let exec =
            Exec { privileges: Privileges::AsKernel, untold: true, ..Exec::new(path.clone()) };
        let finding = match plan(exec, &mut self.host, &KERNEL_FORMATS) {
            Ok(plan) => self.planned(path, plan),
            Err(error) => {
                let chain = &error.chain;
                self.refused(path, chain, error.refusal.clone())
            }
        };
        self.host.forget_files();
        finding
    }

    fn planned(&mut self, path: Vec<u8>, plan: Plan) -> Finding {
        let mut f = Finding::new(path, Outcome::Ok);
        f.ident = Some(Ident::of_image(&plan.image));
        f.format = plan.chain.first().map(|l| l.format.to_string()).unwrap_or_default();
        let loader = plan.image.interp.as_ref().map(|i| i.file.path.clone());
        f.interp = plan.chain.get(1).map(|l| l.path.clone()).or_else(|| loader.clone());
        if plan.chain.len() == 1
            && plan.image.program.is_dyn()
            && loader.is_none()
            && self.is_library(&f.path)
        {
            f.outcome = Outcome::Library;
            return f;
        }
        f.missing = self.loader.as_mut().map(|l| l.missing(&plan)).unwrap_or_default();
        if let Some(death) = plan.death {
            f.refusal = Some(Box::new(death));
        }
        if f.refusal.is_some() || !f.missing.is_empty() {
            f.outcome = Outcome::Error;
        }
        f
    }

    fn refused(&mut self, path: Vec<u8>, chain: &[Link], r: Refusal) -> Finding {
        let mut f = Finding::new(path, Outcome::Error);
        f.format = match (chain.first(), r.stage) {
            (Some(l), _) if !l.format.is_empty() => l.format.to_string(),
            (_, Stage::Script | Stage::ScriptInterp) => "script".into(),
            (_, Stage::Elf | Stage::ElfInterp) => "elf".into(),
            _ => String::new(),
        };
        f.interp = match r.stage {
            Stage::ScriptInterp | Stage::ElfInterp if chain.len() < 2 => Some(r.file.clone()),
            _ => chain.get(1).map(|l| l.path.clone()),
        };
        if matches!(r.reason, Reason::Unreadable) || self.closed_to_us(&r) {
            f.outcome = Outcome::Unreadable;
        } else if r.reason.errno() == Errno::ENOEXEC {
            self.unknown(&mut f, &r);
        } else if let Reason::InterpBad { .. } = r.reason {
            f.ident = self.ident(&f.path.clone()).map(|(i, _)| i);
        }
        if !matches!(f.outcome, Outcome::Ok | Outcome::Library) {
            f.refusal = Some(Box::new(r));
        }
        f
    }

    /// Whether it is our rights that end here, and not those of the root's own users.
    fn closed_to_us(&self, r: &Refusal) -> bool {
        let denied = |e: &Errno| matches!(*e, Errno::EACCES | Errno::EPERM);
        match &r.reason {
            Reason::Walk { errno } => self.rooted && denied(errno),
            Reason::Io { .. } => true,
            _ => false,
        }
    }

    /// No format of this machine knows the file `r` is about: for which machine is it?
    fn unknown(&mut self, f: &mut Finding, r: &Refusal) {
        let at_fault = if r.file.is_empty() { f.path.clone() } else { r.file.clone() };
        let Some((ident, head)) = self.head(&at_fault) else { return };
        f.ident = ident;
        let off = matches!(r.reason, Reason::NoIa32 { .. });
        let foreign = ident.filter(|i| !i.is_native() && (off || !i.is_i386()));
        let text = |bytes: &[u8]| Shown(bytes).to_string();
        let rule = self.rules.find(&at_fault, &head).map(|entry| &entry.rule);
        f.rule = rule.map(|rule| (text(&rule.name), text(&rule.interpreter)));
        if ident.is_some() && at_fault == f.path && self.is_library(&at_fault) {
            f.outcome = Outcome::Library;
        } else if foreign.is_some() {
            f.outcome = Outcome::Foreign;
        } else if f.rule.is_some() {
            f.outcome = Outcome::Ok;
        }
    }

    fn ident(&mut self, path: &[u8]) -> Option<(Ident, [u8; BINPRM_BUF_SIZE])> {
        self.head(path).and_then(|(ident, head)| Some((ident?, head)))
    }

    /// The first bytes of a file the host has opened before, and what ELF file that makes it.
    fn head(&mut self, path: &[u8]) -> Option<(Option<Ident>, [u8; BINPRM_BUF_SIZE])> {
        let mut head = [0; BINPRM_BUF_SIZE];
        let n = self.reader(path)?(0, &mut head);
        Some((Ident::of(&head[..n]), head))
    }

    fn is_library(&mut self, path: &[u8]) -> bool {
        self.reader(path).is_some_and(|mut read| elf::is_library(path, &mut read))
    }

    /// Opens a regular file to read from.
    fn reader(&mut self, path: &[u8]) -> Option<impl FnMut(u64, &mut [u8]) -> usize> {
        let host = &mut self.host;
        let file = host.open(At::Cwd, path, true).ok()?;
        let stat = host.stat(file).ok()?;
        if stat.kind != uexec_core::error::FileKind::Regular {
            return None;
        }
        Some(move |offset: u64, buf: &mut [u8]| {
            let mut done = 0;
            while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
                match host.read_at(file, offset.saturating_add(done as u64), rest) {
                    Ok(n @ 1..) => done += n,
                    _ => break,
                }
            }
            done
        })
    }
}

impl Loader {
    /// What the loader of a planned program does not find.
    fn missing(&mut self, plan: &Plan) -> Vec<Missing> {
        let path = &plan.image.program.file.path;
        let is_script = plan.chain.len() > 1;
        if is_script && let Some(known) = self.interpreters.get(path) {
            return known.clone();
        }
        let map = libraries::resolve(&mut self.ld, plan, &self.settings);
        let missing = map.map(|map| libraries::missing(&map)).unwrap_or_default();
        if is_script {
            if self.interpreters.len() >= INTERPRETERS_MAX {
                self.interpreters.clear();
            }
            self.interpreters.insert(path.clone(), missing.clone());
        }
        missing
    }
}
