//! A tree served by a tracer: of each exec it is planned, from aside, whether uexec would load
//! something other than the kernel does. Only then the loader is put in its place, and decides again,
//! for certain, in the process itself. Changes nothing of the tracees by itself.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags};
use uexec_core::binfmt::misc::Misc;
use uexec_core::world::{At, World};
use uexec_core::{ALL_FORMATS, Exec, Plan, flags, plan};
use uexec_linux::tree::{Asked, Loader, Served, Tracer, is_cloexec_of, status_of};
use uexec_linux::{Host, Known};
use uexec_loader::config::{Call, Config};

use crate::binfmt::table;
use crate::run::Interps;
use crate::{OWN_FAILURE, report};

/// What is served: other dynamic loaders, and rules.
pub(super) struct Wishes {
    interps: Interps,
    rules: Misc,
    /// Both as the loader is told them.
    told: Config,
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
        Some(Wishes { interps, rules, told })
    }

    /// Whether uexec's plan is not what the kernel would do.
    ///
    /// Files that may grant something are not for a loader: it could not.
    fn changed(&self, plan: &Plan) -> bool {
        const SET_ID: u32 = 0o6000;
        if plan.image.program.file.stat.mode & SET_ID != 0 {
            return false;
        }
        let by_rule = plan.chain.iter().any(|link| link.format.starts_with("misc"));
        let interp = plan.image.interp.as_ref().map(|interp| &interp.file.path);
        by_rule
            || plan.image.aout.is_some()
            || self.interps.iter().any(|(_, new)| Some(new) == interp)
    }
}

/// Serves until all have ended.
pub(super) fn serve(tracer: Tracer, wishes: Wishes) -> u8 {
    // Nobody waits for the end of what is written there.
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
        let _ = rustix::stdio::dup2_stderr(null);
    }
    let Some(told_at) = uexec_loader::told_address() else { return OWN_FAILURE };
    let loader = Loader { bytes: uexec_loader::IMAGE, told_at };
    let mut judge = Judge::new(wishes);
    match tracer.serve(loader, &mut |asked| judge.judge(asked)) {
        Ok(()) => 0,
        Err(error) => {
            report::say(format_args!("run --tree: {error}"));
            OWN_FAILURE
        }
    }
}

struct Judge {
    wishes: Wishes,
    host: Host,
    /// This process's root directory.
    root: Option<(u64, u64)>,
    /// How many filters those have who have none of their own.
    filters: Option<Option<Vec<u8>>>,
    /// What was decided of files that take no other to be decided, and have not changed since.
    known: BTreeMap<Version, bool>,
}

/// A file as it is now: device, number, and when contents and mode have last been changed.
type Version = [u64; 6];

/// How many are kept.
const MOST: usize = 10_000;

impl Judge {
    fn new(wishes: Wishes) -> Judge {
        let mut host = Host::new();
        host.facts_mut().mmap_base = None;
        host.by_modes();
        host.keep_files();
        Judge {
            wishes,
            host,
            root: identity("/proc/self/root"),
            filters: None,
            known: BTreeMap::new(),
        }
    }

    /// Whether the loader takes the place of an exec.
    fn judge(&mut self, asked: &Asked) -> Option<Served> {
        if asked.flags & !(flags::AT_EMPTY_PATH | flags::AT_SYMLINK_NOFOLLOW) != 0 {
            return None;
        }
        let tid = asked.tid;
        if self.filters.is_none() {
            // The first is the command's own exec, by uexec.
            self.filters = Some(filters(tid));
        }
        let serves = self.serves(asked);
        self.host.forget_files();
        // A filter of its own may forbid what the loader does, at the price of its life.
        if !serves || self.filters != Some(filters(tid)) {
            return None;
        }
        let dir = dir_of(asked);
        let close = dir.map_or(Some(false), |fd| is_cloexec_of(tid, fd))?;
        let call = Call { dir, close, flags: asked.flags, path: asked.path.clone() };
        let told = Config { call: Some(call), ..self.wishes.told.clone() }.encode()?;
        Some(Served { told, keep: dir.filter(|_| close) })
    }

    fn serves(&mut self, asked: &Asked) -> bool {
        let tid = asked.tid;
        let same_root = identity(&format!("/proc/{tid}/root")) == self.root;
        // Where the thread is, as relative interpreters of scripts count from there; others, of
        // programs with an absolute path, are too rare to be worth it.
        let moves = same_root && !asked.path.starts_with(b"/");
        if moves && rustix::process::chdir(format!("/proc/{tid}/cwd")).is_err() {
            return false;
        }
        let serves = self.plans(asked, same_root);
        if moves {
            let _ = rustix::process::chdir("/");
        }
        serves
    }

    fn plans(&mut self, asked: &Asked, same_root: bool) -> bool {
        let tid = asked.tid;
        let Some((exec, _dir)) = exec_of(asked, same_root) else { return false };
        let mut elsewhere;
        let host = match same_root {
            true => &mut self.host,
            false => {
                elsewhere = self.host.again();
                elsewhere.facts_mut().mmap_base = None;
                if elsewhere.in_root(format!("/proc/{tid}/root").as_bytes()).is_err() {
                    return false;
                }
                &mut elsewhere
            }
        };
        // Rules may go by the name.
        let version = (same_root && exec.at == At::Cwd && self.wishes.rules.is_empty())
            .then(|| version(&exec.path))
            .flatten();
        if let Some(known) = version.and_then(|version| self.known.get(&version)) {
            return *known;
        }
        let exec = Exec { interps: self.wishes.interps.clone(), untold: true, ..exec };
        let formats = table::before(ALL_FORMATS, &self.wishes.rules);
        let Ok(plan) = plan(exec, host, &formats) else { return false };
        let serves = self.wishes.changed(&plan);
        if let (Some(version), 1) = (version, plan.chain.len()) {
            if self.known.len() >= MOST {
                self.known.clear();
            }
            self.known.insert(version, serves);
        }
        serves
    }
}

fn version(path: &[u8]) -> Option<Version> {
    let s = rustix::fs::stat(path).ok()?;
    let time = |seconds: i64, nanos: u64| (seconds as u64).wrapping_mul(1_000_000_000) + nanos;
    let (mtime, ctime) = (time(s.st_mtime, s.st_mtime_nsec), time(s.st_ctime, s.st_ctime_nsec));
    Some([s.st_dev, s.st_ino, s.st_size as u64, s.st_mode.into(), mtime, ctime])
}

/// How many system call filters a thread has, where the kernel tells (Linux 5.9).
fn filters(tid: i32) -> Option<Vec<u8>> {
    status_of(tid, "Seccomp_filters")
}

/// The descriptor that the path of an exec starts from.
fn dir_of(asked: &Asked) -> Option<i32> {
    const AT_FDCWD: i32 = -100;
    asked.dir.filter(|fd| *fd != AT_FDCWD && !asked.path.starts_with(b"/"))
}

/// The exec as it looks from this process, in whose root directory the paths lead to the same if
/// `same_root`; and what has to stay open for it.
fn exec_of(asked: &Asked, same_root: bool) -> Option<(Exec, Option<OwnedFd>)> {
    let tid = asked.tid;
    let dir = dir_of(asked).map(|fd| format!("/proc/{tid}/fd/{fd}"));
    let (at, path, open) = match (dir, same_root) {
        (None, true) => (At::Cwd, from_aside(tid, &asked.path), None),
        (Some(dir), true) => {
            let open = OFlags::PATH | OFlags::CLOEXEC;
            let open = rustix::fs::open(dir, open, Mode::empty()).ok()?;
            (At::Fd(open.as_raw_fd()), asked.path.clone(), Some(open))
        }
        (dir, false) => {
            let base = dir.unwrap_or_else(|| format!("/proc/{tid}/cwd"));
            let path = match asked.path.first() {
                Some(b'/') => asked.path.clone(),
                first => {
                    let root = link(&format!("/proc/{tid}/root")).filter(|root| root != b"/");
                    let mut base = link(&base)?;
                    if let Some(root) = root {
                        base = base.strip_prefix(root.as_slice())?.to_vec();
                    }
                    if first.is_some() {
                        base.push(b'/');
                        base.extend(&asked.path);
                    }
                    base
                }
            };
            (At::Cwd, path, None)
        }
    };
    let flags = if same_root { asked.flags } else { asked.flags & !flags::AT_EMPTY_PATH };
    let argv = vec![asked.path.clone()];
    Some((Exec { at, path, flags, argv, ..Exec::default() }, open))
}

/// What a thread calls its own in `/proc` is somebody else's here.
fn from_aside(tid: i32, path: &[u8]) -> Vec<u8> {
    let own = [(&b"/proc/self/"[..], ""), (b"/proc/thread-self/", ""), (b"/dev/fd/", "fd/")];
    match own.iter().find_map(|(name, below)| Some((path.strip_prefix(*name)?, below))) {
        Some((rest, below)) => [format!("/proc/{tid}/{below}").as_bytes(), rest].concat(),
        None => path.to_vec(),
    }
}

/// Which directory of which mount: each mount namespace has mounts of its own (Linux 5.8).
fn identity(path: &str) -> Option<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let what = StatxFlags::INO | StatxFlags::MNT_ID;
    let stat = statx(CWD, path, AtFlags::empty(), what).ok()?;
    Some((stat.stx_mnt_id, stat.stx_ino))
}

fn link(path: &str) -> Option<Vec<u8>> {
    Some(std::fs::read_link(path).ok()?.into_os_string().into_vec())
}
