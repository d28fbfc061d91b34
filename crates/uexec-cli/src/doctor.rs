//! `uexec doctor`: what this host allows, tried for real, and what uexec will therefore do.
//! Changes nothing outside the processes that it makes for trying.

mod attempt;
mod finding;
mod look;
mod tell;
mod trial;
mod will;

use crate::args::doctor::{Attempt, Doctor};
use crate::{OWN_FAILURE, report};

/// Looks and tells, or is one of the attempts.
pub(crate) fn doctor(args: &Doctor) -> u8 {
    if let Some(which) = args.attempt {
        return attempt::attempt(which);
    }
    let health = look::look();
    match tell::tell(&health, args.json) {
        Ok(()) => u8::from(health.will.iter().any(|w| w.way.is_none())),
        Err(error) => {
            report::say(format_args!("{error}"));
            OWN_FAILURE
        }
    }
}

/// Whether the host allows something, tried now.
pub(crate) fn allows(what: Attempt) -> bool {
    trial::attempt(what).is_ok()
}

/// Whether `/proc` is mounted: without it little can be done, or tried.
pub(crate) fn has_proc() -> bool {
    std::path::Path::new("/proc/self/exe").exists()
}
