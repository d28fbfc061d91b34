//! What uexec says of an exec before it happens: by its library, in this process, and by the
//! command `uexec explain`. Never executes what it predicts.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::Value;
use uexec_core::mm::{Backing, Prot, Vma};
use uexec_core::{Errno, ExecError, KERNEL_FORMATS, Plan, Privileges};
use uexec_linux::Host;

use crate::launch::Exec;
use crate::snapshot::{Map, MmStat};
use crate::state::State;
use crate::verdict::{Start, Verdict};

const RLIMIT_DATA: u32 = 2;
const RLIMIT_STACK: u32 = 3;
const RLIMIT_AS: u32 = 9;
const ADDR_NO_RANDOMIZE: u32 = 0x4_0000;

/// Whether [`by_library`] can take this state into account; [`by_command`] takes any.
#[must_use]
pub fn is_known(state: &State) -> bool {
    match state {
        State::Limit(which, _) => [RLIMIT_DATA, RLIMIT_STACK, RLIMIT_AS].contains(which),
        State::Personality(_) | State::Descriptor(..) | State::Ignore(_) => true,
        _ => false,
    }
}

/// Predicts by the library, as for a child of this process in the states of the exec. `host` is
/// this process's.
#[must_use]
pub fn by_library(exec: &Exec, host: &Host) -> Verdict {
    let mut host = host.again();
    let facts = host.facts_mut();
    facts.mmap_base = None;
    facts.personality |= ADDR_NO_RANDOMIZE;
    // The kernel's start is traced by this process: that counts only for those without privilege.
    facts.creds.traced = facts.creds.euid != 0;
    for state in &exec.states {
        match state {
            State::Personality(bits) => facts.personality |= *bits as u32,
            State::Limit(RLIMIT_STACK, soft) => facts.limits.stack = *soft,
            // A soft limit of 0 leaves the hard one to the kernel, which is this process's.
            State::Limit(RLIMIT_DATA, 0) => facts.limits.data = hard_data_limit(),
            State::Limit(RLIMIT_DATA, soft) => facts.limits.data = *soft,
            State::Limit(RLIMIT_AS, soft) => facts.limits.address_space = *soft,
            _ => {}
        }
    }
    let list = |l: &[std::ffi::CString]| l.iter().map(|s| s.as_bytes().to_vec()).collect();
    let request = uexec_core::Exec {
        path: exec.path.as_bytes().to_vec(),
        argv: list(&exec.argv),
        envp: list(&exec.envp),
        privileges: Privileges::AsKernel,
        ..uexec_core::Exec::default()
    };
    match uexec_core::plan(request, &mut host, &KERNEL_FORMATS) {
        Ok(plan) => of_plan(&plan, host),
        Err(error) => of_error(&error),
    }
}

fn hard_data_limit() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Data);
    limit.maximum.unwrap_or(u64::MAX)
}

fn of_error(error: &ExecError) -> Verdict {
    Verdict::Refused(error.errno())
}

fn of_plan(plan: &Plan, mut host: Host) -> Verdict {
    if plan.death.is_some() {
        return Verdict::Dies(libc::SIGSEGV);
    }
    let name = |v: &Vma| match &v.backing {
        Backing::File { file, .. } => text(&host.path_of(*file).unwrap_or_default()),
        _ => plan.name_of(v).to_owned(),
    };
    let map = |v: &Vma| Map {
        start: v.start,
        end: v.end,
        perms: perms(v.prot),
        offset: match v.backing {
            Backing::File { offset, .. } => offset,
            _ => 0,
        },
        path: name(v),
    };
    let wide = plan.image.arch.class == uexec_core::arch::Class::Elf64;
    let maps = plan.vmas.iter().map(map).chain(vsyscall().filter(|_| wide)).collect();
    let mm = &plan.mm;
    Verdict::Starts(Box::new(Start {
        maps,
        auxv: plan.auxv.0.iter().copied().chain([(0, 0)]).collect(),
        rip: plan.registers.rip,
        rsp: plan.registers.rsp,
        mm: MmStat {
            start_code: mm.start_code,
            end_code: mm.end_code,
            start_stack: mm.start_stack,
            start_data: mm.start_data,
            end_data: mm.end_data,
            start_brk: mm.start_brk,
            arg_start: mm.arg_start,
            arg_end: mm.arg_end,
            env_start: mm.env_start,
            env_end: mm.env_end,
        },
        stack: plan.stack_bytes(&mut host),
        comm: Some(text(&plan.comm)),
        randomized: Some(plan.personality & ADDR_NO_RANDOMIZE == 0),
    }))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn perms(prot: Prot) -> String {
    let letters = [(Prot::READ, 'r'), (Prot::WRITE, 'w'), (Prot::EXEC, 'x')];
    let rwx = letters.map(|(bit, c)| if prot.contains(bit) { c } else { '-' });
    rwx.into_iter().chain(['p']).collect()
}

/// The page that every process has, where the kernel still has it.
fn vsyscall() -> Option<Map> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().last().filter(|l| l.ends_with("[vsyscall]")).and_then(Map::parse)
}

/// Predicts by `uexec explain --json --no-aslr`, started in the states of the exec. `folder` takes
/// two files, which whoever the exec is made by must be able to write.
///
/// # Errors
/// Those of starting it, and an answer that is no answer.
pub fn by_command(exec: &Exec, uexec: &Path, folder: &Path) -> io::Result<Verdict> {
    let (said, stack) = (folder.join("explain.json"), folder.join("explain.stack"));
    for path in [&said, &stack] {
        crate::elf::write_program(path, b"")?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    let options = ["explain", "--json", "--no-aslr", "--stack"].map(std::ffi::OsStr::new);
    let mut asked = Exec::new(uexec).args(options).args([&stack]);
    match exec.argv.first() {
        None => asked = asked.args(["--no-args"]),
        Some(name) if *name != exec.path => {
            asked = asked.args([std::ffi::OsStr::from_bytes(b"--argv0"), as_os(name)]);
        }
        Some(_) => {}
    }
    asked = asked.args([as_os(&exec.path)]).args(exec.argv.iter().skip(1).map(as_os));
    asked.envp.clone_from(&exec.envp);
    asked.states.clone_from(&exec.states);
    asked.randomize = true;
    asked.output = Some(std::sync::Arc::new(std::fs::File::options().append(true).open(&said)?));
    let status = crate::launch::run(&asked)?;
    let answer = std::fs::read(&said)?;
    let json: Value = serde_json::from_slice(&answer).map_err(|e| {
        io::Error::other(format!(
            "explain gave {status}: {e}: {}",
            String::from_utf8_lossy(&answer)
        ))
    })?;
    let verdict = of_json(&json, std::fs::read(&stack)?)
        .ok_or_else(|| io::Error::other(format!("not understood: {json}")))?;
    let starts = matches!(verdict, Verdict::Starts(_));
    if status != i32::from(!starts) {
        return Err(io::Error::other(format!("explain gave {status} for {verdict}")));
    }
    Ok(verdict)
}

fn as_os(text: &std::ffi::CString) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(text.as_bytes())
}

/// `None` when something that is promised is missing.
fn of_json(json: &Value, stack: Vec<u8>) -> Option<Verdict> {
    if json["outcome"] == "error" {
        let error = &json["error"];
        return Some(match error["signal"].as_str() {
            Some("SIGSEGV") => Verdict::Dies(libc::SIGSEGV),
            Some(other) => Verdict::Other(other.to_owned()),
            None => Verdict::Refused(Errno(u16::try_from(error["number"].as_u64()?).ok()?)),
        });
    }
    let hex = |v: &Value| u64::from_str_radix(v.as_str()?.strip_prefix("0x")?, 16).ok();
    let map = |m: &Value| {
        Some(Map {
            start: hex(&m["start"])?,
            end: hex(&m["end"])?,
            perms: m["perms"].as_str()?.to_owned(),
            offset: m["offset"].as_u64()?,
            path: m["path"].as_str()?.to_owned(),
        })
    };
    let aux = |a: &Value| Some((a["type"].as_u64()?, hex(&a["value"])?));
    let mm = |name: &str| hex(&json["mm"][name]);
    Some(Verdict::Starts(Box::new(Start {
        maps: json["maps"].as_array()?.iter().map(map).collect::<Option<_>>()?,
        auxv: json["auxv"].as_array()?.iter().map(aux).collect::<Option<_>>()?,
        rip: hex(&json["registers"]["rip"])?,
        rsp: hex(&json["registers"]["rsp"])?,
        mm: MmStat {
            start_code: mm("start_code")?,
            end_code: mm("end_code")?,
            start_stack: mm("start_stack")?,
            start_data: mm("start_data")?,
            end_data: mm("end_data")?,
            start_brk: mm("start_brk")?,
            arg_start: mm("arg_start")?,
            arg_end: mm("arg_end")?,
            env_start: mm("env_start")?,
            env_end: mm("env_end")?,
        },
        stack,
        comm: None,
        randomized: None,
    })))
}
