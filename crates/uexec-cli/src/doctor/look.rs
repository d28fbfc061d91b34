//! Looks at the host: what is tried, what it means when it fails, what follows. Prints nothing.

use std::path::Path;

use super::finding::{Finding, Health, Outcome};
use super::trial::{self, attempt, exe_under_run, kernel_runs};
use super::will;
use crate::args::doctor::Attempt;

/// Everything about this host.
pub(super) fn look() -> Health {
    let name = rustix::system::uname();
    let mut health = Health {
        kernel: name.release().to_string_lossy().into_owned(),
        machine: name.machine().to_string_lossy().into_owned(),
        uid: rustix::process::getuid().as_raw(),
        findings: Vec::new(),
        will: Vec::new(),
    };
    if super::has_proc() {
        loading(&mut health);
        namespaces(&mut health);
        tracing(&mut health);
        settings(&mut health);
    } else {
        let seen = Err("what else there is cannot be tried".into());
        let remedy = || "mount -t proc proc /proc".into();
        tried(&mut health, "proc", "/proc is mounted", seen, remedy);
    }
    health.will = will::will(&health);
    health
}

/// Adds what was tried; `Err` says what was seen.
fn tried(
    health: &mut Health,
    name: &'static str,
    what: &'static str,
    done: Result<(), String>,
    remedy: impl FnOnce() -> String,
) {
    let finding = match done {
        Ok(()) => Finding {
            name,
            what,
            outcome: Outcome::Yes,
            seen: String::new(),
            remedy: String::new(),
        },
        Err(seen) => Finding { name, what, outcome: Outcome::No, seen, remedy: remedy() },
    };
    health.findings.push(finding);
}

/// The same for what nobody has to have.
fn note(health: &mut Health, name: &'static str, what: &'static str, seen: String) {
    let remedy = String::new();
    health.findings.push(Finding { name, what, outcome: Outcome::Note, seen, remedy });
}

/// What running a program in this process's place takes.
fn loading(health: &mut Health) {
    let plain = exe_under_run(&[]);
    let done = plain.as_ref().map(drop).map_err(Clone::clone);
    tried(health, "run", "programs can be loaded in place", done, || {
        "the message above is uexec's own; a seccomp filter or a memory limit is the usual cause"
            .into()
    });
    tried(health, "set_mm", "a layout can be published", attempt(Attempt::SetMm), || {
        "a kernel with CONFIG_CHECKPOINT_RESTORE; without it ps(1) and /proc/PID show uexec's own \
         arguments"
            .into()
    });
    let exe = match &plain {
        Ok(exe) if is_program(exe) => Ok(()),
        Ok(_) => Err("it stays uexec".into()),
        Err(seen) => Err(seen.clone()),
    };
    tried(health, "exe_link", "/proc/self/exe can name the program", exe, || {
        "uexec run --userns, or CAP_CHECKPOINT_RESTORE".into()
    });
    let done = attempt(Attempt::PolicyCheck);
    tried(health, "policy_check", "the kernel's policy can be asked", done, || {
        "Linux 6.14; before, permission bits and mount options are asked, security modules are not"
            .into()
    });
    tried(
        health,
        "memory_exec",
        "programs in memory may be executed",
        kernel_runs(&trial::x86_64()),
        || match setting("vm/memfd_noexec").as_deref() {
            Some("2") => "sysctl vm.memfd_noexec=1, or lower".into(),
            _ => String::new(),
        },
    );
    tried(health, "i386", "32-bit programs run", kernel_runs(&trial::i386()), || {
        "a kernel with CONFIG_IA32_EMULATION, started with ia32_emulation=1".into()
    });
}

/// Whether a link names the program in memory that was run, and not uexec.
fn is_program(exe: &[u8]) -> bool {
    exe.starts_with(b"/memfd:")
}

/// What a namespace of one's own gives.
fn namespaces(health: &mut Health) {
    tried(health, "userns", "user namespaces", attempt(Attempt::Userns), userns_remedy);
    let exe = match exe_under_run(&["--userns"]) {
        Ok(exe) if is_program(&exe) => Ok(()),
        Ok(_) => Err("it stays uexec".into()),
        Err(seen) => Err(seen),
    };
    if !health.has("exe_link") {
        tried(health, "exe_link_userns", "/proc/self/exe can name the program in one", exe, || {
            "user namespaces, or CAP_CHECKPOINT_RESTORE".into()
        });
    }
    let done = attempt(Attempt::Binfmt);
    let remedy = || match setting("user/max_user_namespaces").as_deref() {
        Some("0") => userns_remedy(),
        _ => "Linux 6.7 with CONFIG_BINFMT_MISC, and user namespaces".into(),
    };
    tried(health, "own_binfmt_misc", "a binfmt_misc of one's own", done, remedy);
}

/// Which of the usual settings forbids user namespaces.
fn userns_remedy() -> String {
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    if is("user/max_user_namespaces", "0") {
        return "sysctl user.max_user_namespaces=10000".into();
    }
    if is("kernel/unprivileged_userns_clone", "0") {
        return "sysctl kernel.unprivileged_userns_clone=1".into();
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for \
                uexec with userns"
            .into();
    }
    "in a container: a seccomp profile that allows unshare(2) and mount(2)".into()
}

/// What watching other processes takes.
fn tracing(health: &mut Health) {
    tried(health, "ptrace", "children can be traced", attempt(Attempt::Ptrace), || match setting(
        "kernel/yama/ptrace_scope",
    )
    .as_deref()
    {
        Some("2" | "3") => "sysctl kernel.yama.ptrace_scope=1, where it is not 3".into(),
        _ => "in a container: a seccomp profile that allows ptrace(2), or CAP_SYS_PTRACE".into(),
    });
    tried(
        health,
        "seccomp",
        "system call filters that report to a tracer",
        attempt(Attempt::Seccomp),
        || {
            "a kernel with CONFIG_SECCOMP_FILTER; in a container, a profile that allows seccomp(2)"
                .into()
        },
    );
    for (via, name, what) in [
        ("binfmt", "tree_binfmt", "a small tree can be served by the kernel (--via binfmt)"),
        ("notify", "tree_notify", "a small tree can be served from aside (--via notify)"),
        ("ptrace", "tree_ptrace", "a small tree can be served by a tracer (--via ptrace)"),
    ] {
        let remedy = || match via {
            "notify" => "Linux 5.19, tracing of processes that are not one's children \
                         (kernel.yama.ptrace_scope=0, or CAP_SYS_PTRACE), and no other that answers"
                .into(),
            _ => "what is said above".into(),
        };
        tried(health, name, what, trial::tree(via), remedy);
    }
    if let Some(scope) = setting("kernel/yama/ptrace_scope").filter(|s| s != "0") {
        let seen = format!("kernel.yama.ptrace_scope is {scope}");
        note(health, "ptrace_others", "only some processes can be traced or dumped", seen);
    }
}

/// Settings that change what programs see.
fn settings(health: &mut Health) {
    if let Some(value) = setting("kernel/randomize_va_space").filter(|v| v != "2") {
        let seen = format!("kernel.randomize_va_space is {value}");
        note(health, "aslr", "addresses are not all randomised", seen);
    }
    if let Some(value) = setting("vm/overcommit_memory").filter(|v| v == "2") {
        let seen = format!("vm.overcommit_memory is {value}");
        note(health, "overcommit", "large programs may find no memory", seen);
    }
    if let Some(pattern) = setting("kernel/core_pattern") {
        note(health, "core_pattern", "the kernel's core dumps go to", pattern);
    }
}

/// A setting below `/proc/sys`.
fn setting(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    Some(text.trim_end().to_owned())
}
