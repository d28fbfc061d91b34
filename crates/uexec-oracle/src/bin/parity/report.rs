//! Says how many agree, and of those that do not, how to have them again.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::compare::Compared;

/// What was found.
pub(crate) struct Report<'a> {
    all: &'a [Compared],
}

/// Disagreements printed in full.
const SHOWN: usize = 20;

impl<'a> Report<'a> {
    pub(crate) const fn new(all: &'a [Compared]) -> Report<'a> {
        Report { all }
    }

    /// Prints it; true when all agree.
    pub(crate) fn print(&self) -> bool {
        let different: Vec<_> = self.all.iter().filter(|c| !c.differences.is_empty()).collect();
        for c in different.iter().take(SHOWN) {
            println!("{}\n  {}", c.name, c.what);
            for d in &c.differences {
                println!("  {d}");
            }
        }
        for c in different.iter().skip(SHOWN) {
            println!("{}", c.name);
        }
        let mut verdicts = BTreeMap::<&str, usize>::new();
        for c in self.all {
            *verdicts.entry(&c.verdict).or_default() += 1;
        }
        let counts: Vec<String> = verdicts.iter().map(|(v, n)| format!("{n} {v}")).collect();
        println!("the kernel: {}", counts.join(", "));
        let asked = self.all.iter().filter(|c| c.by_command).count();
        println!("uexec explain was asked {asked} times");
        let skipped = self.all.iter().filter(|c| c.skipped).count();
        if skipped > 0 {
            println!("not compared, as uexec cannot be run by another user: {skipped}");
        }
        let total = self.all.len() - skipped;
        println!("{} of {total} agree", total - different.len());
        different.is_empty()
    }
}

/// Copies the files of a case.
pub(crate) fn keep(from: &Path, to: &Path, what: &str) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::write(to.join("what.txt"), what)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if !kind.is_fifo() && !kind.is_socket() {
            drop(std::fs::copy(entry.path(), to.join(entry.file_name())));
        }
    }
    Ok(())
}
