//! `uexec run`: finds the program, plans, prepares, commits.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use uexec_core::binfmt::misc::Misc;
use uexec_core::world::At;
use uexec_core::{ALL_FORMATS, Errno, Exec, ExecError, Plan, Privileges, Stage, flags};
use uexec_linux::{Caller, Host, die, prepare};

use crate::args::Run;
use crate::args::interp::Interp;
use crate::binfmt::table;
use crate::find::find_and_plan;
use crate::memfile::memory_file;
use crate::{OWN_FAILURE, report, userns};

/// Runs the program; returns an exit status only when it could not be started.
pub(crate) fn run(mut args: Run, envp: Vec<Vec<u8>>) -> u8 {
    // A tree enters its namespace as the child: cores are kept by who was there before.
    if args.userns
        && !args.tree
        && let Err(error) = userns::enter()
    {
        report::say(format_args!("no own user namespace: {error}"));
        return OWN_FAILURE;
    }
    if let Some(dir) = args.core.take() {
        match crate::core::watch::fork(&dir, args.tree) {
            Ok(None) => {}
            Ok(Some(status)) => return status,
            Err(error) => {
                report::say(format_args!("{error}"));
                return OWN_FAILURE;
            }
        }
    }
    if args.tree {
        return crate::tree::run(args, envp);
    }
    let argv = std::mem::take(&mut args.program);
    let name = argv.first().cloned().unwrap_or_default();
    let verbose = args.verbose;
    let options = std::mem::take(&mut args.rules.binfmt);
    let (mut host, exec, stdin) = match set_up(args, argv, envp) {
        Ok(parts) => parts,
        Err(error) => {
            report::say(format_args!("{}: {error}", name.display()));
            return OWN_FAILURE;
        }
    };
    let path = std::env::var_os("PATH");
    let mut rules = Misc::default();
    if let Err(trouble) = table::add_given(&mut rules, &options, Some(&mut host)) {
        crate::binfmt::tell(&trouble);
        return OWN_FAILURE;
    }
    let mut formats = table::before(ALL_FORMATS, &rules);
    if table::uses_host(&options) {
        formats = formats.with_resolver(&table::Late);
    }
    let plan = match find_and_plan(exec, path.as_ref().map(|p| p.as_bytes()), &mut host, &formats) {
        Ok(plan) => plan,
        Err(error) => {
            report::print(name.as_bytes(), &error, &mut host);
            return status(&error);
        }
    };
    if verbose > 1 {
        tell_story(&plan);
    }
    if let Some(death) = &plan.death {
        let error = ExecError::new(death.clone(), plan.chain.clone(), plan.story.clone());
        report::print(name.as_bytes(), &error, &mut host);
        die();
    }
    // The one thing opened so far that the program must not inherit is its own file.
    let caller = if stdin.is_some() { Caller::forked() } else { Caller::fresh() };
    match prepare(&plan, host, &caller) {
        Ok(prepared) => {
            if verbose > 0 {
                for difference in prepared.differences() {
                    report::say(format_args!("not as under the kernel: {difference}"));
                }
            }
            // SAFETY: this process has had one thread since the kernel started it, and it was not
            // started by sharing memory with anybody, as exec gave it an own address space.
            unsafe { prepared.commit() }
        }
        Err(error) => {
            report::print(name.as_bytes(), &error, &mut Host::new());
            OWN_FAILURE
        }
    }
}

/// Tells every decision.
pub(crate) fn tell_story(plan: &Plan) {
    for event in plan.story.events() {
        report::say(format_args!("{:<13} {}", event.stage.as_str(), event.what));
    }
}

/// Dynamic loaders to be used in place of others: old, new.
pub(crate) type Interps = Vec<(Vec<u8>, Vec<u8>)>;

/// A dynamic loader for the program alone, and those to be used in place of others.
pub(crate) fn interps(given: &[Interp]) -> (Option<Vec<u8>>, Interps) {
    let mut only = None;
    let mut pairs = Vec::new();
    for interp in given {
        match interp {
            Interp::Only(path) => only = Some(path.as_bytes().to_vec()),
            Interp::Instead(old, new) => pairs.push((old.clone(), new.clone())),
        }
    }
    (only, pairs)
}

/// The exec as asked for on the command line.
pub(crate) fn set_up(
    args: Run,
    words: Vec<OsString>,
    envp: Vec<Vec<u8>>,
) -> std::io::Result<(Host, Exec, Option<OwnedFd>)> {
    let mut host = Host::new();
    if args.no_aslr {
        host.no_aslr();
    }
    if let Some(seed) = args.seed {
        host.seed(seed);
    }
    let mut argv: Vec<Vec<u8>> = words.into_iter().map(OsString::into_vec).collect();
    let path = argv.first().cloned().unwrap_or_default();
    if let (Some(first), Some(name)) = (argv.first_mut(), args.argv0) {
        *first = name.into_vec();
    }
    let (interp, interps) = interps(&args.interp);
    let mut exec = Exec {
        path,
        argv,
        envp: environment(if args.clear_env { Vec::new() } else { envp }, &args.env),
        privileges: if args.no_privileges { Privileges::Ignore } else { Privileges::Refuse },
        interp,
        interps,
        untold: args.verbose < 2,
        ..Exec::default()
    };
    let mut stdin = None;
    if exec.path == b"-" {
        let fd = program_from_stdin()?;
        exec.at = At::Fd(fd.as_raw_fd());
        exec.fd_cloexec = uexec_linux::is_cloexec(fd.as_raw_fd()).unwrap_or(false);
        exec.flags = flags::AT_EMPTY_PATH;
        exec.path.clear();
        stdin = Some(fd);
    }
    Ok((host, exec, stdin))
}

/// `envp` with the variables of `set` added or replaced.
pub(crate) fn environment(mut envp: Vec<Vec<u8>>, set: &[OsString]) -> Vec<Vec<u8>> {
    for pair in set {
        let pair = pair.as_bytes().to_vec();
        let name = pair.iter().position(|b| *b == b'=').map_or(pair.len(), |i| i + 1);
        let same = |e: &&mut Vec<u8>| e.get(..name) == pair.get(..name);
        match envp.iter_mut().find(same) {
            Some(old) => *old = pair,
            None => envp.push(pair),
        }
    }
    envp
}

/// Reads a program from standard input into memory.
fn program_from_stdin() -> std::io::Result<OwnedFd> {
    let mut program = Vec::new();
    std::io::stdin().lock().read_to_end(&mut program)?;
    // A script's interpreter has to open the descriptor, so it must stay open then.
    memory_file("stdin", &program, !program.starts_with(b"#!"))
}

/// 127 for what is not there, 126 for what is refused, 125 for what uexec could not do.
pub(crate) fn status(error: &ExecError) -> u8 {
    match (error.refusal.stage, error.errno()) {
        (Stage::Carry, _) => OWN_FAILURE,
        (_, Errno::ENOENT) => 127,
        _ => 126,
    }
}
