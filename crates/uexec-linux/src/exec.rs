//! Exec from any process: with other threads, from a thread that is not the first, with handlers,
//! timers and thousands of descriptors. Everything that can fail comes first; a failing exec leaves
//! its caller as it was.
//!
//! ```
//! use uexec_linux::exec::Exec;
//!
//! std::thread::spawn(|| loop { std::thread::park() });
//! let error = Exec::new("/bin/sh").args(["-c", "exit $X"]).env("X", "0").exec();
//! panic!("still here: {error}");
//! ```
//!
//! # What is not as under the kernel
//!
//! - A thread that is not the leader cannot hand everything over to it, which is the one that goes
//!   on: where its credentials, seccomp filters, namespaces, descriptors or directories are not the
//!   leader's, the exec is refused (`EOPNOTSUPP`).
//! - Where the leader has ended (`pthread_exit(3)` of the main thread), a thread waits in `vfork(2)`,
//!   or another process uses this memory (a `vfork(2)` child does, its parent's), nobody in this
//!   process can do it. With [`Exec::loader`] the kernel then starts a loader in memory of its own,
//!   which does the rest; without, the exec is refused (`EAGAIN`).
//! - A thread that blocks all signals behind the C library's back is stopped by `ptrace(2)`. Where that
//!   is refused (a filter, a security module, a tracer that is there already), it takes a loader as
//!   well; without, the exec is refused with the errno of that call, `EPERM` usually.
//! - So it is with a restartable sequence area (`rseq(2)`) that not glibc has registered: where it is
//!   nobody tells, and it cannot be dropped by who does not know. That there is one shows; without a
//!   loader the exec is refused (`EOPNOTSUPP`). Of a leader that is not the caller and blocks all
//!   signals, it shows too late: without a loader the process then ends by `SIGSEGV`.
//! - Memory that is sealed (`mseal(2)`) cannot be unmapped: it takes a loader as well; without, the exec
//!   is refused (`EOPNOTSUPP`).
//! - The keyrings of process and thread are emptied, but stay.
//! - Permissions for ports (`ioperm(2)`, `iopl(2)`) are those of the thread that goes on, the leader;
//!   of another thread's nobody can tell.
//! - `SIGPIPE` stays ignored if it is, as `execve(2)` leaves it; Rust's runtime has ignored it at its
//!   start. [`Exec::default_signal`] makes it what `std::process::Command` makes it.
//! - A `userfaultfd(2)` descriptor that the program inherits and that wants to hear of unmapping is
//!   waited for, where nobody else reads it; an io_uring with a polling thread (`IORING_SETUP_SQPOLL`)
//!   that it inherits keeps that thread.
//! - Not from a signal handler that may have interrupted the allocator, and not on a small alternate
//!   stack (`sigaltstack(2)`): planning allocates, and takes up to 256 KiB of stack.
//! - About 640 KiB of memory have to be free, else the exec fails with `ENOMEM`.
//!
//! As during any `execve(2)`, other threads cannot make threads for the moment in which the kernel is
//! asked about the file: `clone(2)` gives them `EAGAIN`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use uexec_core::world::At;
use uexec_core::{Errno, ExecError, KERNEL_FORMATS, Plan, Privileges, Registry, plan};

use crate::host::Host;
use crate::process::Caller;
pub use crate::room::ask as room;
use crate::share::{OtherWay, Owners, owners};
use crate::threads::{self, Ending, Obstacle, Stopped};
use crate::{Prepared, ffi, is_cloexec, prepare, sealed};

/// Bytes of a path, an argument or a name, from whatever holds them. They end at their first NUL.
pub trait Bytes {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

macro_rules! bytes {
    ($($type:ty: $self:ident => $bytes:expr;)*) => {
        $(impl Bytes for $type {
            fn bytes(&$self) -> &[u8] {
                $bytes
            }
        })*
    };
}

bytes! {
    [u8]: self => self;
    Vec<u8>: self => self;
    str: self => self.as_bytes();
    alloc::string::String: self => self.as_bytes();
    core::ffi::CStr: self => self.to_bytes();
    alloc::ffi::CString: self => self.as_bytes();
}

#[cfg(feature = "std")]
bytes! {
    std::ffi::OsStr: self => std::os::unix::ffi::OsStrExt::as_bytes(self);
    std::ffi::OsString: self => std::os::unix::ffi::OsStrExt::as_bytes(self.as_os_str());
    std::path::Path: self => self.as_os_str().bytes();
    std::path::PathBuf: self => self.as_os_str().bytes();
}

impl<const N: usize> Bytes for [u8; N] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl<T: Bytes + ?Sized> Bytes for &T {
    fn bytes(&self) -> &[u8] {
        (**self).bytes()
    }
}

fn owned(of: impl Bytes) -> Vec<u8> {
    of.bytes().iter().copied().take_while(|b| *b != 0).collect()
}

/// A program to become, with arguments and environment: `execve(2)` put together step by step.
#[derive(Clone)]
#[must_use = "nothing happens before exec()"]
pub struct Exec<'a> {
    what: uexec_core::Exec,
    formats: Registry<'a>,
    loader: Option<&'a [u8]>,
    loader_knows: &'a [&'a str],
    defaults: u64,
}

impl core::fmt::Debug for Exec<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Exec").field("what", &self.what).finish_non_exhaustive()
    }
}

impl From<uexec_core::Exec> for Exec<'_> {
    fn from(what: uexec_core::Exec) -> Self {
        Exec { what, formats: KERNEL_FORMATS, loader: None, loader_knows: &[], defaults: 0 }
    }
}

impl<'a> Exec<'a> {
    /// A program by its path, which is also its first argument. The environment is empty.
    pub fn new(path: impl Bytes) -> Exec<'a> {
        uexec_core::Exec::new(owned(path)).into()
    }

    /// The program behind an open descriptor, as by `fexecve(3)`. It has no first argument yet.
    pub fn fd(fd: i32) -> Exec<'a> {
        let mut what = uexec_core::Exec::new([]);
        what.argv.clear();
        Exec::from(what).at(fd).flags(uexec_core::flags::AT_EMPTY_PATH)
    }

    /// A relative path starts at this directory (`execveat(2)`).
    pub fn at(mut self, dir: i32) -> Self {
        self.what.at = At::Fd(dir);
        self.what.fd_cloexec = is_cloexec(dir).unwrap_or(false);
        self
    }

    /// Flags of `execveat(2)`: [`flags`](uexec_core::flags).
    pub fn flags(mut self, flags: u32) -> Self {
        self.what.flags = flags;
        self
    }

    /// Another argument.
    pub fn arg(mut self, arg: impl Bytes) -> Self {
        self.what.argv.push(owned(arg));
        self
    }

    /// More arguments.
    pub fn args<T: Bytes>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.what.argv.extend(args.into_iter().map(owned));
        self
    }

    /// The first argument, instead of the path.
    pub fn argv0(mut self, name: impl Bytes) -> Self {
        let name = owned(name);
        match self.what.argv.first_mut() {
            Some(first) => *first = name,
            None => self.what.argv.push(name),
        }
        self
    }

    /// Adds a variable to the environment, or replaces it.
    pub fn env(mut self, name: impl Bytes, value: impl Bytes) -> Self {
        let mut pair = owned(name);
        pair.push(b'=');
        let name_len = pair.len();
        pair.extend(owned(value));
        let same = |old: &&mut Vec<u8>| old.get(..name_len) == pair.get(..name_len);
        match self.what.envp.iter_mut().find(same) {
            Some(old) => *old = pair,
            None => self.what.envp.push(pair),
        }
        self
    }

    /// Adds variables: `.envs(std::env::vars_os())` takes over this process's own (with the feature
    /// `std`).
    pub fn envs<K: Bytes, V: Bytes>(self, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        pairs.into_iter().fold(self, |this, (name, value)| this.env(name, value))
    }

    /// Removes all variables.
    pub fn env_clear(mut self) -> Self {
        self.what.envp.clear();
        self
    }

    /// What is done with a file whose execution would grant privilege; refused by default.
    pub fn privileges(mut self, privileges: Privileges) -> Self {
        self.what.privileges = privileges;
        self
    }

    /// Uses this program interpreter instead of the one the program names.
    pub fn interp(mut self, path: impl Bytes) -> Self {
        self.what.interp = Some(owned(path));
        self
    }

    /// Asks these formats instead of the kernel's.
    pub fn formats(mut self, formats: Registry<'a>) -> Self {
        self.formats = formats;
        self
    }

    /// A loader for the cases in which this process cannot be replaced from inside: the image of a
    /// static program that the kernel starts and that loads the program.
    pub fn loader(mut self, image: &'a [u8]) -> Self {
        self.loader = Some(image);
        self
    }

    /// The names of formats that the [loader](Exec::loader) knows besides scripts and ELF, as it was
    /// told. Programs of others are not left to it.
    pub fn loader_knows(mut self, formats: &'a [&'a str]) -> Self {
        self.loader_knows = formats;
        self
    }

    /// Gives a signal its default action even if it is ignored.
    pub fn default_signal(mut self, signal: i32) -> Self {
        if (1..=64).contains(&signal) {
            self.defaults |= 1 << (signal - 1);
        }
        self
    }

    /// Replaces this process by the program. Returns only when that fails, and then every thread,
    /// handler, mapping and descriptor is as before.
    ///
    /// From another thread than the leader the program has the process's id as thread id, as under
    /// the kernel. Destructors do not run, and what is buffered is not written.
    #[must_use = "it has failed when it returns"]
    pub fn exec(self) -> ExecError {
        if let Err(errno) = room() {
            return ExecError::host("making room for the exec", errno);
        }
        let owners = owners();
        if owners == Owners::Others {
            // What it takes of somebody else's memory would stay there.
            return self.replace(owners);
        }
        let (mut this, mut error) = (Some(self), None);
        crate::room::on_own_stack(&mut || error = this.take().map(|this| this.replace(owners)));
        error.unwrap_or_else(|| ExecError::host("exec", Errno::EINVAL))
    }

    fn replace(self, owners: Owners) -> ExecError {
        match self.go(owners, false) {
            Err(error) => error,
            Ok(Ready { stopped, ending, kept }) => {
                core::mem::forget(kept);
                match stopped {
                    // SAFETY: the list replaces the process, which is given away.
                    Some(stopped) => unsafe { stopped.end(ending) },
                    None => {
                        ffi::thread::set_mask(u64::MAX);
                        // SAFETY: one thread, whose memory is its own; it is given away.
                        unsafe { threads::finish_alone(&ending) }
                    }
                }
            }
        }
    }

    /// Does all of [`Exec::exec`] but the last step: decides, prepares, stops the other threads; then
    /// lets them go on and undoes the rest. What is left to the [loader](Exec::loader) is an error
    /// here.
    ///
    /// # Errors
    /// That of the exec.
    pub fn rehearse(mut self) -> Result<(), ExecError> {
        self.loader = None;
        self.go(owners(), true).map(drop)
    }

    fn go(mut self, owners: Owners, rehearsal: bool) -> Result<Ready, ExecError> {
        self.what.untold = true;
        let mut other_way = OtherWay::None;
        // Of several threads' memory it is asked when they stand still.
        let sealed = owners == Owners::Thread && sealed::any();
        if owners != Owners::Thread || sealed || ffi::has_unknown_rseq() {
            if let Some(image) = self.loader.filter(|_| self.what.interp.is_none()) {
                other_way = OtherWay::new(image, &self.what, self.defaults)?;
            }
            if threads::is_leader_dead() {
                return other_way.or(LEADER, Errno::EAGAIN);
            }
        }
        let mut host = Host::new();
        let plan = plan(self.what, &mut host, &self.formats)?;
        let knows =
            |name: &str| ["elf", "script"].iter().chain(self.loader_knows).any(|n| *n == name);
        if !plan.chain.iter().all(|l| knows(&l.format)) {
            // Of formats that the loader does not know.
            other_way = OtherWay::None;
        }
        if owners == Owners::Others {
            drop((plan, host));
            let why = "exec from a process whose memory is another's too (vfork, CLONE_VM)";
            return other_way.or(why, Errno::EAGAIN);
        }
        if sealed {
            drop((plan, host));
            return other_way.or(SEALED, Errno::EOPNOTSUPP);
        }
        let caller = match Caller::thread() {
            Ok(caller) => caller,
            Err(why) => return other_way.or(why, Errno::EOPNOTSUPP),
        };
        let prepared = prepare(&plan, host, &caller)?;
        let mut ending = Box::new(prepared.ending(self.defaults));
        if owners == Owners::Thread {
            return Ok(Ready { stopped: None, ending, kept: (prepared, plan, caller) });
        }
        let stopped = match threads::stop_others() {
            Ok(stopped) => stopped,
            Err(Obstacle::DeadLeader) => return other_way.or(LEADER, Errno::EAGAIN),
            Err(Obstacle::Vfork) => {
                return other_way.or("exec while a thread waits in vfork(2)", Errno::EAGAIN);
            }
            Err(Obstacle::Call(name, errno)) => return other_way.or(name, errno),
        };
        if sealed::any() {
            drop(stopped);
            return other_way.or(SEALED, Errno::EOPNOTSUPP);
        }
        if stopped.leader_has_unknown_rseq() {
            drop(stopped);
            return other_way.or(UNKNOWN_RSEQ, Errno::EOPNOTSUPP);
        }
        if let Some(inherited) = &caller.inherited
            && !rehearsal
            && let Err(errno) = inherited.give_schedule()
        {
            drop(stopped);
            return other_way.or("giving the main thread this one's priority", errno);
        }
        ending.other_way = other_way;
        Ok(Ready { stopped: Some(stopped), ending, kept: (prepared, plan, caller) })
    }
}

/// Everything is in place. Dropping it lets the other threads go on, and undoes the rest.
struct Ready {
    /// Dropped first, as freeing may take locks that stopped threads hold.
    stopped: Option<Stopped>,
    ending: Box<Ending>,
    /// What may only be freed when the others run again.
    kept: (Prepared, Plan, Caller),
}

pub(crate) const UNKNOWN_RSEQ: &str =
    "exec from a thread whose restartable sequence area nobody tells of";
const SEALED: &str = "exec from a process with sealed memory (mseal(2))";
const LEADER: &str = "exec from a process whose main thread has ended";

/// Replaces this process by the program: [`Exec::exec`] of what is there already.
#[must_use = "it has failed when it returns"]
pub fn exec(what: uexec_core::Exec, formats: &Registry<'_>) -> ExecError {
    Exec::from(what).formats(formats.clone()).exec()
}
