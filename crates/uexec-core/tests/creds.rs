//! Credentials after the exec: PIPE-38 to PIPE-48.
mod common;
use common::elf::Elf;
use common::{Mem, alive};
use uexec_core::abi::personality::{ADDR_NO_RANDOMIZE, PER_CLEAR_ON_SETID};
use uexec_core::{Errno, Exec, NewCreds, Op, Plan, Privileges, Reason};

const NET_RAW: u64 = 1 << 13;
const SETUID: u64 = 1 << 7;
const ALL: u64 = (1 << 41) - 1;

fn world() -> Mem {
    Mem::default().with("/p", Elf::fixed())
}

fn user() -> Mem {
    world().by_user(1000)
}

fn plan(mem: &mut Mem, privileges: Privileges) -> Plan {
    alive(mem.plan(Exec { privileges, ..Exec::new("/p") }))
}

fn creds(mem: &mut Mem) -> NewCreds {
    plan(mem, Privileges::AsKernel).creds
}

fn xattr(revision: u32, effective: bool, permitted: u64, inheritable: u64) -> Vec<u8> {
    let mut words = vec![revision << 24 | u32::from(effective)];
    for half in 0..if revision == 1 { 1 } else { 2 } {
        words.extend([(permitted >> (32 * half)) as u32, (inheritable >> (32 * half)) as u32]);
    }
    words.extend((revision == 3).then_some(0));
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn caps(mut mem: Mem, effective: bool, permitted: u64) -> Mem {
    mem.files[1].caps = Some(xattr(2, effective, permitted, 0));
    mem
}

fn mode(mut mem: Mem, mode: u32, uid: u32, gid: u32) -> Mem {
    let file = &mut mem.files[1];
    (file.mode, file.uid, file.gid) = (mode, uid, gid);
    mem
}

#[test]
fn plain_exec_changes_nothing() {
    let new = creds(&mut user());
    assert_eq!((new.uid, new.euid, new.gid, new.egid), (1000, 1000, 1000, 1000));
    assert!(!new.secureexec && !new.reset_dumpable && !new.settle_ids);
    let new = creds(&mut world());
    assert_eq!((new.permitted, new.effective, new.secureexec), (ALL, ALL, false));
}

#[test]
fn pipe_39_set_user_id() {
    let new = creds(&mut mode(user(), 0o4755, 0, 0));
    assert_eq!((new.uid, new.euid, new.egid, new.secureexec), (1000, 0, 1000, true));
    assert_eq!((new.permitted, new.effective), (ALL, ALL));
    assert_eq!(new.clear_personality, PER_CLEAR_ON_SETID);
    // Also when the owner is the caller.
    let new = creds(&mut mode(user(), 0o4755, 1000, 0));
    assert_eq!((new.euid, new.secureexec), (1000, false));
    assert_eq!(new.clear_personality, PER_CLEAR_ON_SETID);
}

#[test]
fn pipe_39_set_group_id_needs_group_execute() {
    assert_eq!(creds(&mut mode(user(), 0o2755, 0, 7)).egid, 7);
    assert_eq!(creds(&mut mode(user(), 0o2745, 0, 7)).egid, 1000);
}

#[test]
fn pipe_38_nosuid_and_no_new_privs() {
    let mut mem = caps(mode(user(), 0o6755, 0, 7), true, NET_RAW);
    mem.files[1].mount.nosuid = true;
    let new = creds(&mut mem);
    assert_eq!((new.euid, new.egid, new.permitted), (1000, 1000, 0));
    let mut mem = mode(user(), 0o6755, 0, 7);
    mem.facts.creds.no_new_privs = true;
    let new = creds(&mut mem);
    assert_eq!((new.euid, new.egid, new.secureexec), (1000, 1000, false));
}

#[test]
fn policies() {
    let refused = |mut mem: Mem| mem.run("/p").unwrap_err();
    let e = refused(mode(user(), 0o4755, 0, 0));
    assert_eq!(e.refusal.reason, Reason::Privilege { what: "set-user-ID", id: 0 });
    assert_eq!(e.errno(), Errno::EPERM);
    let e = refused(mode(user(), 0o2755, 0, 7));
    assert_eq!(e.refusal.reason, Reason::Privilege { what: "set-group-ID", id: 7 });
    let e = refused(caps(user(), true, NET_RAW));
    assert_eq!(e.refusal.reason, Reason::PrivilegeCaps { missing: NET_RAW });
    let mut mem = caps(mode(user(), 0o6755, 0, 7), true, NET_RAW);
    let plan = plan(&mut mem, Privileges::Ignore);
    assert_eq!((plan.creds.euid, plan.creds.egid, plan.creds.permitted), (1000, 1000, 0));
    assert_eq!(plan.auxv.get(23), Some(0));
}

#[test]
fn pipe_41_file_capabilities() {
    let new = creds(&mut caps(user(), true, NET_RAW));
    assert_eq!((new.permitted, new.effective, new.secureexec), (NET_RAW, NET_RAW, true));
    assert!(new.clear_ambient && new.reset_dumpable);
    let mut mem = caps(user(), true, NET_RAW);
    mem.bounding = 0;
    let as_kernel = Exec { privileges: Privileges::AsKernel, ..Exec::new("/p") };
    assert_eq!(mem.plan(as_kernel.clone()).unwrap_err().errno(), Errno::EPERM);
    let mut mem = caps(user(), false, NET_RAW);
    mem.bounding = 0;
    assert_eq!(creds(&mut mem).permitted, 0);
    mem.files[1].caps = Some(vec![0; 3]);
    assert_eq!(mem.plan(as_kernel).unwrap_err().errno(), Errno::EINVAL);
}

#[test]
fn pipe_41_inheritable() {
    let mut mem = user();
    mem.facts.creds.inheritable = NET_RAW;
    mem.files[1].caps = Some(xattr(1, true, 0, NET_RAW | SETUID));
    assert_eq!(creds(&mut mem).permitted, NET_RAW);
}

/// Checked on 6.18.44: unknown capabilities are dropped, foreign root ids make it no attribute.
#[test]
fn pipe_41_unknown_capability_and_foreign_namespace() {
    assert_eq!(creds(&mut caps(user(), true, NET_RAW | 1 << 63)).permitted, NET_RAW);
    let mut mem = user();
    mem.files[1].caps = Some(xattr(3, true, NET_RAW, 0));
    assert_eq!(creds(&mut mem).permitted, NET_RAW);
    mem.files[1].caps.as_mut().unwrap()[20] = 5;
    let new = creds(&mut mem);
    assert_eq!((new.permitted, new.secureexec, new.clear_ambient), (0, false, false));
}

/// Checked on 6.18.44: what counts is that root is only the effective id.
#[test]
fn pipe_42_capabilities_and_effective_root() {
    let half_root = || {
        let mut mem = world();
        mem.facts.creds.uid = 1000;
        mem
    };
    assert_eq!(creds(&mut half_root()).permitted, ALL);
    assert_eq!(creds(&mut caps(half_root(), true, NET_RAW)).permitted, NET_RAW);
    assert_eq!(creds(&mut caps(mode(user(), 0o4755, 0, 0), true, NET_RAW)).permitted, NET_RAW);
    assert_eq!(creds(&mut caps(world(), true, NET_RAW)).permitted, ALL);
    let mut mem = world();
    mem.facts.creds.securebits = 1;
    assert_eq!(creds(&mut mem).permitted, 0);
}

#[test]
fn pipe_43_gained_capabilities_clear_personality() {
    let mut mem = caps(user(), true, NET_RAW);
    assert_eq!(creds(&mut mem).clear_personality, PER_CLEAR_ON_SETID);
    mem.facts.personality = ADDR_NO_RANDOMIZE | 0x0800_0000;
    let plan = plan(&mut mem, Privileges::AsKernel);
    assert_eq!(plan.personality, 0x0800_0000);
    assert!(plan.ops.contains(&Op::Personality(0x0800_0000)));
}

#[test]
fn pipe_44_downgrade() {
    let shared = |mut mem: Mem| {
        mem.facts.creds.shares_fs = true;
        mem
    };
    let new = creds(&mut shared(mode(user(), 0o4755, 0, 0)));
    assert_eq!((new.euid, new.permitted, new.secureexec), (1000, 0, true));
    let mut mem = shared(mode(user(), 0o4755, 5, 0));
    (mem.facts.creds.effective, mem.facts.creds.permitted) = (SETUID, SETUID);
    assert_eq!(creds(&mut mem).euid, 5);
    mem.facts.creds.no_new_privs = true;
    assert_eq!(creds(&mut mem).euid, 1000);
}

#[test]
fn pipe_44_change_of_group() {
    let mut mem = mode(user(), 0o2755, 0, 7);
    mem.facts.creds.groups = vec![7];
    // A supplementary group is no change, but not the real group either.
    assert!(creds(&mut mem).secureexec);
    assert!(!creds(&mut mem).clear_ambient);
    mem.facts.kernel = (6, 12);
    assert!(creds(&mut mem).clear_ambient);
}

#[test]
fn pipe_45_settles_saved_ids_and_keeps_ambient() {
    let mut mem = user();
    mem.facts.creds.suid = 5;
    assert!(creds(&mut mem).settle_ids);
    let mut mem = user();
    (mem.facts.creds.permitted, mem.ambient) = (NET_RAW | SETUID, NET_RAW);
    let new = creds(&mut mem);
    assert_eq!((new.permitted, new.effective, new.secureexec), (NET_RAW, NET_RAW, false));
}

#[test]
fn pipe_46_different_real_id() {
    let mut mem = user();
    mem.facts.creds.uid = 1001;
    assert!(creds(&mut mem).secureexec);
    assert!(!creds(&mut mode(world(), 0o4755, 0, 0)).secureexec);
    assert!(!creds(&mut caps(world(), true, NET_RAW)).secureexec);
    let mut mem = user();
    mem.files[1].caps = Some(xattr(2, true, 0, NET_RAW));
    assert!(creds(&mut mem).secureexec);
}

#[test]
fn pipe_47_stack_limit() {
    for privileges in [Privileges::AsKernel, Privileges::Refuse, Privileges::Ignore] {
        let mut mem = user();
        mem.facts.creds.uid = 1001;
        mem.facts.limits.stack = 1 << 40;
        let plan = plan(&mut mem, privileges);
        assert_eq!(plan.auxv.get(23), Some(1));
        assert!(plan.ops.contains(&Op::StackLimit(8 << 20)), "{privileges:?}");
        assert!(plan.ops.contains(&Op::ClearParentDeathSignal));
    }
    let mut mem = user();
    mem.facts.limits.stack = 1 << 40;
    let plan = plan(&mut mem, Privileges::Refuse);
    assert!(!plan.ops.iter().any(|op| matches!(op, Op::StackLimit(_))));
}

#[test]
fn pipe_48_dumpable() {
    let dumpable = |mem: &mut Mem| plan(mem, Privileges::AsKernel).ops.contains(&Op::Dumpable(1));
    assert!(dumpable(&mut user()));
    assert!(!dumpable(&mut caps(user(), true, NET_RAW)));
    let mut mem = user();
    mem.facts.creds.uid = 1;
    assert!(!dumpable(&mut mem));
    mem.suid_dumpable = 1;
    assert!(dumpable(&mut mem));
}
