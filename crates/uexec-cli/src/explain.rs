//! `uexec explain`: plans an exec and tells what was decided. Runs nothing, changes nothing.

use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use uexec_core::{Exec, ExecError, KERNEL_FORMATS, Plan, Privileges, World};
use uexec_ld::{Binding, Disk, Ld, LinkMap, Settings};
use uexec_linux::Host;

use crate::OWN_FAILURE;
use crate::args::Explain;
use crate::find::find_and_plan;
use crate::libraries;
use crate::picture;

mod bindings;
pub(crate) mod fault;
mod human;
mod json;
pub(crate) mod model;
pub(crate) mod ranges;
pub(crate) mod words;

/// A planned exec with the host it was planned on.
pub(crate) struct Explained {
    /// The program as it was named.
    pub(crate) program: Vec<u8>,
    /// Its arguments.
    pub(crate) argv: Vec<Vec<u8>>,
    /// The plan, or why there is none.
    pub(crate) result: Result<Plan, ExecError>,
    /// Who was asked.
    pub(crate) host: Host,
    /// What the program's loader does, if it was asked for and there is one.
    pub(crate) libraries: Option<LinkMap>,
    /// Slots of the program's global offset table, if they were asked for.
    pub(crate) bindings: Vec<Binding>,
}

/// How libraries are looked for.
type Loader = Option<(Ld, Settings)>;

impl Explained {
    /// Plans `exec` on `host` and keeps all of it.
    pub(crate) fn new(exec: Exec, mut host: Host, loader: &mut Loader) -> Explained {
        let (program, argv) = (exec.path.clone(), exec.argv.clone());
        let path = std::env::var_os("PATH");
        let result =
            find_and_plan(exec, path.as_ref().map(|p| p.as_bytes()), &mut host, &KERNEL_FORMATS);
        let libraries = match (&result, loader) {
            (Ok(plan), Some((ld, settings))) => libraries::resolve(ld, plan, settings),
            _ => None,
        };
        Explained { program, argv, result, host, libraries, bindings: Vec::new() }
    }

    /// Whether the program starts.
    pub(crate) fn starts(&self) -> bool {
        self.result.as_ref().is_ok_and(|plan| plan.death.is_none())
    }

    /// The failure, before or after the point of no return.
    pub(crate) fn error(&self) -> Option<ExecError> {
        match &self.result {
            Err(error) => Some(error.clone()),
            Ok(plan) => plan
                .death
                .clone()
                .map(|death| ExecError::new(death, plan.chain.clone(), plan.story.clone())),
        }
    }
}

/// Explains; returns the exit status.
pub(crate) fn explain(args: Explain, envp: Vec<Vec<u8>>) -> u8 {
    if let Some(flags) = &args.clone {
        return crate::clone::explain(flags, args.json);
    }
    let prepared = prepare_host(&args).and_then(|host| Ok((host, disk(&args)?)));
    let (host, disk) = match prepared {
        Ok(both) => both,
        Err(message) => {
            eprintln!("uexec: {message}");
            return OWN_FAILURE;
        }
    };
    let envp = crate::run::environment(if args.clear_env { Vec::new() } else { envp }, &args.env);
    let mut loader = disk.map(|disk| (Ld::new(disk), libraries::settings(&envp)));
    if args.batch {
        return batch(&host, &envp, args.seed.is_some(), &mut loader);
    }
    let mut argv: Vec<_> = args.program.iter().map(|a| a.as_bytes().to_vec()).collect();
    let program = argv.first().cloned().unwrap_or_default();
    if args.no_args {
        argv.clear();
    } else if let (Some(first), Some(name)) = (argv.first_mut(), &args.argv0) {
        *first = name.as_bytes().to_vec();
    }
    let exec = request(program, argv, envp);
    let mut explained = Explained::new(exec.clone(), host, &mut loader);
    if args.bindings
        && let (Some((ld, settings)), Some(map)) = (&mut loader, &explained.libraries)
    {
        explained.bindings = ld.bindings(map, settings).unwrap_or_default();
    }
    let on_stdout = |p: &Option<PathBuf>| p.as_ref().is_some_and(|p| p.as_os_str() == "-");
    let printed = if on_stdout(&args.svg) || on_stdout(&args.html) {
        Ok(())
    } else if args.json {
        writeln!(std::io::stdout(), "{}", json::text(&explained))
    } else {
        let text = human::text(&mut explained, args.verbose);
        anstream::stdout().write_all(text.as_bytes())
    };
    let starts = explained.starts();
    let written = printed.and_then(|()| match (&args.stack, &explained.result) {
        (Some(path), Ok(plan)) => std::fs::write(path, plan.stack_bytes(&mut explained.host)),
        _ => Ok(()),
    });
    let drawn = written.and_then(|()| match (&args.svg, &args.html) {
        (None, None) => Ok(()),
        (svg, html) => picture::write(&exec, &mut explained, svg.as_deref(), html.as_deref()),
    });
    match drawn {
        Ok(()) => u8::from(!starts),
        Err(error) => {
            eprintln!("uexec: {error}");
            OWN_FAILURE
        }
    }
}

fn prepare_host(args: &Explain) -> Result<Host, String> {
    let mut host = Host::new();
    // Where this very process's mappings end says nothing about the next exec.
    host.facts_mut().mmap_base = None;
    if args.no_aslr {
        host.no_aslr();
    }
    if let Some(seed) = args.seed {
        host.seed(seed);
    }
    if let Some(root) = &args.root {
        host.in_root(root.as_bytes()).map_err(|e| format!("{}: {e}", root.display()))?;
    }
    Ok(host)
}

/// Where libraries are looked for; `None` if they are not.
fn disk(args: &Explain) -> Result<Option<Disk>, String> {
    match &args.root {
        _ if !args.libraries => Ok(None),
        None => Ok(Some(Disk::host())),
        Some(root) => {
            let disk = Disk::inside(root.as_ref());
            disk.map(Some).map_err(|e| format!("{}: {e}", root.display()))
        }
    }
}

fn request(program: Vec<u8>, argv: Vec<Vec<u8>>, envp: Vec<Vec<u8>>) -> Exec {
    Exec { path: program, argv, envp, privileges: Privileges::AsKernel, ..Exec::default() }
}

/// One JSON object a line for every path on standard input.
fn batch(host: &Host, envp: &[Vec<u8>], seeded: bool, loader: &mut Loader) -> u8 {
    let mut input = std::io::stdin().lock();
    let mut out = std::io::stdout().lock();
    let mut all_start = true;
    let nul = input.fill_buf().is_ok_and(|b| b.contains(&0));
    for path in input.split(if nul { 0 } else { b'\n' }) {
        let Ok(path) = path else { return OWN_FAILURE };
        if path.is_empty() {
            continue;
        }
        let exec = request(path.clone(), vec![path], envp.to_vec());
        let explained = Explained::new(exec, again(host, seeded), loader);
        all_start &= explained.starts();
        if writeln!(out, "{}", json::text(&explained)).is_err() {
            return OWN_FAILURE;
        }
    }
    u8::from(!all_start)
}

/// A host for the next program, with the choices made for the first.
fn again(host: &Host, seeded: bool) -> Host {
    let mut next = host.again();
    let facts = next.facts_mut();
    facts.mmap_base = None;
    facts.personality = host.facts().personality;
    if seeded {
        facts.entropy = host.facts().entropy;
    }
    next
}
