//! The comparison of two of the probe's reports, and the differences that are known.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use uexec_oracle::launch::{Exec, run};

use crate::Case;
use crate::support::may_set_exe;

/// A key of the probe's report that differs, and why it has to.
pub(crate) struct Deviation {
    pub(crate) key: &'static str,
    /// Whether it is to be expected of this case and these values.
    pub(crate) here: fn(&Case, kernel: &str, uexec: &str) -> bool,
    why: &'static str,
}

/// All known deviations.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        key: "proc.exe",
        here: |case, _, _| case.unprivileged || !may_set_exe(),
        why: "PR_SET_MM_MAP sets it for CAP_CHECKPOINT_RESTORE only (STK-40)",
    },
    Deviation {
        key: "stat.flags",
        here: |_, kernel, uexec| {
            const PF_SUPERPRIV: u64 = 0x100;
            let flags = |text: &str| text.parse::<u64>().unwrap_or(0);
            flags(kernel) | PF_SUPERPRIV == flags(uexec)
        },
        why: "setting /proc/self/exe uses a capability, which is recorded for acct(5) until the end",
    },
    Deviation {
        key: "keyring.thread",
        here: |_, kernel, uexec| (kernel, uexec) == ("-126", "0"),
        why: "only the kernel's exec takes a keyring away; it is emptied",
    },
    Deviation {
        key: "keyring.process",
        here: |_, kernel, uexec| (kernel, uexec) == ("-126", "0"),
        why: "only the kernel's exec takes a keyring away; it is emptied",
    },
    Deviation {
        key: "locks",
        here: |case, _, _| case.name == "lock of the program",
        why: "uexec opens and closes the program, and closing any descriptor of a file drops the \
              process's locks on it (fcntl_locking(2)); locks on other files stay",
    },
];

/// The probe's status, and what it says.
pub(crate) type Report = (i32, BTreeMap<String, String>);

/// The report of one start.
pub(crate) fn report(path: &Path, exec: &Exec) -> Report {
    let mut options = File::options();
    let file = options.create(true).truncate(true).read(true).write(true).open(path).unwrap();
    let mut file = Arc::new(file);
    let status = run(&Exec { output: Some(Arc::clone(&file)), ..exec.clone() }).unwrap();
    let mut text = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let pairs = text.lines().map(|l| l.split_once('=').unwrap_or(("said", l)));
    (status, pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

/// Every difference that is not a known deviation, a line each.
pub(crate) fn differences_of(
    case: &Case,
    (kernel_status, expected): (i32, &BTreeMap<String, String>),
    (status, got): (i32, &BTreeMap<String, String>),
) -> Vec<String> {
    let mut found = Vec::new();
    if kernel_status != status {
        found.push(format!("status: kernel {kernel_status}, uexec {status} {:?}", got.get("said")));
        return found;
    }
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(got.keys()).collect();
    for key in keys {
        let (a, b) = (expected.get(key), got.get(key));
        if a == b {
            continue;
        }
        let known = DEVIATIONS
            .iter()
            .find(|d| d.key == key && (d.here)(case, a.map_or("", |a| a), b.map_or("", |b| b)));
        match known {
            Some(known) => eprintln!("{}: {key} differs as known: {}", case.name, known.why),
            None => found.push(format!("{key}:\n    kernel {a:?}\n    uexec  {b:?}")),
        }
    }
    found
}
