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
        return Ok(in_folders(&[path])
            .iter()
            .flat_map(|p| in_file(p).unwrap_or_default())
            .collect());
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
/// that begin with `#` or `;` are none.
pub(crate) fn lines(text: &[u8], file: &str) -> Vec<Line> {
    let blank = |b: &u8| b" \t\n\r".contains(b);
    let mut found = Vec::new();
    for (i, line) in text.split(|b| *b == b'\n').enumerate() {
        let indent = line.iter().take_while(|b| blank(b)).count();
        let rest = line.get(indent..).unwrap_or_default();
        let len = rest.iter().rposition(|b| !blank(b)).map_or(0, |last| last + 1);
        let text = rest.get(..len).unwrap_or_default();
        if !matches!(text.first(), None | Some(b'#' | b';')) {
            found.push(Line { text: text.to_vec(), file: file.to_owned(), line: i + 1, indent });
        }
    }
    found
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

/// The files that Debian's packages have left, by name.
pub(crate) fn of_debian(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_file()).collect();
    found.sort();
    found
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
