//! Makes records of what the engine reports: who is whose child, what has changed, what each has
//! used for itself. Asks `/proc` about processes that stand still for it; keeps nothing of those
//! that have ended.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use uexec_core::Errno;
use uexec_core::clone::{CloneArgs, CloneFacts, CloneFlags, Entry, Gets, decide};
use uexec_linux::tree::{self as engine, Call, Ended, Event, Image, Tracer, Usage, What};
use uexec_linux::{Host, clone_facts};

use super::ask::{descriptor, is_loader, link, minor_faults, real_path, stdio};
use super::differ::{changes, in_front};
use super::failure;
use super::files::Files;
use super::pages::Heirs;
use super::record::{End, Environment, Exec, Exit, Failed, Record, Spawn, Start, Who};
use super::search::{Attempt, Attempts};
use super::text::{Text, texts};

type Strings = Rc<Vec<Vec<u8>>>;

/// A living process.
#[derive(Debug)]
struct Process {
    id: u32,
    born: u64,
    /// Who has created it.
    parent: Option<i32>,
    /// What its program, or that of an ancestor, has been started with.
    env: Strings,
    /// It has memory of its own, copied from its parent, and has executed nothing yet.
    copied: bool,
    /// It has executed something.
    executed: bool,
    /// Its parent waits for it to execute or end.
    awaited: bool,
    attempts: Attempts,
    /// What its children have used that have ended.
    children: Usage,
    /// Of what it has used by its program's beginning: what was others'. The memory of a parent
    /// that it shared or was copied from, and all that uexec did before it became the command.
    before: Usage,
    threads: u32,
}

impl Process {
    /// It executes a program, having used so much.
    fn begins(&mut self, used: Usage) {
        if std::mem::replace(&mut self.executed, true) {
            return;
        }
        let is_command = self.parent.is_none();
        let times = if is_command { used } else { Usage::default() };
        self.before = Usage { max_rss_kib: used.max_rss_kib, ..times };
    }
}

/// Follows the events of one tracer.
pub(super) struct Follower {
    start: u64,
    command: Vec<Text>,
    processes: BTreeMap<i32, Process>,
    next_id: u32,
    root: i32,
    host: Host,
    files: Files,
    clone_facts: CloneFacts,
    given: BTreeMap<(&'static str, u64), [Vec<&'static str>; 3]>,
    told: End,
    ended: bool,
    /// Whose pages are counted, if they are.
    heirs: Option<Heirs>,
}

impl Follower {
    /// Follows the process that `tracer` has taken hold of, whose command this will be.
    /// `cow`: it is counted what forks copy.
    pub(super) fn new(
        tracer: &Tracer,
        command: &[Vec<u8>],
        envp: Vec<Vec<u8>>,
        cow: bool,
    ) -> Follower {
        let start = engine::now();
        let root = Process {
            id: 0,
            born: start,
            parent: None,
            env: Rc::new(envp),
            copied: false,
            executed: false,
            awaited: false,
            attempts: Attempts::default(),
            children: Usage::default(),
            before: Usage::default(),
            threads: 0,
        };
        Follower {
            start,
            command: texts(command),
            processes: BTreeMap::from([(tracer.root(), root)]),
            next_id: 1,
            root: tracer.root(),
            host: Host::new(),
            files: Files::default(),
            clone_facts: clone_facts(),
            given: BTreeMap::new(),
            told: End { processes: 1, ..End::default() },
            ended: false,
            heirs: cow.then(Heirs::default),
        }
    }

    /// What comes first.
    pub(super) fn begin(&self) -> Vec<Record> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_time = now.as_micros() as f64 / 1e6;
        vec![Record::Start(Start { version: 1, command: self.command.clone(), unix_time })]
    }

    /// What comes last, once.
    pub(super) fn end(&mut self) -> Vec<Record> {
        if std::mem::replace(&mut self.ended, true) {
            return Vec::new();
        }
        vec![Record::End(End { t: self.seconds(engine::now()), ..self.told })]
    }

    /// What is to be told of an event.
    /// `used`: what its process had used by then.
    pub(super) fn take(&mut self, event: Event, used: Usage) -> Vec<Record> {
        let Event { at, pid, tid, what } = event;
        let mut out = Vec::new();
        self.know(pid, at, &mut out);
        match what {
            What::Created { thread: true, .. } => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.threads += 1;
                }
            }
            What::Created { child, args, .. } => {
                self.give_up_search(pid, &mut out);
                let args = args.unwrap_or_default();
                if let Some(heirs) = &mut self.heirs
                    && !args.flags.contains(CloneFlags::CLONE_VM)
                {
                    heirs.born(pid, child);
                }
                out.push(self.created(at, pid, child, &args));
            }
            What::Failed { call, errno } => self.failed(at, pid, tid, call, errno, &mut out),
            What::Executed { call, image } => {
                let mut searched = Vec::new();
                let process = self.processes.get_mut(&pid);
                if let (Some(process), Some(call)) = (process, &call)
                    && process.attempts.goes_on_with(call)
                {
                    searched = std::mem::take(&mut process.attempts).directories();
                    self.told.failed_execs += searched.len() as u32;
                }
                self.give_up_search(pid, &mut out);
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.begins(used);
                }
                out.extend(self.executed(at, pid, call, image, searched));
            }
            What::Leaving => {
                if let Some(heirs) = &mut self.heirs {
                    heirs.look(pid);
                }
            }
            What::Ended { how, usage } => {
                self.give_up_search(pid, &mut out);
                out.extend(self.exited(at, pid, how, usage));
            }
        }
        out
    }

    fn seconds(&self, at: u64) -> f64 {
        (at.saturating_sub(self.start) / 1000) as f64 / 1e6
    }

    fn who(&self, at: u64, pid: i32) -> Who {
        let id = self.processes.get(&pid).map_or(0, |p| p.id);
        Who { t: self.seconds(at), id, pid }
    }

    /// A process that nobody has reported: its creator was killed in the middle of that.
    fn know(&mut self, pid: i32, at: u64, out: &mut Vec<Record>) {
        if !self.processes.contains_key(&pid) {
            let parent =
                engine::parent_of(pid).filter(|parent| self.processes.contains_key(parent));
            let parent = parent.unwrap_or(self.root);
            out.push(self.created(at, parent, pid, &CloneArgs::default()));
        }
    }

    fn created(&mut self, at: u64, parent: i32, child: i32, args: &CloneArgs) -> Record {
        let id = self.next_id;
        self.next_id += 1;
        self.told.processes += 1;
        let creator = self.processes.get(&parent);
        let parent_id = creator.map_or(0, |p| p.id);
        let env = creator.map_or_else(Strings::default, |p| p.env.clone());
        let shares_memory = args.flags.contains(CloneFlags::CLONE_VM);
        let awaited = args.flags.contains(CloneFlags::CLONE_VFORK);
        self.processes.insert(
            child,
            Process {
                id,
                born: at,
                parent: Some(parent),
                env,
                copied: !shares_memory,
                executed: false,
                awaited,
                attempts: Attempts::default(),
                children: Usage::default(),
                before: Usage::default(),
                threads: 0,
            },
        );
        let [shared, copied, new] = self.given(args);
        let how = match (args.entry, awaited, shares_memory) {
            (Entry::Fork, ..) => "fork",
            (Entry::Vfork, ..) | (_, true, true) => "vfork",
            (_, _, false) => "fork",
            _ => "clone",
        };
        Record::Spawn(Box::new(Spawn {
            who: Who { t: self.seconds(at), id, pid: child },
            parent: parent_id,
            how,
            flags: args.flags.iter_names().map(|(name, _)| name.to_owned()).collect(),
            exit_signal: args.exit_signal,
            shared,
            copied,
            new,
        }))
    }

    /// What a child has in common with its creator, copied from it, and new. The same calls are
    /// made over and over, so each is decided once.
    fn given(&mut self, args: &CloneArgs) -> [Vec<&'static str>; 3] {
        let decided =
            self.given.entry((args.entry.as_str(), args.flags.bits())).or_insert_with(|| {
                let plan = decide(args, CloneArgs::SIZE, &self.clone_facts).ok();
                [Gets::Shared, Gets::Copied, Gets::New].map(|gets| {
                    let items = plan.iter().flat_map(|plan| &plan.child);
                    items.filter(|row| row.gets == gets).map(|row| row.item.as_str()).collect()
                })
            });
        decided.clone()
    }

    fn failed(
        &mut self,
        at: u64,
        pid: i32,
        tid: i32,
        call: Call,
        errno: Errno,
        out: &mut Vec<Record>,
    ) {
        let same = self.processes.get(&pid).is_some_and(|p| p.attempts.goes_on_with(&call));
        if !same {
            self.give_up_search(pid, out);
        }
        // An environment that nobody passes the call is too long for a moment only.
        let envp = if errno == Errno::E2BIG { call.envp(tid) } else { Vec::new() };
        let dir = call.dir.filter(|fd| *fd >= 0).and_then(|fd| link(pid, &format!("fd/{fd}")));
        let (cwd, root) = (link(tid, "cwd"), link(tid, "root"));
        let file = (!same && call.path.is_empty()).then(|| descriptor(tid, call.dir?)).flatten();
        let attempt = Attempt { at, call, errno, cwd, root, dir, envp, file };
        if let Some(process) = self.processes.get_mut(&pid) {
            process.attempts.push(attempt);
        }
    }

    /// Execs of this process that have failed lead to nothing.
    fn give_up_search(&mut self, pid: i32, out: &mut Vec<Record>) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let attempts = std::mem::take(&mut process.attempts);
        let Some((attempt, searched)) = attempts.result() else { return };
        self.told.failed_execs += searched.len().max(1) as u32;
        let because = failure::because(&attempt, !searched.is_empty(), &self.host);
        out.push(Record::Failed(Box::new(Failed {
            who: self.who(attempt.at, pid),
            path: Text(attempt.call.name()),
            argv: texts(&attempt.call.argv),
            cwd: attempt.cwd.clone().map(Text),
            errno: attempt.errno.name(),
            number: attempt.errno.0,
            searched,
            because,
        })));
    }

    fn executed(
        &mut self,
        at: u64,
        pid: i32,
        call: Option<Call>,
        image: Image,
        searched: Vec<Text>,
    ) -> Option<Record> {
        let who = self.who(at, pid);
        let pages = self.heirs.as_mut().and_then(|heirs| heirs.gone(pid));
        let process = self.processes.get_mut(&pid)?;
        let faults_since_fork = process.copied.then(|| minor_faults(pid)).flatten();
        let waited = process.awaited.then(|| at.saturating_sub(process.born) / 1000);
        (process.copied, process.awaited) = (false, false);
        let env = if image.truncated {
            Environment::default()
        } else {
            changes(&process.env, &image.envp)
        };
        if !image.truncated && *process.env != image.envp {
            process.env = Rc::new(image.envp);
        }
        self.told.execs += 1;
        let mut exe = link(pid, "exe");
        let mut got = image.argv.as_slice();
        let mut file = format!("/proc/{pid}/exe").into();
        // In a tree of uexec's the kernel has started the loader, which is about to load this.
        if exe.as_deref().is_some_and(|exe| is_loader(pid, exe))
            && let [_, path, rest @ ..] = got
            && let Some(real) = real_path(pid, path)
        {
            (exe, got, file) = (Some(real.as_os_str().as_bytes().to_vec()), rest, real);
        }
        let (known, withheld) = self.files.of(pid, &file).unwrap_or_default();
        let argv = call.as_ref().map_or(got, |call| &call.argv);
        let chain = call.as_ref().map_or(&[][..], |call| in_front(&call.argv, got));
        Some(Record::Exec(Box::new(Exec {
            who,
            path: call.as_ref().map(|call| Text(call.name())),
            argv: texts(argv),
            took_us: call.as_ref().map_or(0, |call| at.saturating_sub(call.at) / 1000),
            exe: exe.map(Text),
            interp: known.interp.map(Text),
            withheld,
            chain: texts(chain),
            cwd: link(pid, "cwd").map(Text),
            env,
            stdio: stdio(pid),
            searched,
            faults_since_fork,
            pages,
            parent_waited_us: waited,
        })))
    }

    fn exited(&mut self, at: u64, pid: i32, how: Ended, usage: Usage) -> Option<Record> {
        let who = self.who(at, pid);
        let pages = self.heirs.as_mut().and_then(|heirs| heirs.gone(pid));
        let process = self.processes.remove(&pid)?;
        if let Some(parent) = process.parent.and_then(|parent| self.processes.get_mut(&parent)) {
            let sum = &mut parent.children;
            sum.user_us += usage.user_us;
            sum.system_us += usage.system_us;
            sum.minor_faults += usage.minor_faults;
            sum.max_rss_kib = sum.max_rss_kib.max(usage.max_rss_kib);
        }
        let below = process.children;
        let before = process.before;
        let cpu = |of: Usage| of.user_us + of.system_us;
        let cpu_us = cpu(usage).saturating_sub(cpu(below) + cpu(before));
        let others_rss = below.max_rss_kib.max(before.max_rss_kib);
        let (status, signal, core) = match how {
            Ended::Exited(status) => (Some(status), None, false),
            Ended::Killed { signal, core } => (None, Some(signal), core),
        };
        Some(Record::Exit(Exit {
            who,
            status,
            signal,
            core,
            lived: (at.saturating_sub(process.born) / 1000) as f64 / 1e6,
            cpu: cpu_us as f64 / 1e6,
            max_rss_kib: Some(usage.max_rss_kib).filter(|max| *max > others_rss),
            threads: process.threads,
            faults_since_fork: process
                .copied
                .then(|| usage.minor_faults.saturating_sub(below.minor_faults)),
            pages,
            parent_waited_us: process.awaited.then(|| at.saturating_sub(process.born) / 1000),
        }))
    }
}
