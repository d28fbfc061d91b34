//! `uexec binfmt`: lists, checks and explains rules. Runs nothing, registers nothing with the kernel.

use std::io::{self, Write};

use crate::OWN_FAILURE;
use crate::args::binfmt::{Binfmt, Command};
use crate::report;

mod check;
mod debian;
mod explain;
mod list;
mod source;
pub(crate) mod table;

/// Does what was asked for; returns the exit status.
pub(crate) fn binfmt(args: &Binfmt) -> u8 {
    let done = match &args.command {
        Command::List(args) => list::list(args),
        Command::Check(args) => check::check(args),
        Command::Explain(args) => explain::explain(args),
    };
    done.unwrap_or_else(|failed| {
        match failed {
            Failed::Rules(trouble) => tell(&trouble),
            Failed::Io(error) => report::say(format_args!("{error}")),
        }
        OWN_FAILURE
    })
}

/// Says what is wrong with an option.
pub(crate) fn tell(trouble: &table::Trouble) {
    match trouble {
        table::Trouble::Unreadable(why) => report::say(format_args!("{why}")),
        table::Trouble::Bad(line, bad) => {
            let _ = write!(anstream::stderr(), "uexec: {}", check::text(line, bad));
        }
    }
}

/// Why nothing can be said.
enum Failed {
    Rules(table::Trouble),
    Io(io::Error),
}

impl From<table::Trouble> for Failed {
    fn from(trouble: table::Trouble) -> Failed {
        Failed::Rules(trouble)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}
