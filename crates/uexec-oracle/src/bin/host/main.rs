//! A busy process that becomes another program: `uexec-host WAY CALLER SIBLINGS EQUIPMENT PROG ARGS…`.
//!
//! - `WAY`: `kernel`, `uexec` (refused where it cannot be done from inside), `loader` (the same,
//!   with a loader for those cases), `rehearse` (all but the last step, then sees
//!   whether every thread still runs: status 0), `fail` (the program cannot be executed; likewise),
//!   `try` (as `uexec`, and likewise if it is refused).
//! - `CALLER`: `leader` or `other`, the thread that calls. If `other`, the leader is the first sibling;
//!   if `orphan`, it has ended.
//! - `SIBLINGS`: kinds of other threads, with commas; see [`siblings`].
//! - `EQUIPMENT`: what else the process has, with commas; see [`equipment`]. `-` for nothing.
//! - `PROG ARGS…`: the program. `%pid` in an argument is this process's id.
//!
//! `uexec-host soak N` becomes itself N times instead; `uexec-host ended N` tries as often right after
//! the end of another thread; `uexec-host vfork N PROG ARGS…` has N children become the program that
//! share its memory.

#[allow(unsafe_code, reason = "system calls that set the process up")]
mod equipment;
#[allow(unsafe_code, reason = "threads in odd states")]
mod siblings;
mod soak;
#[allow(unsafe_code, reason = "children that share memory")]
mod vfork;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use siblings::Siblings;
use uexec_linux::core::KERNEL_FORMATS;
use uexec_linux::core::binfmt::misc::{Misc, parse};
use uexec_linux::exec::Exec;

/// Statuses of failures, which no program that is started uses.
const FAILED: u8 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kernel,
    Uexec,
    Loader,
    Rehearse,
    Fail,
    Try,
}

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    equipment::close_inherited();
    let program = args.split_off(args.len().min(5));
    let words: Vec<&str> = args.iter().skip(1).map(|a| a.to_str().unwrap_or("")).collect();
    if words.first() == Some(&"soak") {
        let more: Vec<&str> = program.iter().map(|a| a.to_str().unwrap_or("")).collect();
        return match soak::next(&[words.as_slice(), &more].concat()) {
            soak::Next::Again(program, caller, siblings) => {
                start(Way::Uexec, caller, siblings, "-", program)
            }
            soak::Next::Done(Err(why)) => complain(&why),
            soak::Next::Done(Ok(what)) => {
                println!("{what}");
                ExitCode::SUCCESS
            }
        };
    }
    if let ["ended", count] = words.as_slice() {
        return match after_ends_of_threads(count.parse().unwrap_or(0)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => complain(&why),
        };
    }
    if let ["vfork", count, rest @ ..] = words.as_slice() {
        let rest = rest.iter().map(OsString::from).chain(program).collect::<Vec<_>>();
        return match vfork::children(count.parse().unwrap_or(0), &rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => complain(&why),
        };
    }
    let [way, caller, siblings, equipment] = *words.as_slice() else {
        return complain("too few arguments");
    };
    let way = match way {
        "kernel" => Way::Kernel,
        "uexec" => Way::Uexec,
        "loader" => Way::Loader,
        "rehearse" => Way::Rehearse,
        "fail" => Way::Fail,
        "try" => Way::Try,
        other => return complain(&format!("no way {other:?}")),
    };
    start(way, caller, siblings, equipment, program)
}

/// All but the last step of an exec, at the moment in which another thread is not quite gone.
fn after_ends_of_threads(rounds: u64) -> Result<(), String> {
    for round in 0..rounds {
        let _ = std::thread::spawn(|| ()).join();
        let done = Exec::new("/proc/self/exe").rehearse();
        done.map_err(|error| format!("after {round}: {error}"))?;
    }
    Ok(())
}

/// Becomes such a process, and has it exec.
fn start(way: Way, caller: &str, kinds: &str, equipment: &str, program: Vec<OsString>) -> ExitCode {
    let kinds: Vec<&str> = kinds.split(',').filter(|k| !k.is_empty() && *k != "-").collect();
    let equipment: Vec<&str> = equipment.split(',').filter(|k| *k != "-").collect();
    if let Err(why) = equipment::process(&equipment) {
        return complain(&why);
    }
    let pid = std::process::id().to_string();
    let program: Vec<OsString> =
        program.into_iter().map(|a| if a == "%pid" { pid.clone().into() } else { a }).collect();
    if program.is_empty() {
        return complain("no program");
    }
    let leads = caller == "leader";
    let orphan = caller == "orphan";
    let (first, rest) = match (leads, kinds.split_first()) {
        (false, Some((first, rest))) => (Some(*first), rest),
        _ => (None, kinds.as_slice()),
    };
    let mut siblings = match Siblings::start(rest) {
        Ok(siblings) => siblings,
        Err(why) => return complain(&why),
    };
    let equipment: Vec<String> = equipment.into_iter().map(str::to_owned).collect();
    let call = move |siblings: &Siblings| -> ExitCode {
        while orphan && !siblings::is_leader_dead() {
            std::thread::yield_now();
        }
        siblings.wait_until_in_place();
        let names: Vec<&str> = equipment.iter().map(String::as_str).collect();
        if let Err(why) = equipment::thread(&names) {
            return complain(&why);
        }
        become_it(way, &program, siblings)
    };
    if leads {
        return call(&siblings);
    }
    if orphan {
        std::thread::spawn(move || {
            std::process::exit(i32::from(call(&siblings) != ExitCode::SUCCESS))
        });
        siblings::end_thread();
    }
    let leader = match siblings.add(first.unwrap_or("pause")) {
        Ok(leader) => leader,
        Err(why) => return complain(&why),
    };
    std::thread::spawn(move || siblings::exit(call(&siblings) == ExitCode::SUCCESS));
    leader.run()
}

fn complain(why: &str) -> ExitCode {
    eprintln!("uexec-host: {why}");
    ExitCode::from(FAILED)
}

/// The program, as this process's exec; after the rule of `UEXEC_BINFMT` if there is one.
fn exec_of(program: &[OsString]) -> Exec<'static> {
    let exec = Exec::new(program[0].as_os_str()).args(&program[1..]).envs(std::env::vars_os());
    let Some(rule) = std::env::var_os("UEXEC_BINFMT") else { return exec };
    let rules: &Misc = Box::leak(Box::new(rules(rule.as_bytes())));
    let mut formats = KERNEL_FORMATS;
    formats.insert(rules);
    exec.formats(formats)
}

fn rules(text: &[u8]) -> Misc {
    let mut rules = Misc::default();
    if let Ok(rule) = parse(text) {
        let _ = rules.add(rule);
    }
    rules
}

fn become_it(way: Way, program: &[OsString], siblings: &Siblings) -> ExitCode {
    match way {
        Way::Kernel => {
            // Not by the standard library's exec, which would change signals.
            let error = uexec_oracle::launch::execve(program);
            complain(&format!("execve: {error}"))
        }
        Way::Uexec => complain(&format!("exec: {}", exec_of(program).exec())),
        Way::Loader => {
            complain(&format!("exec: {}", exec_of(program).loader(uexec_loader::IMAGE).exec()))
        }
        Way::Rehearse => match exec_of(program).rehearse() {
            Ok(()) => siblings.all_run(),
            Err(error) => complain(&format!("rehearse: {error}")),
        },
        Way::Fail | Way::Try => {
            let _: uexec_linux::core::ExecError = exec_of(program).exec();
            siblings.all_run()
        }
    }
}
