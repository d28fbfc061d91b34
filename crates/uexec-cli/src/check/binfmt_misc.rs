//! The rules of `binfmt_misc` that are switched on now, and which one a file matches (MISC-20,
//! MISC-21). Only reads what the kernel shows of them; the format itself is no business of this
//! room.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the kernel shows its rules.
pub(crate) const DIR: &str = "/proc/sys/fs/binfmt_misc";

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its name.
    pub(crate) name: String,
    /// What it runs files with.
    pub(crate) interpreter: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Extension(Vec<u8>),
    Magic { offset: usize, magic: Vec<u8>, mask: Vec<u8> },
}

/// The enabled rules in the order in which they are tried: newest first.
pub(crate) fn rules(dir: &Path) -> Vec<Rule> {
    let status = fs::read_to_string(dir.join("status")).unwrap_or_default();
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    if status.trim() != "enabled" {
        return Vec::new();
    }
    let mut found: Vec<((i64, i64, u64), Rule)> = entries
        .flatten()
        .filter(|e| e.file_name() != "status" && e.file_name() != "register")
        .filter_map(|e| {
            let m = e.metadata().ok()?;
            let text = fs::read_to_string(e.path()).ok()?;
            let rule = Rule::parse(&e.file_name().to_string_lossy(), &text)?;
            Some(((m.mtime(), m.mtime_nsec(), m.ino()), rule))
        })
        .collect();
    found.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    found.into_iter().map(|(_, rule)| rule).collect()
}

impl Rule {
    /// Reads what the kernel shows of a rule (MISC-15); `None` if it is disabled or not understood.
    fn parse(name: &str, text: &str) -> Option<Rule> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let (mut interpreter, mut extension, mut offset) = (None, None, 0);
        let (mut magic, mut mask) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("interpreter", path) => interpreter = Some(path.to_owned()),
                ("extension", e) => extension = Some(e.strip_prefix('.')?.as_bytes().to_vec()),
                ("offset", n) => offset = n.parse().ok()?,
                ("magic", hex) => magic = Some(bytes(hex)?),
                ("mask", hex) => mask = Some(bytes(hex)?),
                _ => {}
            }
        }
        let test = match (extension, magic) {
            (Some(e), _) => Test::Extension(e),
            (None, Some(magic)) => {
                let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
                Test::Magic { offset, magic, mask }
            }
            (None, None) => return None,
        };
        Some(Rule { name: name.to_owned(), interpreter: interpreter?, test })
    }

    /// Whether a file of this name with these first 256 bytes, zero-padded, is run by the rule.
    pub(crate) fn matches(&self, path: &[u8], head: &[u8]) -> bool {
        match &self.test {
            Test::Extension(e) => {
                path.iter().rposition(|b| *b == b'.').is_some_and(|dot| path[dot + 1..] == e[..])
            }
            Test::Magic { offset, magic, mask } => {
                head.get(*offset..offset.saturating_add(magic.len())).is_some_and(|at| {
                    at.iter().zip(magic).zip(mask).all(|((b, m), k)| (b ^ m) & k == 0)
                })
            }
        }
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok();
    hex.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AARCH64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn magic_and_mask_as_the_kernel_shows_them() {
        let rule = Rule::parse("qemu-aarch64", AARCH64).unwrap();
        assert_eq!(rule.interpreter, "/usr/bin/qemu-aarch64-static");
        let mut head = [0; 256];
        head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (head[16], head[18]) = (3, 183);
        assert!(rule.matches(b"x", &head));
        head[18] = 62;
        assert!(!rule.matches(b"x", &head));
        assert_eq!(Rule::parse("x", &AARCH64.replacen("enabled", "disabled", 1)), None);
    }

    #[test]
    fn extensions_after_the_last_dot() {
        let text = "enabled\ninterpreter /usr/bin/run\nflags: \nextension .py\n";
        let rule = Rule::parse("py", text).unwrap();
        assert!(rule.matches(b"/a/x.py", &[]));
        assert!(!rule.matches(b"/a.py/x", &[]));
        assert!(!rule.matches(b"/a/x.PY", &[]));
    }

    #[test]
    fn a_folder_as_the_kernel_makes_it() {
        let dir = std::env::temp_dir().join(format!("uexec-binfmt-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("status"), "enabled\n").unwrap();
        fs::write(dir.join("register"), "").unwrap();
        fs::write(dir.join("qemu-aarch64"), AARCH64).unwrap();
        assert_eq!(rules(&dir).len(), 1);
        fs::write(dir.join("status"), "disabled\n").unwrap();
        assert_eq!(rules(&dir), []);
        fs::remove_dir_all(&dir).unwrap();
    }
}
