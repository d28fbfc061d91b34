//! The rules, in the kernel's order: the first that refuses decides the errno (FORK-54).
//!
//! Left out is what no argument and no fact can tell: pending signals (FORK-26, FORK-39) and
//! memory that runs out (FORK-27).

use super::{
    CloneArgs, CloneError, CloneFacts, CloneFlags, ClonePlan, Entry, PidLevel, Tail, child,
};

/// Most levels of pid namespaces (`MAX_PID_NS_LEVEL`, `pid_namespaces(7)`).
const PID_LEVELS_MAX: u64 = 32;
/// Highest signal number (`signal(7)`).
const NSIG: u64 = 64;
/// Flags every kernel with clone3 knows, and the two that only clone3 takes.
const KNOWN: u64 = 0x3_ffff_ffff;
/// Highest nesting of a user namespace that can still make one (`user_namespaces(7)`).
const USER_LEVEL_MAX: u32 = 32;

/// Decides a call: what the child gets, or the rule that refuses it. `size` is clone3's second
/// argument; the other calls have none.
///
/// ```
/// use uexec_core::clone::{CloneArgs, CloneFacts, decide};
/// use uexec_core::Errno;
/// let facts = CloneFacts::default();
/// assert!(decide(&CloneArgs::fork(), 0, &facts).is_ok());
/// let small = decide(&CloneArgs::default(), 63, &facts).unwrap_err();
/// assert_eq!((small.errno(), small.spec()), (Errno::EINVAL, "FORK-4"));
/// ```
///
/// # Errors
/// The first rule that refuses, in the kernel's order.
pub fn decide(args: &CloneArgs, size: u64, facts: &CloneFacts) -> Result<ClonePlan, CloneError> {
    let mut args = *args;
    if args.entry == Entry::Clone3 {
        known_part(&mut args, size);
        own_checks(&args, size, facts)?;
    }
    flag_checks(&args, facts)?;
    duplication(&args, facts)?;
    Ok(child::plan(&args, facts))
}

/// Fields beyond `size` count as zero (FORK-4).
fn known_part(args: &mut CloneArgs, size: u64) {
    let tail = [(72, &mut args.set_tid), (80, &mut args.set_tid_size), (88, &mut args.cgroup)];
    for (end, field) in tail {
        // A size in the middle of a field leaves its low bytes: x86-64 is little-endian.
        let missing = (end as u64).saturating_sub(size).min(8);
        *field &= u64::MAX.checked_shr(8 * missing as u32).unwrap_or(0);
    }
}

/// FORK-3 to FORK-14.
fn own_checks(args: &CloneArgs, size: u64, facts: &CloneFacts) -> Result<(), CloneError> {
    use CloneError::*;
    let flags = args.flags;
    if !facts.since(5, 3) {
        return Err(NoClone3);
    }
    if size > crate::abi::PAGE {
        return Err(SizeTooLarge { size });
    }
    if size < CloneArgs::SIZE_VER0 {
        return Err(SizeTooSmall { size });
    }
    match facts.tail {
        Tail::Unreadable => return Err(ArgsUnreadable),
        Tail::Used if size > CloneArgs::SIZE => return Err(TailUsed),
        _ => {}
    }
    let count = args.set_tid_size;
    if count > PID_LEVELS_MAX {
        return Err(SetTidTooMany { count });
    }
    if (args.set_tid == 0) != (count == 0) {
        return Err(SetTidHalf { count });
    }
    if args.exit_signal > NSIG {
        return Err(ExitSignal { signal: args.exit_signal });
    }
    if flags.contains(CloneFlags::CLONE_INTO_CGROUP) {
        if args.cgroup > i32::MAX as u64 {
            return Err(CgroupTooLarge { fd: args.cgroup });
        }
        if size < CloneArgs::SIZE {
            return Err(CgroupSize { size });
        }
    }
    if count > 0 && facts.set_tid.as_ref().is_none_or(|tids| (tids.len() as u64) < count) {
        return Err(SetTidUnreadable);
    }
    let unknown = flags.bits() & !KNOWN;
    if unknown != 0 {
        return Err(UnknownFlags { bits: unknown });
    }
    let unfit = flags.bits() & (CloneFlags::CLONE_DETACHED.bits() | 0x7f);
    if unfit != 0 {
        return Err(DetachedOrSignal { bits: unfit });
    }
    if flags.both(CloneFlags::CLONE_SIGHAND, CloneFlags::CLONE_CLEAR_SIGHAND) {
        return Err(ClearAndShare);
    }
    for flag in [CloneFlags::CLONE_THREAD, CloneFlags::CLONE_PARENT] {
        if flags.contains(flag) && args.exit_signal != 0 {
            return Err(ExitSignalUnwanted { flag, signal: args.exit_signal });
        }
    }
    let (stack, size) = (args.stack, args.stack_size);
    if (stack == 0) != (size == 0) {
        return Err(StackHalf { stack, size });
    }
    if stack.checked_add(size).is_none_or(|end| end > facts.task_size) {
        return Err(StackOutside { stack, size });
    }
    Ok(())
}

/// FORK-20 to FORK-25: what flags say about each other.
fn flag_checks(args: &CloneArgs, facts: &CloneFacts) -> Result<(), CloneError> {
    use CloneError::*;
    use CloneFlags as F;
    let flags = args.flags;
    if flags.both(F::CLONE_PIDFD, F::CLONE_PARENT_SETTID) && args.pidfd == args.parent_tid {
        return Err(PidfdOverTid { legacy: args.entry != Entry::Clone3 });
    }
    for a in [F::CLONE_NEWNS, F::CLONE_NEWUSER] {
        if flags.both(a, F::CLONE_FS) {
            return Err(Pair { a, b: F::CLONE_FS });
        }
    }
    for (flag, needs) in [(F::CLONE_THREAD, F::CLONE_SIGHAND), (F::CLONE_SIGHAND, F::CLONE_VM)] {
        if flags.contains(flag) && !flags.contains(needs) {
            return Err(Needs { flag, needs });
        }
    }
    if flags.contains(F::CLONE_PARENT) && facts.is_init {
        return Err(InitHasNoSibling);
    }
    if flags.contains(F::CLONE_THREAD) {
        for flag in [F::CLONE_NEWUSER, F::CLONE_NEWPID] {
            if flags.contains(flag) {
                return Err(ThreadOtherNamespace { flag });
            }
        }
        if facts.pid_ns_differs {
            return Err(ThreadChildrensPidNs);
        }
    }
    if facts.time_ns_differs && facts.since(5, 10) && !facts.since(6, 2) {
        for flag in [F::CLONE_THREAD, F::CLONE_VM] {
            if flags.contains(flag) {
                return Err(ChildrensTimeNs { flag });
            }
        }
    }
    if flags.contains(F::CLONE_PIDFD) {
        if flags.contains(F::CLONE_DETACHED) {
            return Err(PidfdDetached);
        }
        if flags.contains(F::CLONE_THREAD) && !facts.since(6, 9) {
            return Err(PidfdThread);
        }
    }
    Ok(())
}

/// FORK-28 to FORK-38: what fails while the parts are duplicated (FORK-54).
fn duplication(args: &CloneArgs, facts: &CloneFacts) -> Result<(), CloneError> {
    use CloneError::*;
    use CloneFlags as F;
    let flags = args.flags;
    if flags.contains(F::CLONE_NEWUSER) {
        new_user_ns(facts)?;
    }
    let tasks = facts.user_tasks.saturating_add(1);
    if tasks > facts.rlimit_nproc && !facts.over_nproc {
        return Err(Nproc { tasks, limit: facts.rlimit_nproc });
    }
    if facts.threads >= facts.threads_max {
        return Err(ThreadsMax { max: facts.threads_max });
    }
    if facts.deadline {
        return Err(Deadline);
    }
    facts.policy.map_err(|errno| Policy { errno })?;
    if flags.contains(F::CLONE_FS) && facts.sibling_execs {
        return Err(FsInExec);
    }
    new_namespaces(flags, facts)?;
    if flags.contains(F::CLONE_SETTLS) && args.tls >= facts.task_size {
        return Err(TlsOutside { tls: args.tls });
    }
    choose_pids(args, facts)?;
    if flags.contains(F::CLONE_PIDFD) {
        if !facts.fd_left {
            return Err(NoFd);
        }
        if !facts.pidfd_writable {
            return Err(PidfdUnwritable);
        }
    }
    if flags.contains(F::CLONE_INTO_CGROUP) {
        facts.into_cgroup.map_err(|errno| IntoCgroup { errno })?;
    }
    if facts.pids_cgroup_full { Err(PidsCgroup) } else { Ok(()) }
}

/// FORK-28.
fn new_user_ns(facts: &CloneFacts) -> Result<(), CloneError> {
    use CloneError::*;
    if facts.user_level > USER_LEVEL_MAX {
        return Err(UserNsNesting { level: facts.user_level });
    }
    if facts.limits_reached.contains(CloneFlags::CLONE_NEWUSER) {
        return Err(Limit { flag: CloneFlags::CLONE_NEWUSER });
    }
    if facts.chrooted {
        return Err(Chrooted);
    }
    if facts.ids_mapped { Ok(()) } else { Err(IdsUnmapped) }
}

/// FORK-34. In a user namespace of its own the child has every capability.
fn new_namespaces(flags: CloneFlags, facts: &CloneFacts) -> Result<(), CloneError> {
    use CloneError::*;
    use CloneFlags as F;
    let new = flags & F::NAMESPACES;
    if new.is_empty() {
        return Ok(());
    }
    if !facts.sys_admin && !flags.contains(F::CLONE_NEWUSER) {
        return Err(NamespaceDenied { flags: new });
    }
    if flags.both(F::CLONE_NEWIPC, F::CLONE_SYSVSEM) {
        return Err(IpcAndSemundo);
    }
    for flag in [
        F::CLONE_NEWNS,
        F::CLONE_NEWUTS,
        F::CLONE_NEWIPC,
        F::CLONE_NEWPID,
        F::CLONE_NEWCGROUP,
        F::CLONE_NEWNET,
        F::CLONE_NEWTIME,
    ] {
        if flag == F::CLONE_NEWPID && new.contains(flag) {
            if facts.pid_ns_differs {
                return Err(PidNsDiffers);
            }
            if facts.pid_levels.len() as u64 > PID_LEVELS_MAX {
                return Err(PidNsNesting);
            }
        }
        if new.contains(flag) && facts.limits_reached.contains(flag) {
            return Err(Limit { flag });
        }
    }
    Ok(())
}

/// FORK-36: `set_tid` has the numbers innermost first; levels beyond it are the kernel's choice.
fn choose_pids(args: &CloneArgs, facts: &CloneFacts) -> Result<(), CloneError> {
    use CloneError::*;
    let new_ns = args.flags.contains(CloneFlags::CLONE_NEWPID);
    let count = if args.entry == Entry::Clone3 { args.set_tid_size } else { 0 };
    let depth = facts.pid_levels.len() as u64 + u64::from(new_ns);
    if count > depth {
        return Err(SetTidTooDeep { count, depth });
    }
    // A namespace made by this call belongs to the caller and has nobody in it.
    let fresh = PidLevel { pid_max: i32::MAX, has_init: false, ..PidLevel::default() };
    let levels = new_ns.then_some(&fresh).into_iter().chain(&facts.pid_levels);
    let tids = facts.set_tid.as_deref().unwrap_or_default();
    for (level, &tid) in levels.zip(tids).take(count as usize) {
        if tid < 1 || tid >= level.pid_max {
            return Err(SetTidRange { tid, max: level.pid_max });
        }
        if tid != 1 && !level.has_init {
            return Err(SetTidBeforeInit { tid });
        }
        if !level.may_choose {
            return Err(SetTidDenied { tid });
        }
        if level.taken.contains(&tid) {
            return Err(SetTidTaken { tid });
        }
    }
    if facts.init_ended && !new_ns { Err(InitEnded) } else { Ok(()) }
}
