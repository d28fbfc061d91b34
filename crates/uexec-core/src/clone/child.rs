//! What the child of a permitted clone gets (FORK-E). Refuses nothing.

use alloc::vec::Vec;

use super::{
    CloneArgs, CloneFacts, CloneFlags as F, ClonePlan, Gets, Inherit, Item, Memory, Parent,
    PtraceEvent, SIGCHLD, Write,
};

/// The whole answer.
pub(super) fn plan(args: &CloneArgs, facts: &CloneFacts) -> ClonePlan {
    let flags = args.flags;
    let thread = flags.contains(F::CLONE_THREAD);
    let parent = match (thread, flags.contains(F::CLONE_PARENT)) {
        (true, _) => Parent::SameProcess,
        (false, true) => Parent::CallersParent,
        (false, false) => Parent::Caller,
    };
    let exit_signal = match parent {
        Parent::SameProcess => -1,
        Parent::CallersParent => facts.leader_exit_signal,
        Parent::Caller => args.exit_signal as i32,
    };
    ClonePlan {
        flags,
        child: Item::ALL.iter().map(|&item| row(item, args)).collect(),
        parent,
        exit_signal,
        parent_waits: flags.contains(F::CLONE_VFORK),
        sp: args.stack_pointer(),
        tls: flags.contains(F::CLONE_SETTLS).then_some(args.tls),
        writes: writes(args),
        event: event(args),
        plain_wait: !thread && exit_signal == SIGCHLD && !init_shares_actions(flags),
        warnings: warnings(args, exit_signal),
    }
}

fn row(item: Item, args: &CloneArgs) -> Inherit {
    use Gets::*;
    let flags = args.flags;
    // The default, and what each flag makes of it: the first that is set counts.
    let (default, note, causes): (Gets, &'static str, &[(F, Gets, &'static str)]) = match item {
        Item::Memory => (
            Copied,
            "copy-on-write; MADV_DONTFORK left out, MADV_WIPEONFORK zeroed, locks not kept",
            &[(F::CLONE_VM, Shared, "")],
        ),
        Item::Files => {
            (Copied, "close-on-exec kept; record locks not", &[(F::CLONE_FILES, Shared, "")])
        }
        Item::Fs => (Copied, "", &[(F::CLONE_FS, Shared, "")]),
        Item::SignalActions => (
            Copied,
            "",
            &[
                (F::CLONE_SIGHAND, Shared, ""),
                (
                    F::CLONE_CLEAR_SIGHAND,
                    Cleared,
                    "handlers become the default; ignored stays ignored",
                ),
            ],
        ),
        Item::PendingSignals => {
            (Cleared, "", &[(F::CLONE_THREAD, Shared, "those of the process; none of its own")])
        }
        Item::Timers => (Cleared, "", &[(F::CLONE_THREAD, Shared, "those of the process")]),
        Item::SignalMask => (Copied, "", &[]),
        Item::AltStack if flags.contains(F::CLONE_VFORK) => (Copied, "", &[]),
        Item::AltStack => (Copied, "", &[(F::CLONE_VM, Cleared, "")]),
        Item::SemUndo => (Cleared, "", &[(F::CLONE_SYSVSEM, Shared, "")]),
        Item::IoContext => {
            (Cleared, "only the io priority is copied", &[(F::CLONE_IO, Shared, "")])
        }
        Item::MountNs => (Shared, "", &[(F::CLONE_NEWNS, New, "")]),
        Item::UtsNs => (Shared, "", &[(F::CLONE_NEWUTS, New, "")]),
        Item::IpcNs => (Shared, "", &[(F::CLONE_NEWIPC, New, "")]),
        Item::PidNs => (Shared, "", &[(F::CLONE_NEWPID, New, "the child is its init")]),
        Item::NetNs => (Shared, "", &[(F::CLONE_NEWNET, New, "")]),
        Item::CgroupNs => (Shared, "", &[(F::CLONE_NEWCGROUP, New, "")]),
        Item::UserNs => (Shared, "", &[(F::CLONE_NEWUSER, New, "with every capability in it")]),
        Item::TimeNs if flags.contains(F::CLONE_VM) => (
            Shared,
            "",
            &[(
                F::CLONE_NEWTIME,
                Shared,
                "the new one is for its children, and for itself after exec",
            )],
        ),
        Item::TimeNs => (Shared, "", &[(F::CLONE_NEWTIME, New, "")]),
        Item::Cgroup => (Shared, "", &[(F::CLONE_INTO_CGROUP, Given, "")]),
        Item::ThreadGroup => {
            (New, "its tgid is its pid", &[(F::CLONE_THREAD, Shared, "same tgid")])
        }
        Item::Parent => (
            Given,
            "the caller",
            &[
                (F::CLONE_THREAD, Shared, "its process's parent"),
                (F::CLONE_PARENT, Shared, "the caller's parent"),
            ],
        ),
        Item::ExitSignal => (
            Given,
            "",
            &[
                (F::CLONE_THREAD, Cleared, "threads send none"),
                (F::CLONE_PARENT, Copied, "that of the caller's group leader"),
            ],
        ),
        Item::Registers => (Copied, "the call returns 0", &[]),
        Item::StackPointer if args.stack != 0 => (Given, "the stack that is passed", &[]),
        Item::StackPointer => (Copied, "", &[]),
        Item::Tls => (Copied, "", &[(F::CLONE_SETTLS, Given, "")]),
        Item::Limits => (Copied, "", &[(F::CLONE_THREAD, Shared, "")]),
        Item::RobustList => (Cleared, "", &[]),
        Item::TidAddress => (Cleared, "", &[(F::CLONE_CHILD_CLEARTID, Given, "")]),
        Item::Rseq => (Copied, "", &[(F::CLONE_VM, Cleared, "")]),
        Item::ParentDeathSignal => (Cleared, "", &[]),
        Item::Subreaper => {
            (Cleared, "it still adopts the child's orphans", &[(F::CLONE_THREAD, Shared, "")])
        }
        Item::Credentials => {
            (Copied, "", &[(F::CLONE_NEWUSER, New, "every capability in the new user namespace")])
        }
        Item::Attributes => (Copied, "", &[]),
        Item::SessionKeyring => (Shared, "", &[]),
        Item::ProcessKeyring => (Cleared, "", &[(F::CLONE_THREAD, Shared, "")]),
        Item::ThreadKeyring => (Cleared, "", &[]),
        Item::Times => (New, "from zero and now", &[]),
        Item::IoPorts => (Copied, "", &[]),
        Item::Tracing => (
            Cleared,
            "unless the tracer asked for children",
            &[
                (F::CLONE_PTRACE, Shared, "the caller's tracer, if there is one"),
                (F::CLONE_UNTRACED, Cleared, "even if the tracer asked for children"),
            ],
        ),
    };
    let spec = match item {
        Item::Registers => "FORK-2",
        Item::StackPointer if args.entry == super::Entry::Clone3 && args.stack != 0 => "FORK-14",
        Item::StackPointer => "FORK-2",
        _ => "FORK-E",
    };
    let caused = causes.iter().find(|(flag, ..)| flags.contains(*flag));
    match caused {
        Some(&(flag, gets, note)) => Inherit { item, gets, flag, spec, note },
        None => Inherit { item, gets: default, flag: F::empty(), spec, note },
    }
}

fn writes(args: &CloneArgs) -> Vec<Write> {
    [
        (F::CLONE_PIDFD, Memory::Parent, args.pidfd, "a descriptor of the child"),
        (F::CLONE_PARENT_SETTID, Memory::Parent, args.parent_tid, "the child's tid"),
        (F::CLONE_CHILD_SETTID, Memory::Child, args.child_tid, "its tid, when it first runs"),
        (
            F::CLONE_CHILD_CLEARTID,
            Memory::Child,
            args.child_tid,
            "0 and a futex wake-up, when it lets go of shared memory",
        ),
    ]
    .into_iter()
    .filter(|(flag, ..)| args.flags.contains(*flag))
    .map(|(flag, memory, addr, what)| Write { flag, memory, addr, what })
    .collect()
}

/// An ending init makes its signal actions ignore SIGCHLD, so that its last children go by
/// themselves; shared, this is done to the caller too (seen on Linux 6.18).
const fn init_shares_actions(flags: F) -> bool {
    flags.both(F::CLONE_NEWPID, F::CLONE_SIGHAND)
}

/// FORK-50: the exit signal asked for counts, not the one the child ends up with.
fn event(args: &CloneArgs) -> Option<PtraceEvent> {
    if args.flags.contains(F::CLONE_UNTRACED) {
        None
    } else if args.flags.contains(F::CLONE_VFORK) {
        Some(PtraceEvent::Vfork)
    } else if args.exit_signal == SIGCHLD as u64 {
        Some(PtraceEvent::Fork)
    } else {
        Some(PtraceEvent::Clone)
    }
}

fn warnings(args: &CloneArgs, exit_signal: i32) -> Vec<&'static str> {
    let flags = args.flags;
    let mut found = Vec::new();
    if flags.contains(F::CLONE_VM) && !flags.contains(F::CLONE_VFORK) && args.stack == 0 {
        found.push("parent and child run on the same stack at the same time: pass another one");
    }
    if init_shares_actions(flags) {
        found.push("when the child, an init, ends, SIGCHLD becomes ignored in the shared signal actions: the caller cannot wait for its children");
    }
    if flags.contains(F::CLONE_DETACHED) {
        found.push("CLONE_DETACHED is ignored (FORK-53)");
    }
    if !flags.contains(F::CLONE_THREAD) && exit_signal != SIGCHLD {
        found.push("plain wait(2) does not see the child: use __WALL or __WCLONE (FORK-52)");
    }
    found
}
