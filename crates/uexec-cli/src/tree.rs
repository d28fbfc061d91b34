//! `uexec run --tree`: every exec of the program and of all its descendants is served by uexec's
//! loader. Either the kernel starts that, by a `binfmt_misc` rule; the command is gone by then: it
//! becomes the program, so that signals, job control and exit status are the program's own. Or a
//! tracer, a process aside, puts it in the place of what would be executed; the command becomes the
//! program all the same.

mod aside;
mod judge;
pub(crate) mod namespace;
mod serve;
mod table;
mod twin;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use uexec_core::binfmt::misc::Misc;
use uexec_core::world::At;
use uexec_core::{ALL_FORMATS, Errno, Exec, KERNEL_FORMATS, Privileges};
use uexec_linux::exec_by_kernel;
use uexec_linux::tree::{self as engine, Role};

use crate::args::Run;
use crate::args::doctor::Attempt;
use crate::args::via::Via;
use crate::binfmt::table as rules_of;
use crate::find::find_and_plan;
use crate::run::{Interps, interps, set_up, status, tell_story};
use crate::{OWN_FAILURE, doctor, report};
use judge::Wishes;
use namespace::Tried;
use table::{Inherited, Table};

/// Moves this process to where the kernel starts uexec's loader for every native program.
fn enter(table: &Table<'_>) -> Tried {
    let loader = table.loader()?;
    namespace::enter(|place| table.fill(place, &loader))
}

/// Lets a process aside serve this one. `Ok(None)`: here it is; else this is that process, whose work
/// is done.
fn follow(via: Via, interps: Interps, rules: Misc) -> Tried<Option<u8>> {
    let too_long = || ("--interp and --binfmt", std::io::Error::other("too long all together"));
    let wishes = Wishes::new(interps, rules).ok_or_else(too_long)?;
    let (what, served) = match via {
        Via::Notify => {
            // SAFETY: this process has had one thread since the kernel started it.
            let role = unsafe { engine::listen() };
            ("answering", role.map(|role| aside(role, |l| serve::answer(&l, &wishes))))
        }
        _ => {
            // SAFETY: as above.
            let role = unsafe { engine::start(&[], engine::Watch::Plain) };
            ("tracing", role.map(|role| aside(role, |tracer| serve::trace(tracer, wishes))))
        }
    };
    served.map_err(|errno| match report::tracer(errno) {
        Some(who) => (what, std::io::Error::other(who)),
        None => (what, std::io::Error::from_raw_os_error(errno.0.into())),
    })
}

/// The work of the process aside; `None` in this one.
fn aside<T>(role: Role<T>, work: impl FnOnce(T) -> u8) -> Option<u8> {
    match role {
        Role::Tracer(of) => Some(work(of)),
        Role::Traced => None,
    }
}

/// Has this process ask one aside, which does not answer: whether a tree could be served so.
pub(crate) fn ask_aside() -> Result<(), Errno> {
    // SAFETY: this process has had one thread since the kernel started it.
    match unsafe { engine::listen() }? {
        Role::Tracer(_) => std::process::exit(0),
        Role::Traced => Ok(()),
    }
}

/// The rules of the options.
fn rules(options: &[OsString]) -> Result<Misc, u8> {
    let mut rules = Misc::default();
    match rules_of::add_given(&mut rules, options, None) {
        Ok(()) => Ok(rules),
        Err(trouble) => {
            crate::binfmt::tell(&trouble);
            Err(OWN_FAILURE)
        }
    }
}

/// Runs the program as the root of a tree; returns an exit status only when it could not be started.
pub(crate) fn run(mut args: Run, envp: Vec<Vec<u8>>) -> u8 {
    let argv = std::mem::take(&mut args.program);
    let name = argv.first().cloned().unwrap_or_default();
    let (interp, mut interps) = interps(&args.interp);
    if interp.is_some() {
        report::say(format_args!("with --tree, --interp takes OLD=NEW"));
        return OWN_FAILURE;
    }
    let rules = match rules(&args.rules.binfmt) {
        Ok(rules) => rules,
        Err(status) => return status,
    };
    if !doctor::has_proc() {
        report::say(format_args!("no tree: /proc is not mounted"));
        return OWN_FAILURE;
    }
    let via = match args.via {
        Via::Auto if doctor::allows(Attempt::Binfmt) => Via::Binfmt,
        Via::Auto if doctor::allows(Attempt::Notify) => Via::Notify,
        Via::Auto => Via::Ptrace,
        via => via,
    };
    let by_kernel = via == Via::Binfmt;
    // An outer tree's count here, too, where this one says nothing else.
    let inherited = Inherited::read();
    interps.extend(inherited.interps.iter().cloned());
    let with_inherited_rules = rules_of::uses_host(&args.rules.binfmt);
    let entered = match by_kernel {
        true => {
            let (interps, inherited, given) = (&interps, &inherited, &rules);
            enter(&Table { interps, inherited, with_inherited_rules, given }).map(|()| None)
        }
        false => follow(via, interps, rules.clone()),
    };
    match entered {
        Ok(None) => {}
        Ok(Some(status)) => return status,
        Err((what, error)) => {
            report::say(format_args!(
                "no tree: {what}: {error}; uexec doctor says what is missing"
            ));
            return OWN_FAILURE;
        }
    }
    let (no_aslr, verbose) = (args.no_aslr, args.verbose);
    let (mut host, mut exec, _stdin) = match set_up(args, argv, envp) {
        Ok(parts) => parts,
        Err(error) => {
            report::say(format_args!("{}: {error}", name.display()));
            return OWN_FAILURE;
        }
    };
    // The kernel ignores it where the owner has no id in the namespace, and nothing can be gained.
    exec.privileges = Privileges::Ignore;
    if let At::Fd(fd) = exec.at {
        // By name: a descriptor that is closed on exec would be refused (MISC-24).
        exec = Exec { at: At::Cwd, path: format!("/proc/self/fd/{fd}").into(), flags: 0, ..exec };
    }
    let path = std::env::var_os("PATH");
    let path = path.as_ref().map(|p| p.as_bytes());
    let known = if by_kernel { KERNEL_FORMATS } else { ALL_FORMATS };
    let formats = rules_of::before(known, &rules);
    let planned = find_and_plan(exec.clone(), path, &mut host, &formats);
    if let Ok(plan) = &planned {
        if verbose > 1 {
            tell_story(plan);
        }
        // By the name it was found by.
        exec.path.clone_from(&plan.filename);
    }
    if no_aslr && let Err(errno) = uexec_linux::without_aslr() {
        report::say(format_args!("personality: {errno}"));
        return OWN_FAILURE;
    }
    // A name alone that was not found is not one of the current directory.
    let found = planned.is_ok() || exec.path.contains(&b'/');
    let errno = if found { exec_by_kernel(&exec) } else { Errno::ENOENT };
    match planned {
        Err(error) => {
            report::print(name.as_bytes(), &error, &mut host);
            status(&error)
        }
        Ok(_) => {
            report::say(format_args!("{}: {errno}", name.display()));
            if errno == Errno::ENOENT { 127 } else { 126 }
        }
    }
}
