//! Gathers what is known of kernel, processor and caller: the core's [`Facts`].

use alloc::string::String;
use alloc::vec::Vec;

use uexec_core::Errno;
use uexec_core::abi::personality::{ADDR_COMPAT_LAYOUT, ADDR_NO_RANDOMIZE};
use uexec_core::abi::{TASK_SIZE_4LEVEL, at};
use uexec_core::world::{Creds, Entropy, Facts, Limits};

use crate::ffi;
use crate::known::Known;
use crate::maps::OwnMaps;

/// What is known before anything is decided, and where this process's own vdso is.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    pub(crate) facts: Facts,
    /// Start of the vdso block, low end; 0 without one.
    pub(crate) vdso_start: u64,
}

/// Asks the kernel, but for what this process's auxiliary vector says and what is known; only for
/// a program that has just been started can something be.
pub(crate) fn gather(auxv: &[(u64, u64)], known: Option<&Known>) -> Gathered {
    let get = |t: u64| auxv.iter().find(|p| p.0 == t).map(|p| p.1);
    let vdso = get(at::SYSINFO_EHDR).unwrap_or(0);
    let stack = get(at::RANDOM).unwrap_or(0);
    let told = known.and_then(|k| k.maps(vdso, stack));
    let vdso_stays = told.is_some();
    let own = told.unwrap_or_else(|| OwnMaps::ask(vdso));
    let persona = ffi::personality();
    let facts = Facts {
        kernel: known.map_or_else(kernel_version, |k| k.kernel),
        task_size: TASK_SIZE_4LEVEL,
        limits: limits(),
        personality: persona,
        creds: creds(known.and_then(|_| just_settled(get))),
        hwcap: get(at::HWCAP).unwrap_or(0),
        hwcap2: get(at::HWCAP2),
        minsigstksz: get(at::MINSIGSTKSZ),
        rseq: get(at::RSEQ_FEATURE_SIZE).zip(get(at::RSEQ_ALIGN)),
        clktck: get(at::CLKTCK).unwrap_or(100),
        vdso: own.parts,
        mmap_base: own.mmap_base.filter(|_| !maybe_bottom_up(persona, own.vdso_start)),
        vdso_stays,
        stack_end: None,
        entropy: random_entropy(),
        nproc_exceeded: false,
    };
    Gathered { facts, vdso_start: own.vdso_start }
}

/// Whether this process's mappings may have been placed upwards from a third of the address space
/// (STK-34). Their upper end then says nothing about where the kernel's search begins.
fn maybe_bottom_up(persona: u32, vdso_start: u64) -> bool {
    // 2^32 pages: the most that `vm.mmap_rnd_bits` allows.
    let window = TASK_SIZE_4LEVEL / 3..TASK_SIZE_4LEVEL / 3 + (1 << 44);
    persona & ADDR_COMPAT_LAYOUT != 0 || window.contains(&vdso_start)
}

/// Asks again what may have changed since `old` was gathered in this process or its parent.
pub(crate) fn regather(old: &Facts) -> Facts {
    Facts {
        limits: limits(),
        personality: ffi::personality(),
        creds: creds(None),
        entropy: random_entropy(),
        ..old.clone()
    }
}

/// This process's auxiliary vector.
pub(crate) fn auxv() -> Vec<(u64, u64)> {
    let mut pairs = [[0u64; 2]; 64];
    if ffi::own_auxv(&mut pairs).is_ok() {
        return pairs.iter().map(|[key, value]| (*key, *value)).collect();
    }
    let bytes = crate::procfs::read_file(c"/proc/self/auxv");
    let word = |b: &[u8]| u64::from_ne_bytes(b.try_into().unwrap_or_default());
    bytes.chunks_exact(16).map(|p| (word(&p[..8]), word(&p[8..]))).collect()
}

fn kernel_version() -> (u16, u16) {
    let uname = rustix::system::uname();
    let release = uname.release().to_bytes();
    let parse = |n: &[u8]| core::str::from_utf8(n).ok()?.parse().ok();
    let mut numbers = release.split(|c| !c.is_ascii_digit()).map_while(parse);
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn limits() -> Limits {
    const RLIMIT_DATA: u64 = 2;
    const RLIMIT_STACK: u64 = 3;
    const RLIMIT_AS: u64 = 9;
    let usual = Limits::default();
    let soft = |resource, usual| ffi::limit(resource).map_or(usual, |l| l[0]);
    let data = match ffi::limit(RLIMIT_DATA) {
        // A soft limit of 0 leaves the hard one to the kernel.
        Some([0, hard]) => hard,
        Some([soft, _]) => soft,
        None => usual.data,
    };
    Limits {
        stack: soft(RLIMIT_STACK, usual.stack),
        data,
        address_space: soft(RLIMIT_AS, usual.address_space),
    }
}

/// All ids of a process: real, effective, saved and of the file system.
struct AllIds {
    user: [u32; 4],
    group: [u32; 4],
}

/// Those of a program that has just been started: its auxiliary vector has the real and the
/// effective ones, and the exec has set the others to the latter (PIPE-45).
fn just_settled(get: impl Fn(u64) -> Option<u64>) -> Option<AllIds> {
    let settled = |real, effective| {
        let (real, effective) = (get(real)? as u32, get(effective)? as u32);
        Some([real, effective, effective, effective])
    };
    Some(AllIds { user: settled(at::UID, at::EUID)?, group: settled(at::GID, at::EGID)? })
}

fn all_ids() -> AllIds {
    let (fsuid, fsgid) = ffi::fs_ids();
    let (uid, euid, suid) = ffi::res_ids(ffi::Ids::User);
    let (gid, egid, sgid) = ffi::res_ids(ffi::Ids::Group);
    AllIds { user: [uid, euid, suid, fsuid], group: [gid, egid, sgid, fsgid] }
}

/// The caller's credentials; its ids are asked for where they are not known.
fn creds(known: Option<AllIds>) -> Creds {
    let ids = known.unwrap_or_else(all_ids);
    let ([uid, euid, suid, fsuid], [gid, egid, sgid, fsgid]) = (ids.user, ids.group);
    let [effective, permitted, inheritable] = ffi::capget().unwrap_or_default();
    let groups = rustix::process::getgroups().unwrap_or_default();
    const PR_GET_SECUREBITS: u64 = 27;
    const PR_GET_NO_NEW_PRIVS: u64 = 39;
    Creds {
        uid,
        euid,
        suid,
        fsuid,
        gid,
        egid,
        sgid,
        fsgid,
        groups: groups.iter().map(|g| g.as_raw()).collect(),
        inheritable,
        permitted,
        effective,
        securebits: ffi::prctl(PR_GET_SECUREBITS, 0, 0).unwrap_or(0) as u32,
        no_new_privs: ffi::prctl(PR_GET_NO_NEW_PRIVS, 0, 0) == Ok(1),
        traced: false,
        shares_fs: false,
        settled: false,
    }
}

/// The caller's bounding and ambient sets. Only what is both permitted and inheritable, which is
/// `possible`, can be ambient (`capabilities(7)`).
pub(crate) fn cap_sets(possible: u64) -> (u64, u64) {
    const PR_CAPBSET_READ: u64 = 23;
    const PR_CAP_AMBIENT: u64 = 47;
    const PR_CAP_AMBIENT_IS_SET: u64 = 1;
    let (mut bounding, mut ambient) = (0, 0);
    for cap in 0..64 {
        match ffi::prctl(PR_CAPBSET_READ, cap, 0) {
            Ok(set) => bounding |= set << cap,
            // There are no more.
            Err(Errno::EINVAL) => break,
            // It may not be asked. What is taken for possible here is still cut down to what the
            // process has.
            Err(_) => return told_cap_sets().unwrap_or((u64::MAX, 0)),
        }
        let asked = possible >> cap & 1 == 1;
        if asked && ffi::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap) == Ok(1) {
            ambient |= 1 << cap;
        }
    }
    (bounding, ambient)
}

/// What one request for memory may at most be, in bytes, under this `vm.overcommit_memory`
/// (`__vm_enough_memory`, `mm/util.c`, 6.18).
pub(crate) fn commit_limit(setting: Option<u64>) -> u64 {
    match setting.unwrap_or(0) {
        0 => {
            let info = rustix::system::sysinfo();
            let all = info.totalram.saturating_add(info.totalswap);
            all.saturating_mul(u64::from(info.mem_unit).max(1))
        }
        1 => u64::MAX,
        // What is left now; the kernel also keeps a reserve for root and for the user.
        _ => {
            let text = crate::procfs::read_file(c"/proc/meminfo");
            let text = String::from_utf8_lossy(&text);
            let kib = |name: &str| -> Option<u64> {
                let rest = text.lines().find_map(|l| l.strip_prefix(name))?;
                rest.split_whitespace().next()?.parse().ok()
            };
            let left = kib("CommitLimit:").zip(kib("Committed_AS:"));
            left.map_or(u64::MAX, |(limit, used)| limit.saturating_sub(used) << 10)
        }
    }
}

/// The same as `/proc/self/status` tells it.
fn told_cap_sets() -> Option<(u64, u64)> {
    let text = crate::procfs::read_file(c"/proc/self/status");
    let text = core::str::from_utf8(&text).ok()?;
    let set = |name| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    Some((set("CapBnd:")?, set("CapAmb:")?))
}

/// Draws from the kernel's random numbers.
pub(crate) fn random_entropy() -> Entropy {
    let mut bytes = [0u8; 64];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => {
                // Refused, or a kernel that does not have it.
                let fd = crate::procfs::open_read(c"/dev/urandom");
                let _ = fd.and_then(|fd| rustix::io::read(fd, &mut bytes[done..]));
                break;
            }
        }
    }
    entropy_from(|i| u64::from_ne_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap_or_default()))
}

/// Draws that can be repeated: the `SplitMix64` sequence of a seed.
pub(crate) fn seeded_entropy(seed: u64) -> Entropy {
    entropy_from(|i| {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(i as u64 + 1));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

fn entropy_from(draw: impl Fn(usize) -> u64) -> Entropy {
    let mut at_random = [0; 16];
    at_random[..8].copy_from_slice(&draw(6).to_le_bytes());
    at_random[8..].copy_from_slice(&draw(7).to_le_bytes());
    Entropy {
        stack_top: draw(0),
        stack_top_bytes: draw(1),
        stack_gap: draw(2),
        mmap: draw(3),
        pie: draw(4),
        brk: draw(5),
        at_random,
    }
}

/// Whether addresses of this very process were randomised by the kernel.
pub(crate) fn is_randomized(facts: &Facts) -> bool {
    facts.personality & ADDR_NO_RANDOMIZE == 0
}
