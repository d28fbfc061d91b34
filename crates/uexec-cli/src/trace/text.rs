//! What programs are given: bytes, mostly text. Keeps them as they are; who shows them decides how.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};
use uexec_core::story::{Shown, is_unseen};

/// An argument, a path, a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(super) Vec<u8>);

impl Text {
    /// The last component of a path.
    pub(super) fn base(&self) -> Text {
        Text(self.0.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

/// A string, exactly; what is not UTF-8 is a list of its bytes, as journalctl(1) has it.
impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(&self.0),
        }
    }
}

/// Several of them.
pub(super) fn texts(list: &[Vec<u8>]) -> Vec<Text> {
    list.iter().cloned().map(Text).collect()
}

/// Arguments as they can be typed into a shell.
pub(super) fn command(argv: &[Text]) -> String {
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// One word of a shell's command line.
pub(super) fn word(word: &Text) -> String {
    let plain = |c: char| c.is_alphanumeric() || "+,-./:=@_%^~".contains(c);
    match std::str::from_utf8(&word.0) {
        Ok(text) if !text.is_empty() && text.chars().all(plain) && !text.starts_with('~') => {
            text.to_owned()
        }
        Ok(text) if !text.chars().any(is_unseen) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => ansi_c(&word.0),
    }
}

/// A word that cannot be shown as it is, quoted as bash, zsh and POSIX.1-2024 have it.
fn ansi_c(word: &[u8]) -> String {
    let mut out = String::from("$'");
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            let _ = match c {
                '\'' | '\\' => write!(out, "\\{c}"),
                '\n' => write!(out, "\\n"),
                '\t' => write!(out, "\\t"),
                c if is_unseen(c) => {
                    c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|b| write!(out, "\\{b:03o}"))
                }
                c => write!(out, "{c}"),
            };
        }
        // Three digits at most: what follows may look like one.
        for b in chunk.invalid() {
            let _ = write!(out, "\\{b:03o}");
        }
    }
    out + "'"
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn bash_reads_words_as_they_were() {
        let words: Vec<Vec<u8>> = [
            &b"plain"[..],
            b"",
            b"it's",
            b"two words",
            b"$HOME `x` \"",
            b"~root",
            b"a\nb\tc\\n",
            b"\xff0\xfe",
            b"\x1b[31m",
            "\u{202e}\u{200b}7 日本".as_bytes(),
            b"\x7f1",
            b"!",
        ]
        .map(<[u8]>::to_vec)
        .to_vec();
        let typed = command(&texts(&words));
        assert!(!typed.chars().any(is_unseen), "{typed:?}");
        let script = format!("printf '%s\\0' {typed}");
        let output = match std::process::Command::new("bash").arg("-c").arg(&script).output() {
            Ok(output) => output,
            Err(error) => return eprintln!("skipped: bash: {error}"),
        };
        let read: Vec<Vec<u8>> = output.stdout.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
        assert_eq!(read[..words.len()], words, "{typed}");
    }

    #[test]
    fn json_has_bytes_where_there_is_no_text() {
        let text = |bytes: &[u8]| serde_json::to_string(&Text(bytes.to_vec())).unwrap();
        assert_eq!(text(b"a\n\\n"), r#""a\n\\n""#);
        assert_eq!(text(b"a\xff"), "[97,255]");
        let path = std::ffi::OsString::from_vec(b"/x/y\xff".to_vec());
        assert_eq!(Text(path.into_vec()).base(), Text(b"y\xff".to_vec()));
    }
}
