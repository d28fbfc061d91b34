//! Why an exec has failed: planned once more from what is known of its caller, and compared with
//! what the kernel has said.

use uexec_core::error::Refusal;
use uexec_core::story::Shown;
use uexec_core::{Errno, Exec, KERNEL_FORMATS, Privileges, Reason, Stage, plan};
use uexec_linux::Host;

use super::record::Because;
use super::search::Attempt;

/// The reason; `None` where uexec sees none. `searched`: the attempt stands for a search in PATH.
pub(super) fn because(attempt: &Attempt, searched: bool, host: &Host) -> Option<Because> {
    let mut host = host.again();
    host.facts_mut().mmap_base = None;
    if let Some(root) = attempt.root.as_deref().filter(|root| *root != b"/") {
        host.in_root(root).ok()?;
    }
    let path = attempt.full_path();
    let exec = Exec {
        path: path.clone(),
        argv: attempt.call.argv.clone(),
        envp: attempt.envp.clone(),
        privileges: Privileges::AsKernel,
        ..Exec::default()
    };
    let mut error = plan(exec, &mut host, &KERNEL_FORMATS).err()?;
    if searched && error.errno() == Errno::ENOENT && !attempt.is_there() {
        error = Refusal::new(Stage::Path, Reason::NotInPath).into();
    }
    let refusal = &error.refusal;
    let file = Some(&refusal.file).filter(|file| !file.is_empty());
    Some(Because {
        agrees: error.errno() == attempt.errno,
        errno: error.errno().name(),
        stage: refusal.stage.as_str(),
        file: file.map(|file| Shown(file).to_string()),
        is_own: refusal.file == path,
        why: refusal.why().into_owned(),
        hint: refusal.hint().to_owned(),
        spec: refusal.reason.spec(),
    })
}
