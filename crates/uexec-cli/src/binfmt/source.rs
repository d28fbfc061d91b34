//! Where rules are written down: on the command line, in files of binfmt.d, in Debian's own format.
//! Cuts files into rules; whether one is right is decided by the core.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::debian;

/// The folders of `binfmt.d(5)`: a file in an earlier one hides those of its name in later ones.
pub(crate) const FOLDERS: [&str; 4] =
    ["/etc/binfmt.d", "/run/binfmt.d", "/usr/local/lib/binfmt.d", "/usr/lib/binfmt.d"];
/// Where Debian's packages put rules in their own format (`update-binfmts(8)`).
pub(crate) const DEBIAN: &str = "/usr/share/binfmts";

/// A rule's text, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What is written to the kernel's `register`.
    pub(crate) text: Vec<u8>,
    /// The file; empty for the command line.
    pub(crate) file: String,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// Bytes in front of the text on that line.
    pub(crate) indent: usize,
}

impl Line {
    /// Where it stands, for people.
    pub(crate) fn place(&self) -> String {
        match self.file.as_str() {
            "" => "--binfmt".into(),
            file => format!("{file}:{}", self.line),
        }
    }

    /// Its name, also where the rest is wrong.
    pub(crate) fn name(&self) -> &[u8] {
        let Some((delimiter, rest)) = self.text.split_first() else { return b"" };
        rest.split(|b| b == delimiter).next().unwrap_or_default()
    }
}

/// The rules that an option names: one rule, the rules of a file, or those of a folder.
///
/// # Errors
/// When it is no rule and cannot be read.
pub(crate) fn named(option: &OsStr) -> io::Result<Vec<Line>> {
    let bytes = option.as_bytes();
    let path = Path::new(option);
    if bytes.first() == Some(&b':') || !path.exists() && is_like_a_rule(bytes) {
        let line = Line { text: bytes.to_vec(), file: String::new(), line: 1, indent: 0 };
        return Ok(vec![line]);
    }
    if path.is_dir() {
        let files = in_folders(&[path]);
        return Ok(match files.is_empty() {
            true => debian::in_folder(path),
            false => files.iter().flat_map(|p| in_file(p).unwrap_or_default()).collect(),
        });
    }
    in_file(path)
}

/// Whether the first byte comes again as often as a delimiter does.
fn is_like_a_rule(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|d| bytes.iter().filter(|b| *b == d).count() >= 7)
}

/// The rules of a file in either format; `-` is standard input.
pub(crate) fn in_file(path: &Path) -> io::Result<Vec<Line>> {
    let mut text = Vec::new();
    match path.as_os_str() == "-" {
        true => io::stdin().lock().read_to_end(&mut text)?,
        false => std::fs::File::open(path)?.read_to_end(&mut text)?,
    };
    let name = path.file_name().unwrap_or_default().as_bytes();
    let shown = path.display().to_string();
    if debian::is_format(&text) {
        return Ok(debian::rule(name, &text, &shown).into_iter().collect());
    }
    Ok(lines(&text, &shown))
}

/// The rules of a file of `binfmt.d(5)`: a line each, blanks around it dropped; empty lines and those
/// that begin with `#` or `;` are none. Lines end as `systemd-binfmt` ends them, at a carriage return
/// and at a NUL byte, too; they are counted as an editor does.
pub(crate) fn lines(text: &[u8], file: &str) -> Vec<Line> {
    let mut found = Vec::new();
    for (i, whole) in text.split(|b| *b == b'\n').enumerate() {
        let mut start = 0;
        for part in whole.split(|b| b"\r\0".contains(b)) {
            let text = trim_blanks(part);
            let indent = start + part.iter().take_while(|b| is_blank(**b)).count();
            start += part.len() + 1;
            if !matches!(text.first(), None | Some(b'#' | b';')) {
                let (text, file) = (text.to_vec(), file.to_owned());
                found.push(Line { text, file, line: i + 1, indent });
            }
        }
    }
    found
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b, rest @ ..] = text
        && is_blank(*b)
    {
        text = rest;
    }
    while let [rest @ .., b] = text
        && is_blank(*b)
    {
        text = rest;
    }
    text
}

/// The files of these folders that count, in the order in which `systemd-binfmt` reads them: by
/// their names; an earlier folder's file hides a later one's.
pub(crate) fn in_folders(folders: &[&Path]) -> Vec<PathBuf> {
    let mut found = std::collections::BTreeMap::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_bytes().ends_with(b".conf") {
                found.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    // A link to /dev/null hides and adds nothing.
    found.into_values().filter(|p| p.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_places() {
        let text = b"# one\n;two\n\n  :a:E::x::/i:  \r\n:b:E::y::/j:";
        let found = lines(text, "f");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].text.as_slice(), found[0].indent), (&b":a:E::x::/i:"[..], 2));
        assert_eq!((found[0].place(), found[1].place()), ("f:4".into(), "f:5".into()));
        assert_eq!(found[1].name(), b"b");
    }

    #[test]
    fn carriage_returns_and_nul_bytes_end_lines() {
        let found = lines(b":a:E::x::/i:\r :b:E::y::/i:\0\r\n:c:E::z::/i:\x0c", "f");
        let told: Vec<_> = found.iter().map(|l| (l.line, l.indent, l.text.len())).collect();
        assert_eq!(told, [(1, 0, 12), (1, 14, 12), (2, 0, 13)]);
    }

    #[test]
    fn an_earlier_folder_hides_a_later_one() {
        let dir = std::env::temp_dir().join(format!("uexec-folders-{}", std::process::id()));
        let (etc, lib) = (dir.join("etc"), dir.join("lib"));
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::create_dir_all(&lib).unwrap();
        for (folder, name) in [(&lib, "b.conf"), (&lib, "a.conf"), (&etc, "b.conf"), (&etc, "x")] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        std::fs::write(lib.join("c.conf"), "").unwrap();
        std::os::unix::fs::symlink("/dev/null", etc.join("c.conf")).unwrap();
        let found = in_folders(&[&etc, &lib]);
        assert_eq!(found, [lib.join("a.conf"), etc.join("b.conf")]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn rules_are_told_from_files() {
        assert!(named(OsStr::new(",a,E,,x,,/i,")).is_ok());
        assert!(named(OsStr::new("no-such-file.conf")).is_err());
    }
}
