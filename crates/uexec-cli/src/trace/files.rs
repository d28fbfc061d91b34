//! What the files of running programs say: their interpreter, and the privilege they would grant.
//! Reads each file once; judges nothing.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::getxattr;
use uexec_core::abi::PATH_MAX;
use uexec_core::abi::elf::PT_INTERP;
use uexec_core::arch::Class;
use uexec_core::binfmt::elf::decode::{Form, header, segments};

/// Which file, and since when it is as it is.
type Key = (u64, u64, i64, i64);

/// What is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The interpreter that it names.
    pub(super) interp: Option<Vec<u8>>,
    /// It has capabilities (`capabilities(7)`).
    capable: bool,
}

/// What is known of files already.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<Key, Known>);

/// More than these are looked at again.
const MOST: usize = 4096;

impl Files {
    /// Of the program of this process, which is this file: what it says, and the privilege that it
    /// would have given, but did not.
    pub(super) fn of(&mut self, pid: i32, path: &Path) -> Option<(Known, Option<&'static str>)> {
        let about = std::fs::metadata(path).ok()?;
        let key = (about.dev(), about.ino(), about.ctime(), about.ctime_nsec());
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let known = self.0.entry(key).or_insert_with(|| Known {
            interp: File::open(path).ok().and_then(|file| named(&file)),
            capable: getxattr(path, "security.capability", &mut [0; 64][..]).is_ok(),
        });
        Some((known.clone(), withheld(pid, &about, known.capable)))
    }
}

/// What the kernel would have granted a process that executes this file, had it or somebody before
/// it not promised to gain nothing: as whoever is traced without privilege does.
fn withheld(pid: i32, about: &Metadata, capable: bool) -> Option<&'static str> {
    const ISUID: u32 = 0o4000;
    /// With the group's right to execute; without, it means something else (`inode(7)`).
    const ISGID: u32 = 0o2010;
    let (user, group) = (about.mode() & ISUID != 0, about.mode() & ISGID == ISGID);
    if !user && !group && !capable {
        return None;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // Real, effective, saved and of file systems.
    let effective = |name| line(name)?.split('\t').nth(1)?.parse::<u32>().ok();
    if line("NoNewPrivs:")? == "0" {
        return None;
    }
    let (uid, gid) = (effective("Uid:")?, effective("Gid:")?);
    match () {
        () if user && about.uid() != uid => Some("set-user-ID"),
        () if group && about.gid() != gid => Some("set-group-ID"),
        () if capable && uid != 0 => Some("capabilities"),
        () => None,
    }
}

fn named(file: &File) -> Option<Vec<u8>> {
    let mut head = [0; 4096];
    let len = file.read_at(&mut head, 0).ok()?;
    let head = head.get(..len)?;
    let class = if *head.get(4)? == 1 { Class::Elf32 } else { Class::Elf64 };
    let form = Form { class, big_endian: *head.get(5)? == 2 };
    let header = header(head, form)?;
    let len = usize::from(header.e_phnum) * usize::from(class.phdr_len());
    let mut table = vec![0; len];
    file.read_exact_at(&mut table, header.e_phoff).ok()?;
    let of = segments(&table, header.e_phoff, form).into_iter().find(|s| s.p_type == PT_INTERP)?;
    let mut path = vec![0; usize::try_from(of.p_filesz).ok()?.min(PATH_MAX)];
    file.read_exact_at(&mut path, of.p_offset).ok()?;
    path.truncate(path.iter().position(|b| *b == 0)?);
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_once() {
        let mut files = Files::default();
        let pid = i32::try_from(std::process::id()).unwrap();
        let own_file = Path::new("/proc/self/exe");
        let own = files.of(pid, own_file).unwrap();
        let file = std::fs::read("/proc/self/exe").unwrap();
        let named = file.windows(14).any(|w| w == b"/ld-linux-x86-");
        assert!(own.0.interp.is_none() || named);
        assert_eq!((own.1, own.0.capable), (None, false));
        assert_eq!(files.of(pid, own_file), Some(own));
        assert_eq!(files.0.len(), 1);
        assert_eq!(files.of(pid, Path::new("/nobody's")), None);
    }
}
