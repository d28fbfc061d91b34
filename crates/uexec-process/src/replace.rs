//! Replaces this process by a program. Decides nothing.

use uexec_core::{Exec, ExecError, KERNEL_FORMATS, plan};
use uexec_linux::{Caller, Host, die, prepare};

/// Plans, prepares and commits; returns what has failed before the point of no return.
pub(crate) fn replace(exec: Exec) -> ExecError {
    match try_replace(exec) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

#[allow(unsafe_code, reason = "gives this process away")]
fn try_replace(exec: Exec) -> Result<std::convert::Infallible, ExecError> {
    let mut host = Host::new();
    let plan = plan(exec, &mut host, &KERNEL_FORMATS)?;
    if plan.death.is_some() {
        die();
    }
    let prepared = prepare(&plan, host, &Caller::any()?)?;
    // SAFETY: the process has this one thread, as `Caller::any` has just seen, and shares its
    // memory with nobody: a vfork child runs no Rust.
    unsafe { prepared.commit() }
}
