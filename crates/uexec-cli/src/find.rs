//! Finds a program as `execvp(3)` does, by planning each candidate. Uses nothing but the core, so
//! that it also works before a C library is there.

extern crate alloc;

use alloc::vec::Vec;

use uexec_core::error::Refusal;
use uexec_core::lookup::{Search, candidates};
use uexec_core::world::{At, World};
use uexec_core::{Errno, Exec, ExecError, Plan, Reason, Registry, Stage, plan};

/// The value of PATH in an environment.
pub(crate) fn path_in(envp: &[Vec<u8>]) -> Option<&[u8]> {
    envp.iter().find_map(|e| e.strip_prefix(b"PATH="))
}

/// Plans the exec; a name without a slash is looked for in `path` as `execvp(3)` does.
pub(crate) fn find_and_plan(
    exec: Exec,
    path: Option<&[u8]>,
    host: &mut dyn World,
    formats: &Registry<'_>,
) -> Result<Plan, ExecError> {
    if exec.path.contains(&b'/') || exec.at != At::Cwd || exec.path.is_empty() {
        return plan(exec, host, formats);
    }
    let mut missing = ExecError::from(Refusal::new(Stage::Path, Reason::NotInPath));
    let mut denied = None;
    let mut search = Search::default();
    for candidate in candidates(&exec.path, path).unwrap_or_default() {
        match plan(Exec { path: candidate, ..exec.clone() }, host, formats) {
            Err(e) if e.errno() == Errno::EACCES => denied = denied.or(Some(e)),
            Err(e) if search.goes_on(e.errno()) => {
                // A program that is there but misses its interpreter says more than one that is
                // not there.
                if e.refusal.stage > Stage::Open && missing.refusal.stage == Stage::Path {
                    missing = e;
                }
            }
            other => return other,
        }
        host.forget_files();
    }
    Err(denied.unwrap_or(missing))
}
