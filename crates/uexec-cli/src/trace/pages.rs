//! What living processes were given at their forks, and how much of it has been copied since. Keeps
//! nothing of those that have ended or executed something.

use std::collections::BTreeMap;

use serde::Serialize;
use uexec_linux::tree::Given;

/// Pages that a fork has given to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pages {
    /// How many.
    pub(crate) given: u64,
    /// Of how many of these each side has its own since then; `null` where nobody could see it.
    pub(crate) copied: Option<u64>,
}

/// A process that has its memory from another.
#[derive(Debug)]
struct Heir {
    from: i32,
    given: Given,
    copied: Option<u64>,
    /// The other one's memory is gone: nothing is copied any more.
    over: bool,
}

/// All of them, by their process.
#[derive(Debug, Default)]
pub(super) struct Heirs(BTreeMap<i32, Heir>);

impl Heirs {
    /// A process has been copied for another, and that has not run yet.
    pub(super) fn born(&mut self, from: i32, child: i32) {
        if let Some(given) = Given::of(child) {
            self.0.insert(child, Heir { from, given, copied: None, over: false });
        }
    }

    /// A process is perhaps about to give up its memory: what had been copied by then?
    pub(super) fn look(&mut self, pid: i32) {
        for (child, heir) in &mut self.0 {
            if (*child == pid || heir.from == pid) && !heir.over {
                heir.copied = heir.given.copied(heir.from, *child).or(heir.copied);
            }
        }
    }

    /// It has given it up; what it had been given itself, if it was.
    pub(super) fn gone(&mut self, pid: i32) -> Option<Pages> {
        for heir in self.0.values_mut().filter(|heir| heir.from == pid) {
            heir.over = true;
        }
        let heir = self.0.remove(&pid)?;
        Some(Pages { given: heir.given.pages(), copied: heir.copied })
    }
}
