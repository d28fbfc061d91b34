//! What the kernel shows of a rule, read back, and what can be written to its file (MISC-14,
//! MISC-15).

use super::Entry;
use super::rule::{Flags, Rule, Test};
use crate::errno::Errno;
use alloc::vec::Vec;

/// What a write to `status` or to a rule's file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// An empty write.
    Nothing,
    /// `0`.
    Disable,
    /// `1`.
    Enable,
    /// `-1`.
    Delete,
}

/// Reads what is written to `status` or to a rule's file: each with one optional newline.
///
/// # Errors
/// `EINVAL` for anything else.
pub fn command(text: &[u8]) -> Result<Command, Errno> {
    if text.is_empty() {
        return Ok(Command::Nothing);
    }
    if text.len() > 3 {
        return Err(Errno::EINVAL);
    }
    match text.strip_suffix(b"\n").unwrap_or(text) {
        b"0" => Ok(Command::Disable),
        b"1" => Ok(Command::Enable),
        b"-1" => Ok(Command::Delete),
        _ => Err(Errno::EINVAL),
    }
}

/// Reads the text of a rule's file. `None` if it is not as the kernel writes it; lines that are not
/// known are passed over.
#[must_use]
pub fn parse_entry(name: &[u8], text: &[u8]) -> Option<Entry> {
    let mut lines = text.strip_suffix(b"\n").unwrap_or(text).split(|b| *b == b'\n');
    let enabled = match lines.next()? {
        b"enabled" => true,
        b"disabled" => false,
        _ => return None,
    };
    let (mut interpreter, mut flags) = (None, Flags::default());
    let (mut extension, mut offset, mut magic, mut mask) = (None, 0, None, None);
    for line in lines {
        let at = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default();
        match line.get(..at)? {
            b"interpreter" => interpreter = Some(value.to_vec()),
            b"flags:" => flags = value.iter().filter_map(|b| Flags::of_letter(*b)).collect(),
            b"extension" => extension = Some(value.strip_prefix(b".")?.to_vec()),
            b"offset" => offset = core::str::from_utf8(value).ok()?.parse().ok()?,
            b"magic" => magic = Some(bytes(value)?),
            b"mask" => mask = Some(bytes(value)?),
            _ => {}
        }
    }
    let test = match (extension, magic) {
        (Some(extension), _) => Test::Extension(extension),
        (None, magic) => Test::Magic { offset, magic: magic?, mask },
    };
    let rule = Rule { name: name.to_vec(), test, interpreter: interpreter?, flags };
    Some(Entry { rule, enabled, interpreter: None })
}

/// Pairs of hexadecimal digits.
fn bytes(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let pair = |p: &[u8]| match p {
        [a, b] => u8::try_from(digit(*a)? << 4 | digit(*b)?).ok(),
        _ => None,
    };
    hex.chunks(2).map(pair).collect()
}
