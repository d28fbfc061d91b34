//! The running Linux as a [`World`]: answers the core's questions. Changes nothing but its own
//! descriptors, which are all close-on-exec.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::ffi::CStr;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};
use uexec_core::abi::personality::ADDR_NO_RANDOMIZE;
use uexec_core::error::FileKind;
use uexec_core::world::{At, Denied, FileId, Ia32, Mount, Role, Stat, Sysctl, World};
use uexec_core::{Errno, Facts};

use crate::facts;
use crate::ffi::{self, RSEQ_LEN, errno};
use crate::gadget::{Exit, find_exit};
use crate::ia32;
use crate::known::Known;
use crate::procfs::read_number;

/// Answers from the running kernel, for this process.
#[derive(Debug)]
pub struct Host {
    facts: Facts,
    vdso_start: u64,
    /// Where this process's own mappings end.
    own_base: Option<u64>,
    files: Vec<HostFile>,
    /// How many of them stay when files are forgotten.
    kept: usize,
    caps: OnceCell<(u64, u64)>,
    ia32: OnceCell<Result<ia32::Known, &'static str>>,
    /// The way out through the vdso.
    exit: OnceCell<Option<Exit>>,
    /// The layout was asked to lie elsewhere than where the kernel maps for this process.
    moved: bool,
    /// Where all paths start, instead of this process's root.
    root: Option<OwnedFd>,
    /// The kernel itself has executed the program.
    executed: bool,
    /// What it handed over, until that is asked for.
    handed: Option<OwnedFd>,
    /// Permission bits and mount options are asked, and nobody else yet.
    by_modes: bool,
    /// Files of which the kernel has not been asked for that reason.
    unasked: Vec<(FileId, Role)>,
    /// Kernel settings already read, in the order of [`Sysctl`].
    settings: [Option<u64>; 7],
}

/// An open file.
#[derive(Debug)]
struct HostFile {
    fd: OwnedFd,
    /// A regular file, for reading; else only its place in the file system: `O_PATH`. Nothing is
    /// done to it by that.
    is_data: bool,
    /// What it was found to be when it was opened, until that is asked for.
    stat: Option<fs::Stat>,
    /// Its first bytes, once they have been read.
    head: Vec<u8>,
}

impl HostFile {
    const fn data(fd: OwnedFd) -> HostFile {
        HostFile { fd, is_data: true, stat: None, head: Vec::new() }
    }

    const fn place(fd: OwnedFd) -> HostFile {
        HostFile { fd, is_data: false, stat: None, head: Vec::new() }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// So much of a file is read at once: header, program headers and the interpreter's name are
/// nearly always among it.
const HEAD_LEN: usize = 1024;

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

impl Host {
    /// Asks the kernel for everything that is known beforehand.
    #[must_use]
    pub fn new() -> Host {
        Host::of(facts::gather(&facts::auxv(), None))
    }

    /// A host for a program that the kernel has just started, and that has done nothing yet: what
    /// is known beforehand is not asked for, nor what its auxiliary vector says.
    #[must_use]
    pub fn just_started(known: &Known, auxv: &[(u64, u64)]) -> Host {
        let mut host = Host::of(facts::gather(auxv, Some(known)));
        host.exit.get_or_init(|| known.exit);
        host.learn(Sysctl::MmapMinAddr, known.mmap_min_addr);
        host.learn(Sysctl::MmapRndBits, known.mmap_rnd_bits);
        host
    }

    fn of(gathered: facts::Gathered) -> Host {
        Host {
            own_base: gathered.facts.mmap_base,
            facts: gathered.facts,
            vdso_start: gathered.vdso_start,
            files: Vec::with_capacity(4),
            kept: 0,
            caps: OnceCell::new(),
            ia32: OnceCell::new(),
            exit: OnceCell::new(),
            moved: false,
            executed: false,
            handed: None,
            by_modes: false,
            unasked: Vec::new(),
            root: None,
            settings: [None; 7],
        }
    }

    /// A host for another exec of the same process, or of a child it has forked: what cannot have
    /// changed is taken over, and so are kernel settings once read; the rest is asked again.
    #[must_use]
    pub fn again(&self) -> Host {
        Host {
            facts: Facts { mmap_base: self.own_base, ..facts::regather(&self.facts) },
            vdso_start: self.vdso_start,
            own_base: self.own_base,
            files: Vec::with_capacity(4),
            kept: 0,
            caps: OnceCell::new(),
            ia32: self.ia32.clone(),
            exit: self.exit.clone(),
            root: self.root.as_ref().and_then(|r| r.try_clone().ok()),
            settings: self.settings,
            moved: false,
            executed: false,
            handed: None,
            by_modes: false,
            unasked: Vec::new(),
        }
    }

    /// Resolves every path inside `root` as `chroot(2)` would, and takes permission from mode bits
    /// alone: for looking at a file system that belongs to somebody else. Nothing outside is ever
    /// opened.
    ///
    /// # Errors
    /// Those of opening the directory; `ENOSYS` on kernels without `openat2(2)` (before 5.6).
    pub fn in_root(&mut self, root: &[u8]) -> Result<(), Errno> {
        let name = CString::new(root).map_err(|_| Errno::EINVAL)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::openat(CWD, &name, flags, Mode::empty()).map_err(errno)?;
        open_in_root(dir.as_fd(), c"/", true)?;
        self.root = Some(dir);
        Ok(())
    }

    /// The path of an open file, as in `/proc/PID/maps`; inside the root if there is one.
    #[must_use]
    pub fn path_of(&self, id: FileId) -> Option<Vec<u8>> {
        let path = descriptor_path(self.file(id).ok()?.fd())?;
        let Some(root) = &self.root else { return Some(path) };
        let prefix = descriptor_path(root.as_fd())?;
        let inside = path.strip_prefix(prefix.as_slice())?;
        Some(if inside.starts_with(b"/") { inside.to_vec() } else { [b"/", inside].concat() })
    }

    /// Lays programs out as under `setarch -R`: nothing is randomised. What the program maps later
    /// is still placed where the kernel has put this process's mappings, which cannot be changed
    /// from inside ([`Difference::MmapBase`](crate::Difference::MmapBase)).
    pub fn no_aslr(&mut self) {
        if facts::is_randomized(&self.facts) {
            self.facts.personality |= ADDR_NO_RANDOMIZE;
            self.facts.mmap_base = None;
            self.moved = true;
        }
    }

    /// Takes all draws from a seed, so that the same layout comes again; addresses are randomised
    /// even where the caller's are not. What the program maps later is placed as with
    /// [`Host::no_aslr`].
    pub fn seed(&mut self, seed: u64) {
        self.facts.personality &= !ADDR_NO_RANDOMIZE;
        self.moved = true;
        self.facts.entropy = facts::seeded_entropy(seed);
        self.facts.mmap_base = None;
    }

    /// The kernel itself has just executed the program, by way of a loader that it handed this
    /// descriptor of the program (`AT_EXECFD`, MISC-26): nobody has to be asked again whether it
    /// may be. It is this host's by now, and there may be no room for another.
    pub fn after_exec(&mut self, program: OwnedFd) {
        self.executed = true;
        self.handed = Some(program);
    }

    /// From now on asks nothing but permission bits and mount options whether a file may be
    /// executed, also inside another root: for those who will ask the rest
    /// ([`Host::ask_the_rest`]) of few files only.
    pub fn by_modes(&mut self) {
        self.by_modes = true;
    }

    /// Asks the kernel whether it would execute the files that have been judged by their modes.
    ///
    /// # Errors
    /// What it would say of the first that it would not.
    pub fn ask_the_rest(&mut self) -> Result<(), Denied> {
        for (file, role) in core::mem::take(&mut self.unasked) {
            let fd = self.file(file).map_err(Denied::Policy)?.fd();
            answer(would_execute(fd, role))?;
        }
        Ok(())
    }

    /// Takes a kernel setting for known.
    pub fn learn(&mut self, which: Sysctl, value: u64) {
        if let Some(known) = self.settings.get_mut(which as usize) {
            *known = Some(value);
        }
    }

    /// The facts, to be changed before anything is planned.
    pub fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }

    /// Whether the layout lies elsewhere than where the kernel maps for this process.
    pub(crate) const fn moved(&self) -> bool {
        self.moved
    }

    /// Start of this process's own vdso block; 0 without one.
    pub(crate) const fn vdso_start(&self) -> u64 {
        self.vdso_start
    }

    /// Length of that block in bytes.
    pub(crate) fn vdso_len(&self) -> u64 {
        self.facts.vdso.iter().map(|p| p.len).sum()
    }

    /// What is known of i386 programs.
    pub(crate) fn known_ia32(&self) -> &Result<ia32::Known, &'static str> {
        self.ia32.get_or_init(|| ia32::ask(&self.facts.vdso, self.vdso_start))
    }

    /// The last instructions, in this process's vdso.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.get_or_init(|| {
            let code = self.facts.vdso.last()?.len;
            let at = (self.vdso_start + self.vdso_len()).checked_sub(code)?;
            find_exit(ffi::vdso_code(at, code)?)
        })
    }

    /// How long the area is that glibc registers for restartable sequences: what the kernel's
    /// features need, at least the original length.
    pub(crate) fn rseq_len(&self) -> u64 {
        let needed = self.facts.rseq.map_or(RSEQ_LEN, |r| r.0);
        needed.next_multiple_of(RSEQ_LEN).max(RSEQ_LEN)
    }

    /// A descriptor to read a file from and to map it.
    pub(crate) fn data_fd(&mut self, id: FileId) -> Result<BorrowedFd<'_>, Errno> {
        let file = self.files.get_mut(id.0 as usize).ok_or(Errno::EBADF)?;
        if !file.is_data {
            file.fd = reopen(&file.fd)?;
            file.is_data = true;
        }
        Ok(file.fd())
    }

    fn file(&self, id: FileId) -> Result<&HostFile, Errno> {
        self.files.get(id.0 as usize).ok_or(Errno::EBADF)
    }

    /// Numbers of all descriptors of this host.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = i32> {
        self.files.iter().map(|f| f.fd().as_raw_fd())
    }
}

/// Opens for reading what an `O_PATH` descriptor stands for. Only called for regular files, so
/// nothing can block and no device is touched.
fn reopen(place: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let digits = place.as_raw_fd().to_string();
    path[14..14 + digits.len()].copy_from_slice(digits.as_bytes());
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::EBADF)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    fs::openat(CWD, path, flags, Mode::empty()).map_err(errno)
}

impl World for Host {
    fn open(&mut self, at: At, path: &[u8], follow: bool) -> Result<FileId, Errno> {
        let name = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let file = match at {
            _ if self.root.is_some() => {
                let root = self.root.as_ref().ok_or(Errno::EBADF)?;
                HostFile::place(open_in_root(root.as_fd(), &name, follow)?)
            }
            At::Fd(fd) if !name.as_bytes().starts_with(b"/") => {
                let dir = ffi::borrow_fd(fd).ok_or(Errno::EBADF)?;
                let handed = self.handed.take_if(|h| name.is_empty() && h.as_raw_fd() == fd);
                if let Some(handed) = handed {
                    // Given by the kernel for reading, also where nobody may open it so (MISC-26).
                    HostFile::data(handed)
                } else if name.is_empty() {
                    // The file itself, whatever it is.
                    HostFile::place(rustix::io::fcntl_dupfd_cloexec(dir, 3).map_err(errno)?)
                } else {
                    open_file(dir, &name, follow)?
                }
            }
            _ => open_file(CWD, &name, follow)?,
        };
        let id = FileId(self.files.len() as u32);
        self.files.push(file);
        Ok(id)
    }

    fn stat(&mut self, file: FileId) -> Result<Stat, Errno> {
        let file = self.files.get_mut(file.0 as usize).ok_or(Errno::EBADF)?;
        let s = file.stat.take().map_or_else(|| fs::fstat(&file.fd).map_err(errno), Ok)?;
        let kind = match FileType::from_raw_mode(s.st_mode) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::CharacterDevice => FileKind::CharDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Symlink => FileKind::Symlink,
            FileType::Unknown => FileKind::Other,
        };
        let size = s.st_size as u64;
        Ok(Stat { kind, mode: s.st_mode & 0o7777, uid: s.st_uid, gid: s.st_gid, size })
    }

    fn check_exec(&mut self, file: FileId, role: Role) -> Result<(), Denied> {
        if self.executed && role == Role::Program {
            return Ok(());
        }
        if self.root.is_some() && !self.by_modes {
            let stat = self.stat(file).map_err(Denied::Policy)?;
            return if stat.mode & 0o111 == 0 { Err(Denied::NoPermission) } else { Ok(()) };
        }
        if self.by_modes {
            self.unasked.push((file, role));
        }
        let fd = self.file(file).map_err(Denied::Policy)?.fd();
        let said = if self.by_modes { Err(Errno::ENOSYS) } else { would_execute(fd, role) };
        if said.is_ok() {
            return Ok(());
        }
        // No, or no answer: which rule is it? The kernel's order.
        let mount = fs::fstatvfs(fd);
        // Nothing is executed from procfs and sysfs, however they are mounted.
        let never =
            fs::fstatfs(fd).is_ok_and(|s| [0x9fa0, 0x6265_6572].contains(&(s.f_type as u64)));
        if never || mount.is_ok_and(|m| m.f_flag.contains(fs::StatVfsMountFlags::NOEXEC)) {
            return Err(Denied::NoexecMount);
        }
        if ffi::access_exec(fd) == Err(Errno::EACCES) {
            return Err(Denied::NoPermission);
        }
        answer(said)
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let pread = |fd, buf: &mut [u8]| {
            rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut *buf, offset)).map_err(errno)
        };
        self.data_fd(file)?;
        let Some(file) = self.files.get_mut(file.0 as usize) else { return Err(Errno::EBADF) };
        if offset == 0 && file.head.is_empty() && buf.len() < HEAD_LEN {
            file.head.resize(HEAD_LEN, 0);
            let n = pread(file.fd.as_fd(), &mut file.head);
            file.head.truncate(*n.as_ref().unwrap_or(&0));
            let n = n?.min(buf.len());
            buf[..n].copy_from_slice(&file.head[..n]);
            return Ok(n);
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(known) = from.checked_add(buf.len()).and_then(|to| file.head.get(from..to)) {
            buf.copy_from_slice(known);
            return Ok(buf.len());
        }
        pread(file.fd.as_fd(), buf)
    }

    fn file_caps(&mut self, file: FileId) -> Result<Option<Vec<u8>>, Errno> {
        let fd = self.data_fd(file)?;
        let mut buf = [0u8; 64];
        match ffi::fgetxattr(fd, c"security.capability", &mut buf) {
            Ok(n) => Ok(Some(buf[..n.min(buf.len())].to_vec())),
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn mount(&mut self, file: FileId) -> Mount {
        let Ok(entry) = self.file(file) else { return Mount::default() };
        let nosuid = fs::fstatvfs(entry.fd())
            .is_ok_and(|m| m.f_flag.contains(fs::StatVfsMountFlags::NOSUID));
        let huge_aligned = fs::fstatfs(entry.fd()).is_ok_and(|s| {
            // ext2/3/4, xfs, btrfs, erofs, fuse (statfs(2)).
            [0xef53, 0x5846_5342, 0x9123_683e, 0xe0f5_e1e2, 0x6573_5546]
                .contains(&(s.f_type as u64))
        }) && fs::stat(c"/sys/kernel/mm/transparent_hugepage").is_ok();
        Mount { nosuid, huge_aligned }
    }

    fn sysctl(&mut self, which: Sysctl) -> u64 {
        let (path, default) = match which {
            Sysctl::RandomizeVaSpace => (c"/proc/sys/kernel/randomize_va_space", 2),
            Sysctl::MmapRndBits => (c"/proc/sys/vm/mmap_rnd_bits", 28),
            Sysctl::MmapRndCompatBits => (c"/proc/sys/vm/mmap_rnd_compat_bits", 8),
            Sysctl::MmapMinAddr => (c"/proc/sys/vm/mmap_min_addr", 65_536),
            Sysctl::LegacyVaLayout => (c"/proc/sys/vm/legacy_va_layout", 0),
            Sysctl::SuidDumpable => (c"/proc/sys/fs/suid_dumpable", 0),
            Sysctl::MaxMapCount => (c"/proc/sys/vm/max_map_count", 65_530),
        };
        let known = &mut self.settings[which as usize];
        *known.get_or_insert_with(|| read_number(path).unwrap_or(default))
    }

    fn cap_sets(&mut self) -> (u64, u64) {
        let possible = self.facts.creds.permitted & self.facts.creds.inheritable;
        *self.caps.get_or_init(|| facts::cap_sets(possible))
    }

    fn ia32(&mut self) -> Result<Ia32, &'static str> {
        let known = self.known_ia32().as_ref().map_err(|why| *why)?;
        let mut ia32 = known.ia32.clone();
        // Where mappings of this process end counts for programs of either kind, or for none.
        ia32.mmap_base = self.facts.mmap_base.and(ia32.mmap_base);
        Ok(ia32)
    }

    fn commit_limit(&mut self) -> u64 {
        facts::commit_limit(read_number(c"/proc/sys/vm/overcommit_memory"))
    }

    fn dentry_name(&mut self, file: FileId) -> Option<Vec<u8>> {
        let path = descriptor_path(self.file(file).ok()?.fd())?;
        let name = path.rsplit(|b| *b == b'/').next()?;
        Some(name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec())
    }

    fn free_fd(&mut self) -> u32 {
        let is_taken = |fd: &u32| ffi::is_cloexec(fd.cast_signed()) == Some(false);
        (0..).find(|fd| !is_taken(fd)).unwrap_or(0)
    }

    fn keep_files(&mut self) {
        self.kept = self.files.len();
    }

    fn forget_files(&mut self) {
        self.files.truncate(self.kept);
        self.unasked.clear();
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// Whether the kernel would execute an open file, or begin to.
fn would_execute(fd: BorrowedFd<'_>, role: Role) -> Result<(), Errno> {
    match role {
        Role::Program => ffi::execve_check(fd),
        Role::Loader => ffi::exec_open_check(fd),
    }
}

fn answer(said: Result<(), Errno>) -> Result<(), Denied> {
    match said {
        // Kernels before 6.14 do not know the question.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOSYS) => Ok(()),
        Err(Errno::ETXTBSY) => Err(Denied::TextBusy),
        Err(errno) => Err(Denied::Policy(errno)),
    }
}

fn descriptor_path(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let link = fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).ok()?;
    Some(link.into_bytes())
}

/// Opens the place of a file with `root` as root directory.
fn open_in_root(root: BorrowedFd<'_>, name: &CStr, follow: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follow);
    let inside = fs::ResolveFlags::IN_ROOT | fs::ResolveFlags::NO_MAGICLINKS;
    // EAGAIN: the kernel could not rule out that somebody moved a directory out of the root
    // meanwhile.
    let mut tries = 0..64;
    loop {
        match fs::openat2(root, name, flags, Mode::empty(), inside) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if tries.next().is_some() => {}
            other => return other.map_err(errno),
        }
    }
}

/// Opens a file: for reading if it is a regular one that may be read, else only its place, so that
/// nothing blocks and no device is touched.
fn open_file(dir: BorrowedFd<'_>, name: &CStr, follow: bool) -> Result<HostFile, Errno> {
    let mut at = AtFlags::empty();
    at.set(AtFlags::SYMLINK_NOFOLLOW, !follow);
    let mut flags = OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follow);
    let regular = |s: &fs::Stat| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile;
    if regular(&fs::statat(dir, name, at).map_err(errno)?) {
        // Should another file have taken its place meanwhile, this neither blocks nor makes a
        // terminal ours.
        let quiet = OFlags::NONBLOCK | OFlags::NOCTTY;
        if let Ok(fd) = fs::openat(dir, name, flags | OFlags::RDONLY | quiet, Mode::empty())
            && let Ok(stat) = fs::fstat(&fd)
            && regular(&stat)
        {
            return Ok(HostFile { stat: Some(stat), ..HostFile::data(fd) });
        }
    }
    let place = fs::openat(dir, name, flags | OFlags::PATH, Mode::empty()).map_err(errno)?;
    Ok(HostFile::place(place))
}
