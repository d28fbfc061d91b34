//! What is to be started, and how: collects, starts nothing.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{ExitStatus, Output};

use uexec_core::ExecError;

use crate::environ::environ;
use crate::error::SpawnError;
use crate::{Child, Formats, Stdio, start};

/// Runs in the child before the program.
pub(crate) type Closure = Box<dyn FnMut() -> io::Result<()> + Send + Sync + 'static>;

/// A program to be started, loaded by uexec instead of the kernel: a drop-in for
/// [`std::process::Command`] and its extension for Unix.
///
/// ```
/// use uexec_process::Command;
///
/// let output = Command::new("sh").args(["-c", "echo $GREETING"]).env("GREETING", "hello").output()?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # What the child is
/// It is made without copying this process's page tables, so that starting takes as long from a
/// parent of gigabytes as from a small one. With [`pre_exec`](Command::pre_exec) it is a copy of
/// this process, as with std: the closures may then do what they like with their memory.
///
/// As with std, the child has this thread's signal mask, and `SIGPIPE` has its default action.
///
/// # Which program it is
/// A name without a slash is looked for in the `PATH` that the child has, as with std. What the
/// child does to itself comes first: a relative path starts at
/// [`current_dir`](Command::current_dir), and permission is the new user's.
///
/// A file that is no program fails with `ENOEXEC`; where std starts programs by `execvp(3)` (a
/// user, a group, closures or another `PATH` are set), `/bin/sh` runs it, and so it does here.
pub struct Command {
    program: CString,
    args: Vec<CString>,
    env: BTreeMap<OsString, Option<OsString>>,
    env_cleared: bool,
    nul: bool,
    pub(crate) cwd: Option<CString>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) process_group: Option<i32>,
    pub(crate) closures: Vec<Closure>,
    pub(crate) streams: [Option<Stdio>; 3],
    pub(crate) create_pidfd: bool,
    pub(crate) formats: Formats,
}

impl Command {
    /// Starts `program` with no arguments, and everything else as this process has it.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        let mut nul = false;
        let program = c_string(program.as_ref(), &mut nul);
        Command {
            args: vec![program.clone()],
            program,
            env: BTreeMap::new(),
            env_cleared: false,
            nul,
            cwd: None,
            uid: None,
            gid: None,
            groups: None,
            process_group: None,
            closures: Vec::new(),
            streams: [const { None }; 3],
            create_pidfd: false,
            formats: Formats::Kernel,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        let arg = c_string(arg.as_ref(), &mut self.nul);
        self.args.push(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> &mut Command {
        for arg in args {
            self.arg(arg);
        }
        self
    }

    /// Sets `argv[0]`, which is the program's name otherwise.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        let arg = c_string(arg.as_ref(), &mut self.nul);
        if let Some(first) = self.args.first_mut() {
            *first = arg;
        }
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.env.insert(key.as_ref().into(), Some(value.as_ref().into()));
        self
    }

    /// Sets variables of the child's environment.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Command {
        for (key, value) in vars {
            self.env(key, value);
        }
        self
    }

    /// Removes a variable from the child's environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        if self.env_cleared {
            self.env.remove(key.as_ref());
        } else {
            self.env.insert(key.as_ref().into(), None);
        }
        self
    }

    /// Gives the child none of this process's variables, and forgets those set so far.
    pub fn env_clear(&mut self) -> &mut Command {
        self.env_cleared = true;
        self.env.clear();
        self
    }

    /// Sets the child's working directory.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.cwd = Some(c_string(dir.as_ref().as_os_str(), &mut self.nul));
        self
    }

    /// Sets the child's standard input: inherited by `spawn` and `status`, null for `output`.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.streams[0] = Some(stdio.into());
        self
    }

    /// Sets the child's standard output: inherited by `spawn` and `status`, a pipe for `output`.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.streams[1] = Some(stdio.into());
        self
    }

    /// Sets the child's standard error, likewise.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.streams[2] = Some(stdio.into());
        self
    }

    /// Sets the child's user id. As with std, a root that drops to another user also gives up its
    /// supplementary groups unless [`groups`](Command::groups) are set.
    pub fn uid(&mut self, id: u32) -> &mut Command {
        self.uid = Some(id);
        self
    }

    /// Sets the child's group id.
    pub fn gid(&mut self, id: u32) -> &mut Command {
        self.gid = Some(id);
        self
    }

    /// Sets the child's supplementary groups.
    pub fn groups(&mut self, groups: &[u32]) -> &mut Command {
        self.groups = Some(groups.into());
        self
    }

    /// Puts the child into a process group; 0 makes one of its own.
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.process_group = Some(group);
        self
    }

    /// Asks for a descriptor of the child: [`Child::pidfd`].
    pub fn create_pidfd(&mut self, wanted: bool) -> &mut Command {
        self.create_pidfd = wanted;
        self
    }

    /// The formats that the program, and interpreters of scripts, may have; those of the kernel unless
    /// said otherwise.
    ///
    /// ```no_run
    /// use uexec_process::{Command, Formats};
    /// Command::new("./hello-1992").formats(Formats::All).status()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn formats(&mut self, formats: Formats) -> &mut Command {
        self.formats = formats;
        self
    }

    /// Runs a closure in the child, after everything else has been set up. The child is then a
    /// copy of this process (`fork(2)`), which takes the longer the larger this process is.
    ///
    /// # Safety
    /// As of `std::os::unix::process::CommandExt::pre_exec`: of a process with several threads
    /// only this one is left, and what the others held, such as locks, stays held.
    #[allow(unsafe_code, reason = "the same contract as std's")]
    pub unsafe fn pre_exec(
        &mut self,
        f: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Command {
        self.closures.push(Box::new(f));
        self
    }

    /// Starts it; standard streams are inherited.
    ///
    /// ```
    /// use uexec_process::Command;
    /// let error = Command::new("./no-such-program").spawn().unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    /// The kernel's errno, as with std. [`Command::try_spawn`] also says why.
    pub fn spawn(&mut self) -> io::Result<Child> {
        Ok(self.try_spawn()?)
    }

    /// As [`Command::spawn`]; an error also has the stage, the cause and a remedy.
    ///
    /// ```
    /// use uexec_process::Command;
    /// let error = Command::new("/etc/passwd").try_spawn().unwrap_err();
    /// assert_eq!(error.errno().name(), "EACCES");
    /// assert_eq!(error.stage(), "open");
    /// assert!(error.why().starts_with("no execute bit"), "{}", error.why());
    /// ```
    ///
    /// # Errors
    /// What has failed first, in the order in which it is done.
    pub fn try_spawn(&mut self) -> Result<Child, SpawnError> {
        start::spawn(self, &Stdio::inherit(), &Stdio::inherit())
    }

    /// Starts it, waits for its end and answers all of its output; its standard input is null.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait_with_output`].
    pub fn output(&mut self) -> io::Result<Output> {
        start::spawn(self, &Stdio::null(), &Stdio::piped())?.wait_with_output()
    }

    /// Starts it and waits for its end.
    ///
    /// ```
    /// let status = uexec_process::Command::new("false").status()?;
    /// assert_eq!(status.code(), Some(1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Child::wait`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Replaces this process by the program; returns only what has failed. The streams, working
    /// directory, user and so on may then have changed already, as with std.
    pub fn exec(&mut self) -> io::Error {
        start::exec(self).into()
    }

    /// Why the program cannot be started, as far as that can be told from this process; `None` if
    /// it can. Nothing is started.
    ///
    /// ```
    /// use uexec_process::Command;
    /// assert!(Command::new("/bin/true").explain().is_none());
    /// let error = Command::new("/").explain().unwrap();
    /// assert_eq!(error.refusal.why(), "it is a directory, and only regular files are executed");
    /// ```
    #[must_use]
    pub fn explain(&self) -> Option<ExecError> {
        crate::error::explain(self)
    }

    /// The program as it was named.
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        OsStr::from_bytes(self.program.to_bytes())
    }

    /// The arguments after `argv[0]`.
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        self.args[1..].iter().map(|a| OsStr::from_bytes(a.to_bytes()))
    }

    /// The variables that are set, and (without a value) removed.
    pub fn get_envs(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> {
        self.env.iter().map(|(k, v)| (k.as_os_str(), v.as_deref()))
    }

    /// The working directory, if it was set.
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.cwd.as_ref().map(|c| Path::new(OsStr::from_bytes(c.to_bytes())))
    }

    pub(crate) fn program(&self) -> &CStr {
        &self.program
    }

    pub(crate) fn argv(&self) -> Vec<&CStr> {
        self.args.iter().map(CString::as_c_str).collect()
    }

    /// The child's environment. As with std: this process's as it is, unless something of it is
    /// changed; then sorted, the last of several values, and nothing without a name.
    pub(crate) fn environment(&self) -> Result<Vec<CString>, SpawnError> {
        if self.nul {
            return Err(SpawnError::nul());
        }
        if !self.env_cleared && self.env.is_empty() {
            return Ok(environ());
        }
        let mut vars: BTreeMap<OsString, OsString> = BTreeMap::new();
        if !self.env_cleared {
            vars.extend(std::env::vars_os());
        }
        for (key, value) in &self.env {
            match value {
                Some(value) => vars.insert(key.clone(), value.clone()),
                None => vars.remove(key),
            };
        }
        vars.into_iter()
            .map(|(key, value)| {
                let mut pair = key.into_vec();
                pair.push(b'=');
                pair.extend_from_slice(value.as_bytes());
                CString::new(pair).map_err(|_| SpawnError::nul())
            })
            .collect()
    }

    /// Where the program is looked for: as `execvp(3)` does, in the environment that the program is
    /// given, or as `posix_spawnp(3)` does, in this process's, which has the same `PATH` then.
    pub(crate) fn search_path(&self, envp: &[CString], by_execvp: bool) -> Option<Vec<u8>> {
        if !by_execvp {
            return std::env::var_os("PATH").map(OsString::into_vec);
        }
        envp.iter().find_map(|var| var.to_bytes().strip_prefix(b"PATH=")).map(<[u8]>::to_vec)
    }

    /// Whether std would start this by `execvp(3)` in a child rather than by `posix_spawnp(3)`.
    pub(crate) fn by_execvp(&self) -> bool {
        let path_changed = self.env_cleared || self.env.contains_key(OsStr::new("PATH"));
        self.uid.is_some()
            || self.gid.is_some()
            || self.groups.is_some()
            || !self.closures.is_empty()
            || (path_changed && !self.program.to_bytes().contains(&b'/'))
    }
}

fn c_string(text: &OsStr, nul: &mut bool) -> CString {
    CString::new(text.as_bytes()).unwrap_or_else(|_| {
        *nul = true;
        c"<string-with-nul>".into()
    })
}

impl fmt::Debug for Command {
    /// As a shell would be told it, as std does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dir) = self.get_current_dir() {
            write!(f, "cd {dir:?} && ")?;
        }
        let removed: Vec<_> = self.env.iter().filter(|(_, v)| v.is_none()).collect();
        if self.env_cleared {
            f.write_str("env -i ")?;
        } else if !removed.is_empty() {
            f.write_str("env ")?;
            for (key, _) in removed {
                write!(f, "-u {} ", key.to_string_lossy())?;
            }
        }
        for (key, value) in &self.env {
            if let Some(value) = value {
                write!(f, "{}={value:?} ", key.to_string_lossy())?;
            }
        }
        if self.args.first() != Some(&self.program) {
            write!(f, "[{:?}] ", self.get_program())?;
        }
        for (i, arg) in self.args.iter().enumerate() {
            let arg = OsStr::from_bytes(arg.to_bytes());
            write!(f, "{}{arg:?}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// The streams of a child, and the parent's ends of pipes.
pub(crate) type Ends = [Option<OwnedFd>; 3];
