//! Says what came out. Judges nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use serde_json::{Value, json};

use crate::judge::{Judged, Verdict};
use crate::run::Way;

/// The whole sweep's outcome.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    way: &'a Way,
    judged: &'a [Judged<'a>],
    bar: f64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(way: &'a Way, judged: &'a [Judged<'a>], bar: f64) -> Report<'a> {
        Report { way, judged, bar }
    }

    fn count(&self, which: fn(&Verdict) -> bool) -> usize {
        self.judged.iter().filter(|j| which(&j.verdict)).count()
    }

    fn equal(&self) -> usize {
        self.count(|v| matches!(v, Verdict::Equal))
    }

    fn compared(&self) -> usize {
        self.equal() + self.count(|v| matches!(v, Verdict::Different(_)))
    }

    /// Percent of the compared programs that are equal.
    fn share(&self) -> f64 {
        match self.compared() {
            0 => 0.0,
            n => 100.0 * self.equal() as f64 / n as f64,
        }
    }

    /// Those that need a `/proc/self/exe` which can't be set unprivileged.
    fn by_link(&self) -> usize {
        self.count(|v| matches!(v, Verdict::Different(d) if d.by_link))
    }

    /// Enough is equal, those aside that can't be without privilege.
    pub(crate) fn passes(&self) -> bool {
        let feasible = self.compared() - self.by_link();
        feasible > 0 && 100.0 * self.equal() as f64 / feasible as f64 >= self.bar
    }

    fn who(&self) -> String {
        let userns = if self.way.userns { ", in an own user namespace" } else { "" };
        format!("as {}{userns}", self.way.user)
    }

    /// One path a line.
    pub(crate) fn list_different(&self) {
        for j in self.judged {
            if matches!(j.verdict, Verdict::Different(_)) {
                println!("{}", j.program.path.display());
            }
        }
    }

    /// The summary, for people.
    pub(crate) fn print(&self) {
        for j in self.judged {
            if let Verdict::Different(d) = &j.verdict {
                let path = j.program.path.display();
                if d.by_link {
                    println!("by link    {path}: equal with --userns; without: {}", d.place);
                    continue;
                }
                println!("different  {path}: {}", d.place);
                println!("    kernel   {:?}", d.kernel);
                println!("    uexec    {:?}", d.uexec);
            }
        }
        for j in self.judged {
            if let Verdict::LeftOut(why) = &j.verdict {
                println!("left out   {}: {why}", j.program.path.display());
            }
        }
        let mut skipped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for j in self.judged {
            if let Verdict::Skipped(why) = j.verdict {
                let name = j.program.path.file_name().unwrap_or_default();
                skipped.entry(why).or_default().push(name.display().to_string());
            }
        }
        for (why, names) in &skipped {
            println!("skipped    {}: {why}", names.join(" "));
        }
        println!("{}", self.kinds());
        let by_link = match self.by_link() {
            0 => String::new(),
            n => format!(", {n} differ for want of /proc/self/exe"),
        };
        println!(
            "{}: equal {} of {} ({:.2} %){by_link}, left out {}, skipped {}",
            self.who(),
            self.equal(),
            self.compared(),
            self.share(),
            self.count(|v| matches!(v, Verdict::LeftOut(_))),
            self.count(|v| matches!(v, Verdict::Skipped(_))),
        );
    }

    /// How many of each kind are equal.
    fn kinds(&self) -> String {
        let mut kinds = BTreeMap::new();
        for j in self.judged {
            let (equal, all) = kinds.entry(j.program.kind).or_insert((0, 0));
            match j.verdict {
                Verdict::Equal => (*equal, *all) = (*equal + 1, *all + 1),
                Verdict::Different(_) => *all += 1,
                _ => {}
            }
        }
        let shown = kinds.iter().filter(|(_, (_, all))| *all > 0);
        let shown: Vec<String> =
            shown.map(|(k, (equal, all))| format!("{} {equal}/{all}", k.plural())).collect();
        shown.join(", ")
    }

    /// Everything, for programs.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) fn write_json(&self, path: &Path) -> io::Result<()> {
        let programs: Vec<Value> = self.judged.iter().map(entry).collect();
        let all = json!({
            "as": self.way.user.to_string(),
            "userns": self.way.userns,
            "bar": self.bar,
            "passes": self.passes(),
            "equal": self.equal(),
            "compared": self.compared(),
            "percent": self.share(),
            "by_link": self.by_link(),
            "programs": programs,
        });
        fs::write(path, format!("{all:#}\n"))
    }
}

fn entry(judged: &Judged<'_>) -> Value {
    let mut entry = json!({
        "path": judged.program.path.to_string_lossy(),
        "kind": judged.program.kind,
    });
    let (verdict, more) = match &judged.verdict {
        Verdict::Equal => ("equal", json!({})),
        Verdict::Skipped(why) => ("skipped", json!({ "why": why })),
        Verdict::LeftOut(why) => ("left-out", json!({ "why": why })),
        Verdict::Different(d) => (
            "different",
            json!({ "place": d.place, "kernel": d.kernel, "uexec": d.uexec, "by_link": d.by_link }),
        ),
    };
    entry["verdict"] = verdict.into();
    for (name, value) in more.as_object().into_iter().flatten() {
        entry[name.as_str()] = value.clone();
    }
    entry
}
