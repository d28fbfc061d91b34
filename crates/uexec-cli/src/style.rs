//! The colours of everything that is printed.

use anstyle::{AnsiColor, Style};

/// What starts, works, is new.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What does not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What cannot be told, or goes by other means.
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
/// Names of what follows.
pub(crate) const LABEL: Style = Style::new().dimmed();
