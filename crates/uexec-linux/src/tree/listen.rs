//! A tree that nobody traces: of each exec, and of nothing else, a process aside is asked by a system
//! call filter, and mostly answers that it may go on. To have one served it traces that one thread,
//! from its exec to the loader's beginning.
//!
//! Who asks is woken by no signal until it has its answer, once the question has been received; a
//! signal with a handler (without `SA_RESTART`) that comes in the few microseconds before that makes
//! the exec fail with `EINTR`. Those who are traced by others or, without privilege, not dumpable,
//! are not served. When the process aside is killed, execs fail with `ENOSYS`.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use uexec_core::Errno;

use super::call::RawCall;
use super::handed::{Image, Prepared};
use super::serve::{Asked, Coming, Served, Server, Trouble};
use super::start::{ALLOW, Half, Line, Told, apart, program, settle, unprivileged};
use super::{OPTIONS, Role};
use crate::ffi::listener::{self, Answer, Notice};
use crate::ffi::tracer::{self, Resume, Whom};
use crate::ffi::{errno, thread};
use crate::procfs;

/// Answers for a tree.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    mark: u32,
}

/// Begins to ask a new process of every exec of this one and of those that it will make. That process
/// keeps standard error only.
///
/// # Errors
/// `EPERM` where this process is traced, or tracing is forbidden between processes that are not each
/// other's ancestors; `EBUSY` where somebody answers for this process already; `EINVAL` before Linux
/// 5.19; what a filter or a limit says. This process may then have `no_new_privs` set.
///
/// # Safety
/// This process must have one thread.
pub unsafe fn listen() -> Result<Role<Listener>, Errno> {
    let root = thread::getpid();
    let mut mark = [0; 4];
    rustix::rand::getrandom(&mut mark, rustix::rand::GetRandomFlags::empty()).map_err(errno)?;
    let mark = u32::from_ne_bytes(mark) & !1;
    // SAFETY: one thread, by the caller's promise.
    let line = match unsafe { apart(root == 1) }? {
        Half::Aside(line) => return Ok(Role::Tracer(answering(root, mark, line))),
        Half::Here(line) => line,
    };
    // Who is not there cannot be told.
    line.hear().ok_or(Errno::EAGAIN)?;
    // Whether it may is found out before anything is changed, by a descriptor of no matter.
    line.tell(line.number());
    line.agree()?;
    let fd = unprivileged(|| listener::install(&program(Told::Listener(mark))))?;
    line.tell(fd.as_raw_fd() as u32);
    line.agree()?;
    Ok(Role::Traced)
}

/// Whether somebody answers for this process already. A child that has a use for nothing else is to
/// ask for the same.
pub(super) fn is_answered() -> bool {
    let status = procfs::read_file(c"/proc/self/status");
    if status.split(|byte| *byte == b'\n').any(|line| line == b"Seccomp:\t0") {
        return false;
    }
    const WALL: u64 = 0x4000_0000;
    // With no signal at its end, as that might be ignored.
    // SAFETY: the child makes system calls only.
    match unsafe { tracer::fork(0) } {
        Ok(0) => {
            let busy = unprivileged(|| listener::install(&[ALLOW])).err() == Some(Errno::EBUSY);
            tracer::exit(u8::from(busy))
        }
        child => child.is_ok_and(|pid| thread::wait(pid, WALL) == Ok(Some(1 << 8))),
    }
}

/// The beginning of the process aside.
fn answering(root: i32, mark: u32, line: Line) -> Listener {
    line.tell(0);
    // Without a pidfd nothing can be taken.
    let other = Pid::from_raw(root).ok_or(Errno::ESRCH);
    let other = other.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).map_err(errno));
    let take = |number: u32| {
        let other = other.as_ref().map_err(|error| *error)?;
        trace_for_a_moment(root)?;
        pidfd_getfd(other, number as i32, PidfdGetfdFlags::empty()).map_err(errno)
    };
    let heard = || {
        let Some(number) = line.hear() else { tracer::exit(0) };
        let taken = take(number);
        line.tell(taken.as_ref().err().map_or(0, |error| error.0.into()));
        taken.unwrap_or_else(|_| tracer::exit(0))
    };
    // One of the line's own: were it kept, its end would never be heard.
    drop(heard());
    let fd = heard();
    // Their descriptors must not be closed behind their owners' backs.
    drop((line, other));
    settle(&[fd.as_fd()]);
    // Before Linux 6.6 it costs more.
    let _ = listener::wake_nearby(fd.as_fd());
    Listener { fd, mark }
}

/// What serving takes.
fn trace_for_a_moment(tid: i32) -> Result<(), Errno> {
    thread::ptrace(thread::Trace::Seize, tid, OPTIONS)?;
    thread::ptrace(thread::Trace::Interrupt, tid, 0)?;
    tracer::wait(Whom::TakeAny)?;
    tracer::resume(tid, Resume::Detach, 0)
}

impl Listener {
    /// Waits until all of the tree have ended.
    pub fn wait(&self) {
        // Asking for nothing is asking for the end.
        while !self.look(PollFlags::empty()).contains(PollFlags::HUP) {}
    }

    /// Waits until there is something to receive, if that is asked for, or the end.
    fn look(&self, what: PollFlags) -> PollFlags {
        let mut polled = [PollFd::new(&self.fd, what)];
        match poll(&mut polled, None) {
            Ok(_) => polled[0].revents(),
            Err(_) => PollFlags::empty(),
        }
    }

    /// The loader, for all threads that serve.
    ///
    /// # Errors
    /// Those of making a file in memory.
    pub fn prepare<'a>(&self, image: Image<'a>) -> Result<Prepared<'a>, Errno> {
        Prepared::new(image)
    }

    /// Answers: as one of several threads for ever, `alone` until all of the tree have ended. Of each
    /// exec `decide` says whether it is served. `tell` hears of each thread that something goes wrong
    /// with, while that stands still.
    ///
    /// # Errors
    /// When nothing more can be received.
    pub fn serve(
        &self,
        loader: &Prepared<'_>,
        alone: bool,
        decide: &mut dyn FnMut(&Asked) -> Option<Served>,
        tell: &mut dyn FnMut(&Trouble),
    ) -> Result<(), Errno> {
        let mut server = Server::new(loader, decide, tell, Resume::Detach);
        while !alone || !self.look(PollFlags::IN).contains(PollFlags::HUP) {
            self.next(&mut server)?;
        }
        Ok(())
    }

    fn next(&self, server: &mut Server<'_>) -> Result<(), Errno> {
        match listener::receive(self.fd.as_fd()) {
            Ok(notice) => self.answer(server, &notice),
            Err(Errno::EINTR | Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn answer(&self, server: &mut Server<'_>, notice: &Notice) -> Result<(), Errno> {
        let fd = self.fd.as_fd();
        let coming = self.decide(server, notice);
        // One that somebody else traces is not for us.
        let seized = coming.filter(|_| self.seize(notice.tid));
        let Some(coming) = seized else {
            // Who has been killed meanwhile needs no answer.
            let _ = listener::answer(fd, notice.id, Answer::Continue);
            return Ok(());
        };
        // Only now is it known to be that thread, and not another of its number.
        if listener::waits(fd, notice.id) {
            server.expect(notice.tid, coming);
            let _ = listener::answer(fd, notice.id, Answer::Again);
        }
        server.serve()
    }

    fn decide(&self, server: &mut Server<'_>, notice: &Notice) -> Option<Coming> {
        let (tid, info) = (notice.tid, notice.info());
        let raw = RawCall::of(&info)?;
        let (path, empty) = raw.path(tid)?;
        let served = server.decide(&Asked { tid, dir: raw.dir, flags: raw.flags, path })?;
        Some(Coming { info, raw, empty, served, mark: self.mark })
    }

    /// Traces a thread, which is to stop when it has its answer.
    fn seize(&self, tid: i32) -> bool {
        let ask = |what, data| thread::ptrace(what, tid, data).is_ok();
        let seized = ask(thread::Trace::Seize, OPTIONS);
        // That fails only for who is ending, as is then reported.
        let _ = seized && ask(thread::Trace::Interrupt, 0);
        seized
    }
}
