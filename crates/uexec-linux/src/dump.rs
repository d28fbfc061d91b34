//! Core dumps of live processes: stops one, looks at it, writes what was decided, and lets it go on
//! as if nothing had been. Never changes it; should the dumper die, the kernel lets it go on.

mod look;
mod mappings;
mod memory;
mod runs;
mod sink;
mod stop;
mod supervise;

use alloc::string::{String, ToString};
use core::fmt;

use uexec_core::Errno;
use uexec_core::coredump::{CorePlan, Filter, Options, Problem, Process, plan};

pub use memory::Copied;
pub use sink::{Sink, Sparse, Stream};
pub use stop::Stopped;
pub use supervise::{End, die_by, pass_on, supervise};

/// Why there is no core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpError {
    /// The process cannot be stopped or looked at.
    Process {
        /// What was asked.
        what: &'static str,
        /// The process or thread.
        id: i32,
        /// What the kernel said.
        errno: Errno,
    },
    /// It cannot be planned.
    Plan(Problem),
    /// It cannot be written.
    Write(Errno),
    /// The process was killed while it was being dumped.
    Gone,
}

impl DumpError {
    pub(crate) const fn process(what: &'static str, id: i32) -> impl Fn(Errno) -> DumpError {
        move |errno| DumpError::Process { what, id, errno }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            DumpError::Process { errno: Errno::EPERM, what: "trace", .. } => Some(
                "it belongs to another user, is not dumpable, is being debugged, or \
                 kernel.yama.ptrace_scope forbids it",
            ),
            DumpError::Process { errno: Errno::EAGAIN, .. } => {
                Some("it waits inside the kernel, as after vfork")
            }
            DumpError::Process { errno: Errno::ENOENT, what: "look into /proc for", .. } => {
                Some("/proc is not mounted")
            }
            _ => None,
        }
    }
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpError::Process { what, id, errno } => write!(f, "cannot {what} {id}: {errno}")?,
            DumpError::Plan(problem) => write!(f, "{problem}")?,
            DumpError::Write(errno) => write!(f, "cannot write the core: {errno}")?,
            DumpError::Gone => f.write_str("the process ended while it was being dumped")?,
        }
        self.hint().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl core::error::Error for DumpError {}

/// A stopped process and its core, decided but not written. The process goes on when this is
/// dropped.
#[derive(Debug)]
pub struct Dump {
    stopped: Stopped,
    /// What was found out about it.
    pub process: Process,
    /// What its core holds.
    pub plan: CorePlan,
}

impl Dump {
    /// Looks at a stopped process and plans its core; without a filter, by that of the process
    /// (`/proc/PID/coredump_filter`).
    ///
    /// # Errors
    /// When it cannot be looked at, or nothing fits the limit.
    pub fn of(
        stopped: Stopped,
        filter: Option<Filter>,
        options: Options,
    ) -> Result<Dump, DumpError> {
        let filter = filter.unwrap_or_else(|| look::filter(stopped.looked_at()));
        let process = look::look(&stopped, filter)?;
        let options = Options { filter, ..options };
        let plan = plan(&process, &options).map_err(DumpError::Plan)?;
        Ok(Dump { stopped, process, plan })
    }

    /// Writes the core; `progress` is told the bytes done, of [`CorePlan::len`].
    ///
    /// # Errors
    /// When it cannot be written, or the process was killed meanwhile.
    pub fn write(
        &self,
        sink: &mut dyn Sink,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Copied, DumpError> {
        memory::write(&self.stopped, &self.process, &self.plan, sink, progress)
    }

    /// The process, still stopped.
    #[must_use]
    pub fn stopped(&self) -> &Stopped {
        &self.stopped
    }

    /// Lets the process go on, and keeps what was found out and decided.
    pub fn let_go(self) -> (Process, CorePlan) {
        (self.process, self.plan)
    }

    /// A line for every mapping: how much of it, and why.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut out = String::new();
        for s in &self.plan.segments {
            let vma = self.process.vmas.get(s.vma);
            let path = vma.map(|v| v.file.as_ref().map_or(&v.name, |f| &f.path));
            let path = path.map(|p| String::from_utf8_lossy(p).to_string()).unwrap_or_default();
            let _ = fmt::Write::write_fmt(
                &mut out,
                format_args!(
                    "{:x}-{:x} {:>10} of {:>10}  {:<8} {}  {}\n",
                    s.start,
                    s.start + s.mem_len,
                    s.file_len,
                    s.mem_len,
                    s.why.spec(),
                    s.why.text(),
                    path
                ),
            );
        }
        out
    }
}

/// Stops a process, all threads of it, and plans its core; it goes on when the dump is dropped.
/// Without a filter, that of the process is used (`core(5)`).
///
/// ```no_run
/// use uexec_linux::{core_dump, dump::Sparse};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dump = core_dump(1234, None)?;
/// let file = std::fs::File::create("core.1234")?;
/// dump.write(&mut Sparse::new(file.into()), &mut |_| {})?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// When there is no such process, it may not be traced (`ptrace(2)`), or it does not stop.
pub fn core_dump(pid: i32, filter: Option<Filter>) -> Result<Dump, DumpError> {
    Dump::of(Stopped::seize(pid)?, filter, Options::default())
}
