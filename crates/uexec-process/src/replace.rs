//! Replaces this process by a program. Decides nothing.

use uexec_core::{Exec, ExecError};

use crate::Formats;

/// Returns what has failed before the point of no return; nothing has changed then.
pub(crate) fn replace(exec: Exec, formats: Formats) -> ExecError {
    // The loader's image takes some as well.
    if let Err(errno) = uexec_linux::exec::room() {
        return ExecError::host("making room for the exec", errno);
    }
    let exec = uexec_linux::exec::Exec::from(exec).formats(formats.registry());
    exec.loader(formats.image()).loader_knows(formats.told()).exec()
}
