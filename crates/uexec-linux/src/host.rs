//! The running Linux as a [`World`]: answers the core's questions. Changes nothing but its own
//! descriptors, which are all close-on-exec.

use std::cell::OnceCell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use uexec_core::abi::personality::ADDR_NO_RANDOMIZE;
use uexec_core::error::FileKind;
use uexec_core::world::{At, Denied, FileId, Mount, Stat, Sysctl, World};
use uexec_core::{Errno, Facts};

use crate::facts::{self, errno};
use crate::ffi;

/// Answers from the running kernel, for this process.
#[derive(Debug)]
pub struct Host {
    facts: Facts,
    vdso_start: u64,
    files: Vec<HostFile>,
    caps: OnceCell<(u64, u64)>,
    /// The layout was asked to lie elsewhere than where the kernel maps for this process.
    moved: bool,
}

#[derive(Debug)]
struct HostFile {
    /// Where it was found, without following it any further: `O_PATH`.
    place: OwnedFd,
    /// Open for reading, once somebody reads.
    data: Option<OwnedFd>,
    stat: Option<fs::Stat>,
}

impl HostFile {
    fn any(&self) -> BorrowedFd<'_> {
        self.data.as_ref().unwrap_or(&self.place).as_fd()
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

impl Host {
    /// Asks the kernel for everything that is known beforehand.
    #[must_use]
    pub fn new() -> Host {
        let gathered = facts::gather();
        Host {
            facts: gathered.facts,
            vdso_start: gathered.vdso_start,
            files: Vec::with_capacity(4),
            caps: OnceCell::new(),
            moved: false,
        }
    }

    /// Lays programs out as under `setarch -R`: nothing is randomised. What the program maps later
    /// is placed by the kernel: see [`restart_unrandomized`](crate::restart_unrandomized).
    pub fn no_aslr(&mut self) {
        if facts::is_randomized(&self.facts) {
            self.facts.personality |= ADDR_NO_RANDOMIZE;
            self.facts.mmap_base = None;
            self.moved = true;
        }
    }

    /// Takes all draws from a seed, so that the same layout comes again; addresses are randomised
    /// even where the caller's are not. What the program maps later is placed by the kernel: see
    /// [`restart_unrandomized`](crate::restart_unrandomized).
    pub fn seed(&mut self, seed: u64) {
        self.facts.personality &= !ADDR_NO_RANDOMIZE;
        self.moved = true;
        self.facts.entropy = facts::seeded_entropy(seed);
        self.facts.mmap_base = None;
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

    /// A descriptor to map a file from.
    pub(crate) fn data_fd(&mut self, id: FileId) -> Result<BorrowedFd<'_>, Errno> {
        let file = self.files.get_mut(id.0 as usize).ok_or(Errno::EBADF)?;
        if file.data.is_none() {
            file.data = Some(reopen(&file.place)?);
        }
        Ok(file.any())
    }

    fn file(&self, id: FileId) -> Result<&HostFile, Errno> {
        self.files.get(id.0 as usize).ok_or(Errno::EBADF)
    }

    /// Numbers of all descriptors of this host.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = i32> {
        let fds = self.files.iter().flat_map(|f| [Some(&f.place), f.data.as_ref()]);
        fds.flatten().map(AsRawFd::as_raw_fd)
    }
}

/// Opens for reading what an `O_PATH` descriptor stands for. Only called for regular files, so
/// nothing can block and no device is touched.
fn reopen(place: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let digits = place.as_raw_fd().to_string();
    path[14..14 + digits.len()].copy_from_slice(digits.as_bytes());
    let path = std::ffi::CStr::from_bytes_until_nul(&path).map_err(|_| Errno::EBADF)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    fs::openat(CWD, path, flags, Mode::empty()).map_err(errno)
}

impl World for Host {
    fn open(&mut self, at: At, path: &[u8], follow: bool) -> Result<FileId, Errno> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        let name = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let place = match at {
            At::Cwd => fs::openat(CWD, &name, flags, Mode::empty()).map_err(errno)?,
            At::Fd(fd) => open_at_fd(fd, &name, flags)?,
        };
        let id = FileId(self.files.len() as u32);
        self.files.push(HostFile { place, data: None, stat: None });
        Ok(id)
    }

    fn stat(&mut self, file: FileId) -> Result<Stat, Errno> {
        let entry = self.files.get_mut(file.0 as usize).ok_or(Errno::EBADF)?;
        let s = fs::fstat(entry.any()).map_err(errno)?;
        entry.stat = Some(s);
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

    fn check_exec(&mut self, file: FileId) -> Result<(), Denied> {
        let bad = |_| Denied::Policy(Errno::EBADF);
        let fd = self.file(file).map_err(bad)?.any();
        let said = ffi::execve_check(fd);
        // Kernels before 6.14 do not know the question.
        let unknown = matches!(said, Err(Errno::EINVAL | Errno::ENOSYS));
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
        match said {
            Err(Errno::ETXTBSY) => Err(Denied::TextBusy),
            Err(e) if !unknown => Err(Denied::Policy(e)),
            _ => Ok(()),
        }
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let fd = self.data_fd(file)?;
        rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut *buf, offset)).map_err(errno)
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
        let nosuid = fs::fstatvfs(entry.any())
            .is_ok_and(|m| m.f_flag.contains(fs::StatVfsMountFlags::NOSUID));
        let huge_aligned = fs::fstatfs(entry.any()).is_ok_and(|s| {
            // ext2/3/4, xfs, btrfs, erofs, fuse (statfs(2)).
            [0xef53, 0x5846_5342, 0x9123_683e, 0xe0f5_e1e2, 0x6573_5546]
                .contains(&(s.f_type as u64))
        }) && std::path::Path::new("/sys/kernel/mm/transparent_hugepage")
            .exists();
        Mount { nosuid, huge_aligned }
    }

    fn sysctl(&mut self, which: Sysctl) -> u64 {
        let (path, default) = match which {
            Sysctl::RandomizeVaSpace => (c"/proc/sys/kernel/randomize_va_space", 2),
            Sysctl::MmapRndBits => (c"/proc/sys/vm/mmap_rnd_bits", 28),
            Sysctl::MmapMinAddr => (c"/proc/sys/vm/mmap_min_addr", 65_536),
            Sysctl::LegacyVaLayout => (c"/proc/sys/vm/legacy_va_layout", 0),
            Sysctl::SuidDumpable => (c"/proc/sys/fs/suid_dumpable", 0),
        };
        read_number(path).unwrap_or(default)
    }

    fn cap_sets(&mut self) -> (u64, u64) {
        *self.caps.get_or_init(facts::cap_sets)
    }

    fn dentry_name(&mut self, file: FileId) -> Option<Vec<u8>> {
        let fd = self.file(file).ok()?.any().as_raw_fd();
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        let bytes = link.into_os_string().into_encoded_bytes();
        let name = bytes.rsplit(|b| *b == b'/').next()?;
        Some(name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec())
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// Opens relative to a descriptor of the caller, or that descriptor's own file.
fn open_at_fd(fd: i32, name: &CString, flags: OFlags) -> Result<OwnedFd, Errno> {
    if name.as_bytes().starts_with(b"/") {
        return fs::openat(CWD, name, flags, Mode::empty()).map_err(errno);
    }
    let dir = ffi::borrow_fd(fd).ok_or(Errno::EBADF)?;
    if name.is_empty() {
        // The file itself, whatever it is.
        rustix::io::fcntl_dupfd_cloexec(dir, 3).map_err(errno)
    } else {
        fs::openat(dir, name, flags, Mode::empty()).map_err(errno)
    }
}

fn read_number(path: &std::ffi::CStr) -> Option<u64> {
    let fd = fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buf = [0u8; 24];
    let n = rustix::io::read(&fd, &mut buf).ok()?;
    std::str::from_utf8(&buf[..n]).ok()?.trim().parse().ok()
}

/// Whether a descriptor of this process is close-on-exec; `None` if it is not open.
#[must_use]
pub fn is_cloexec(fd: i32) -> Option<bool> {
    let fd = ffi::borrow_fd(fd)?;
    rustix::io::fcntl_getfd(fd).ok().map(|f| f.contains(rustix::io::FdFlags::CLOEXEC))
}
