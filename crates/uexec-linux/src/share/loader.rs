//! The loader as a program of its own: where this process cannot be replaced from inside, the kernel
//! starts it, and it loads the program. What it is told is prepared beforehand; starting it allocates
//! nothing.

use alloc::boxed::Box;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::FdFlags;
use uexec_core::world::At;
use uexec_core::{Errno, Exec, ExecError};

use super::block::Block;
use crate::ffi::{self, thread};
use crate::procfs::Text;
use crate::spawn;

/// What is done where this process cannot be replaced from inside.
#[derive(Debug)]
pub(crate) enum OtherWay {
    /// There is no such way.
    None,
    /// The kernel starts a loader.
    Loader(Box<Loader>),
}

#[derive(Debug)]
pub(crate) struct Loader {
    image: spawn::Loader,
    /// A copy of the descriptor that is executed, if that is close-on-exec.
    descriptor: Option<OwnedFd>,
    /// Arguments and environment.
    block: Block,
    /// Where the environment's pointers start, in words.
    envp_at: usize,
    /// The signal mask of the new program.
    mask: u64,
    /// Signals that get their default action.
    defaults: u64,
}

impl OtherWay {
    /// Puts the loader into memory of its own and its arguments in order.
    pub(crate) fn new(image: &[u8], exec: &Exec, defaults: u64) -> Result<OtherWay, ExecError> {
        let fail = |call| move |e| ExecError::host(call, ffi::errno(e));
        let image = spawn::Loader::new(image)
            .map_err(|e| ExecError::host("putting the loader into memory", e))?;
        let mut descriptor = None;
        let at = match exec.at {
            At::Cwd => Text::new(format_args!("-")),
            At::Fd(fd) if !exec.fd_cloexec => Text::new(format_args!("{fd}")),
            At::Fd(fd) => {
                // Open over the kernel's exec; the minus has the loader close it.
                let fd = ffi::borrow_fd(fd).ok_or(ExecError::host("exec", Errno::EBADF))?;
                let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(fail("dup"))?;
                Text::new(format_args!("-{}", descriptor.insert(copy).as_raw_fd()))
            }
        };
        let own = [spawn::TAG.as_bytes(), at.as_c_str().to_bytes(), &exec.path];
        let argv = || own.into_iter().chain(exec.argv.iter().map(|s| &s[..]));
        let envp = || exec.envp.iter().map(|s| &s[..]);
        let envp_at = argv().count() + 1;
        let block = Block::filled(&mut argv(), &mut envp())
            .map_err(|e| ExecError::host("memory for the loader's arguments", e))?;
        let mask = ffi::signal_mask();
        let loader = Loader { image, descriptor, block, envp_at, mask, defaults };
        Ok(OtherWay::Loader(Box::new(loader)))
    }

    /// Goes it; fails where there is none, or by itself.
    pub(crate) fn or<T>(self, why: &'static str, errno: Errno) -> Result<T, ExecError> {
        let loader = match self {
            OtherWay::None => return Err(ExecError::host(why, errno)),
            OtherWay::Loader(loader) => loader,
        };
        // Off the heap, which a vfork(2) child shares with its parent: nothing is freed any more.
        let loader = *loader;
        Err(ExecError::host("execveat of the loader", loader.start()))
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
        self.keep_descriptor(true);
        let mask = thread::set_mask(self.mask);
        let argv = self.block.words();
        // SAFETY: the environment's pointers follow the null pointer behind the arguments'.
        let envp = unsafe { argv.add(self.envp_at) };
        // SAFETY: both arrays hold pointers to strings of the block and end with a null pointer.
        let errno = unsafe { thread::kernel_exec(self.image.as_fd().as_raw_fd(), argv, envp) };
        thread::set_mask(mask);
        self.keep_descriptor(false);
        for signal in (1..=64).filter(is_chosen) {
            if let Some(Some(old)) = old.get(signal as usize - 1) {
                // SAFETY: as it was before.
                let _ = unsafe { thread::set_action(signal, old) };
            }
        }
        errno
    }

    fn keep_descriptor(&self, open: bool) {
        if let Some(descriptor) = &self.descriptor {
            let flags = if open { FdFlags::empty() } else { FdFlags::CLOEXEC };
            let _ = rustix::io::fcntl_setfd(descriptor, flags);
        }
    }
}
