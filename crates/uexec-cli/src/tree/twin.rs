//! Twins of programs: files with a mark, in a file system of memory that nobody can walk into, where
//! they have the name and the place of the original. Whoever is started from one is called, and
//! finds himself, as the original would. Never touches a file that others see.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{chroot, fchdir};
use uexec_core::binfmt::misc::parse;
use uexec_loader::config::{rule, rule_i386};

/// Where the loader's rules look for the mark.
const MARK_AT: usize = 15;

/// A twin that is not there yet.
pub(super) struct Twin {
    program: Vec<u8>,
    /// The name, and where it leads to.
    name: PathBuf,
    real: PathBuf,
}

/// A twin of this program, if the loader's rules would take it.
pub(super) fn of(name: &Path) -> io::Result<Option<Twin>> {
    let Ok(mut program) = fs::read(name) else { return Ok(None) };
    let head = core::array::from_fn(|i| program.get(i).copied().unwrap_or(0));
    let takes = |text: String| parse(text.as_bytes()).is_ok_and(|r| r.test.matches(b"", &head));
    if !takes(rule("x", "/x")) && !takes(rule_i386("x", "/x")) {
        return Ok(None);
    }
    program[MARK_AT] = b'u';
    let name = std::path::absolute(name)?;
    let real = fs::canonicalize(&name)?;
    Ok(Some(Twin { program, name, real }))
}

impl Twin {
    /// Does `work` where its name leads to the twin. What has been opened by that stays; all else of
    /// the place is gone after it.
    pub(super) fn where_it_lies(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let kind = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&kind)?;
        let place = fsmount(&kind, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        self.put(&place)?;
        let open = |path| openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let (root, here) = (open("/")?, open(".")?);
        // There has to be a way back.
        fchdir(&here)?;
        let done = enter(&place).map_err(io::Error::from).and_then(|()| work());
        enter(&root)?;
        fchdir(&here)?;
        done
    }

    /// Makes the file, and what leads to it.
    fn put(&self, place: &OwnedFd) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let real = way_to(place, &self.real)?;
        let mut file = File::from(openat(place, &real, flags, Mode::RUSR)?);
        io::Write::write_all(&mut file, &self.program)?;
        file.set_permissions(Permissions::from_mode(0o755))?;
        let name = way_to(place, &self.name)?;
        match symlinkat(&self.real, place, &name) {
            Err(errno) if errno != Errno::EXIST => Err(errno.into()),
            _ => Ok(()),
        }
    }
}

/// Makes the directories above; the path, as it is from `place` on.
fn way_to(place: &OwnedFd, path: &Path) -> io::Result<PathBuf> {
    let mut way = PathBuf::new();
    let below = path.components().filter(|c| *c != Component::RootDir);
    for part in below {
        if !way.as_os_str().is_empty() {
            match mkdirat(place, &way, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        way.push(part);
    }
    Ok(way)
}

fn enter(root: &OwnedFd) -> rustix::io::Result<()> {
    fchdir(root)?;
    chroot(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_loader_takes_has_one() {
        assert!(of(Path::new("/proc/self/exe")).unwrap().is_some());
        assert!(of(Path::new("/proc/self/cmdline")).unwrap().is_none());
        assert!(of(Path::new("/nowhere")).unwrap().is_none());
    }
}
