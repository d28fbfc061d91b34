//! Debian's own format of rules (`update-binfmts(8)`, "FORMAT FILES"): a key and a value a line. Turns
//! it into what that program registers.

use std::path::{Path, PathBuf};

use super::source::Line;

/// What is registered in place of an interpreter with a detector: it asks the detectors. Part of
/// the package `binfmt-support`.
const RUN_DETECTORS: &str = "/usr/lib/binfmt-support/run-detectors";

/// The pairs of a file.
fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let line = line.trim_ascii();
        let at = line.iter().position(|b| b.is_ascii_whitespace())?;
        let (key, value) = line.split_at(at);
        Some((key, value.trim_ascii()))
    })
}

/// Whether a file is in this format: it says what it takes, and with what.
pub(super) fn is_format(text: &[u8]) -> bool {
    let has = |wanted: &[u8]| pairs(text).any(|(key, _)| key == wanted);
    has(b"interpreter") && (has(b"magic") || has(b"extension"))
}

/// A file that has been read.
struct Format<'a> {
    name: &'a [u8],
    text: &'a [u8],
    file: &'a str,
}

impl<'a> Format<'a> {
    /// What a key was given last.
    fn value(&self, key: &[u8]) -> Option<&'a [u8]> {
        pairs(self.text).filter(|(k, _)| *k == key).last().map(|(_, v)| v)
    }

    fn is(&self, key: &[u8]) -> bool {
        self.value(key) == Some(b"yes")
    }

    /// What it takes: letter, offset, magic or extension, mask.
    fn takes(&self) -> [&'a [u8]; 4] {
        let or_empty = |key: &[u8]| self.value(key).unwrap_or_default();
        match self.value(b"extension") {
            Some(extension) => [b"E", b"", extension, b""],
            None => {
                let offset = Some(or_empty(b"offset")).filter(|o| *o != b"0").unwrap_or_default();
                [b"M", offset, or_empty(b"magic"), or_empty(b"mask")]
            }
        }
    }

    fn line(&self, interpreter: &[u8]) -> Option<Line> {
        let mut flags = Vec::new();
        for (key, letter) in
            [(&b"preserve"[..], b'P'), (b"credentials", b'C'), (b"fix_binary", b'F')]
        {
            flags.extend(self.is(key).then_some(letter));
        }
        let [kind, offset, magic, mask] = self.takes();
        let fields = [self.name, kind, offset, magic, mask, interpreter, &flags];
        let free = |d: &&u8| fields.iter().all(|f| !f.contains(d));
        let delimiter = *b":;,|!@%^~\x01\x02\x03".iter().find(free)?;
        let text = fields.iter().flat_map(|f| [&[delimiter][..], f].concat()).collect();
        Some(Line { text, file: self.file.to_owned(), line: 1, indent: 0 })
    }
}

/// The rule of a file; the file's name is the rule's.
pub(super) fn rule(name: &[u8], text: &[u8], file: &str) -> Option<Line> {
    together(&[Format { name, text, file }], true).pop()
}

/// The rules of a folder that packages have filled, by name. Those that take the same files all ask
/// the detectors, as the program that knows them chooses among all of them; where it is not
/// installed, rules with a detector do not count.
pub(super) fn in_folder(folder: &Path) -> Vec<Line> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_file()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name()?.as_encoded_bytes().to_vec();
        Some((name, std::fs::read(&path).ok()?, path.display().to_string()))
    };
    let files: Vec<_> = paths.into_iter().filter_map(read).collect();
    let formats: Vec<Format<'_>> = files
        .iter()
        .filter(|(_, text, _)| is_format(text))
        .map(|(name, text, file)| Format { name, text, file })
        .collect();
    together(&formats, Path::new(RUN_DETECTORS).exists())
}

fn together(formats: &[Format<'_>], has_detectors: bool) -> Vec<Line> {
    let line = |format: &Format<'_>| {
        let shared = || formats.iter().filter(|f| f.takes() == format.takes()).count() > 1;
        let detector = format.value(b"detector").is_some();
        match (detector, has_detectors) {
            (true, false) => None,
            (true, true) => format.line(RUN_DETECTORS.as_bytes()),
            (false, true) if shared() && !format.is(b"fix_binary") => {
                format.line(RUN_DETECTORS.as_bytes())
            }
            (false, _) => format.line(format.value(b"interpreter")?),
        }
    };
    formats.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_openjdk_and_qemu_write_them() {
        let jar = b"package openjdk-17\ninterpreter /usr/bin/jexec\nmagic PK\\x03\\x04\n";
        assert!(is_format(jar));
        assert_eq!(rule(b"jar", jar, "f").unwrap().text, b":jar:M::PK\\x03\\x04::/usr/bin/jexec:");
        let qemu = b"package q\ninterpreter /q\nmagic \\x7fE\noffset 0\nmask \\xff\\xfe\n\
            credentials yes\nfix_binary yes\npreserve yes\n";
        let text = rule(b"q", qemu, "f").unwrap().text;
        assert_eq!(text, b":q:M::\\x7fE:\\xff\\xfe:/q:PCF");
        let cli = b"package mono\ninterpreter /usr/bin/cli\nmagic MZ\ndetector /usr/lib/cli\n";
        let text = rule(b"cli", cli, "f").unwrap().text;
        assert_eq!(text, [b":cli:M::MZ::", RUN_DETECTORS.as_bytes(), b":"].concat());
        let extension = b"interpreter /a:b\nextension x\n";
        assert_eq!(rule(b"n", extension, "f").unwrap().text, b";n;E;;x;;/a:b;");
        assert!(!is_format(b":a:E::x::/i:\n"));
    }

    /// Compared with what `update-binfmts --enable` (binfmt-support 2.2.2) registers.
    #[test]
    fn those_of_the_same_files_ask_the_detectors() {
        let file = |name, text| Format { name, text, file: "f" };
        let formats = [
            file(b"cli", &b"package m\ndetector /d\ninterpreter /usr/bin/cli\nmagic MZ\n"[..]),
            file(b"jar", b"package j\ninterpreter /usr/bin/jexec\nmagic PK\n"),
            file(b"last", b"interpreter /none\nmagic X\nother x\ninterpreter /i\r\nmagic Y\n"),
            file(b"wine", b"package w\ninterpreter /usr/bin/wine\nmagic MZ\noffset 0\n"),
            file(b"z", b"package z\ninterpreter /z\nmagic MZ\nfix_binary yes\n"),
        ];
        assert!(formats.iter().all(|f| is_format(f.text)));
        let texts = |has| -> Vec<String> {
            let lines = together(&formats, has).into_iter();
            lines.map(|l| String::from_utf8(l.text).unwrap()).collect()
        };
        let (jar, last) = (":jar:M::PK::/usr/bin/jexec:", ":last:M::Y::/i:");
        let asks = |name| format!(":{name}:M::MZ::{RUN_DETECTORS}:");
        assert_eq!(texts(true), [&asks("cli"), jar, last, &asks("wine"), ":z:M::MZ::/z:F"]);
        assert_eq!(texts(false), [jar, last, ":wine:M::MZ::/usr/bin/wine:", ":z:M::MZ::/z:F"]);
    }
}
