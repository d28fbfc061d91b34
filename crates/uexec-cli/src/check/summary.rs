//! Adds findings up by cause. Grows with the number of causes, which is bounded, and not with the
//! number of programs.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;
use uexec_core::story::Shown;

use super::cause::Cause;
use super::finding::{Finding, Outcome};
use crate::style::{BAD, GOOD, LABEL};

/// Different causes that are kept apart; the rest is counted together.
const CAUSES_MAX: usize = 1000;
/// Causes a person is shown.
const CAUSES_SHOWN: usize = 40;

/// The sums.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// Everything that was decided, libraries not counted.
    programs: u64,
    ok: u64,
    error: u64,
    foreign: u64,
    unreadable: u64,
    libraries: u64,
    /// Symbolic links that lead nowhere.
    dangling_links: u64,
    /// Those that do not count as started.
    #[serde(skip)]
    bad: u64,
    causes: Vec<Group>,
    #[serde(skip)]
    by_text: HashMap<String, usize>,
}

/// Programs that fail for the same cause.
#[derive(Debug, Serialize)]
struct Group {
    cause: String,
    count: u64,
    hint: String,
    /// One of them.
    example: String,
    #[serde(skip)]
    one: String,
}

impl Summary {
    /// Counts one; `None` is a link that leads nowhere.
    pub(crate) fn add(&mut self, found: Option<&Finding>, cause: Option<Cause>) {
        let Some(f) = found else {
            self.dangling_links += 1;
            return;
        };
        self.programs += u64::from(f.outcome != Outcome::Library);
        *match f.outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Error => &mut self.error,
            Outcome::Library => &mut self.libraries,
            Outcome::Foreign => &mut self.foreign,
            Outcome::Unreadable => &mut self.unreadable,
        } += 1;
        self.bad += u64::from(f.is_bad());
        if let Some(cause) = cause {
            self.group(f, cause);
        }
    }

    fn group(&mut self, f: &Finding, mut cause: Cause) {
        if self.causes.len() >= CAUSES_MAX && !self.by_text.contains_key(&cause.many) {
            let other = "fail for other causes";
            cause = Cause { one: other.into(), many: other.into(), hint: "".into(), ..cause };
        }
        let causes = &mut self.causes;
        let i = *self.by_text.entry(cause.many).or_insert_with_key(|many| {
            causes.push(Group {
                cause: many.clone(),
                count: 0,
                hint: cause.hint.into_owned(),
                example: Shown(&f.path).to_string(),
                one: cause.one,
            });
            causes.len() - 1
        });
        self.causes[i].count += 1;
    }

    /// Whether every program starts.
    pub(crate) const fn all_start(&self) -> bool {
        self.bad == 0
    }

    /// How many do not, so far.
    pub(crate) const fn bad(&self) -> u64 {
        self.bad
    }

    /// Puts the most frequent causes first.
    pub(crate) fn finish(&mut self) {
        self.causes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cause.cmp(&b.cause)));
    }

    /// The last line of `check --json`.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&serde_json::json!({ "summary": self }))
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let s = |n: u64, one: &str, many: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{} {many}", thousands(n)),
        };
        let style = if self.bad == 0 { GOOD } else { BAD };
        let start = s(self.ok, "starts", "start");
        let _ = match (self.programs, self.programs == self.ok) {
            (0, _) => writeln!(out, "no programs"),
            (1, true) => writeln!(out, "{style}1 program, and it starts{style:#}"),
            (n, true) => writeln!(out, "{style}{} programs, all start{style:#}", thousands(n)),
            (n, false) => writeln!(out, "{style}{}: {start}{style:#}", s(n, "program", "programs")),
        };
        for g in self.causes.iter().take(CAUSES_SHOWN) {
            let text = if g.count == 1 { &g.one } else { &g.cause };
            let _ = writeln!(out, "  {:>6} {text}", thousands(g.count));
            if !g.hint.is_empty() {
                let _ = writeln!(out, "         {LABEL}hint{LABEL:#} {}", g.hint);
            }
        }
        if let Some(more) = self.causes.get(CAUSES_SHOWN..).filter(|m| !m.is_empty()) {
            let count = more.iter().map(|g| g.count).sum();
            let _ = writeln!(out, "  {:>6} fail for {} more causes", thousands(count), more.len());
        }
        if self.libraries > 0 {
            let what = s(self.libraries, "library is", "libraries are");
            let _ = writeln!(out, "{LABEL}{what} not counted{LABEL:#}");
        }
        if self.dangling_links > 0 {
            let what = s(self.dangling_links, "symbolic link leads", "symbolic links lead");
            let _ = writeln!(out, "{LABEL}{what} nowhere: not counted{LABEL:#}");
        }
        out
    }
}

/// A number with a comma before every third digit.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas() {
        for (n, text) in [(0, "0"), (999, "999"), (1402, "1,402"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(n), text);
        }
    }

    #[test]
    fn causes_are_bounded() {
        let mut sum = Summary::default();
        let f = Finding::new(b"x".to_vec(), Outcome::Error);
        for i in 0..3 * CAUSES_MAX {
            let text = |_| format!("cause {i}");
            let cause = Cause { line: text(0), one: text(1), many: text(2), hint: "".into() };
            sum.add(Some(&f), Some(cause));
        }
        assert_eq!(sum.causes.len(), CAUSES_MAX + 1);
        assert_eq!(sum.causes.iter().map(|g| g.count).sum::<u64>(), 3 * CAUSES_MAX as u64);
    }
}
