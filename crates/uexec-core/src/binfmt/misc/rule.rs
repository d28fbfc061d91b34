//! A rule, what it matches, and its text in the kernel's files. Runs nothing, parses nothing.

use alloc::vec::Vec;

use crate::abi::BINPRM_BUF_SIZE;

bitflags::bitflags! {
    /// What a rule asks for beside its interpreter.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Flags: u8 {
        /// `P`: `argv[0]` is kept.
        const PRESERVE_ARGV0 = 1;
        /// `O`: the file is handed to the interpreter as an open descriptor.
        const OPEN_BINARY = 2;
        /// `C`: credentials come from the file, not from the interpreter; comes with `O`.
        const CREDENTIALS = 4;
        /// `F`: the interpreter is opened when the rule is registered.
        const FIX_BINARY = 8;
    }
}

impl Flags {
    /// The letters, in the kernel's order.
    pub const LETTERS: [(u8, Flags); 4] = [
        (b'P', Flags::PRESERVE_ARGV0),
        (b'O', Flags::OPEN_BINARY),
        (b'C', Flags::CREDENTIALS),
        (b'F', Flags::FIX_BINARY),
    ];

    /// What one letter asks for (MISC-10).
    #[must_use]
    pub fn of_letter(letter: u8) -> Option<Flags> {
        let (_, flag) = Flags::LETTERS.into_iter().find(|(l, _)| *l == letter)?;
        Some(if flag == Flags::CREDENTIALS { flag | Flags::OPEN_BINARY } else { flag })
    }

    /// The letters of those that are set.
    pub fn letters(self) -> impl Iterator<Item = char> {
        let set = move |(_, flag): &(u8, Flags)| self.contains(*flag);
        Flags::LETTERS.into_iter().filter(set).map(|(letter, _)| char::from(letter))
    }
}

/// What a file is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// Bytes at an offset; where the mask has a 0 bit, any will do. The mask is as long.
    Magic {
        /// Where in the first 256 bytes.
        offset: usize,
        /// Which bytes.
        magic: Vec<u8>,
        /// Which bits of them count; `None`: all.
        mask: Option<Vec<u8>>,
    },
    /// What stands behind the last dot of the name.
    Extension(Vec<u8>),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Its name, that of its file.
    pub name: Vec<u8>,
    /// What it takes.
    pub test: Test,
    /// What it runs such a file with.
    pub interpreter: Vec<u8>,
    /// How.
    pub flags: Flags,
}

impl Test {
    /// Whether a file of this name with these first bytes, zero-padded, is meant (MISC-21).
    #[must_use]
    pub fn matches(&self, name: &[u8], head: &[u8; BINPRM_BUF_SIZE]) -> bool {
        match self {
            Test::Extension(wanted) => extension(name) == Some(wanted),
            Test::Magic { offset, magic, mask } => {
                let Some(at) = head.get(*offset..).and_then(|rest| rest.get(..magic.len())) else {
                    return false;
                };
                match mask {
                    None => at == magic,
                    Some(mask) => {
                        at.iter().zip(magic).zip(mask).all(|((b, m), k)| (b ^ m) & k == 0)
                    }
                }
            }
        }
    }

    /// The first byte that does not match, as its place in the file, and what is there and what is
    /// wanted, both under the mask; `None` if all match, or for extensions.
    #[must_use]
    pub fn first_mismatch(&self, head: &[u8; BINPRM_BUF_SIZE]) -> Option<(usize, u8, u8)> {
        let Test::Magic { offset, magic, mask } = self else { return None };
        magic.iter().enumerate().find_map(|(i, m)| {
            let bits = mask.as_ref().map_or(0xff, |mask| mask.get(i).copied().unwrap_or(0xff));
            let found = *head.get(offset.checked_add(i)?)?;
            ((found ^ m) & bits != 0).then_some((offset + i, found & bits, m & bits))
        })
    }
}

/// What stands behind the last dot of a name; a dot in a directory counts (MISC-21).
#[must_use]
pub fn extension(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().rposition(|b| *b == b'.')?;
    name.get(dot + 1..)
}

impl Rule {
    /// The text of the rule's file, exactly (MISC-15).
    #[must_use]
    pub fn entry_text(&self, enabled: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(if enabled { b"enabled" } else { b"disabled" });
        out.extend_from_slice(b"\ninterpreter ");
        out.extend_from_slice(&self.interpreter);
        out.extend_from_slice(b"\nflags: ");
        out.extend(self.flags.letters().map(|c| c as u8));
        match &self.test {
            Test::Extension(e) => {
                out.extend_from_slice(b"\nextension .");
                out.extend_from_slice(e);
            }
            Test::Magic { offset, magic, mask } => {
                out.extend_from_slice(alloc::format!("\noffset {offset}\nmagic ").as_bytes());
                hex(&mut out, magic);
                if let Some(mask) = mask {
                    out.extend_from_slice(b"\nmask ");
                    hex(&mut out, mask);
                }
            }
        }
        out.push(b'\n');
        out
    }

    /// The text that registers it: `:NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS`. `None` when no
    /// delimiter can be found that none of its parts contains.
    #[must_use]
    pub fn register_text(&self) -> Option<Vec<u8>> {
        let extension = match &self.test {
            Test::Extension(e) => e.as_slice(),
            Test::Magic { .. } => b"",
        };
        let used = [&self.name, &self.interpreter, extension];
        let delimiter =
            *b":;,|!@%^~\x01\x02\x03".iter().find(|d| used.iter().all(|part| !part.contains(d)))?;
        let mut out = Vec::with_capacity(128);
        let mut field = |text: &[u8]| {
            out.push(delimiter);
            out.extend_from_slice(text);
        };
        field(&self.name);
        match &self.test {
            Test::Extension(e) => [b"E", &b""[..], e, b""].into_iter().for_each(&mut field),
            Test::Magic { offset, magic, mask } => {
                field(b"M");
                field(alloc::format!("{offset}").trim_start_matches('0').as_bytes());
                field(&escaped(magic));
                field(&mask.as_deref().map(escaped).unwrap_or_default());
            }
        }
        field(&self.interpreter);
        field(&self.flags.letters().map(|c| c as u8).collect::<Vec<u8>>());
        Some(out)
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]));
}

fn escaped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|b| [b'\\', b'x', digit(b >> 4), digit(b & 15)]).collect()
}
