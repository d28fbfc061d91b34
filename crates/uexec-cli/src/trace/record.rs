//! What is told of a tree, as JSON has it (docs/trace.schema.json). Only holds it.

use serde::Serialize;

use super::pages::Pages;
use super::text::Text;

/// One line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first.
    Start(Start),
    /// A process is created.
    Spawn(Box<Spawn>),
    /// A process executes a program.
    Exec(Box<Exec>),
    /// An exec has failed.
    Failed(Box<Failed>),
    /// A process has ended.
    Exit(Exit),
    /// The last: nobody is left.
    End(End),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Start {
    /// Version of this format.
    pub(crate) version: u32,
    pub(crate) command: Vec<Text>,
    /// When, in seconds since 1970.
    pub(crate) unix_time: f64,
}

/// Whose record it is, and when: seconds since the start.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Who {
    pub(crate) t: f64,
    /// Number of the process in this trace; the kernel's are used again.
    pub(crate) id: u32,
    pub(crate) pid: i32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spawn {
    #[serde(flatten)]
    pub(crate) who: Who,
    /// Who has created it.
    pub(crate) parent: u32,
    /// `fork`, `vfork` or `clone`.
    pub(crate) how: &'static str,
    /// Names of the flags.
    pub(crate) flags: Vec<String>,
    /// Sent to the parent at the child's end.
    pub(crate) exit_signal: u64,
    /// What parent and child have in common, what the child has a copy of, what is new.
    pub(crate) shared: Vec<&'static str>,
    pub(crate) copied: Vec<&'static str>,
    pub(crate) new: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Exec {
    #[serde(flatten)]
    pub(crate) who: Who,
    /// As it was called, a descriptor as `/dev/fd/N`; `null` where the call could not be seen.
    pub(crate) path: Option<Text>,
    pub(crate) argv: Vec<Text>,
    /// Microseconds from the call to the program's beginning, the tracer's own work included.
    pub(crate) took_us: u64,
    /// The file that runs.
    pub(crate) exe: Option<Text>,
    /// The interpreter that this file names: the dynamic loader.
    pub(crate) interp: Option<Text>,
    /// Privilege that the file would grant, but that its caller has given up: as whoever is traced
    /// without `CAP_SYS_ADMIN` does.
    pub(crate) withheld: Option<&'static str>,
    /// Interpreters that were put in front, with their arguments, outermost first; the last is
    /// the file they are to read.
    pub(crate) chain: Vec<Text>,
    pub(crate) cwd: Option<Text>,
    pub(crate) env: Environment,
    #[serde(flatten)]
    pub(crate) stdio: Stdio,
    /// Directories that were looked in before.
    pub(crate) searched: Vec<Text>,
    /// Page faults of the process since it was forked: how many pages it has copied, at most.
    pub(crate) faults_since_fork: Option<u64>,
    /// With `--cow`, where the process was forked and had executed nothing before.
    pub(crate) pages: Option<Pages>,
    /// Microseconds that its parent has waited for this, after `vfork`.
    pub(crate) parent_waited_us: Option<u64>,
}

/// What these descriptors lead to: a path, or `pipe:[…]` and the like (`proc_pid_fd(5)`); `null`
/// where they are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stdio {
    pub(crate) stdin: Option<Text>,
    pub(crate) stdout: Option<Text>,
    pub(crate) stderr: Option<Text>,
}

impl Stdio {
    /// With what each is called in a shell's command line.
    pub(crate) fn named(&self) -> [(&'static str, &Option<Text>); 3] {
        [("<", &self.stdin), (">", &self.stdout), ("2>", &self.stderr)]
    }
}

/// What has changed in the environment since the last program of the process or its ancestors.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Environment {
    /// Added, or with another value.
    pub(crate) set: Vec<Text>,
    /// Names that are gone.
    pub(crate) unset: Vec<Text>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failed {
    #[serde(flatten)]
    pub(crate) who: Who,
    pub(crate) path: Text,
    pub(crate) argv: Vec<Text>,
    pub(crate) cwd: Option<Text>,
    /// What the kernel has said.
    pub(crate) errno: &'static str,
    pub(crate) number: u16,
    /// Directories that were looked in.
    pub(crate) searched: Vec<Text>,
    /// Why, as uexec sees it; `null` where it sees no reason.
    pub(crate) because: Option<Because>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Because {
    /// uexec comes to the same errno.
    pub(crate) agrees: bool,
    pub(crate) errno: &'static str,
    pub(crate) stage: &'static str,
    pub(crate) file: Option<String>,
    /// That is the file that was to be executed.
    #[serde(skip)]
    pub(crate) is_own: bool,
    /// Lines that show the bytes at fault.
    #[serde(skip)]
    pub(crate) excerpt: Option<String>,
    pub(crate) why: String,
    pub(crate) hint: String,
    pub(crate) spec: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Exit {
    #[serde(flatten)]
    pub(crate) who: Who,
    /// Exit status; `null` when a signal has killed it.
    pub(crate) status: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) core: bool,
    /// Seconds from its creation.
    pub(crate) lived: f64,
    /// Seconds of processor time, without the children it has waited for.
    pub(crate) cpu: f64,
    /// The largest resident set of its programs; `null` where one of its children had a larger one,
    /// or the process that it is a copy of.
    pub(crate) max_rss_kib: Option<u64>,
    /// Threads it has made.
    pub(crate) threads: u32,
    /// As in `exec`, for a process that has executed nothing.
    pub(crate) faults_since_fork: Option<u64>,
    pub(crate) pages: Option<Pages>,
    pub(crate) parent_waited_us: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct End {
    pub(crate) t: f64,
    pub(crate) processes: u32,
    pub(crate) execs: u32,
    pub(crate) failed_execs: u32,
}

impl Exec {
    /// What the program is called, by itself or by its caller.
    pub(crate) fn name(&self) -> Text {
        let own = self.argv.first().filter(|name| !name.0.is_empty());
        own.or(self.path.as_ref()).or(self.exe.as_ref()).cloned().unwrap_or_default()
    }

    /// The file, where its name is not the program's.
    pub(crate) fn other_file(&self) -> Option<&Text> {
        let path = self.path.as_ref()?;
        let own = self.name().base();
        let named = own.0.strip_prefix(b"-").unwrap_or(&own.0);
        let file = if path.0.starts_with(b"/dev/fd/") { self.exe.as_ref()? } else { path };
        (file.base().0 != named).then_some(file)
    }
}

impl Failed {
    /// What was looked for: a path, or a name in PATH.
    pub(crate) fn name(&self) -> &Text {
        if self.searched.is_empty() { &self.path } else { self.argv.first().unwrap_or(&self.path) }
    }
}

impl Because {
    /// The reason with the file that it is about, if that is not the program.
    pub(crate) fn text(&self) -> String {
        match &self.file {
            Some(file) if !self.is_own => format!("{file}: {}", self.why),
            _ => self.why.clone(),
        }
    }
}

impl Exit {
    /// It has not ended well.
    pub(crate) const fn is_failure(&self) -> bool {
        !matches!(self.status, Some(0))
    }
}
