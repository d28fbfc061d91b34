//! A whole tree of processes followed by `ptrace(2)`: everything a command starts, and what
//! becomes of it. Reports; decides and changes nothing of what it sees.
//!
//! The traced command is the caller's own process, so that whoever started that sees nothing but
//! the command: its id, its signals, its end. The tracer is a process aside, of its own session
//! and nobody's child. It stops the others only where a process or thread is created, executes,
//! or gets a signal: execs are reported by a system call filter, other calls cost nothing.
//!
//! What cannot be hidden from the command: `TracerPid`, `Seccomp` and, for a user without
//! `CAP_SYS_ADMIN`, `NoNewPrivs` in `/proc/PID/status`; nobody in it can trace another; set-user-ID
//! files run without privilege, unless the tracer has `CAP_SYS_PTRACE`. When the tracer is killed,
//! all are: the filter would let no exec succeed any more (`SECCOMP_RET_TRACE` without a tracer is
//! `ENOSYS`). A child made with `CLONE_UNTRACED` escapes, and cannot execute anything.

mod behind;
mod call;
mod early;
mod event;
mod handed;
#[allow(unsafe_code, reason = "has stopped threads make other system calls")]
mod inject;
#[allow(unsafe_code, reason = "makes the process that answers")]
mod listen;
mod pages;
mod rights;
mod serve;
#[allow(unsafe_code, reason = "makes the tracer's process, and starts the command")]
mod start;
mod steps;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use rustix::thread::nanosleep;
use rustix::time::{ClockId, Timespec, clock_gettime};
use uexec_core::Errno;

pub use call::parent_of;
pub use event::{Call, Ended, Event, Image, Usage, What};
pub use handed::{Image as Loader, Prepared};
pub use listen::{Listener, listen};
pub use pages::Given;
pub use rights::{Rights, Standing, Taken, UserSpace, user_space};
pub use serve::{Asked, Served, Trouble, is_cloexec_of};
pub use start::{Role, Watch, command, start};

use early::{Early, Found};

use crate::ffi::tracer::{self, Report, Resume, Whom};

/// `PTRACE_O_…`: system calls marked, fork, vfork, clone, exec and the filter reported; all killed
/// with the tracer.
const OPTIONS: u64 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x10_0000;

/// `PTRACE_O_TRACEEXIT`: before a thread ends, too.
const EXIT_OPTION: u64 = 0x40;

const SIGTRAP: i32 = 5;

/// A traced thread.
#[derive(Debug)]
struct Task {
    /// Its process.
    pid: i32,
    /// The exec it is in.
    call: Option<Call>,
    /// It is about to end.
    ending: bool,
}

/// What is to be done before the next report is looked at.
#[derive(Clone, Copy, Debug)]
enum Todo {
    Nothing,
    Go(i32, Resume, i32),
    Take(i32),
}

/// Follows the tree. Dropping it, or the end of its process, kills who is left of the tree.
#[derive(Debug)]
pub struct Tracer {
    root: i32,
    tasks: BTreeMap<i32, Task>,
    /// New ones that their creators have not reported yet.
    early: Early,
    /// What is to be told next.
    next: VecDeque<Event>,
    todo: Todo,
    /// Who was created by the last event, if it had stopped before: it runs no earlier than its
    /// creator.
    newborn: Option<i32>,
    watch: Watch,
    /// The last thread of the first process of a namespace, which is about to end, and how.
    last: Option<(i32, Ended)>,
    /// That has been told, and nothing is any more.
    over: bool,
    /// What the process of the last report had used by then.
    used: Usage,
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Task {
    const fn of(pid: i32) -> Task {
        Task { pid, call: None, ending: false }
    }
}

impl Tracer {
    fn new(root: i32, watch: Watch) -> Tracer {
        Tracer {
            root,
            tasks: BTreeMap::from([(root, Task::of(root))]),
            early: Early::default(),
            next: VecDeque::new(),
            todo: Todo::Nothing,
            newborn: None,
            watch,
            last: None,
            over: false,
            used: Usage::default(),
        }
    }

    /// The process that the command runs in.
    #[must_use]
    pub const fn root(&self) -> i32 {
        self.root
    }

    /// What the process of the last event had used by then.
    #[must_use]
    pub const fn used(&self) -> Usage {
        self.used
    }

    /// How many threads are followed now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.tasks.len()
    }

    /// Lets the thread of the last event go on, and waits for the next one. The thread of an event
    /// stands still, or is a zombie, until the next call, so it can be asked about in `/proc`.
    /// `idle` is called before a wait that may take long. `None` when all have ended.
    ///
    /// # Errors
    /// Those of `ptrace(2)` and `waitid(2)`.
    pub fn next(&mut self, idle: &mut dyn FnMut()) -> Result<Option<Event>, Errno> {
        loop {
            if let Some(event) = self.next.pop_front().filter(|_| !self.over) {
                return Ok(Some(event));
            }
            self.finish()?;
            if let Some(event) = self.end_all()? {
                return Ok(Some(event));
            }
            let report = match tracer::wait(Whom::LookNow) {
                Ok(None) => {
                    idle();
                    self.wait()
                }
                other => other,
            };
            let report = match report {
                Ok(Some(report)) => report,
                Ok(None) => continue,
                Err(Errno::ECHILD) => {
                    let left = self.early.give_up_all();
                    self.go_on(left)?;
                    match self.next.is_empty() {
                        true => return Ok(None),
                        false => continue,
                    }
                }
                Err(error) => return Err(error),
            };
            let over = self.over;
            if let Some(event) = self.take(&report)?.filter(|_| !over) {
                return Ok(Some(event));
            }
        }
    }

    /// Waits for a report, but for one that may never come only for a while.
    fn wait(&mut self) -> Result<Option<Report>, Errno> {
        let mut pause_ns = 1_000;
        while self.early.is_in_doubt() {
            if self.early.is_over() {
                self.adopt()?;
                return Ok(None);
            }
            let _ = nanosleep(&Timespec { tv_sec: 0, tv_nsec: pause_ns });
            pause_ns = (pause_ns * 2).min(5_000_000);
            if let Some(report) = tracer::wait(Whom::LookNow)? {
                return Ok(Some(report));
            }
        }
        tracer::wait(Whom::Look)
    }

    /// Does what was left for after the last event.
    fn finish(&mut self) -> Result<(), Errno> {
        if let Some(newborn) = self.newborn.take() {
            tracer::resume(newborn, Resume::Cont, 0)?;
        }
        match core::mem::replace(&mut self.todo, Todo::Nothing) {
            Todo::Nothing => Ok(()),
            // Not from a stop that nobody has looked at yet.
            Todo::Go(tid, ..) if self.is_another(tid)? => Ok(()),
            Todo::Go(tid, how, signal) => tracer::resume(tid, how, signal),
            // A thread whose leader's place another has taken is gone already.
            Todo::Take(tid) => match tracer::wait(Whom::Take(tid)) {
                Ok(_) | Err(Errno::ECHILD) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// Whether another thread has executed something since, and has this number now.
    fn is_another(&self, tid: i32) -> Result<bool, Errno> {
        let threads = self.tasks.values().filter(|task| task.pid == tid);
        if threads.take(2).count() < 2 {
            return Ok(false);
        }
        match tracer::wait(Whom::LookAt(tid)) {
            Ok(report) => Ok(report.is_some()),
            Err(Errno::ECHILD) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, report: &Report) -> Result<Option<Event>, Errno> {
        let at = now();
        let tid = report.tid;
        self.used = Usage::from_words(&report.usage);
        if report.is_end() {
            self.todo = Todo::Take(tid);
            return self.ended(at, report);
        }
        self.todo = Todo::Nothing;
        // What is taken counts: since it was looked at, it may have been killed, or another thread
        // may have executed something and have its number now.
        let report = match tracer::wait(Whom::Take(tid)) {
            Ok(Some(report)) if report.is_end() => return self.ended(at, &report),
            Ok(Some(report)) => report,
            Ok(None) | Err(Errno::ECHILD) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.used = Usage::from_words(&report.usage);
        let (event, signal) = (report.status >> 8, report.status & 0x7f);
        // It may have been killed since: the next report then says so.
        self.todo = Todo::Go(tid, self.way_on(tid), 0);
        match self.stopped(at, tid, event, report.status & 0xff) {
            Ok(Some(event)) => Ok(event),
            Ok(None) => {
                self.todo = Todo::Go(tid, self.way_on(tid), signal);
                Ok(None)
            }
            Err(Errno::ESRCH) => {
                self.todo = Todo::Nothing;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A thread in an exec is to stop when that fails.
    fn way_on(&self, tid: i32) -> Resume {
        let in_exec = self.tasks.get(&tid).is_some_and(|task| task.call.is_some());
        if in_exec { Resume::Syscall } else { Resume::Cont }
    }

    /// A stop. `None` if it is a signal's.
    fn stopped(
        &mut self,
        at: u64,
        tid: i32,
        event: i32,
        signal: i32,
    ) -> Result<Option<Option<Event>>, Errno> {
        const FORK: i32 = 1;
        const VFORK: i32 = 2;
        const CLONE: i32 = 3;
        const EXEC: i32 = 4;
        const EXIT: i32 = 6;
        const SECCOMP: i32 = 7;
        const STOP: i32 = 128;
        /// `SIGSTOP`, `SIGTSTP`, `SIGTTIN`, `SIGTTOU`.
        const JOB: core::ops::RangeInclusive<i32> = 19..=22;
        let event = match event {
            FORK | VFORK | CLONE => self.created(at, tid)?,
            EXEC => Some(self.executed(at, tid)?),
            SECCOMP => {
                self.entered(at, tid)?;
                self.leaving(at, tid)
            }
            EXIT => self.ending(at, tid)?,
            STOP if JOB.contains(&signal) && self.tasks.contains_key(&tid) => {
                self.todo = Todo::Go(tid, Resume::Listen, 0);
                None
            }
            STOP if !self.tasks.contains_key(&tid) => {
                self.early.stop(tid);
                self.todo = Todo::Nothing;
                None
            }
            0 if signal == SIGTRAP | 0x80 => self.left(at, tid)?,
            0 => return Ok(None),
            _ => None,
        };
        Ok(Some(event))
    }

    /// A thread has made another.
    fn created(&mut self, at: u64, tid: i32) -> Result<Option<Event>, Errno> {
        let child = tracer::event_message(tid)? as i32;
        let pid = self.tasks.get(&tid).map_or(tid, |task| task.pid);
        let args = call::clone_args(tid)?;
        let mut thread = args.flags.contains(uexec_core::clone::CloneFlags::CLONE_THREAD);
        if args.flags.is_empty() {
            // Who is being killed has no memory any more in which the flags of clone3 stand.
            thread = call::process_of(child).is_some_and(|process| process != child);
        }
        let known = self.tasks.contains_key(&child);
        let child_pid = if thread { pid } else { child };
        match self.early.reported(child, at) {
            Found::Nothing => drop(self.tasks.entry(child).or_insert(Task::of(child_pid))),
            Found::Stopped => {
                self.tasks.insert(child, Task::of(child_pid));
                self.newborn = Some(child);
            }
            Found::Ended(_) if thread => {}
            Found::Ended(end) => self.next.push_back(Event { at: end.at.max(at), ..end }),
            Found::GivenUp => return Ok(None),
        }
        let what = What::Created { child, args: Some(args), thread };
        Ok((!known).then_some(Event { at, pid, tid, what }))
    }

    /// A thread is about to execute something.
    fn entered(&mut self, at: u64, tid: i32) -> Result<(), Errno> {
        let info = tracer::call_info(tid)?;
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(()) };
        task.call = call::exec_call(at, tid, &info);
        self.todo = Todo::Go(tid, self.way_on(tid), 0);
        Ok(())
    }

    /// A thread has executed something; the others of its process are gone.
    fn executed(&mut self, at: u64, tid: i32) -> Result<Event, Errno> {
        let former = tracer::event_message(tid)? as i32;
        let call = self.tasks.get_mut(&former).and_then(|task| task.call.take());
        if former != tid {
            self.tasks.remove(&former);
        }
        self.tasks.insert(tid, Task::of(tid));
        self.todo = Todo::Go(tid, Resume::Cont, 0);
        let image = call::image(tid, &tracer::call_info(tid)?);
        Ok(Event { at, pid: tid, tid, what: What::Executed { call, image } })
    }

    /// A thread leaves a call that it was stopped in: an exec that has failed.
    fn left(&mut self, at: u64, tid: i32) -> Result<Option<Event>, Errno> {
        let result = tracer::call_info(tid)?.left();
        let Some(task) = self.tasks.get_mut(&tid) else { return Ok(None) };
        let (pid, call) = (task.pid, task.call.take());
        self.todo = Todo::Go(tid, Resume::Cont, 0);
        let failed = call.zip(result.filter(|r| (-4095..0).contains(r)));
        Ok(failed.map(|(call, result)| {
            let errno = Errno(result.unsigned_abs() as u16);
            Event { at, pid, tid, what: What::Failed { call, errno } }
        }))
    }

    fn leaving(&self, at: u64, tid: i32) -> Option<Event> {
        let pid = self.tasks.get(&tid).filter(|_| self.watch == Watch::Memory)?.pid;
        Some(Event { at, pid, tid, what: What::Leaving })
    }

    /// A thread is about to end. The last one of the first process of a namespace stays as it is
    /// until all others have ended: it takes them along, and the tracer too, before its own end
    /// would be reported.
    fn ending(&mut self, at: u64, tid: i32) -> Result<Option<Event>, Errno> {
        let leaving = self.leaving(at, tid);
        if let Some(task) = self.tasks.get_mut(&tid) {
            task.ending = true;
        }
        let is_first = |task: &Task| task.pid == 1 && self.root == 1;
        let mut own = self.tasks.values().filter(|task| is_first(task));
        if self.tasks.get(&tid).is_some_and(is_first) && own.all(|task| task.ending) {
            self.todo = Todo::Nothing;
            self.last = Some((tid, Ended::from_wait(tracer::event_message(tid)? as i32)));
        }
        Ok(leaving)
    }

    /// While the last one is held: ends all others, as the kernel would; if there are none, tells
    /// its own end, and lets it go.
    fn end_all(&mut self) -> Result<Option<Event>, Errno> {
        let Some((tid, how)) = self.last else { return Ok(None) };
        let left = self.early.give_up_all();
        self.go_on(left)?;
        let mut others = self.tasks.values().filter(|task| task.pid != self.root).peekable();
        if others.peek().is_some() {
            others.for_each(|task| tracer::kill(task.pid));
            return Ok(None);
        }
        self.last = None;
        self.over = true;
        self.tasks.clear();
        self.todo = Todo::Go(tid, Resume::Cont, 0);
        let what = What::Ended { how, usage: call::usage(self.root) };
        Ok(Some(Event { at: now(), pid: self.root, tid, what }))
    }

    fn ended(&mut self, at: u64, report: &Report) -> Result<Option<Event>, Errno> {
        let tid = report.tid;
        let known = self.tasks.remove(&tid);
        // Nobody can say whose thread has been of those that are gone already.
        let process = known.as_ref().map(|task| task.pid).or_else(|| call::process_of(tid));
        // Of a process the leader is the last to be reported.
        let event = (process.unwrap_or(tid) == tid).then(|| {
            self.tasks.retain(|_, task| task.pid != tid);
            let how = match report.code {
                1 => Ended::Exited(report.status),
                code => Ended::Killed { signal: report.status, core: code == 3 },
            };
            let what = What::Ended { how, usage: Usage::from_words(&report.usage) };
            Event { at, pid: tid, tid, what }
        });
        let event = match (event, known) {
            (Some(event), None) => {
                self.early.end(event, process.is_some());
                None
            }
            (event, _) => event,
        };
        self.early.doubt(tid);
        if self.early.is_in_doubt() {
            self.adopt()?;
        }
        Ok(event)
    }

    /// Lets those go on whose creator has been killed before it could report them.
    fn adopt(&mut self) -> Result<(), Errno> {
        let orphans: Vec<i32> = self.early.waiting().filter(|tid| self.is_orphan(*tid)).collect();
        let given_up = self.early.give_up(&orphans);
        self.go_on(given_up)
    }

    /// Whether whoever has created a thread or process is gone.
    fn is_orphan(&self, tid: i32) -> bool {
        let creator = match call::process_of(tid) {
            Some(pid) if pid == tid => call::parent_of(tid),
            other => other,
        };
        creator.is_some_and(|creator| self.tasks.values().all(|task| task.pid != creator))
    }

    fn go_on(&mut self, (stopped, ended): (Vec<i32>, Vec<Event>)) -> Result<(), Errno> {
        self.next.extend(ended);
        for tid in stopped {
            let pid = call::process_of(tid).unwrap_or(tid);
            self.tasks.insert(tid, Task::of(pid));
            tracer::resume(tid, Resume::Cont, 0)?;
        }
        Ok(())
    }
}
