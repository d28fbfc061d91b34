//! What can be wrong with the text of a rule: errno, words, remedy and numbered fact, all from one
//! value, so that they cannot disagree.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use core::fmt;
use core::ops::Range;

use crate::errno::Errno;
use crate::error::Refusal;
use crate::story::Shown;

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the kernel's documentation")]
pub enum Field {
    Name,
    Offset,
    Magic,
    Mask,
    Extension,
    Interpreter,
}

impl Field {
    /// Its name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Field::Name => "name",
            Field::Offset => "offset",
            Field::Magic => "magic",
            Field::Mask => "mask",
            Field::Extension => "extension",
            Field::Interpreter => "interpreter",
        }
    }
}

/// A cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields say what the message says; see Fault::why")]
#[non_exhaustive]
pub enum Fault {
    Length { len: usize },
    Delimiter { delimiter: u8 },
    NotEnded { field: Field, delimiter: u8 },
    NulInField { field: Field },
    NoName,
    Dots,
    SlashInName,
    Type,
    Offset,
    NoMagic,
    Escape { field: Field },
    MaskLength { magic: usize, mask: usize },
    TooFar { end: usize },
    NoExtension,
    SlashInExtension,
    NoInterpreter,
    Flag { byte: u8 },
    NameTooLong { len: usize },
    Exists,
    Interpreter(Box<Refusal>),
}

/// A rule that cannot be registered: why, and which bytes of its text are at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule {
    /// The cause.
    pub fault: Fault,
    /// First byte at fault.
    pub at: usize,
    /// How many; 0 when something is missing there.
    pub len: usize,
}

impl Fault {
    pub(super) const fn at(self, range: Range<usize>) -> BadRule {
        BadRule { fault: self, at: range.start, len: range.end.saturating_sub(range.start) }
    }

    /// What writing the text to the kernel's `register` fails with.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Fault::NameTooLong { .. } => Errno::ENAMETOOLONG,
            Fault::Exists => Errno::EEXIST,
            Fault::Interpreter(refusal) => refusal.reason.errno(),
            _ => Errno::EINVAL,
        }
    }

    /// The cause, in one sentence without a full stop.
    #[must_use]
    pub fn why(&self) -> Cow<'static, str> {
        let byte = |b: u8| format!("'{}'", Shown(&[b]));
        Cow::Owned(match self {
            Fault::Length { len } => {
                format!("the rule has {len} bytes; from 11 to 1920 are allowed")
            }
            Fault::Delimiter { delimiter } => format!(
                "{} cannot be the delimiter: it has a meaning at the end of a rule",
                byte(*delimiter)
            ),
            Fault::NotEnded { field, delimiter } => {
                format!("the {} is not ended by the delimiter {}", field.as_str(), byte(*delimiter))
            }
            Fault::NulInField { field } => format!("the {} has a NUL byte inside", field.as_str()),
            Fault::NoName => return "the name is empty".into(),
            Fault::Dots => return "the name is that of a directory".into(),
            Fault::SlashInName => {
                return "the name has a slash inside; it becomes a file name".into();
            }
            Fault::Type => return "the type is neither M (magic) nor E (extension)".into(),
            Fault::Offset => {
                return "the offset is no decimal number from 0 to 2147483647".into();
            }
            Fault::NoMagic => return "the magic is empty".into(),
            Fault::Escape { field } => {
                format!("\\x in the {} is not followed by two hexadecimal digits", field.as_str())
            }
            Fault::MaskLength { magic, mask } => {
                format!("the mask has {mask} bytes and the magic {magic}")
            }
            Fault::TooFar { end } => {
                format!("the magic ends at byte {end}; only the first 256 are looked at")
            }
            Fault::NoExtension => return "the extension is empty".into(),
            Fault::SlashInExtension => return "the extension has a slash inside".into(),
            Fault::NoInterpreter => return "no interpreter is named".into(),
            Fault::Flag { byte: b } => format!("{} is none of the flags P, O, C and F", byte(*b)),
            Fault::NameTooLong { len } => {
                format!("the name has {len} bytes; at most 255 are allowed")
            }
            Fault::Exists => return "a rule of this name is registered already".into(),
            Fault::Interpreter(refusal) => {
                format!(
                    "flag F opens the interpreter now, and that fails: {}",
                    refusal.reason.why()
                )
            }
        })
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Fault::Length { .. } | Fault::NotEnded { .. } => {
                "write :NAME:TYPE:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS, with every delimiter"
            }
            Fault::Delimiter { .. } => "begin the rule with a colon",
            Fault::NulInField { .. } => "remove the NUL byte",
            Fault::NoName | Fault::Dots | Fault::SlashInName => "give it a file name",
            Fault::Type => "write M to go by the first bytes, E to go by the end of the name",
            Fault::Offset => "write decimal digits, or nothing for 0",
            Fault::NoMagic => "write the bytes that such files begin with; NUL is \\x00",
            Fault::Escape { .. } => "write two digits, as in \\x0a",
            Fault::MaskLength { .. } => "write as many bytes, or no mask at all",
            Fault::TooFar { .. } => "choose bytes nearer to the beginning",
            Fault::NoExtension | Fault::SlashInExtension => "write it without its dot, as in jar",
            Fault::NoInterpreter => "write the interpreter's path between the last two delimiters",
            Fault::Flag { .. } => "end the rule after its flags; an interpreter gets no arguments",
            Fault::NameTooLong { .. } => "choose a shorter name",
            Fault::Exists => "choose another name, or delete the other rule first",
            Fault::Interpreter(_) => "install the interpreter, or drop the flag F",
        }
    }

    /// The numbered fact behind the rule.
    #[must_use]
    pub const fn spec(&self) -> &'static str {
        match self {
            Fault::Length { .. } => "MISC-1",
            Fault::NoName | Fault::Dots | Fault::SlashInName => "MISC-2",
            Fault::Type => "MISC-3",
            Fault::Offset => "MISC-4",
            Fault::NoMagic | Fault::Escape { .. } => "MISC-5",
            Fault::MaskLength { .. } => "MISC-6",
            Fault::TooFar { .. } => "MISC-7",
            Fault::NoExtension | Fault::SlashInExtension => "MISC-8",
            Fault::NoInterpreter | Fault::NotEnded { .. } | Fault::NulInField { .. } => "MISC-9",
            Fault::Delimiter { .. } | Fault::Flag { .. } => "MISC-10",
            Fault::Interpreter(_) => "MISC-11",
            Fault::NameTooLong { .. } | Fault::Exists => "MISC-12",
        }
    }
}

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault.errno(), self.fault.why())
    }
}

impl core::error::Error for BadRule {}
