//! The text that registers a rule (MISC-1 to MISC-10): `D name D type D offset D magic D mask D
//! interpreter D flags`, where D is whatever byte comes first. Checks in the kernel's order; an
//! error says which bytes are at fault.

use alloc::vec::Vec;
use core::ops::Range;

use super::fault::{BadRule, Fault, Field};
use super::rule::{Flags, Rule, Test};
use crate::abi::BINPRM_BUF_SIZE;

/// Shortest text in bytes (`fs/binfmt_misc.c`, 6.18).
pub const SHORTEST: usize = 11;
/// Longest text in bytes (`MAX_REGISTER_LENGTH`).
pub const LONGEST: usize = 1920;

/// Reads a registration.
///
/// # Errors
/// `EINVAL`, always; the [`BadRule`] says why and where.
///
/// ```
/// use uexec_core::binfmt::misc::{parse, Test};
/// let rule = parse(b":jar:E::jar::/usr/bin/jexec:").unwrap();
/// assert_eq!(rule.test, Test::Extension(b"jar".to_vec()));
/// let bad = parse(b":jar:X::jar::/usr/bin/jexec:").unwrap_err();
/// assert_eq!((bad.at, bad.len), (5, 1));
/// ```
pub fn parse(text: &[u8]) -> Result<Rule, BadRule> {
    if !(SHORTEST..=LONGEST).contains(&text.len()) {
        let at = text.len().min(LONGEST);
        return Err(Fault::Length { len: text.len() }.at(at..text.len()));
    }
    let delimiter = text.first().copied().unwrap_or_default();
    // Depending on its age the kernel runs over the end of its buffer with these, or refuses them.
    if delimiter == b'\n' || Flags::of_letter(delimiter).is_some() {
        return Err(Fault::Delimiter { delimiter }.at(0..1));
    }
    let mut reader = Reader { text, delimiter, p: 1 };
    let name = reader.field(Field::Name)?;
    check_name(reader.bytes(&name)).map_err(|fault| fault.at(name.clone()))?;
    let is_magic = reader.kind()?;
    let test = if is_magic { reader.magic()? } else { reader.extension()? };
    let interpreter = reader.field(Field::Interpreter)?;
    if interpreter.is_empty() {
        return Err(Fault::NoInterpreter.at(interpreter));
    }
    let flags = reader.flags()?;
    let copy = |range| reader.bytes(range).to_vec();
    Ok(Rule { name: copy(&name), test, interpreter: copy(&interpreter), flags })
}

/// MISC-2.
fn check_name(name: &[u8]) -> Result<(), Fault> {
    match name {
        b"" => Err(Fault::NoName),
        b"." | b".." => Err(Fault::Dots),
        _ if name.contains(&b'/') => Err(Fault::SlashInName),
        _ => Ok(()),
    }
}

struct Reader<'a> {
    text: &'a [u8],
    delimiter: u8,
    /// Where the next field starts.
    p: usize,
}

impl Reader<'_> {
    fn get(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// A field that must not contain NUL bytes, as the kernel looks for its end with `strchr`.
    fn field(&mut self, field: Field) -> Result<Range<usize>, BadRule> {
        let start = self.p;
        let rest = self.text.get(start..).unwrap_or_default();
        let stop = rest.iter().position(|b| *b == self.delimiter || *b == 0);
        let end = start + stop.unwrap_or(rest.len());
        if self.get(end) != Some(self.delimiter) {
            let fault = Fault::NotEnded { field, delimiter: self.delimiter };
            return Err(match stop {
                Some(_) => Fault::NulInField { field }.at(end..end + 1),
                None => fault.at(start..end),
            });
        }
        self.p = end + 1;
        Ok(start..end)
    }

    /// MISC-3: one letter and a delimiter. Whether it goes by magic.
    fn kind(&mut self) -> Result<bool, BadRule> {
        let at = self.p;
        let is_magic = match self.get(at) {
            Some(b'M') => true,
            Some(b'E') => false,
            _ => return Err(Fault::Type.at(at..at + 1)),
        };
        if self.get(at + 1) != Some(self.delimiter) {
            return Err(Fault::Type.at(at..at + 2));
        }
        self.p = at + 2;
        Ok(is_magic)
    }

    /// MISC-4 to MISC-7.
    fn magic(&mut self) -> Result<Test, BadRule> {
        let offset = self.field(Field::Offset)?;
        let number = match offset.is_empty() {
            true => 0,
            false => number(self.bytes(&offset)).ok_or_else(|| Fault::Offset.at(offset.clone()))?,
        };
        let magic_at = self.escaped(Field::Magic)?;
        if matches!(self.bytes(&magic_at).first(), None | Some(0)) {
            return Err(Fault::NoMagic.at(magic_at));
        }
        let mask_at = self.escaped(Field::Mask)?;
        let magic = decode(self.bytes(&magic_at));
        let mask = match self.bytes(&mask_at) {
            [] | [0, ..] => None,
            text => Some(decode(text)),
        };
        if let Some(mask) = &mask
            && mask.len() != magic.len()
        {
            return Err(Fault::MaskLength { magic: magic.len(), mask: mask.len() }.at(mask_at));
        }
        let end = number.saturating_add(magic.len());
        if end > BINPRM_BUF_SIZE {
            return Err(Fault::TooFar { end }.at(offset.start..magic_at.end));
        }
        Ok(Test::Magic { offset: number, magic, mask })
    }

    /// A field in which `\x` must be followed by two digits.
    fn escaped(&mut self, field: Field) -> Result<Range<usize>, BadRule> {
        let start = self.p;
        let mut at = start;
        loop {
            match self.get(at) {
                None => {
                    let fault = Fault::NotEnded { field, delimiter: self.delimiter };
                    return Err(fault.at(start..self.text.len()));
                }
                Some(b) if b == self.delimiter => break,
                Some(b'\\') if self.get(at + 1) == Some(b'x') => {
                    let is_digit = |i| self.get(i).is_some_and(|b: u8| b.is_ascii_hexdigit());
                    if !is_digit(at + 2) || !is_digit(at + 3) {
                        let end = (at + 4).min(self.text.len());
                        return Err(Fault::Escape { field }.at(at..end));
                    }
                    at += 4;
                }
                Some(_) => at += 1,
            }
        }
        self.p = at + 1;
        Ok(start..at)
    }

    /// MISC-8: neither offset nor mask is read.
    fn extension(&mut self) -> Result<Test, BadRule> {
        self.field(Field::Offset)?;
        let extension = self.field(Field::Extension)?;
        let text = self.bytes(&extension).to_vec();
        if text.is_empty() {
            return Err(Fault::NoExtension.at(extension));
        }
        if text.contains(&b'/') {
            return Err(Fault::SlashInExtension.at(extension));
        }
        self.field(Field::Mask)?;
        Ok(Test::Extension(text))
    }

    /// MISC-10: letters, at most one newline, the end.
    fn flags(&mut self) -> Result<Flags, BadRule> {
        let mut flags = Flags::default();
        let mut at = self.p;
        while let Some(flag) = self.get(at).and_then(Flags::of_letter) {
            flags |= flag;
            at += 1;
        }
        if self.get(at) == Some(b'\n') {
            at += 1;
        }
        match self.get(at) {
            None => Ok(flags),
            Some(byte) => Err(Fault::Flag { byte }.at(at..at + 1)),
        }
    }
}

/// A number as `kstrtoint` reads it: a sign, decimal digits, one newline; not negative, and not more
/// than an `int` holds.
fn number(text: &[u8]) -> Option<usize> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut n: i32 = 0;
    for b in digits {
        let digit = b.is_ascii_digit().then(|| i32::from(b - b'0'))?;
        n = n.checked_mul(10)?.checked_add(digit)?;
    }
    if negative && n != 0 { None } else { usize::try_from(n).ok() }
}

/// MISC-6: `\xHH` becomes that byte; the text ends at a NUL. A backslash before anything else stays,
/// and takes away the meaning of a backslash behind it.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut rest = text.split(|b| *b == 0).next().unwrap_or_default();
    let mut out = Vec::with_capacity(rest.len());
    loop {
        rest = match rest {
            [] => return out,
            [b'\\', b'x', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                out.push(nibble(*a) << 4 | nibble(*b));
                rest
            }
            [b'\\', b, rest @ ..] => {
                out.extend_from_slice(&[b'\\', *b]);
                rest
            }
            [b, rest @ ..] => {
                out.push(*b);
                rest
            }
        };
    }
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
