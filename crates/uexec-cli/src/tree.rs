//! `uexec run --tree`: every exec of the program and of all its descendants is served by uexec's
//! loader, which the kernel starts by a `binfmt_misc` rule. The command is gone by then: it becomes
//! the program, so that signals, job control and exit status are the program's own.

pub(crate) mod namespace;

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use uexec_core::world::At;
use uexec_core::{Errno, Exec, KERNEL_FORMATS, Privileges};
use uexec_linux::exec_by_kernel;
use uexec_loader::config::{Config, rule};

use crate::args::Run;
use crate::find::find_and_plan;
use crate::memfile::memory_file;
use crate::run::{Interps, interps, set_up, status, tell_story};
use crate::{OWN_FAILURE, report};
use namespace::Tried;

/// Moves this process to where the kernel starts uexec's loader for every native program.
fn enter(interps: Interps) -> Tried {
    let known = uexec_linux::Known::of(&mut uexec_linux::Host::new());
    let image = uexec_loader::image(&Config { known, interps, ..Config::default() })
        .ok_or(("--interp", std::io::Error::other("all of them together are too long")))?;
    let loader = memory_file("uexec-loader", &image, true)
        .map_err(|e| ("putting the loader into memory", e))?;
    namespace::enter(|place| {
        let path = format!("/proc/self/fd/{}", loader.as_raw_fd());
        std::fs::write(place.join("register"), rule("uexec", &path))
            .map_err(|e| ("registering the loader", e))
    })
}

/// Runs the program as the root of a tree; returns an exit status only when it could not be started.
pub(crate) fn run(mut args: Run, envp: Vec<Vec<u8>>) -> u8 {
    let argv = std::mem::take(&mut args.program);
    let name = argv.first().cloned().unwrap_or_default();
    let (interp, interps) = interps(&args.interp);
    if interp.is_some() {
        report::say(format_args!("with --tree, --interp takes OLD=NEW"));
        return OWN_FAILURE;
    }
    if let Err((what, error)) = enter(interps) {
        report::say(format_args!("no tree: {what}: {error}; uexec doctor says what is missing"));
        return OWN_FAILURE;
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
    let planned = find_and_plan(exec.clone(), path, &mut host, &KERNEL_FORMATS);
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
