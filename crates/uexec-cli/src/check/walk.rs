//! Finds what is to be decided: every program below the named paths, in the order of their paths.
//!
//! Goes down by descriptors and never through a symbolic link, so that nothing moved or linked
//! meanwhile leads it out. Opens directories only. Holds the names of one directory a level, and
//! a bounded number of descriptors however deep the tree is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Directories kept open on the way down. Those above are opened again by `..` and compared.
const OPEN_LEVELS: usize = 32;

/// File systems that are no place for programs (`statfs(2)`): proc, sysfs, cgroup 1 and 2,
/// debugfs, tracefs, securityfs, bpf. Their files answer for the kernel, and proc leads to the
/// programs of all processes once more.
const PSEUDO: [u64; 8] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
];

/// What the walk comes across.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Something to decide.
    Program(Vec<u8>),
    /// A directory that cannot be read.
    Closed(Vec<u8>, Errno),
    /// A symbolic link that leads nowhere.
    Dangling,
}

/// Takes what is found; says whether to go on.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Found) -> bool;

/// The file system to walk: all of it, or one directory as after `chroot(2)`.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Option<OwnedFd>,
}

/// What is kept of a directory entry.
struct Entry {
    name: Vec<u8>,
    is_dir: bool,
}

/// A directory on the way down.
struct Level {
    dir: Option<OwnedFd>,
    id: (u64, u64),
    /// Length of its path.
    path: usize,
    entries: std::vec::IntoIter<Entry>,
}

impl Tree {
    /// The whole file system, or what is below `root`.
    ///
    /// # Errors
    /// When the root cannot be opened.
    pub(crate) fn new(root: Option<&[u8]>) -> io::Result<Tree> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = root.map(|r| fs::open(r, flags, Mode::empty())).transpose()?;
        Ok(Tree { root })
    }

    /// Walks every path. Identical ones are walked once, and so is what lies below another one.
    pub(crate) fn walk(&self, paths: &[Vec<u8>], sink: Sink<'_>) {
        let mut paths = paths.to_vec();
        paths.sort();
        paths.dedup();
        let mut walked: Vec<(Vec<u8>, OwnedFd)> = Vec::new();
        for path in paths {
            if walked.iter().any(|(above, fd)| covered(above, fd.as_fd(), &path)) {
                continue;
            }
            let dir = self.place(&path).ok().filter(|fd| is_dir(fd.as_fd()));
            let go_on = match dir {
                Some(place) => {
                    let go_on = self.descend(&path, &place, sink);
                    walked.push((path, place));
                    go_on
                }
                // Whatever it is, it was asked about.
                None => sink(Found::Program(path)),
            };
            if !go_on {
                return;
            }
        }
    }

    /// The place `path` leads to, not opened.
    fn place(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Some(root) = &self.root else { return fs::openat(CWD, path, flags, Mode::empty()) };
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0..64;
        loop {
            match fs::openat2(root, path, flags, Mode::empty(), inside) {
                // A directory was moved meanwhile.
                Err(Errno::AGAIN | Errno::INTR) if tries.next().is_some() => {}
                other => return other,
            }
        }
    }

    /// Walks one directory; false to stop altogether.
    fn descend(&self, start: &[u8], place: &OwnedFd, sink: Sink<'_>) -> bool {
        let mut path = start.to_vec();
        let mut levels = Vec::new();
        match open_dir(place.as_fd(), b".").and_then(|dir| self.level(dir, &path, sink)) {
            Ok(Some(level)) => levels.push(level),
            Ok(None) => return false,
            Err(errno) => return sink(Found::Closed(path, errno)),
        }
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path);
            let Some(entry) = level.entries.next() else {
                let done = levels.pop();
                path.truncate(levels.last().map_or(0, |l| l.path));
                if !reopen(&mut levels, done, &path, sink) {
                    return false;
                }
                continue;
            };
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            if !entry.is_dir {
                if !sink(Found::Program(path.clone())) {
                    return false;
                }
                continue;
            }
            let Some(dir) = &level.dir else { continue };
            let above = level.id.0;
            let opened = open_dir(dir.as_fd(), &entry.name).and_then(|dir| {
                let dev = fs::fstat(&dir)?.st_dev;
                Ok((dev == above || !is_pseudo(dir.as_fd())).then_some(dir))
            });
            let below = match opened {
                Ok(None) => continue,
                Ok(Some(dir)) => self.level(dir, &path, sink),
                Err(errno) => Err(errno),
            };
            match below {
                Ok(Some(level)) => levels.push(level),
                Ok(None) => return false,
                // Gone, or something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => {
                    if !sink(Found::Closed(path.clone(), errno)) {
                        return false;
                    }
                }
            }
            if let Some(i) = levels.len().checked_sub(OPEN_LEVELS + 1) {
                levels[i].dir = None;
            }
        }
        true
    }

    /// Reads a directory and keeps what matters of it; `None` to stop.
    fn level(&self, dir: OwnedFd, path: &[u8], sink: Sink<'_>) -> Result<Option<Level>, Errno> {
        let stat = fs::fstat(&dir)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let keep = |is_dir| Entry { name: name.to_bytes().to_vec(), is_dir };
            let mut kind = entry.file_type();
            let mut stat = None;
            if matches!(kind, FileType::RegularFile | FileType::Unknown) {
                let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
                // Gone already?
                let Ok(s) = fs::statat(&dir, name, flags) else { continue };
                kind = FileType::from_raw_mode(s.st_mode);
                stat = Some(s);
            }
            match kind {
                FileType::Directory => entries.push(keep(true)),
                FileType::RegularFile if stat.is_some_and(|s| s.st_mode & 0o111 != 0) => {
                    entries.push(keep(false));
                }
                FileType::Symlink => match self.follow(dir.as_fd(), path, name) {
                    Ok(s) if is_program(&s) => entries.push(keep(false)),
                    Ok(_) => {}
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                        if !sink(Found::Dangling) {
                            return Ok(None);
                        }
                    }
                    // The way there is closed to us: a program for all that is known.
                    Err(_) => entries.push(keep(false)),
                },
                _ => {}
            }
        }
        // As the whole paths sort: what is below a directory comes where its name and a slash do.
        let key = |e: &Entry| [e.name.as_slice(), if e.is_dir { b"/" } else { b"" }].concat();
        entries.sort_by_cached_key(key);
        Ok(Some(Level {
            dir: Some(dir),
            id: (stat.st_dev, stat.st_ino),
            path: path.len(),
            entries: entries.into_iter(),
        }))
    }

    /// What stands at the end of a symbolic link.
    fn follow(
        &self,
        dir: BorrowedFd<'_>,
        path: &[u8],
        name: &std::ffi::CStr,
    ) -> Result<fs::Stat, Errno> {
        if self.root.is_none() {
            return fs::statat(dir, name, AtFlags::NO_AUTOMOUNT);
        }
        // Only from the root can the kernel keep the way inside it.
        fs::fstat(self.place(&[path, b"/", name.to_bytes()].concat())?)
    }
}

/// Gets the directory at the top of `levels` open again, from below.
fn reopen(levels: &mut Vec<Level>, below: Option<Level>, path: &[u8], sink: Sink<'_>) -> bool {
    let Some(level) = levels.last_mut().filter(|l| l.dir.is_none()) else { return true };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let up = below
        .and_then(|b| b.dir)
        .and_then(|dir| fs::openat(dir, "..", flags, Mode::empty()).ok())
        .filter(|up| fs::fstat(up).is_ok_and(|s| (s.st_dev, s.st_ino) == level.id));
    if up.is_some() {
        level.dir = up;
        return true;
    }
    // Moved away meanwhile: neither this nor what is above can be gone on with.
    levels.clear();
    sink(Found::Closed(path.to_vec(), Errno::STALE))
}

fn open_dir(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(at, name, flags, Mode::empty())
}

fn is_dir(fd: BorrowedFd<'_>) -> bool {
    fs::fstat(fd).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
}

fn is_program(s: &fs::Stat) -> bool {
    FileType::from_raw_mode(s.st_mode) == FileType::RegularFile && s.st_mode & 0o111 != 0
}

fn is_pseudo(dir: BorrowedFd<'_>) -> bool {
    fs::fstatfs(dir).is_ok_and(|s| PSEUDO.contains(&(s.f_type as u64)))
}

/// Whether the walk of `above` comes across `path` by that name: it lies below, and neither a link
/// nor another rule keeps the walk from it.
fn covered(above: &[u8], fd: BorrowedFd<'_>, path: &[u8]) -> bool {
    let trimmed = above.strip_suffix(b"/").unwrap_or(above);
    let Some(rest) = path.strip_prefix(trimmed).and_then(|r| r.strip_prefix(b"/")) else {
        return false;
    };
    let rest: Vec<&[u8]> = rest.split(|b| *b == b'/').filter(|c| !c.is_empty()).collect();
    if rest.contains(&b"..".as_slice()) || rest.contains(&b".".as_slice()) {
        return false;
    }
    if rest.is_empty() {
        return true;
    }
    let straight = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(at) = fs::openat2(fd, rest.join(&b'/'), flags, Mode::empty(), straight) else {
        return false;
    };
    match is_dir(at.as_fd()) {
        true => !is_pseudo(at.as_fd()),
        false => fs::fstat(&at).is_ok_and(|s| is_program(&s)),
    }
}
