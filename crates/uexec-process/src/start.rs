//! Turns a [`Command`] into a child, or into this process. What a child does to itself is decided
//! here, as data; `uexec-linux` carries it out.

use std::ffi::{CStr, CString};

use uexec_core::Errno;
use uexec_core::lookup::candidates;
use uexec_linux::spawn::{Failure, Spawn, Spawned, Step};

use crate::command::Ends;
use crate::error::SpawnError;
use crate::formats::loader;
use crate::stdio::Stream;
use crate::{Child, Command, Stdio, copy};

const SIGPIPE: u64 = 13;

/// The streams and the owned strings that steps point to.
struct Parts {
    streams: Vec<Stream>,
    groups: Vec<u32>,
    drop_groups: bool,
}

impl Parts {
    fn new(command: &Command, stdin: &Stdio, others: &Stdio) -> Result<Parts, SpawnError> {
        let defaults = [stdin, others, others];
        let mut streams = Vec::with_capacity(3);
        for (number, (stdio, default)) in (0..).zip(command.streams.iter().zip(defaults)) {
            let stdio = stdio.as_ref().unwrap_or(default);
            let opened = Stream::open(number, stdio);
            streams.push(opened.map_err(|e| SpawnError::call("opening a stream", errno(&e)))?);
        }
        // What std does for a root that becomes somebody else.
        let drop_groups = command.uid.is_some()
            && command.groups.is_none()
            && rustix::process::getuid().is_root();
        Ok(Parts { streams, groups: command.groups.clone().unwrap_or_default(), drop_groups })
    }

    /// What the child does to itself, in std's order.
    fn steps<'a>(&'a self, command: &'a Command) -> Vec<Step<'a>> {
        let mut steps = Vec::with_capacity(10);
        for (stream, to) in self.streams.iter().zip(0..) {
            steps.extend(stream.child.as_ref().map(|fd| Step::Dup { from: fd.raw(), to }));
        }
        if command.groups.is_some() {
            steps.push(Step::Groups(&self.groups));
        }
        steps.extend(command.gid.map(Step::Gid));
        if self.drop_groups {
            steps.push(Step::Groups(&[]));
        }
        steps.extend(command.uid.map(Step::Uid));
        steps.extend(command.cwd.as_deref().map(Step::Chdir));
        steps.extend(command.process_group.map(Step::ProcessGroup));
        steps.push(Step::DefaultSignals(1 << (SIGPIPE - 1)));
        steps
    }

    fn ends(self) -> Ends {
        let mut ends = self.streams.into_iter().map(|s| s.parent);
        [(); 3].map(|()| ends.next().flatten())
    }
}

pub(crate) fn errno(error: &std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(22) as u16)
}

/// Starts it in a new process.
pub(crate) fn spawn(
    command: &mut Command,
    stdin: &Stdio,
    others: &Stdio,
) -> Result<Child, SpawnError> {
    let envp = command.environment()?;
    let parts = Parts::new(command, stdin, others)?;
    let started = if command.closures.is_empty() {
        shared(command, &envp, &parts)
    } else {
        let mut closures = std::mem::take(&mut command.closures);
        let started = copied(command, &envp, &parts, &mut closures);
        command.closures = closures;
        started
    };
    let Spawned { pid, pidfd } = started?;
    let pid = rustix::process::Pid::from_raw(pid)
        .ok_or_else(|| SpawnError::call("clone", Errno::EAGAIN))?;
    Ok(Child::new(pid, pidfd, parts.ends()))
}

/// A child that shares this memory until its exec.
#[allow(unsafe_code, reason = "the child's descriptors are not this process's")]
fn shared(command: &Command, envp: &[CString], parts: &Parts) -> Result<Spawned, SpawnError> {
    let path = command.search_path(envp, command.by_execvp());
    let name = command.program().to_bytes();
    // What cannot be found is still only said after the steps.
    let tried = candidates(name, path.as_deref()).unwrap_or_else(|_| vec![name.to_vec()]);
    let tried: Result<Vec<_>, _> = tried.into_iter().map(CString::new).collect();
    let tried = tried.map_err(|_| SpawnError::nul())?;
    let steps = parts.steps(command);
    let envp: Vec<&CStr> = envp.iter().map(CString::as_c_str).collect();
    let spawn = Spawn {
        loader: Some(loader(command.formats)?),
        steps: &steps,
        candidates: &tried,
        shell: command.by_execvp(),
        argv: &command.argv(),
        envp: &envp,
        pidfd: command.create_pidfd,
    };
    // SAFETY: the steps replace the child's standard streams by descriptors that `parts` or the
    // command hold open.
    let started = unsafe { spawn.spawn() };
    started.map_err(|failure| match failure {
        Failure::Call(call, errno) => SpawnError::call(call, errno),
        Failure::Step(i, errno) => {
            SpawnError::call(steps.get(i).map_or("set-up", Step::name), errno)
        }
        Failure::Exec(_, errno) => SpawnError::exec(command, errno),
    })
}

/// A child that is a copy of this process.
fn copied(
    command: &Command,
    envp: &[CString],
    parts: &Parts,
    closures: &mut [crate::command::Closure],
) -> Result<Spawned, SpawnError> {
    let steps = parts.steps(command);
    let path = command.search_path(envp, true);
    let envp: Vec<&CStr> = envp.iter().map(CString::as_c_str).collect();
    let become_it = || {
        crate::family::search(
            command.program(),
            &command.argv(),
            crate::family::words(&envp),
            path.as_deref(),
            command.formats,
        )
    };
    copy::start(&steps, closures, &become_it, command.create_pidfd).map_err(|failure| match failure
    {
        Failure::Exec(_, errno) => SpawnError::exec(command, errno),
        Failure::Step(i, errno) => {
            SpawnError::call(steps.get(i).map_or("pre_exec", Step::name), errno)
        }
        Failure::Call(call, errno) => SpawnError::call(call, errno),
    })
}

/// Becomes the program; returns what has failed.
pub(crate) fn exec(command: &mut Command) -> SpawnError {
    let envp = match command.environment() {
        Ok(envp) => envp,
        Err(error) => return error,
    };
    let parts = match Parts::new(command, &Stdio::inherit(), &Stdio::inherit()) {
        Ok(parts) => parts,
        Err(error) => return error,
    };
    let mut closures = std::mem::take(&mut command.closures);
    let steps = parts.steps(command);
    let done = copy::set_up(&steps, &mut closures);
    // As with std, who tries again has them again.
    command.closures = closures;
    let steps = parts.steps(command);
    let name = |i| steps.get(i).map_or("pre_exec", Step::name);
    if let Err((i, errno)) = done {
        return SpawnError::call(name(i), errno);
    }
    let path = command.search_path(&envp, true);
    let envp: Vec<&CStr> = envp.iter().map(CString::as_c_str).collect();
    let envp = crate::family::words(&envp);
    let (program, argv) = (command.program(), command.argv());
    crate::family::search(program, &argv, envp, path.as_deref(), command.formats).into()
}
