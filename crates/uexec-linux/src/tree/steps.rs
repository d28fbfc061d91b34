//! The steps of a thread that executes the loader in a program's place, and back where that fails.

use rustix::fd::AsRawFd;
use uexec_core::{Errno, flags};

use super::OPTIONS;
use super::call::RawCall;
use super::handed::{Prepared, write};
use super::inject::{Name, Place};
use super::serve::Served;
use crate::ffi::tracer;

/// `PTRACE_O_TRACEEXEC`: only for those that execute the loader.
pub(super) const EXEC_OPTION: u64 = 0x10;
const FD_CLOEXEC: u64 = 1;
const AT_FDCWD: u64 = -100i64 as u64;

/// What a thread has been made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Come to its call again, where its tracer is told of it.
    Again,
    /// Execute the file by its path in `/proc`, and stop after that with a signal.
    Straight,
    /// Execute the file by its path in `/proc`.
    Path,
    /// Have a descriptor of the tracer.
    Pidfd,
    /// Take the loader's from there.
    Take,
    /// Make a file.
    File,
    /// Let the descriptor outlive the exec.
    Keep,
    /// Execute the file.
    Exec,
    /// Nothing of all that after all: the descriptor as it was.
    Unkeep,
    /// The file closed.
    Close,
    /// Its own call.
    Own,
}

#[derive(Debug)]
pub(super) struct Serving {
    pub(super) place: Place,
    /// Address of an empty string in the thread's memory.
    pub(super) empty: u64,
    pub(super) raw: RawCall,
    /// Its signal mask, if that was changed.
    pub(super) mask: Option<u64>,
    /// Its call's sixth argument, if that was changed.
    pub(super) sixth: Option<u64>,
    pub(super) served: Served,
    pub(super) stage: Stage,
    /// The loader, and the tracer; -1 where there is none.
    pub(super) file: i32,
    pub(super) pidfd: i32,
}

impl Serving {
    pub(super) const fn new(
        place: Place,
        raw: RawCall,
        empty: u64,
        served: Served,
        mask: Option<u64>,
        sixth: Option<u64>,
    ) -> Serving {
        let stage = Stage::Again;
        Serving { place, empty, raw, mask, sixth, served, stage, file: -1, pidfd: -1 }
    }

    /// Another call than the thread's own; where that fails it is still that.
    pub(super) fn begin(
        &mut self,
        tid: i32,
        path: Option<u64>,
        loader: &Prepared<'_>,
        can_take: bool,
    ) -> Result<(), Errno> {
        tracer::set_options(tid, OPTIONS | EXEC_OPTION)?;
        let (name, args) = match path {
            Some(path) => (Name::Execveat, self.by(path)),
            None => self.first(tid, loader, can_take)?,
        };
        self.place.instead(name, args)
    }

    /// Arguments of the loader's exec by its path.
    pub(super) const fn by(&self, path: u64) -> [u64; 5] {
        [AT_FDCWD, path, self.raw.argv, self.raw.envp, 0]
    }

    /// The first of several calls: signals wait from here on.
    pub(super) fn first(
        &mut self,
        tid: i32,
        loader: &Prepared<'_>,
        can_take: bool,
    ) -> Result<(Name, [u64; 5]), Errno> {
        if self.mask.is_none() {
            self.mask = Some(tracer::signal_mask_of(tid)?);
        }
        tracer::set_signal_mask_of(tid, u64::MAX)?;
        Ok(match can_take {
            true => {
                self.stage = Stage::Pidfd;
                (Name::PidfdOpen, [loader.tracer as u64, 0, 0, 0, 0])
            }
            false => {
                self.stage = Stage::File;
                (Name::MemfdCreate, [self.empty, loader.file_flags, 0, 0, 0])
            }
        })
    }

    pub(super) fn unmask(&self, tid: i32) -> Result<(), Errno> {
        self.mask.map_or(Ok(()), |mask| tracer::set_signal_mask_of(tid, mask))
    }

    /// The next step, after one is done.
    pub(super) fn left(
        &mut self,
        tid: i32,
        result: i64,
        loader: &Prepared<'_>,
    ) -> Result<(), Errno> {
        match self.stage {
            Stage::Pidfd | Stage::Take if result < 0 => self.make_file(loader),
            Stage::Pidfd => {
                self.pidfd = result as i32;
                self.stage = Stage::Take;
                let args = [result as u64, loader.file.as_fd().as_raw_fd() as u64, 0, 0, 0];
                self.place.then(Name::PidfdGetfd, args)
            }
            Stage::Take => {
                self.file = result as i32;
                // In another pid namespace it was a stranger's.
                match loader.is(tid, self.file) {
                    true => self.keep(),
                    false => self.close(tid),
                }
            }
            Stage::File if result < 0 => self.close(tid),
            Stage::File => {
                self.file = result as i32;
                match write(tid, self.file, loader.image.bytes) {
                    Ok(()) => self.keep(),
                    Err(_) => self.close(tid),
                }
            }
            Stage::Keep if result == 0 => self.execute(),
            Stage::Exec => match self.served.keep {
                Some(fd) => self.flag(Stage::Unkeep, fd, FD_CLOEXEC),
                None => self.close(tid),
            },
            Stage::Keep | Stage::Unkeep | Stage::Close | Stage::Path | Stage::Straight => {
                self.close(tid)
            }
            Stage::Again | Stage::Own => self.give_up(tid),
        }
    }

    fn make_file(&mut self, loader: &Prepared<'_>) -> Result<(), Errno> {
        self.stage = Stage::File;
        self.place.then(Name::MemfdCreate, [self.empty, loader.file_flags, 0, 0, 0])
    }

    fn keep(&mut self) -> Result<(), Errno> {
        match self.served.keep {
            Some(fd) => self.flag(Stage::Keep, fd, 0),
            None => self.execute(),
        }
    }

    fn execute(&mut self) -> Result<(), Errno> {
        self.stage = Stage::Exec;
        let args = [
            self.file as u64,
            self.empty,
            self.raw.argv,
            self.raw.envp,
            flags::AT_EMPTY_PATH.into(),
        ];
        self.place.then(Name::Execveat, args)
    }

    fn flag(&mut self, stage: Stage, fd: i32, flags: u64) -> Result<(), Errno> {
        const F_SETFD: u64 = 2;
        self.stage = stage;
        self.place.then(Name::Fcntl, [fd as u64, F_SETFD, flags, 0, 0])
    }

    /// Closes what was opened, one after the other.
    fn close(&mut self, tid: i32) -> Result<(), Errno> {
        self.stage = Stage::Close;
        for fd in [&mut self.file, &mut self.pidfd] {
            if *fd >= 0 {
                let fd = core::mem::replace(fd, -1);
                return self.place.then(Name::Close, [fd as u64, 0, 0, 0, 0]);
            }
        }
        self.give_up(tid)
    }

    /// The exec is the kernel's after all.
    fn give_up(&mut self, tid: i32) -> Result<(), Errno> {
        self.stage = Stage::Own;
        // With a mark, it has to come back before a signal does.
        if self.sixth.is_none() {
            self.unmask(tid)?;
        }
        tracer::set_options(tid, OPTIONS & !EXEC_OPTION)?;
        self.place.back()
    }
}
