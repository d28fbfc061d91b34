//! Why an exec has failed: planned once more from what is known of its caller, and compared with
//! what the kernel has said.

use std::os::fd::AsRawFd;

use uexec_core::error::Refusal;
use uexec_core::flags::AT_EMPTY_PATH;
use uexec_core::story::Shown;
use uexec_core::world::At;
use uexec_core::{Errno, Exec, KERNEL_FORMATS, Privileges, Reason, Stage, plan};
use uexec_linux::Host;

use super::record::Because;
use super::search::Attempt;
use crate::report;

/// The reason; `None` where uexec sees none. `searched`: the attempt stands for a search in PATH.
pub(super) fn because(attempt: &Attempt, searched: bool, host: &Host) -> Option<Because> {
    let mut host = host.again();
    host.facts_mut().mmap_base = None;
    let root = attempt.root.as_deref().filter(|root| *root != b"/");
    if let Some(root) = root {
        host.in_root(root).ok()?;
    }
    let file = attempt.file.as_ref().filter(|_| root.is_none());
    let path = attempt.full_path();
    let exec = Exec {
        at: file.map_or(At::Cwd, |(fd, _)| At::Fd(fd.as_raw_fd())),
        path: if file.is_some() { Vec::new() } else { path.clone() },
        flags: if file.is_some() { AT_EMPTY_PATH } else { 0 },
        fd_cloexec: file.is_some_and(|(_, cloexec)| *cloexec),
        argv: attempt.call.argv.clone(),
        envp: attempt.envp.clone(),
        privileges: Privileges::AsKernel,
        ..Exec::default()
    };
    let mut error = plan(exec, &mut host, &KERNEL_FORMATS).err()?;
    if searched && error.errno() == Errno::ENOENT && !attempt.is_there() {
        error = Refusal::new(Stage::Path, Reason::NotInPath).into();
    }
    let excerpt = report::excerpt(&error, &mut host);
    let refusal = &error.refusal;
    // By its descriptor the file has a number that is this process's.
    let own = file.map(|(fd, _)| format!("/dev/fd/{}", fd.as_raw_fd()).into_bytes());
    let is_own = refusal.file == path || own.is_some_and(|own| refusal.file == own);
    let named = if is_own { &path } else { &refusal.file };
    let named = Some(named).filter(|_| !refusal.file.is_empty());
    Some(Because {
        agrees: error.errno() == attempt.errno,
        errno: error.errno().name(),
        stage: refusal.stage.as_str(),
        file: named.map(|file| Shown(file).to_string()),
        is_own,
        excerpt,
        why: refusal.why().into_owned(),
        hint: refusal.hint().to_owned(),
        spec: refusal.reason.spec(),
    })
}
