//! What is known of the program being executed: the file of this round, its first 256 bytes, the
//! strings so far. The kernel's `struct linux_binprm`.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abi::{BINPRM_BUF_SIZE, PAGE, PATH_MAX};
use crate::args::ArgArea;
use crate::error::{Errno, FileKind, Reason, Refusal, Stage};
use crate::story::{Link, Shown, Story, tell};
use crate::world::{At, Denied, Facts, FileId, Role, Stat, World};

/// `AT_*` flags of `execveat(2)`.
pub mod flags {
    /// Do not follow a final symbolic link.
    pub const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
    /// An empty path means the descriptor itself.
    pub const AT_EMPTY_PATH: u32 = 0x1000;
    /// Only check (Linux 6.14).
    pub const AT_EXECVE_CHECK: u32 = 0x1_0000;
}

/// What uexec does with a file whose execution would grant privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Privileges {
    /// Plan what the kernel does, for explaining.
    AsKernel,
    /// Refuse: uexec cannot grant it.
    #[default]
    Refuse,
    /// Run without it, as on a `nosuid` mount.
    Ignore,
}

/// What is to be executed, and how: the arguments of `execveat(2)` and uexec's own choices.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Where a relative path starts.
    pub at: At,
    /// The program's path, without NUL.
    pub path: Vec<u8>,
    /// `AT_*` flags.
    pub flags: u32,
    /// Whether the descriptor of `at` is close-on-exec (PIPE-29).
    pub fd_cloexec: bool,
    /// The arguments, `argv[0]` first, each without NUL.
    pub argv: Vec<Vec<u8>>,
    /// The environment, each `NAME=value` without NUL.
    pub envp: Vec<Vec<u8>>,
    /// Privilege policy.
    pub privileges: Privileges,
    /// Use this program interpreter instead of the one `PT_INTERP` names.
    pub interp: Option<Vec<u8>>,
    /// Program interpreters to be used in place of others: old, new.
    pub interps: Vec<(Vec<u8>, Vec<u8>)>,
    /// Do not keep a story.
    pub untold: bool,
    /// The kernel has executed a loader in the program's place, and has decided so much already.
    pub handover: Option<Handover>,
}

/// What a loader that the kernel's own exec has started takes from it: by then names and
/// credentials are those of the program (MISC-31).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Handover {
    /// `AT_EXECFN`.
    pub filename: Vec<u8>,
    /// The task's name, where the file name does not say it.
    pub comm: Option<Vec<u8>>,
    /// `AT_SECURE`.
    pub secureexec: bool,
}

impl Exec {
    /// A program with its path as only argument and an empty environment.
    #[must_use]
    pub fn new(path: impl Into<Vec<u8>>) -> Exec {
        let path = path.into();
        Exec { argv: alloc::vec![path.clone()], path, ..Exec::default() }
    }

    /// The name the exec goes by: `AT_EXECFN`, source of comm and of a script's argument
    /// (PIPE-28).
    #[must_use]
    pub fn filename(&self) -> Cow<'_, [u8]> {
        if let Some(handover) = &self.handover {
            return Cow::Borrowed(&handover.filename);
        }
        match self.at {
            At::Fd(fd) if self.path.is_empty() => {
                alloc::format!("/dev/fd/{fd}").into_bytes().into()
            }
            At::Fd(fd) if !self.path.starts_with(b"/") => {
                let mut name = alloc::format!("/dev/fd/{fd}/").into_bytes();
                name.extend_from_slice(&self.path);
                name.into()
            }
            _ => Cow::Borrowed(&self.path),
        }
    }
}

/// An open file that passed the rules of an exec open (PIPE-6 to PIPE-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its number in the world.
    pub id: FileId,
    /// The name it was opened by.
    pub path: Vec<u8>,
    /// Type, mode, owner, size.
    pub stat: Stat,
}

/// The state of an exec before the point of no return.
pub struct Bprm<'w> {
    /// Who answers questions.
    pub world: &'w mut dyn World,
    /// The decisions so far.
    pub story: Story,
    /// The files asked so far.
    pub chain: Vec<Link>,
    /// `AT_EXECFN`.
    pub filename: Vec<u8>,
    /// Name of the file of this round: the script, or the interpreter in later rounds.
    pub interp: Vec<u8>,
    /// File of this round.
    pub file: File,
    /// Its first bytes, zero-padded (PIPE-31).
    pub head: [u8; BINPRM_BUF_SIZE],
    /// The strings.
    pub args: ArgArea,
    /// Number of arguments.
    pub argc: u64,
    /// Number of environment strings.
    pub envc: u64,
    /// The name leads through a close-on-exec descriptor, so an interpreter cannot open it.
    pub inaccessible: bool,
    /// Program interpreter to use instead of `PT_INTERP`.
    pub interp_override: Option<Vec<u8>>,
    /// Program interpreters to be used in place of others: old, new.
    pub interps: Vec<(Vec<u8>, Vec<u8>)>,
    /// A file that a rewrite has kept, to be handed on as an open descriptor (MISC-26).
    pub kept: Option<File>,
    /// Credentials come from the kept file (MISC-27).
    pub file_creds: bool,
    /// `AT_FLAGS` says that the first argument was kept (MISC-25).
    pub argv0_kept: bool,
}

impl Bprm<'_> {
    /// Whether an interpreter can open the file by its name (PIPE-29).
    ///
    /// # Errors
    /// `ENOENT`: the name leads through a descriptor that the exec closes.
    pub fn check_accessible(&self, stage: Stage) -> Result<(), Refusal> {
        match self.inaccessible {
            true => Err(Refusal::new(stage, Reason::Inaccessible).of(&self.interp)),
            false => Ok(()),
        }
    }

    /// Whether these strings will fit in front of the arguments, tried on a copy: the kernel copies
    /// them before it opens an interpreter, so this error comes first (SCR-8).
    ///
    /// # Errors
    /// `E2BIG`, as of [`ArgArea::push`].
    pub fn check_room(&self, drop_argv0: bool, argv: &[Vec<u8>]) -> Result<(), Refusal> {
        let added: u64 = argv.iter().map(|s| s.len() as u64 + 1).sum();
        if self.args.has_room(added) {
            return Ok(());
        }
        // The slow way, for the exact reason.
        let mut trial = self.args.clone();
        if drop_argv0 {
            trial.drop_lowest();
        }
        for (i, s) in argv.iter().enumerate().rev() {
            trial.push(s, "interpreter argument", i).map_err(|r| r.of(&self.interp))?;
        }
        Ok(())
    }

    /// Opens an interpreter by the rules of an exec open, from the working directory (PIPE-37).
    ///
    /// # Errors
    /// Those of PIPE-6 to PIPE-12; an empty name opens the working directory: `EACCES`.
    pub fn open_interp(&mut self, path: &[u8], stage: Stage) -> Result<File, Refusal> {
        let walk = if path.is_empty() { b"." } else { path };
        open_exec(self.world, &mut self.story, stage, At::Cwd, walk, path, true)
    }

    /// Reads exactly `buf` from a file.
    ///
    /// # Errors
    /// [`Reason::Io`] or [`Reason::Unreadable`]; `Ok(false)` when the file ends before.
    pub fn read_exact_at(
        &mut self,
        file: &File,
        offset: u64,
        buf: &mut [u8],
        stage: Stage,
    ) -> Result<bool, Refusal> {
        let n = read_full(self.world, file, offset, buf, stage)?;
        Ok(n == buf.len())
    }

    /// Reads the first bytes of the file of this round (PIPE-31).
    ///
    /// # Errors
    /// [`Reason::Io`] or [`Reason::Unreadable`].
    pub(crate) fn read_head(&mut self) -> Result<(), Refusal> {
        self.head = read_head(self.world, &self.file)?;
        Ok(())
    }
}

/// Reads the first bytes of a file, zero-padded.
pub(crate) fn read_head(
    world: &mut dyn World,
    file: &File,
) -> Result<[u8; BINPRM_BUF_SIZE], Refusal> {
    let mut head = [0; BINPRM_BUF_SIZE];
    read_full(world, file, 0, &mut head, Stage::Search)?;
    Ok(head)
}

fn read_full(
    world: &mut dyn World,
    file: &File,
    offset: u64,
    buf: &mut [u8],
    stage: Stage,
) -> Result<usize, Refusal> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
        let at = offset.wrapping_add(done as u64);
        let n = world.read_at(file.id, at, rest).map_err(|errno| {
            let reason = match errno {
                Errno::EACCES => Reason::Unreadable,
                errno => Reason::Io { errno },
            };
            Refusal::new(stage, reason).of(&file.path)
        })?;
        if n == 0 {
            break;
        }
        done += n.min(rest.len());
    }
    Ok(done)
}

/// PIPE-2, PIPE-3: rules on the name that need no file.
pub(crate) fn check_name(exec: &Exec) -> Result<(), Refusal> {
    let refuse = |reason| Err(Refusal::new(Stage::Path, reason));
    if exec.path.is_empty() && exec.flags & flags::AT_EMPTY_PATH == 0 {
        return refuse(Reason::EmptyPath);
    }
    if exec.path.len() >= PATH_MAX {
        return refuse(Reason::PathTooLong { len: exec.path.len() });
    }
    if exec.path.contains(&0) {
        return refuse(Reason::NulInString { what: "path", index: 0 });
    }
    Ok(())
}

/// PIPE-5: asked only after PIPE-4.
pub(crate) fn check_flags(exec: &Exec, facts: &Facts) -> Result<(), Refusal> {
    let mut known = flags::AT_SYMLINK_NOFOLLOW | flags::AT_EMPTY_PATH;
    if facts.since(6, 14) {
        known |= flags::AT_EXECVE_CHECK;
    }
    match exec.flags & !known {
        0 => Ok(()),
        _ => Err(Refusal::new(Stage::Path, Reason::BadFlags { flags: exec.flags })),
    }
}

/// Walks, opens and admits a file for execution: PIPE-6 to PIPE-12 in the kernel's order.
pub(crate) fn open_exec(
    world: &mut dyn World,
    story: &mut Story,
    stage: Stage,
    at: At,
    path: &[u8],
    shown: &[u8],
    follow: bool,
) -> Result<File, Refusal> {
    let refuse = |reason| Refusal::new(stage, reason).of(shown);
    if path.len() >= PAGE as usize {
        return Err(refuse(Reason::Walk { errno: Errno::ENAMETOOLONG }));
    }
    let id = world.open(at, path, follow).map_err(|errno| match errno {
        Errno::ELOOP if !follow => refuse(Reason::SymlinkRefused),
        errno => refuse(Reason::Walk { errno }),
    })?;
    let stat = world.stat(id).map_err(|errno| refuse(Reason::Io { errno }))?;
    match stat.kind {
        FileKind::Regular => {}
        FileKind::Symlink => return Err(refuse(Reason::SymlinkRefused)),
        kind => return Err(refuse(Reason::NotRegular { kind })),
    }
    let role = if stage == Stage::ElfInterp { Role::Loader } else { Role::Program };
    world.check_exec(id, role).map_err(|denied| {
        let Stat { mode, uid, gid, .. } = stat;
        refuse(match denied {
            Denied::NoexecMount => Reason::NoexecMount,
            Denied::NoPermission if mode & 0o111 == 0 => Reason::NoExecBit { mode },
            Denied::NoPermission => Reason::NoPermission { mode, uid, gid },
            Denied::TextBusy => Reason::TextBusy,
            Denied::Policy(errno) => Reason::Policy { errno },
        })
    })?;
    tell!(
        story,
        stage,
        "PIPE-6",
        "opened {}: regular file, {} bytes, mode {:04o}, may be executed",
        Shown(shown),
        stat.size,
        stat.mode
    );
    Ok(File { id, path: shown.to_vec(), stat })
}
