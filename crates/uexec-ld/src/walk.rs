//! Path resolution below a directory, one component at a time. Holds a descriptor for every
//! directory on the way down, so that `..` never asks the kernel where up is, and never follows a
//! symbolic link but by reading it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

/// `path_resolution(7)`: more links than this are ELOOP.
const MAX_LINKS: u32 = 40;
/// Each component costs a descriptor; deeper trees are refused.
const MAX_DEPTH: usize = 256;

/// Opens `path` as `chroot(2)` into `root` would show it; also its absolute path there, without
/// symbolic links.
pub(crate) fn in_root(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> Result<(OwnedFd, Vec<u8>), Errno> {
    let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut down: Vec<(OwnedFd, Vec<u8>)> = Vec::new();
    let mut todo: Vec<Vec<u8>> = split(path);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let here = down.last().map_or(root, |(fd, _)| fd.as_fd());
        match name.as_slice() {
            b"" | b"." => {
                // Something must be below: only a directory has that.
                is_dir(here)?;
                continue;
            }
            b".." => {
                is_dir(here)?;
                down.pop();
                continue;
            }
            _ => {}
        }
        let next = fs::openat(here, name.as_slice(), place, Mode::empty())?;
        if FileType::from_raw_mode(fs::fstat(&next)?.st_mode) == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target = fs::readlinkat(&next, c"", Vec::new())?.into_bytes();
            if target.first() == Some(&b'/') {
                down.clear();
            }
            todo.extend(split(&target));
            continue;
        }
        if down.len() >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        down.push((next, name));
    }
    let real = match down.as_slice() {
        [] => b"/".to_vec(),
        names => names.iter().flat_map(|(_, n)| [b"/", n.as_slice()].concat()).collect(),
    };
    let Some((last, name)) = down.pop() else {
        return Ok((fs::openat(root, c".", flags, Mode::empty())?, real));
    };
    if flags.contains(OFlags::PATH) {
        return Ok((last, real));
    }
    // The name once more, for reading. It was no link a moment ago; it is not followed now.
    let parent = down.last().map_or(root, |(fd, _)| fd.as_fd());
    Ok((fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty())?, real))
}

/// Components, last first; a trailing slash leaves an empty one, which asks for a directory.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect()
}

fn is_dir(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match FileType::from_raw_mode(fs::fstat(fd)?.st_mode) {
        FileType::Directory => Ok(()),
        _ => Err(Errno::NOTDIR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_dots_stay_inside() {
        let dir = std::env::temp_dir().join(format!("uexec-ld-walk-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("a/b/f"), "x").unwrap();
        for (target, link) in [
            ("/a", "abs"),
            ("../../../../a/b/f", "up"),
            ("loop", "loop"),
            ("/etc/passwd", "out"),
            ("b/f/", "a/slash"),
        ] {
            symlink(target, dir.join(link)).unwrap();
        }
        let root = fs::open(&dir, OFlags::PATH, Mode::empty()).unwrap();
        let real = |p: &str| in_root(root.as_fd(), p.as_bytes(), OFlags::PATH).map(|r| r.1);
        assert_eq!(real("/abs/b/f").unwrap(), b"/a/b/f");
        assert_eq!(real("abs/b/../../../../up").unwrap(), b"/a/b/f");
        assert_eq!(real("/..").unwrap(), b"/");
        assert_eq!(real("/loop"), Err(Errno::LOOP));
        assert_eq!(real("/out"), Err(Errno::NOENT));
        assert_eq!(real("/a/slash"), Err(Errno::NOTDIR));
        assert_eq!(real("/a/b/f/../f"), Err(Errno::NOTDIR));
        let (fd, _) = in_root(root.as_fd(), b"/up", OFlags::RDONLY).unwrap();
        assert_eq!(fs::fstat(fd).unwrap().st_size, 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
