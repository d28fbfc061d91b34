//! The same inside of trees, and under `uexec trace`: all cases are started by another run of this
//! program, as it is and in each kind of tree; what the probe then reports must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use uexec_oracle::launch::Exec;
use uexec_oracle::skip;
use uexec_oracle::uexec::uexec_binary;

use crate::compare::{DEVIATIONS, Deviation, Report, report};
use crate::support::Scratch;
use crate::{Case, case};

/// Tells a run of this program to start the cases and to write here what is reported.
const REPORTS: &str = "UEXEC_REPORTS";
/// And what to execute.
const PROGRAM: &str = "UEXEC_REPORT_PROGRAM";

const NOBODY: u32 = 65_534;

/// The tests whose cases are started.
const TESTS: [&str; 10] = [
    "an_ordinary_caller",
    "signals",
    "timers",
    "scheduling",
    "files",
    "limits",
    "process_attributes",
    "regression_no_memory_both_writable_and_executable",
    "regression_memory_merging_leaves_the_stack_out",
    "credentials",
];

/// Keys of the report that differ, and why they have to.
type Differs = (&'static [&'static str], &'static str);

/// A kind of tree.
struct Way {
    name: &'static str,
    /// What stands before the command.
    words: Vec<String>,
    /// What differs in it whatever the case, and why.
    differs: &'static [&'static [Differs]],
    /// Cases that end otherwise in it, and why.
    impossible: &'static [(&'static str, &'static str)],
}

const BY_TRACER: &[Differs] = &[(&["status.TracerPid"], "a tracer is one")];

const BY_FILTER: &[Differs] = &[
    (
        &["status.Seccomp", "status.Seccomp_filters", "prctl.seccomp"],
        "who serves hears of execs by a filter of system calls",
    ),
    (
        &["status.NoNewPrivs", "prctl.no_new_privs"],
        "who has no CAP_SYS_ADMIN may install a filter only so (seccomp(2))",
    ),
];

const BY_NAMESPACE: &[Differs] = &[
    (&["ns.user", "ns.mnt"], "the rules are those of namespaces of the tree's own"),
    (&["proc.uid_map", "proc.gid_map", "proc.projid_map", "proc.setgroups"], "likewise"),
    (
        &["status.CapBnd", "status.CapPrm", "status.CapEff"],
        "in a user namespace of one's own root has all capabilities (user_namespaces(7))",
    ),
    (
        &["status.CapInh", "status.CapAmb"],
        "others keep CAP_CHECKPOINT_RESTORE, by which a loader may name the program in /proc/self/exe",
    ),
];

const BY_RULE: &[Differs] = &[(
    &[
        "proc.auxv",
        "proc.cmdline",
        "stat.arg_start",
        "stat.arg_end",
        "stat.env_start",
        "stat.env_end",
        "stat.startstack",
    ],
    "a rule gives the program one more argument, and the file's name",
)];

/// Starts the cases and writes the reports, if this run is for that.
pub(crate) fn only_reports(cases: &[Case]) -> bool {
    let Some(to) = std::env::var_os(REPORTS) else { return false };
    let (to, probe) = (Path::new(&to), std::env::var(PROGRAM).unwrap());
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    for case in cases {
        let mut exec = Exec::new(&probe).args(["an argument"]).envs(["HOME=/", "X=1"]);
        exec.states.clone_from(&case.states);
        let (status, pairs) = report(&to.join("report"), &exec);
        let pairs = pairs.iter().map(|(k, v)| format!("{k}={v}\n")).collect::<String>();
        let name = format!("{test}: {}", case.name.replace('/', "_"));
        let head = format!("{status} {}", case.unprivileged);
        std::fs::write(to.join(name), format!("{head}\n{pairs}")).unwrap();
    }
    true
}

/// What each case reports, with the case; its states have been left behind.
type Reports = BTreeMap<String, (Case, Report)>;

/// What all cases report, started by a run of this program behind these words, of this user.
fn reports(dir: &Scratch, user: u32, words: &[String], program: &Path) -> Reports {
    let place = dir.path("reports");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o777)).unwrap();
    let own = std::env::current_exe().unwrap().into_os_string();
    let mut all = words.iter().map(Into::into).chain([own]);
    let mut command = Command::new(all.next().unwrap());
    command.args(all).args(["--test-threads=1", "--exact"]).args(TESTS);
    command.env(REPORTS, &place).env(PROGRAM, program).stdin(Stdio::null());
    if user != 0 {
        command.uid(user).gid(user);
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{words:?}: {done:?}");
    let files = std::fs::read_dir(place).unwrap().map(|e| e.unwrap().path());
    let cases = files.filter(|file| !file.ends_with("report"));
    cases.map(|f| (f.file_name().unwrap().to_string_lossy().into_owned(), read(&f, user))).collect()
}

fn read(file: &Path, user: u32) -> (Case, Report) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let (status, unprivileged) = lines.next().unwrap().split_once(' ').unwrap();
    let pairs = lines.map(|l| l.split_once('=').unwrap_or((l, "")));
    let pairs = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let name = file.file_name().unwrap().to_string_lossy();
    let name = name.split_once(": ").map_or("", |(_, case)| case).to_owned().leak();
    let unprivileged = unprivileged == "true" || user != 0;
    (Case { unprivileged, ..case(name, []) }, (status.parse().unwrap(), pairs))
}

impl Way {
    /// Whether this host lets this user have it; says so if not.
    fn works(&self, user: u32) -> bool {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(["/bin/sh", "-c", "exit 42"]).stdin(Stdio::null());
        if user != 0 {
            command.uid(user).gid(user);
        }
        let output = command.output().unwrap();
        if output.status.code() != Some(42) {
            skip(self.name, String::from_utf8_lossy(&output.stderr).trim_end());
        }
        output.status.code() == Some(42)
    }

    /// Every difference that is not to be expected, a line each.
    fn differences(&self, plain: &Reports, got: &Reports) -> Vec<String> {
        let names: BTreeSet<_> = plain.keys().chain(got.keys()).collect();
        let of = |name| match (plain.get(name), got.get(name)) {
            (Some((case, plain)), Some((_, got))) => self.differences_of(case, plain, got),
            _ => vec!["started in one place only".to_owned()],
        };
        let all = names.into_iter().map(|name| (name, of(name)));
        let lines = all.flat_map(|(name, found)| found.into_iter().map(move |l| (name, l)));
        lines.map(|(name, line)| format!("{} {name}: {line}", self.name)).collect()
    }

    fn differences_of(&self, case: &Case, plain: &Report, got: &Report) -> Vec<String> {
        if plain.0 >= 200 {
            // The state could not be set up.
            return Vec::new();
        }
        if plain.0 != got.0 {
            let known = self.impossible.iter().find(|(name, _)| *name == case.name);
            if let Some((name, why)) = known {
                skip(&format!("{}, {name}", self.name), why);
                return Vec::new();
            }
            return vec![format!("status {}, in the tree {}", plain.0, got.0)];
        }
        let keys: BTreeSet<_> = plain.1.keys().chain(got.1.keys()).collect();
        let text = |of: &Report, key| of.1.get(key).cloned().unwrap_or_default();
        let pairs = keys.into_iter().map(|key| (key, text(plain, key), text(got, key)));
        let unlike = pairs.filter(|(key, a, b)| {
            let way = self
                .differs
                .iter()
                .flat_map(|d| d.iter())
                .any(|(keys, _)| keys.contains(&key.as_str()));
            let known = |d: &Deviation| d.key == *key && (d.here)(case, a, b);
            a != b && !way && !DEVIATIONS.iter().any(known)
        });
        unlike.map(|(key, a, b)| format!("{key}\n    plain {a}\n    tree  {b}")).collect()
    }
}

fn root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn in_trees() {
    let dir = Scratch::new("attributes-trees");
    let probe = Path::new(env!("CARGO_BIN_EXE_uexec-probe"));
    let uexec = uexec_binary().to_str().unwrap();
    // A program only by a rule, with the probe's own name: everybody has it served.
    let ruled = dir.path("ruled").join(probe.file_name().unwrap());
    std::fs::create_dir_all(ruled.parent().unwrap()).unwrap();
    std::fs::write(&ruled, "PROBE").unwrap();
    std::fs::set_permissions(&ruled, PermissionsExt::from_mode(0o755)).unwrap();
    let rule = format!(":probe:M::PROBE::{}:", probe.display());
    let way = |name, words: &[&str], differs, impossible| {
        let words = [&[uexec], words].concat().into_iter().map(str::to_owned).collect();
        Way { name, words, differs, impossible }
    };
    let by = |via| ["run", "--tree", "--via", via];
    let ruled_by = |via| [&by(via)[..], &["--binfmt", &rule]].concat();
    const LOCKED: &[(&str, &str)] = &[(
        "locked memory",
        "above its limit only who has CAP_IPC_LOCK in the first user namespace may lock memory",
    )];
    const UNSERVED: &[(&str, &str)] = &[
        (
            "filter of system calls",
            "it might forbid what the loader does, at the price of its life",
        ),
        ("not dumpable", "a tracer without privilege may not look into it (ptrace(2))"),
    ];
    let ways = [
        (way("binfmt", &by("binfmt"), &[BY_NAMESPACE], LOCKED), false),
        (way("notify", &by("notify"), &[BY_FILTER], &[]), false),
        (way("notify, served", &ruled_by("notify"), &[BY_FILTER, BY_RULE], UNSERVED), true),
        (way("ptrace", &by("ptrace"), &[BY_FILTER, BY_TRACER], &[]), false),
        (
            way("ptrace, served", &ruled_by("ptrace"), &[BY_FILTER, BY_TRACER, BY_RULE], UNSERVED),
            true,
        ),
        (way("trace", &["trace", "-o", "/dev/null"], &[BY_FILTER, BY_TRACER], &[]), false),
    ];
    let users = if root() { vec![0, NOBODY] } else { vec![0] };
    let mut all = Vec::new();
    for user in users {
        let plain = reports(&dir, user, &[], probe);
        assert!(plain.len() > 50, "{}", plain.len());
        for (way, by_rule) in ways.iter().filter(|(way, _)| way.works(user)) {
            let program = if *by_rule { &ruled } else { probe };
            let got = reports(&dir, user, &way.words, program);
            all.extend(
                way.differences(&plain, &got)
                    .into_iter()
                    .map(|line| format!("user {user}, {line}")),
            );
        }
    }
    assert!(all.is_empty(), "{} differences:\n  {}", all.len(), all.join("\n  "));
}
