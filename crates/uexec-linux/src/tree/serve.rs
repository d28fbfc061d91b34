//! A tree whose execs somebody else may decide: a program is then loaded by a loader that the
//! kernel executes in its place. All other execs, those that fail among them, are the kernel's own;
//! nothing else is stopped at but the beginning of processes, and signals.
//!
//! The exec gets another path: that of the tracer's descriptor of the loader, in `/proc`, written to
//! where nothing is in the thread's memory, [behind the vdso's code](super::behind). Where that path
//! does not lead there, the thread is made to take a descriptor of the loader from the tracer or,
//! where it may not, to make a file in memory that the tracer writes the loader to; and to execute
//! that; meanwhile its signals wait, as those of a thread in an exec do. What is to be loaded is
//! written to the loader's memory before it runs. Nothing that a program uses of its own memory is
//! changed, which a `vfork(2)` child has in common with its parent. Where anything of this fails, the
//! exec is the kernel's; a process that can be neither led on nor back is killed, and no other suffers.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use uexec_core::Errno;

use super::call::RawCall;
use super::handed::{Image, Prepared};
use super::inject::{Name, Place};
use super::steps::{EXEC_OPTION, Serving, Stage};
use super::{OPTIONS, SIGTRAP, Tracer};
use crate::ffi::tracer::{self, CallInfo, Report, Resume, Whom};
use crate::procfs::{Text, read_file};

/// `PTRACE_EVENT_EXEC`.
const EXEC: i32 = 4;

/// An exec that is about to happen.
#[derive(Debug)]
pub struct Asked {
    /// The thread.
    pub tid: i32,
    /// The descriptor of `execveat`.
    pub dir: Option<i32>,
    /// `AT_…` flags of `execveat`.
    pub flags: u32,
    /// The path.
    pub path: Vec<u8>,
}

/// How an exec is served.
#[derive(Debug)]
pub struct Served {
    /// What the loader is told: which exec, and how.
    pub told: Vec<u8>,
    /// This descriptor is close-on-exec, and must outlive the loader's exec.
    pub keep: Option<i32>,
    /// The thread has the tracer's root directory, in the same mount namespace.
    pub same_root: bool,
    /// Signals that it ignores.
    pub ignores: u64,
}

/// Something has gone wrong with a thread, whose exec is the kernel's therefore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The thread.
    pub tid: i32,
    /// What the kernel said.
    pub errno: Errno,
    /// That was too late: its process is killed.
    pub killed: bool,
}

/// An exec that is to be served, of a thread that is about to stop for its tracer.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) info: CallInfo,
    pub(super) raw: RawCall,
    pub(super) empty: u64,
    pub(super) served: Served,
    /// The sixth argument by which the filter knows that its tracer is to be told; with the next
    /// number nobody is.
    pub(super) mark: u32,
}

/// `SIGTRAP`.
const TRAP: u64 = 1 << (SIGTRAP - 1);

pub(super) struct Server<'a> {
    loader: &'a Prepared<'a>,
    decide: &'a mut dyn FnMut(&Asked) -> Option<Served>,
    tell: &'a mut dyn FnMut(&Trouble),
    /// Whether descriptors can be taken from the tracer.
    can_take: bool,
    under_way: BTreeMap<i32, Serving>,
    coming: BTreeMap<i32, Coming>,
    /// How a thread goes on that has nothing more to do for us.
    done: Resume,
}

impl Tracer {
    /// Lets the tree run, until all of it has ended. Of each exec `decide` says whether it is
    /// served; the thread stands still meanwhile. `tell` hears of each thread that something goes
    /// wrong with, while that stands still.
    ///
    /// # Errors
    /// Those of `waitid(2)` and of making the loader.
    pub fn serve(
        self,
        image: Image<'_>,
        decide: &mut dyn FnMut(&Asked) -> Option<Served>,
        tell: &mut dyn FnMut(&Trouble),
    ) -> Result<(), Errno> {
        Server::new(&Prepared::new(image)?, decide, tell, Resume::Cont).serve()
    }
}

impl<'a> Server<'a> {
    pub(super) fn new(
        loader: &'a Prepared<'a>,
        decide: &'a mut dyn FnMut(&Asked) -> Option<Served>,
        tell: &'a mut dyn FnMut(&Trouble),
        done: Resume,
    ) -> Server<'a> {
        let (under_way, coming) = (BTreeMap::new(), BTreeMap::new());
        Server { loader, decide, tell, can_take: true, under_way, coming, done }
    }

    pub(super) fn decide(&mut self, asked: &Asked) -> Option<Served> {
        (self.decide)(asked)
    }

    /// Until nobody is left whom this thread traces.
    pub(super) fn serve(&mut self) -> Result<(), Errno> {
        loop {
            match tracer::wait(Whom::TakeAny) {
                Ok(Some(report)) => self.take(&report),
                Ok(None) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// One more is about to stop.
    pub(super) fn expect(&mut self, tid: i32, coming: Coming) {
        self.coming.insert(tid, coming);
    }

    fn take(&mut self, report: &Report) {
        let tid = report.tid;
        if report.is_end() {
            self.under_way.remove(&tid);
            self.coming.remove(&tid);
            return;
        }
        let event = report.status >> 8;
        let done = self.stopped(tid, event, report.status & 0xff);
        match done.and_then(|(how, signal)| tracer::resume(tid, how, signal)) {
            // That it has been killed is said by the next report.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                // It may be anywhere between its call and the loader's beginning.
                let halfway = self.under_way.remove(&tid).is_some() || event == EXEC;
                let killed = halfway || tracer::resume(tid, self.done, 0).is_err();
                (self.tell)(&Trouble { tid, errno, killed });
                if killed {
                    tracer::kill(tid);
                }
            }
        }
    }

    /// A stop: how it goes on, and with which signal.
    fn stopped(&mut self, tid: i32, event: i32, signal: i32) -> Result<(Resume, i32), Errno> {
        const SECCOMP: i32 = 7;
        const STOP: i32 = 128;
        /// `SIGSTOP`, `SIGTSTP`, `SIGTTIN`, `SIGTTOU`.
        const JOB: core::ops::RangeInclusive<i32> = 19..=22;
        Ok(match event {
            SECCOMP => (self.entered(tid)?, 0),
            EXEC => {
                self.executed(tid)?;
                (self.done, 0)
            }
            STOP if JOB.contains(&signal) => (Resume::Listen, 0),
            STOP => {
                self.came(tid)?;
                (self.way_on(tid), 0)
            }
            0 if signal == SIGTRAP | 0x80 => (self.at_call(tid)?, 0),
            0 if signal == SIGTRAP && self.goes_straight(tid) => (self.at_call(tid)?, 0),
            0 => (self.way_on(tid), signal),
            _ => (self.way_on(tid), 0),
        })
    }

    /// A thread that makes a call for us stops when that is over.
    fn way_on(&self, tid: i32) -> Resume {
        match self.under_way.get(&tid).map(|s| s.stage) {
            None => self.done,
            Some(Stage::Again | Stage::Exec | Stage::Own) => Resume::Cont,
            Some(Stage::Straight) => Resume::Step,
            Some(_) => Resume::Syscall,
        }
    }

    /// Its only call is the loader's exec.
    fn goes_straight(&self, tid: i32) -> bool {
        self.under_way.get(&tid).is_some_and(|s| s.stage == Stage::Straight)
    }

    /// A thread has stopped, its call not made. It executes the loader at once, or makes its call
    /// again, and nothing before.
    fn came(&mut self, tid: i32) -> Result<(), Errno> {
        let Some(Coming { info, raw, empty, served, mark }) = self.coming.remove(&tid) else {
            return Ok(());
        };
        let mut place = Place::new(tid, &info)?;
        let mask = tracer::signal_mask_of(tid)?;
        let sixth = place.mark(mark.into());
        // A signal that is forced on who blocks or ignores it would be neither, afterwards.
        let straight = (mask | served.ignores) & TRAP == 0;
        let path =
            Some(()).filter(|()| straight).and_then(|()| self.path_for(tid, &place, &served));
        let mut serving = Serving::new(place, raw, empty, served, Some(mask), Some(sixth));
        tracer::set_signal_mask_of(tid, if path.is_some() { !TRAP } else { u64::MAX })?;
        match path {
            Some(path) => {
                serving.stage = Stage::Straight;
                place.mark(u64::from(mark) + 1);
                place.then(Name::Execveat, serving.by(path))?;
            }
            None => place.back()?,
        }
        self.under_way.insert(tid, serving);
        Ok(())
    }

    /// A thread is about to execute something.
    fn entered(&mut self, tid: i32) -> Result<Resume, Errno> {
        match self.under_way.get(&tid).map(|s| s.stage) {
            // What it was made to.
            Some(Stage::Exec) => return Ok(Resume::Syscall),
            Some(Stage::Again) => {
                let again = self.under_way.remove(&tid);
                return again.map_or(Ok(self.done), |serving| self.begin(tid, serving));
            }
            Some(_) => return self.own(tid),
            None => {}
        }
        let info = tracer::call_info(tid)?;
        let Some(raw) = RawCall::of(&info) else { return Ok(Resume::Cont) };
        let Some((path, empty)) = raw.path(tid) else { return Ok(Resume::Cont) };
        let asked = Asked { tid, dir: raw.dir, flags: raw.flags, path };
        let Some(served) = self.decide(&asked) else { return Ok(Resume::Cont) };
        let place = Place::new(tid, &info)?;
        self.begin(tid, Serving::new(place, raw, empty, served, None, None))
    }

    fn begin(&mut self, tid: i32, mut serving: Serving) -> Result<Resume, Errno> {
        let path = self.path_for(tid, &serving.place, &serving.served);
        serving.stage = if path.is_some() { Stage::Path } else { Stage::Pidfd };
        if let Err(errno) = serving.begin(tid, path, self.loader, self.can_take) {
            let _ = serving.unmask(tid);
            let _ = tracer::set_options(tid, OPTIONS & !EXEC_OPTION);
            return Err(errno);
        }
        self.under_way.insert(tid, serving);
        Ok(Resume::Syscall)
    }

    /// The address of the loader's path in a thread's memory, if that is likely to lead there.
    fn path_for(&self, tid: i32, place: &Place, served: &Served) -> Option<u64> {
        if !served.same_root || served.keep.is_some() || !place.is_native() {
            return None;
        }
        self.loader.behind.as_ref()?.put(tid)
    }

    /// A thread is at the beginning or the end of a call that it was made to make.
    fn at_call(&mut self, tid: i32) -> Result<Resume, Errno> {
        let info = tracer::call_info(tid)?;
        let Some(serving) = self.under_way.get_mut(&tid) else { return Ok(self.done) };
        if info.enters() {
            return Ok(Resume::Syscall);
        }
        if serving.stage == Stage::Own {
            let serving = self.under_way.remove(&tid);
            serving.and_then(|s| Some(s.place.unmark(s.sixth?))).transpose()?;
            return Ok(self.done);
        }
        let result = info.left().unwrap_or(-1);
        // Not only this one is forbidden to.
        self.can_take &= result >= 0 || !matches!(serving.stage, Stage::Pidfd | Stage::Take);
        if matches!(serving.stage, Stage::Path | Stage::Straight) {
            // It may not look there, or has no room for the loader.
            let (name, args) = serving.first(tid, self.loader, self.can_take)?;
            serving.place.then(name, args)?;
            return Ok(self.way_on(tid));
        }
        serving.left(tid, result, self.loader)?;
        Ok(self.way_on(tid))
    }

    /// A thread's own call begins. That has no mark any more when it fails.
    fn own(&mut self, tid: i32) -> Result<Resume, Errno> {
        if let Some(serving) = self.under_way.get(&tid).filter(|s| s.sixth.is_some()) {
            serving.unmask(tid)?;
            return Ok(Resume::Syscall);
        }
        self.under_way.remove(&tid);
        Ok(self.done)
    }

    /// The loader has taken a thread's process.
    fn executed(&mut self, tid: i32) -> Result<(), Errno> {
        let former = tracer::event_message(tid)? as i32;
        if let Some(serving) = self.under_way.remove(&former).filter(|s| s.stage != Stage::Own) {
            tracer::write_memory(tid, self.loader.image.told_at, &serving.served.told)?;
            serving.unmask(tid)?;
        }
        // Its leader, whose place it has taken, is gone.
        self.under_way.remove(&tid);
        tracer::set_options(tid, OPTIONS & !EXEC_OPTION)
    }
}

/// Whether a descriptor of a thread is close-on-exec; `None` where it is not known.
#[must_use]
pub fn is_cloexec_of(tid: i32, fd: i32) -> Option<bool> {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let name = Text::new(format_args!("/proc/{tid}/fdinfo/{fd}"));
    let text = read_file(name.as_c_str());
    let line = text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"flags:"))?;
    let flags = core::str::from_utf8(line).ok()?.trim();
    Some(u32::from_str_radix(flags, 8).ok()? & O_CLOEXEC != 0)
}
