//! Why nothing was started: errno, stage, cause and remedy.

use std::borrow::Cow;
use std::ffi::{CStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;

use uexec_core::lookup::{Search, candidates};
use uexec_core::{Errno, Exec, ExecError, plan};
use uexec_linux::Host;

use crate::{Command, Formats};

/// Why no program was started.
#[derive(Debug)]
pub struct SpawnError {
    errno: Errno,
    /// What failed: a call, or the exec.
    stage: Cow<'static, str>,
    why: String,
    hint: String,
    /// Not from the kernel: std has a kind of its own for it.
    invalid: bool,
}

impl SpawnError {
    /// What the kernel said.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// Where it failed: a stage of the exec as in `uexec explain`, or the name of a call.
    #[must_use]
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// The cause, in one sentence without a full stop.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The remedy; empty when there is none.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    pub(crate) fn nul() -> SpawnError {
        SpawnError {
            errno: Errno::EINVAL,
            stage: "args".into(),
            why: "nul byte found in provided data".into(),
            hint: String::new(),
            invalid: true,
        }
    }

    /// Of a call that failed.
    #[must_use]
    pub fn call(call: &'static str, errno: Errno) -> SpawnError {
        let why = match (call, errno) {
            ("clone", Errno::EAGAIN) => {
                "this user has as many tasks as RLIMIT_NPROC allows, or the system has none left"
                    .into()
            }
            _ => format!("{call} failed: {}", errno.text()),
        };
        SpawnError { errno, stage: call.into(), why, hint: String::new(), invalid: false }
    }

    /// Of a program that a child could not execute; why is found out now, in this process.
    #[must_use]
    pub fn of_program(
        path: &CStr,
        argv: &[&CStr],
        envp: &[&CStr],
        formats: Formats,
        errno: Errno,
    ) -> SpawnError {
        let words = |all: &[&CStr]| all.iter().map(|w| w.to_bytes().to_vec()).collect();
        let path = path.to_bytes().to_vec();
        let exec = Exec { path, argv: words(argv), envp: words(envp), ..Exec::default() };
        SpawnError::or_else(plan(exec, &mut Host::new(), &formats.registry()).err(), errno)
    }

    /// The program could not be executed; why is found out now, in this process.
    pub(crate) fn exec(command: &Command, errno: Errno) -> SpawnError {
        SpawnError::or_else(explain(command), errno)
    }

    /// The explanation, if it is one of this errno.
    fn or_else(explained: Option<ExecError>, errno: Errno) -> SpawnError {
        match explained.filter(|e| e.errno() == errno) {
            Some(error) => error.into(),
            // In the child it was another matter.
            None => SpawnError {
                stage: "exec".into(),
                why: format!("the child could not execute it: {}", errno.text()),
                ..SpawnError::call("exec", errno)
            },
        }
    }
}

impl From<ExecError> for SpawnError {
    fn from(error: ExecError) -> SpawnError {
        SpawnError {
            errno: error.errno(),
            stage: error.refusal.stage.as_str().into(),
            why: error.refusal.why().into_owned(),
            hint: error.refusal.hint().to_owned(),
            invalid: false,
        }
    }
}

impl From<SpawnError> for io::Error {
    /// The errno, as std has it.
    fn from(error: SpawnError) -> io::Error {
        if error.invalid {
            return io::Error::new(io::ErrorKind::InvalidInput, error.why);
        }
        io::Error::from_raw_os_error(error.errno.0.into())
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.errno, self.stage, self.why)
    }
}

impl std::error::Error for SpawnError {}

/// Why this process could not execute the program; `None` if it could.
pub(crate) fn explain(command: &Command) -> Option<ExecError> {
    use std::os::unix::ffi::OsStrExt;
    let envp = command.environment().ok()?;
    let path = command.search_path(&envp, command.by_execvp());
    let program = command.program().to_bytes();
    let tried = match candidates(program, path.as_deref()) {
        Ok(tried) => tried,
        Err(errno) => return Some(ExecError::host("looking for the program", errno)),
    };
    let mut search = Search::default();
    let (mut denied, mut last) = (None, None);
    for candidate in tried {
        let relative = !candidate.starts_with(b"/");
        let path = match command.get_current_dir().filter(|_| relative) {
            Some(dir) => dir.join(OsString::from_vec(candidate)).as_os_str().as_bytes().to_vec(),
            None => candidate,
        };
        let argv = command.argv().iter().map(|a| a.to_bytes().to_vec()).collect();
        let envp = envp.iter().map(|var| var.to_bytes().to_vec()).collect();
        let exec = Exec { path, argv, envp, ..Exec::default() };
        match plan(exec, &mut Host::new(), &command.formats.registry()) {
            Ok(_) => return None,
            Err(error) => {
                let goes_on = search.goes_on(error.errno());
                if goes_on && error.errno() == Errno::EACCES {
                    denied.get_or_insert_with(|| error.clone());
                }
                last = Some(error);
                if !goes_on {
                    return last;
                }
            }
        }
    }
    denied.or(last)
}
