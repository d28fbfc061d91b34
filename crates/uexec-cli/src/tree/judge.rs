//! Of each exec of a tree it is planned, from aside, whether uexec would load something other than the
//! kernel does. Only then the loader is put in its place, and decides again, for certain, in the
//! process itself. Changes nothing of any process but this.

use std::collections::BTreeMap;

use uexec_core::binfmt::misc::Misc;
use uexec_core::world::{At, Role, World};
use uexec_core::{ALL_FORMATS, Exec, KERNEL_FORMATS, Plan, Privileges, flags, plan};
use uexec_linux::tree::{
    Asked, Loader, Rights, Served, Standing, UserSpace, is_cloexec_of, user_space,
};
use uexec_linux::{Host, Known};
use uexec_loader::config::{Call, Config};

use super::aside::{dir_of, exec_of, identity, stays};
use crate::binfmt::table;
use crate::run::Interps;

/// What is served: other dynamic loaders, and rules.
pub(super) struct Wishes {
    interps: Interps,
    rules: Misc,
    /// The loader, which has been told both.
    image: Vec<u8>,
    /// Where in its memory it is told what to load.
    call_at: u64,
}

impl Wishes {
    /// `None` when they are too many for the loader to be told.
    pub(super) fn new(interps: Interps, rules: Misc) -> Option<Wishes> {
        let mut texts: Vec<_> =
            rules.entries().map(|e| e.rule.register_text()).collect::<Option<_>>()?;
        texts.reverse();
        let told = Config {
            known: Known::of(&mut Host::new()),
            interps: interps.clone(),
            rules: texts,
            lost_formats: true,
            call: None,
        };
        // Any path must fit, too.
        let longest = Call { path: vec![b'x'; 4096], ..Call::default() };
        Config { call: Some(longest), ..told.clone() }.encode()?;
        let call_at = uexec_loader::told_address()? + told.encode()?.len() as u64;
        Some(Wishes { interps, rules, image: uexec_loader::image(&told)?, call_at })
    }

    /// The loader.
    pub(super) fn loader(&self) -> Loader<'_> {
        Loader { bytes: &self.image, told_at: self.call_at }
    }

    /// Whether uexec's plan is not what the kernel would do.
    ///
    /// Files that may grant something are not for a loader: it could not.
    fn changed(&self, plan: &Plan, host: &mut Host) -> bool {
        const SET_ID: u32 = 0o6000;
        let by_rule = plan.chain.iter().any(|link| link.format.starts_with("misc"));
        let interp = plan.image.interp.as_ref().map(|interp| &interp.file.path);
        let changed = by_rule
            || plan.image.aout.is_some()
            || self.interps.iter().any(|(_, new)| Some(new) == interp);
        let program = &plan.image.program.file;
        changed && program.stat.mode & SET_ID == 0 && host.file_caps(program.id) == Ok(None)
    }
}

/// Decides about one exec after the other.
pub(super) struct Judge<'a> {
    wishes: &'a Wishes,
    host: Host,
    /// This process's root directory, and `/proc`.
    root: Option<(u64, u64)>,
    proc: Option<(u64, u64)>,
    space: UserSpace,
    /// How many filters those have who have none of their own.
    filters: Option<u32>,
    /// Rights that files have been looked at with, this process's the first.
    rights: Vec<Rights>,
    /// What was decided of files that take no other to be decided, and have not changed since.
    known: BTreeMap<(usize, Version), bool>,
}

/// A file as it is now: device, number, and when contents and mode have last been changed.
type Version = [u64; 6];

/// How many are kept.
const MOST: usize = 10_000;
const MOST_RIGHTS: usize = 100;

impl<'a> Judge<'a> {
    pub(super) fn new(wishes: &'a Wishes) -> Option<Judge<'a>> {
        let mut host = Host::new();
        host.facts_mut().mmap_base = None;
        host.by_modes();
        host.keep_files();
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let space = user_space(pid);
        let own = Standing::of(pid, space)?;
        Some(Judge {
            wishes,
            host,
            root: identity("/proc/self/root"),
            proc: identity("/proc"),
            space,
            // The tree's.
            filters: own.filters.map(|own| own + 1),
            rights: vec![own.before],
            known: BTreeMap::new(),
        })
    }

    /// Whether the loader takes the place of an exec.
    ///
    /// Where the kernel itself would fail it does not: that is told by the call then, to who goes on.
    pub(super) fn judge(&mut self, asked: &Asked) -> Option<Served> {
        if asked.flags & !(flags::AT_EMPTY_PATH | flags::AT_SYMLINK_NOFOLLOW) != 0 {
            return None;
        }
        let tid = asked.tid;
        let same_root = identity(&format!("/proc/{tid}/root")) == self.root;
        let serves = self.serves(asked, same_root);
        self.host.forget_files();
        let Standing { ignores, .. } = serves?;
        let dir = dir_of(asked);
        let close = dir.map_or(Some(false), |fd| is_cloexec_of(tid, fd))?;
        let call = Call { dir, close, flags: asked.flags, path: asked.path.clone() };
        let keep = dir.filter(|_| close);
        Some(Served { told: call.encode()?, keep, same_root, ignores })
    }

    /// To whom, if it does.
    fn serves(&mut self, asked: &Asked, same_root: bool) -> Option<Standing> {
        let tid = asked.tid;
        let (exec, dir) = exec_of(asked, same_root)?;
        let elsewhere = if same_root { None } else { Some(self.host_in(tid)?) };
        let mut view = View { exec, elsewhere, version: None };
        let absolute = asked.path.starts_with(b"/");
        if absolute {
            view.version = self.version(&view);
        }
        let known = self.known(0, &view);
        if known == Some(false) {
            return None;
        }
        // With another mounted over it, nobody has his number there.
        if identity("/proc") != self.proc {
            return None;
        }
        // Where the thread is, as relative names count from there, also those of interpreters.
        let moves = same_root && known.is_none();
        if moves && rustix::process::chdir(format!("/proc/{tid}/cwd")).is_err() {
            return None;
        }
        if !absolute {
            view.version = self.version(&view);
        }
        // In another root directory such names are not followed anyway.
        let serves = self
            .serves_to(tid, &mut view)
            .filter(|_| !same_root || stays(asked, &view.exec, dir.as_ref()));
        if moves {
            let _ = rustix::process::chdir("/");
        }
        serves
    }

    /// One that looks at files of a thread's root directory.
    fn host_in(&self, tid: i32) -> Option<Host> {
        let mut host = self.host.again();
        host.facts_mut().mmap_base = None;
        host.by_modes();
        host.in_root(format!("/proc/{tid}/root").as_bytes()).ok()?;
        Some(host)
    }

    /// Whether an exec is served with all rights that count: this process's, as it cannot take
    /// more, the thread's, and those that are left to the loader.
    fn serves_to(&mut self, tid: i32, view: &mut View) -> Option<Standing> {
        if !self.plans(0, view) {
            return None;
        }
        let standing = Standing::of(tid, self.space)?;
        // A filter of its own may forbid what the loader does, at the price of its life.
        if standing.filters != self.filters {
            return None;
        }
        let Standing { before, after, .. } = &standing;
        let serves =
            self.serves_with(before, view) && (before == after || self.serves_with(after, view));
        serves.then_some(standing)
    }

    fn serves_with(&mut self, rights: &Rights, view: &mut View) -> bool {
        let Some(own) = self.rights.first().filter(|own| *own != rights).cloned() else {
            return true;
        };
        let number = self.number(rights);
        rights.take(&own).is_ok_and(|_taken| self.plans(number, view))
    }

    fn number(&mut self, rights: &Rights) -> usize {
        if let Some(number) = self.rights.iter().position(|known| known == rights) {
            return number;
        }
        if self.rights.len() >= MOST_RIGHTS {
            self.rights.truncate(1);
            self.known.clear();
        }
        self.rights.push(rights.clone());
        self.rights.len() - 1
    }

    /// What is known of the file, with these rights.
    fn known(&self, rights: usize, view: &View) -> Option<bool> {
        self.known.get(&(rights, view.version?)).copied()
    }

    /// `None` where more than the file may count.
    fn version(&self, View { exec, elsewhere, .. }: &View) -> Option<Version> {
        // Rules may go by the name.
        let plain = exec.at == At::Cwd && exec.flags == 0 && self.wishes.rules.is_empty();
        (elsewhere.is_none() && plain).then(|| version(&exec.path)).flatten()
    }

    /// Whether an exec is served with the rights that this process has now.
    fn plans(&mut self, rights: usize, view: &mut View) -> bool {
        let (version, known) = (view.version, self.known(rights, view));
        let host = view.elsewhere.as_mut().unwrap_or(&mut self.host);
        host.forget_files();
        if let Some(known) = known {
            return known && may(host, &view.exec);
        }
        let interps = self.wishes.interps.clone();
        // What may grant something is looked at by itself.
        let privileges = Privileges::Ignore;
        let exec = Exec { interps, untold: true, privileges, ..view.exec.clone() };
        let formats = table::before(ALL_FORMATS, &self.wishes.rules);
        let plan = match plan(exec, host, &formats) {
            Ok(plan) => plan,
            // A wish that cannot be met: the kernel would do something else, so the loader says it.
            Err(error) => {
                let plain = Exec { untold: true, privileges, ..view.exec.clone() };
                let by_kernel = plan(plain, host, &KERNEL_FORMATS).map_err(|error| error.errno());
                return by_kernel.err() != Some(error.errno()) && host.ask_the_rest().is_ok();
            }
        };
        // A relative name starts from a directory that cannot be gone to here.
        let names = plan.chain.iter().skip(1).map(|link| &link.path);
        let mut names = names.chain(plan.image.interp.as_ref().map(|interp| &interp.file.path));
        let found = view.elsewhere.is_none() || names.all(|name| name.starts_with(b"/"));
        let host = view.elsewhere.as_mut().unwrap_or(&mut self.host);
        let serves = self.wishes.changed(&plan, host) && found;
        if let (Some(version), 1) = (version, plan.chain.len()) {
            if self.known.len() >= MOST {
                self.known.clear();
            }
            self.known.insert((rights, version), serves);
        }
        serves && host.ask_the_rest().is_ok()
    }
}

/// An exec as it looks from here.
struct View {
    exec: Exec,
    /// Of a thread in another root directory.
    elsewhere: Option<Host>,
    /// Of the file, where nothing else counts.
    version: Option<Version>,
}

/// Whether the kernel would execute the file.
fn may(host: &mut Host, exec: &Exec) -> bool {
    let Ok(file) = host.open(exec.at, &exec.path, true) else { return false };
    host.check_exec(file, Role::Program).is_ok() && host.ask_the_rest().is_ok()
}

fn version(path: &[u8]) -> Option<Version> {
    let s = rustix::fs::stat(path).ok()?;
    let time = |seconds: i64, nanos: u64| (seconds as u64).wrapping_mul(1_000_000_000) + nanos;
    let (mtime, ctime) = (time(s.st_mtime, s.st_mtime_nsec), time(s.st_ctime, s.st_ctime_nsec));
    Some([s.st_dev, s.st_ino, s.st_size as u64, s.st_mode.into(), mtime, ctime])
}
