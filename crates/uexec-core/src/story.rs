//! The story of an exec: every decision, in order, with its cause. Only remembers; decides nothing.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use crate::error::Stage;

/// One file that was asked on the way, and what it turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name it was opened by.
    pub path: Vec<u8>,
    /// The format that took it: `script`, `elf`, …; empty while nobody has.
    pub format: Cow<'static, str>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub stage: Stage,
    /// The fact behind it, e.g. `PIPE-10`; empty when none is cited.
    pub spec: &'static str,
    /// What was decided and why.
    pub what: Cow<'static, str>,
}

/// The decisions so far.
///
/// Telling costs an allocation each, so a story can be switched off for speed: it then stays
/// empty, and every decision is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    events: Vec<Event>,
    told: bool,
}

impl Default for Story {
    fn default() -> Story {
        Story { events: Vec::new(), told: true }
    }
}

impl Story {
    /// A story that remembers nothing.
    #[must_use]
    pub const fn untold() -> Story {
        Story { events: Vec::new(), told: false }
    }

    /// Whether decisions are remembered. Never without the feature `story`.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        cfg!(feature = "story") && self.told
    }

    /// Adds a decision.
    #[cold]
    pub fn tell(&mut self, stage: Stage, spec: &'static str, what: fmt::Arguments<'_>) {
        if self.is_told() {
            let what = match what.as_str() {
                Some(text) => Cow::Borrowed(text),
                None => Cow::Owned(alloc::fmt::format(what)),
            };
            self.events.push(Event { stage, spec, what });
        }
    }

    /// The decisions, first to last.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// Tells a decision: `tell!(story, Stage::Open, "PIPE-6", "opened {path}")`. What is to be told is
/// only looked at when somebody listens.
macro_rules! tell {
    ($story:expr, $stage:expr, $spec:expr, $($what:tt)*) => {
        if $story.is_told() {
            $story.tell($stage, $spec, core::format_args!($($what)*));
        }
    };
}
pub(crate) use tell;

/// Bytes of a path shown as text, unprintable ones escaped.
pub struct Shown<'a>(pub &'a [u8]);

/// Whether a character cannot be seen, or changes how others are: control characters, those without
/// width, line ends, and those that turn the direction of a text around (Unicode's `Cc`, and the
/// usual ones of `Cf`, `Zl` and `Zp`). On a terminal they could make one name look like another.
#[must_use]
pub const fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_unseen(c) {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    fmt::Write::write_char(f, c)?;
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}
