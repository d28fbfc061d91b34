//! Replaces this process by a program. Decides nothing.

use uexec_core::{Exec, ExecError};

/// Returns what has failed before the point of no return; nothing has changed then.
pub(crate) fn replace(exec: Exec) -> ExecError {
    uexec_linux::exec::Exec::from(exec).loader(uexec_loader::IMAGE).exec()
}
