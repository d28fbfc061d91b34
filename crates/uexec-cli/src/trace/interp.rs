//! Which interpreter the file of a running program names. Reads each file once; judges nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use uexec_core::abi::PATH_MAX;
use uexec_core::abi::elf::PT_INTERP;
use uexec_core::arch::Class;
use uexec_core::binfmt::elf::decode::{Form, header, segments};

/// What is known of files already, by their path.
#[derive(Debug, Default)]
pub(super) struct Interps(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Interps {
    /// The interpreter named by the program of this process, whose file is at `exe`.
    pub(super) fn of(&mut self, pid: i32, exe: &[u8]) -> Option<Vec<u8>> {
        if let Some(known) = self.0.get(exe) {
            return known.clone();
        }
        let read = File::open(format!("/proc/{pid}/exe")).ok().and_then(|file| named(&file));
        self.0.insert(exe.to_owned(), read.clone());
        read
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
    fn interpreters_are_read_once() {
        let mut interps = Interps::default();
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = interps.of(pid, b"/own");
        let file = std::fs::read("/proc/self/exe").unwrap();
        let named = file.windows(14).any(|w| w == b"/ld-linux-x86-");
        assert!(own.is_none() || named);
        assert_eq!(interps.of(-1, b"/own"), own);
        assert_eq!(interps.of(-1, b"/nobody's"), None);
    }
}
