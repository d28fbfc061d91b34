//! What is known of a host, as data.

use serde::Serialize;

/// Whether the host allows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It was tried and it works.
    Yes,
    /// It was tried and it does not.
    No,
    /// It does not, and nothing is lost by that.
    Note,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable name, for programs.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    pub(crate) outcome: Outcome,
    /// What was seen: the errno and the call, or a setting.
    pub(crate) seen: String,
    /// What would help; empty where nothing has to.
    pub(crate) remedy: String,
}

/// What uexec will do about one of its capabilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Will {
    /// The command or capability.
    pub(crate) what: &'static str,
    /// The way it is done here; `null` where it cannot be done.
    pub(crate) way: Option<&'static str>,
    /// In words.
    pub(crate) how: &'static str,
    /// What is not as without uexec that way.
    pub(crate) but: &'static [&'static str],
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    /// Release of the running kernel.
    pub(crate) kernel: String,
    pub(crate) machine: String,
    pub(crate) uid: u32,
    pub(crate) findings: Vec<Finding>,
    pub(crate) will: Vec<Will>,
}

impl Health {
    /// Whether a finding says yes.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.findings.iter().any(|f| f.name == name && f.outcome == Outcome::Yes)
    }
}
