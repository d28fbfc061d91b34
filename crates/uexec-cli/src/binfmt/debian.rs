//! Debian's own format of rules (`update-binfmts(8)`, "FORMAT FILES"): a key and a value a line. Turns
//! it into what the kernel reads.

use super::source::Line;

/// Words a line may begin with.
const KEYS: [&[u8]; 10] = [
    b"package",
    b"interpreter",
    b"detector",
    b"magic",
    b"mask",
    b"offset",
    b"extension",
    b"credentials",
    b"preserve",
    b"fix_binary",
];
/// What is registered in place of an interpreter with a detector: it asks the detectors.
const RUN_DETECTORS: &[u8] = b"/usr/lib/binfmt-support/run-detectors";

/// The pairs of a file.
fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let line = line.trim_ascii();
        let at = line.iter().position(|b| b.is_ascii_whitespace())?;
        let (key, value) = line.split_at(at);
        Some((key, value.trim_ascii()))
    })
}

/// Whether a file is in this format: it has an interpreter, and no line begins otherwise.
pub(super) fn is_format(text: &[u8]) -> bool {
    pairs(text).any(|(key, _)| key == b"interpreter") && pairs(text).all(|(k, _)| KEYS.contains(&k))
}

/// The rule of a file; the file's name is the rule's.
pub(super) fn rule(name: &[u8], text: &[u8], file: &str) -> Option<Line> {
    let value = |key: &[u8]| pairs(text).find(|(k, _)| *k == key).map(|(_, v)| v);
    let yes = |key: &[u8]| value(key) == Some(b"yes");
    let interpreter = match value(b"detector") {
        Some(_) => RUN_DETECTORS,
        None => value(b"interpreter")?,
    };
    let mut flags = Vec::new();
    for (key, letter) in [(&b"preserve"[..], b'P'), (b"credentials", b'C'), (b"fix_binary", b'F')] {
        flags.extend(yes(key).then_some(letter));
    }
    let or_empty = |key: &[u8]| value(key).unwrap_or_default();
    let fields: [&[u8]; 7] = match value(b"extension") {
        Some(extension) => [name, b"E", b"", extension, b"", interpreter, &flags],
        None => {
            let (offset, magic) = (or_empty(b"offset"), or_empty(b"magic"));
            [name, b"M", offset, magic, or_empty(b"mask"), interpreter, &flags]
        }
    };
    let free = |d: &&u8| fields.iter().all(|f| !f.contains(d));
    let delimiter = *b":;,|!@%^~\x01\x02\x03".iter().find(free)?;
    let text = fields.iter().flat_map(|f| [&[delimiter][..], f].concat()).collect();
    Some(Line { text, file: file.to_owned(), line: 1, indent: 0 })
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
        assert_eq!(text, b":q:M:0:\\x7fE:\\xff\\xfe:/q:PCF");
        let cli = b"package mono\ninterpreter /usr/bin/cli\nmagic MZ\ndetector /usr/lib/cli\n";
        let text = rule(b"cli", cli, "f").unwrap().text;
        assert_eq!(text, [b":cli:M::MZ::", RUN_DETECTORS, b":"].concat());
        let extension = b"interpreter /a:b\nextension x\n";
        assert_eq!(rule(b"n", extension, "f").unwrap().text, b";n;E;;x;;/a:b;");
        assert!(!is_format(b":a:E::x::/i:\n"));
    }
}
