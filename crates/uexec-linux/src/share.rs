//! Whose memory this is. Where another process uses it too, as the parent of a `vfork(2)` child
//! does, nothing of it may be replaced: then the kernel has to start a loader in memory of its own.
//! Never replaces memory.

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::vec::Vec;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::FdFlags;
use uexec_core::world::At;
use uexec_core::{Errno, Exec, ExecError};

use crate::ffi::{self, thread};
use crate::procfs::{Text, read_hex};
use crate::threads;
use thread::Shared;

/// Who uses this process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// This thread alone.
    Thread,
    /// The threads of this process.
    Process,
    /// Another process too, or nobody can tell.
    Others,
}

/// Asks the kernel.
///
/// `unshare(2)` with `CLONE_VM` changes nothing; it works exactly where there is one thread and the
/// memory is its own.
pub(crate) fn owners() -> Owners {
    const CLONE_VM: u64 = 0x100;
    const CLONE_SIGHAND: u64 = 0x800;
    const CLONE_THREAD: u64 = 0x1_0000;
    let asked = thread::unshare(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD);
    if asked.is_ok() {
        return Owners::Thread;
    }
    let threads = threads::count();
    if threads == Ok(1) && asked == Err(Errno::EINVAL) {
        return Owners::Others;
    }
    match (is_parents(), threads) {
        (Ok(false), Ok(1)) => Owners::Thread,
        (Ok(false), Ok(_)) => Owners::Process,
        _ => Owners::Others,
    }
}

/// Whether the parent has the same memory.
fn is_parents() -> Result<bool, Errno> {
    let parent = rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid);
    if parent == 0 {
        // Of another PID namespace.
        return Ok(false);
    }
    thread::kcmp(thread::getpid(), parent, Shared::Memory).or_else(|_| changes_together(parent))
}

/// The same where `kcmp(2)` is refused: what `/proc/PID/coredump_filter` says belongs to the memory,
/// anybody may read it, and it can be changed for a moment.
fn changes_together(parent: i32) -> Result<bool, Errno> {
    let of_parent = Text::new(format_args!("/proc/{parent}/coredump_filter"));
    let of_parent = of_parent.as_c_str();
    let own = c"/proc/self/coredump_filter";
    let ask = |path| read_hex(path).ok_or(Errno::EACCES);
    let before = ask(own)?;
    if ask(of_parent)? != before {
        return Ok(false);
    }
    let set = |value: u64| {
        let fd = openat(CWD, own, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(fd, Text::new(format_args!("{value:#x}")).as_c_str().to_bytes())
    };
    set(before ^ 1).map_err(ffi::errno)?;
    let together = ask(of_parent).map(|now| now == before ^ 1);
    set(before).map_err(ffi::errno)?;
    together
}

/// The loader as a program of its own, with everything it has to be told.
#[derive(Debug)]
pub(crate) enum OtherWay {
    /// There is none.
    None,
    /// There is.
    Loader(Box<Loader>),
}

#[derive(Debug)]
pub(crate) struct Loader {
    image: OwnedFd,
    descriptor: Option<OwnedFd>,
    _strings: Vec<CString>,
    argv: Vec<u64>,
    envp: Vec<u64>,
    /// The signal mask of the new program.
    mask: u64,
    /// Signals that get their default action.
    defaults: u64,
}

/// First argument of a loader that is started directly.
const TAG: &core::ffi::CStr = c"uexec-loader";

impl OtherWay {
    /// Puts the loader into memory of its own and its arguments in order.
    pub(crate) fn new(image: &[u8], exec: &Exec, defaults: u64) -> Result<OtherWay, ExecError> {
        let fail = |call| move |e| ExecError::host(call, ffi::errno(e));
        let image = in_memory(image).map_err(fail("putting the loader into memory"))?;
        let mut descriptor = None;
        let at = match exec.at {
            At::Cwd => c"-".into(),
            At::Fd(fd) if !exec.fd_cloexec => number(fd),
            At::Fd(fd) => {
                // The loader closes what it is handed.
                let fd = ffi::borrow_fd(fd).ok_or(ExecError::host("exec", Errno::EBADF))?;
                let copy = rustix::io::dup(fd).map_err(fail("dup"))?;
                // The minus has the loader close it.
                number(-descriptor.insert(copy).as_raw_fd())
            }
        };
        let text = |s: &[u8]| {
            CString::new(s).map_err(|_| ExecError::host("a string with a NUL", Errno::EINVAL))
        };
        let mut strings = alloc::vec![CString::from(TAG), at, text(&exec.path)?];
        for s in exec.argv.iter().chain(&exec.envp) {
            strings.push(text(s)?);
        }
        let pointers = |of: &[CString]| -> Vec<u64> {
            of.iter().map(|s| s.as_ptr() as u64).chain([0]).collect()
        };
        let (argv, envp) = strings.split_at(3 + exec.argv.len());
        let (argv, envp) = (pointers(argv), pointers(envp));
        let mask = ffi::signal_mask();
        let _strings = strings;
        let loader = Loader { image, descriptor, _strings, argv, envp, mask, defaults };
        Ok(OtherWay::Loader(Box::new(loader)))
    }

    /// Goes it; fails where there is none, or by itself.
    pub(crate) fn or<T>(self, why: &'static str, errno: Errno) -> Result<T, ExecError> {
        Err(match self {
            OtherWay::None => ExecError::host(why, errno),
            OtherWay::Loader(loader) => ExecError::host("execveat of the loader", loader.start()),
        })
    }
}

impl Loader {
    /// Starts it. Returns only if that fails.
    pub(crate) fn start(&self) -> Errno {
        let is_chosen = |s: &u64| self.defaults >> (s - 1) & 1 == 1;
        let old: [_; 64] = core::array::from_fn(|i| thread::action(i as u64 + 1).ok());
        for signal in (1..=64).filter(is_chosen) {
            thread::set_default(signal);
        }
        if let Some(descriptor) = &self.descriptor {
            let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::empty());
        }
        let mask = thread::set_mask(self.mask);
        let (argv, envp) = (self.argv.as_ptr(), self.envp.as_ptr());
        // SAFETY: both arrays hold pointers to strings of `self` and end with a null pointer.
        let errno = unsafe { thread::kernel_exec(self.image.as_raw_fd(), argv, envp) };
        thread::set_mask(mask);
        if let Some(descriptor) = &self.descriptor {
            let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC);
        }
        for signal in (1..=64).filter(is_chosen) {
            if let Some(Some(old)) = old.get(signal as usize - 1) {
                // SAFETY: as it was before.
                let _ = unsafe { thread::set_action(signal, old) };
            }
        }
        errno
    }
}

fn in_memory(image: &[u8]) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let file = memfd_create(c"uexec-loader", MemfdFlags::CLOEXEC)?;
    let mut rest = image;
    while !rest.is_empty() {
        let n = rustix::io::write(&file, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    Ok(file)
}

fn number(fd: i32) -> CString {
    CString::new(alloc::format!("{fd}")).unwrap_or_default()
}
