//! Credentials after the exec and `AT_SECURE`: PIPE-38 to PIPE-48. Decides only; what cannot be
//! granted from user space is the caller's policy ([`crate::Privileges`]).

use crate::abi::personality::PER_CLEAR_ON_SETID;
use crate::bprm::{File, Privileges};
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::story::{Story, tell};
use crate::world::{Creds, Facts, World};

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;
const SECBIT_NOROOT: u32 = 1;
const CAP_SETUID: u64 = 1 << 7;
/// Capabilities the kernel knows, the last being `CAP_CHECKPOINT_RESTORE` (40); others in a file
/// are dropped silently.
const CAP_VALID: u64 = (1 << 41) - 1;
/// Effective flag of the attribute's first word.
const VFS_CAP_FLAGS_EFFECTIVE: u32 = 1;

/// Credentials as they will be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of credentials(7) and capabilities(7)")]
pub struct NewCreds {
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    /// Ambient capabilities are dropped.
    pub clear_ambient: bool,
    /// `AT_SECURE` (PIPE-46).
    pub secureexec: bool,
    /// Bits of `personality(2)` that go (PIPE-39, PIPE-43).
    pub clear_personality: u32,
    /// Effective or file-system ids change or capabilities are gained: dumpable and parent-death
    /// signal are reset (PIPE-48).
    pub reset_dumpable: bool,
    /// Saved and file-system ids differ from the effective ones and are set to them (PIPE-45).
    pub settle_ids: bool,
    /// The kernel has applied them already: there is nothing left to do.
    pub applied: bool,
}

impl NewCreds {
    /// Whether they have `CAP_SYS_RAWIO`.
    #[must_use]
    pub const fn raw_io(&self) -> bool {
        self.effective >> 17 & 1 == 1
    }
}

/// File capabilities, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct FileCaps {
    permitted: u64,
    inheritable: u64,
    effective: bool,
}

/// Decodes `security.capability` (`capabilities(7)`, "File capability extended attribute
/// versioning"); `None` when malformed, `Some(None)` when it is for another user namespace.
fn decode_caps(xattr: &[u8]) -> Option<Option<FileCaps>> {
    let word = |i: usize| -> Option<u64> {
        Some(u32::from_le_bytes(*xattr.get(i * 4..)?.first_chunk()?).into())
    };
    let magic = word(0)?;
    let (words, size) = match magic >> 24 {
        1 => (1, 12),
        2 => (2, 20),
        3 => (2, 24),
        _ => return None,
    };
    if xattr.len() != size {
        return None;
    }
    let mut caps =
        FileCaps { effective: magic as u32 & VFS_CAP_FLAGS_EFFECTIVE != 0, ..FileCaps::default() };
    // The root id of revision 3, as the caller sees it.
    if size == 24 && word(5)? != 0 {
        return Some(None);
    }
    for i in 0..words {
        caps.permitted |= (word(1 + 2 * i)? << (32 * i)) & CAP_VALID;
        caps.inheritable |= (word(2 + 2 * i)? << (32 * i)) & CAP_VALID;
    }
    Some(Some(caps))
}

/// Computes the credentials from the final file of the chain.
///
/// # Errors
/// `EPERM` when file capabilities marked effective cannot all be granted, `EINVAL` for a malformed
/// attribute; with [`Privileges::Refuse`] also `EPERM` for whatever would grant privilege.
pub(crate) fn decide(
    world: &mut dyn World,
    story: &mut Story,
    file: &File,
    policy: Privileges,
) -> Result<NewCreds, Refusal> {
    let refuse = |reason| Refusal::new(Stage::Creds, reason).of(&file.path);
    let mode = file.stat.mode;
    let xattr = match policy {
        Privileges::Ignore => None,
        _ => match world.file_caps(file.id) {
            // The attribute belongs to a user namespace that cannot be named here.
            Err(Errno::EOVERFLOW) => None,
            caps => caps.map_err(|errno| refuse(Reason::Io { errno }))?,
        },
    };
    let set_id = mode & S_ISUID != 0 || mode & (S_ISGID | S_IXGRP) == (S_ISGID | S_IXGRP);
    let nosuid = policy == Privileges::Ignore
        || ((set_id || xattr.is_some()) && world.mount(file.id).nosuid);
    let fcaps = match xattr.filter(|_| !nosuid) {
        Some(x) => decode_caps(&x).ok_or_else(|| refuse(Reason::CapsMalformed))?,
        None => None,
    };
    let old = world.facts().creds.clone();
    let root = |id: u32| id == 0 && old.securebits & SECBIT_NOROOT == 0;
    let mut new = ids(&old, file, nosuid);
    let suid_root = new.euid == 0 && new.uid != 0;
    let asks_sets = fcaps.is_some() || root(new.euid) || root(old.uid) || old.permitted != 0;
    // Where the rules have been applied already, all that is permitted comes from these sets.
    let settled = old.settled && fcaps.is_none() && !ids_changed(world.facts(), &old, &new);
    let (bounding, mut ambient) = match asks_sets {
        true if settled => (old.permitted, old.permitted & old.inheritable),
        true => world.cap_sets(),
        false => (0, 0),
    };

    // PIPE-41, PIPE-42.
    let mut effective = false;
    if let Some(f) = fcaps {
        effective = f.effective;
        new.permitted = (bounding & f.permitted) | (old.inheritable & f.inheritable);
        let missing = f.permitted & !new.permitted;
        if effective && missing != 0 {
            return Err(refuse(Reason::CapsNotGranted { missing }));
        }
    }
    if (root(new.euid) || root(old.uid)) && !(fcaps.is_some() && suid_root) {
        new.permitted = bounding | old.inheritable;
        effective |= root(new.euid);
    }
    // PIPE-43.
    if new.permitted & !old.permitted != 0 {
        new.clear_personality |= PER_CLEAR_ON_SETID;
    }
    let changed = ids_changed(world.facts(), &old, &new);
    // PIPE-44.
    let grew = new.permitted & !old.permitted != 0;
    if (changed || grew) && (old.no_new_privs || old.shares_fs || old.traced) {
        if old.effective & CAP_SETUID == 0 || old.no_new_privs {
            new.euid = old.uid;
            new.egid = old.gid;
        }
        new.permitted &= old.permitted;
    }
    // PIPE-45.
    if fcaps.is_some() || changed {
        ambient = 0;
        new.clear_ambient = true;
    }
    new.permitted |= ambient;
    new.effective = if effective { new.permitted } else { ambient };
    new.settle_ids = [old.suid, old.fsuid].iter().any(|id| *id != new.euid)
        || [old.sgid, old.fsgid].iter().any(|id| *id != new.egid);
    // PIPE-46.
    new.secureexec = changed
        || new.euid != old.uid
        || new.egid != old.gid
        || (old.uid != 0 && (effective || new.permitted & !ambient != 0));
    // PIPE-48.
    new.reset_dumpable = new.euid != old.euid
        || new.egid != old.egid
        || new.euid != old.fsuid
        || new.egid != old.fsgid
        || new.permitted & !old.permitted != 0;
    tell!(
        story,
        Stage::Creds,
        "PIPE-46",
        "runs as user {} (effective {}), group {} (effective {}){}",
        new.uid,
        new.euid,
        new.gid,
        new.egid,
        if new.secureexec { ", AT_SECURE 1" } else { "" }
    );
    if policy == Privileges::Refuse {
        refuse_privilege(&old, &new, fcaps.is_some()).map_err(refuse)?;
    }
    Ok(new)
}

/// Credentials that the kernel has decided and applied before it started a loader (MISC-27).
pub(crate) fn applied(old: &Creds, secureexec: bool) -> NewCreds {
    NewCreds {
        uid: old.uid,
        euid: old.euid,
        gid: old.gid,
        egid: old.egid,
        permitted: old.permitted,
        effective: old.effective,
        inheritable: old.inheritable,
        secureexec,
        applied: true,
        ..NewCreds::default()
    }
}

/// PIPE-39: set-user-ID and set-group-ID.
fn ids(old: &Creds, file: &File, nosuid: bool) -> NewCreds {
    let mut new = NewCreds {
        uid: old.uid,
        euid: old.euid,
        gid: old.gid,
        egid: old.egid,
        inheritable: old.inheritable,
        ..NewCreds::default()
    };
    let mode = file.stat.mode;
    if nosuid || old.no_new_privs {
        return new;
    }
    if mode & S_ISUID != 0 {
        new.euid = file.stat.uid;
        new.clear_personality = PER_CLEAR_ON_SETID;
    }
    if mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP {
        new.egid = file.stat.gid;
        new.clear_personality = PER_CLEAR_ON_SETID;
    }
    new
}

fn ids_changed(facts: &Facts, old: &Creds, new: &NewCreds) -> bool {
    if facts.since(6, 15) {
        let in_group = new.egid == old.fsgid || old.groups.contains(&new.egid);
        return new.euid != old.euid || !in_group;
    }
    new.euid != old.uid || new.egid != old.gid
}

/// Whatever the kernel would grant here and uexec cannot.
fn refuse_privilege(old: &Creds, new: &NewCreds, by_file: bool) -> Result<(), Reason> {
    if new.euid != old.euid {
        return Err(Reason::Privilege { what: "set-user-ID", id: new.euid });
    }
    if new.egid != old.egid {
        return Err(Reason::Privilege { what: "set-group-ID", id: new.egid });
    }
    let missing = new.permitted & !old.permitted;
    if by_file && missing != 0 {
        return Err(Reason::PrivilegeCaps { missing });
    }
    Ok(())
}
