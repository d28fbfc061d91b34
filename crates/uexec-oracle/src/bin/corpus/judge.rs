//! Compares one program's runs. Never decides how a program is run.

use std::path::Path;

use crate::program::Program;
use crate::run::{By, Outcome, Way, run};
use crate::skip;

/// How often the kernel is asked again when there is a difference.
const MORE: u32 = 8;

/// What came out for one program.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) program: &'a Program,
    pub(crate) verdict: Verdict,
}

/// Equal, different, or not compared and why.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Not run at all.
    Skipped(&'static str),
    /// The kernel's own runs can't be compared with each other.
    LeftOut(String),
    /// As by the kernel.
    Equal,
    /// Not as by the kernel: where first.
    Different(Difference),
}

/// The first thing that differs.
#[derive(Debug)]
pub(crate) struct Difference {
    /// "exit status", "stdout line 3" …
    pub(crate) place: String,
    pub(crate) kernel: String,
    pub(crate) uexec: String,
    /// In an own user namespace there is no difference: the program goes by `/proc/self/exe`,
    /// which the unprivileged can't set.
    pub(crate) by_link: bool,
}

/// Runs a program twice by the kernel and once by uexec.
///
/// Nothing is normalised. What differs of necessity is made the same beforehand: all runs of a
/// program have the same folder, emptied in between, as working directory, HOME and TMPDIR, and
/// the same environment. What prints a process id, a time or a random number differs between the
/// kernel's own runs and is left out. Some do so only now and then (the order of a hash table of
/// two): on a difference the kernel is asked [`MORE`] times more; uexec is never asked again.
pub(crate) fn judge<'a>(program: &'a Program, way: &Way, folder: &Path) -> Judged<'a> {
    let verdict = match skip::reason(program, way.user) {
        Some(reason) => Verdict::Skipped(reason),
        None => compare(program, way, folder)
            .unwrap_or_else(|e| Verdict::LeftOut(format!("can't be run: {e}"))),
    };
    Judged { program, verdict }
}

fn compare(program: &Program, way: &Way, folder: &Path) -> std::io::Result<Verdict> {
    let first = run(program, way, By::Kernel, folder)?;
    if let Some(reason) = first.cut_short {
        return Ok(Verdict::LeftOut(format!("under the kernel already: {reason}")));
    }
    let unsteady = || -> std::io::Result<Option<Verdict>> {
        let again = difference(&first, &run(program, way, By::Kernel, folder)?);
        Ok(again.map(|d| Verdict::LeftOut(format!("differs between kernel runs: {}", d.place))))
    };
    if let Some(verdict) = unsteady()? {
        return Ok(verdict);
    }
    let Some(mut found) = difference(&first, &run(program, way, By::Uexec, folder)?) else {
        return Ok(Verdict::Equal);
    };
    for _ in 0..MORE {
        if let Some(verdict) = unsteady()? {
            return Ok(verdict);
        }
    }
    if !way.userns && way.user.ids().0 != 0 {
        let outcome = run(program, &Way { userns: true, ..way.clone() }, By::Uexec, folder)?;
        found.by_link = difference(&first, &outcome).is_none();
    }
    Ok(Verdict::Different(found))
}

/// Where two outcomes first differ.
fn difference(a: &Outcome, b: &Outcome) -> Option<Difference> {
    if a.status != b.status || a.cut_short != b.cut_short {
        let (kernel, uexec) = (a.end(), b.end());
        let mut place = "exit status".to_owned();
        // Why it ended so is mostly said on standard error.
        if let Some(d) = lines("stderr", &a.stderr, &b.stderr) {
            place = format!("exit status; {}: {:?}", d.place, d.uexec);
        }
        return Some(Difference { place, kernel, uexec, by_link: false });
    }
    lines("stdout", &a.stdout, &b.stdout).or_else(|| lines("stderr", &a.stderr, &b.stderr))
}

fn lines(name: &str, a: &[u8], b: &[u8]) -> Option<Difference> {
    if a == b {
        return None;
    }
    let all = |bytes: &'_ [u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        text.split_inclusive('\n').map(str::to_owned).collect()
    };
    let (a, b) = (all(a), all(b));
    let n = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let line = |from: &[String]| from.get(n).cloned().unwrap_or_else(|| "(nothing)".to_owned());
    let place = format!("{name} line {}", n + 1);
    Some(Difference { place, kernel: line(&a), uexec: line(&b), by_link: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: i32, stdout: &str, stderr: &str) -> Outcome {
        use std::os::unix::process::ExitStatusExt;
        Outcome {
            status: std::process::ExitStatus::from_raw(status),
            cut_short: None,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn finds_the_first_differing_line() {
        let (a, b) = (outcome(0, "1\n2\n3\n", ""), outcome(0, "1\nx\n3\n", "y"));
        assert!(difference(&a, &a).is_none());
        let d = difference(&a, &b).unwrap();
        assert_eq!((d.place.as_str(), d.kernel.as_str()), ("stdout line 2", "2\n"));
    }

    #[test]
    fn a_missing_end_is_a_difference() {
        let d = difference(&outcome(0, "1\n2", ""), &outcome(0, "1\n", "")).unwrap();
        assert_eq!((d.kernel.as_str(), d.uexec.as_str()), ("2", "(nothing)"));
    }

    #[test]
    fn a_signal_is_not_a_status() {
        let d = difference(&outcome(139 << 8, "", ""), &outcome(11, "", "")).unwrap();
        assert_eq!((d.kernel.as_str(), d.uexec.as_str()), ("exit 139", "signal 11"));
    }
}
