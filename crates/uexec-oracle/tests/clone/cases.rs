//! Random calls and what is known beforehand of those who make them.

use std::sync::atomic::AtomicI64;

use uexec_core::Errno;
use uexec_core::clone::{CloneArgs, CloneFacts, CloneFlags as F, Entry, PidLevel, Tail};

/// The state of the process that makes the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Root.
    Plain,
    /// Nobody, without capabilities.
    User,
    /// Root, init of a pid namespace.
    Init,
    /// Root, after `unshare(CLONE_NEWPID)`.
    Unshared,
    /// Nobody, with `RLIMIT_NPROC` used up.
    UserFull,
    /// Root, with `RLIMIT_NOFILE` used up.
    NoFd,
    /// Root, inside a chroot.
    Chrooted,
    /// Root, scheduled by deadline.
    Deadline,
}

/// What holds for all of them.
#[derive(Debug)]
pub(crate) struct Host {
    kernel: (u16, u16),
    pid_max: i32,
    /// Levels of pid namespaces of the test itself.
    depth: usize,
    /// A directory of the cgroup2 hierarchy.
    cgroup: Option<std::fs::File>,
    /// A directory that is none.
    plain_dir: std::fs::File,
}

impl Host {
    pub(crate) fn ask() -> Host {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let release = text("/proc/sys/kernel/osrelease");
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let mounts = text("/proc/mounts");
        let cgroup = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then(|| std::fs::File::open(path).ok()).flatten()
        });
        // Its own number is in use in each of its namespaces it names, so that the call is refused
        // by EEXIST as far as they go, or by EINVAL beyond.
        let own = [std::process::id() as i32; 32];
        let depth = (1..=32).take_while(|&n| {
            let mut args = [0u64; 11];
            args[8] = own.as_ptr() as u64;
            args[9] = n;
            super::kernel::sys(435, [args.as_ptr() as u64, 88, 0, 0, 0, 0]) != -22
        });
        Host {
            kernel,
            pid_max: text("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(32_768),
            depth: depth.count().max(1),
            cgroup,
            plain_dir: std::fs::File::open("/").expect("the root directory"),
        }
    }
}

/// xorshift64: the same cases every time.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    /// True once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) caller: Caller,
    pub(crate) args: CloneArgs,
    pub(crate) size: u64,
    pub(crate) tids: Vec<i32>,
    pub(crate) tail: Tail,
    good_cgroup: bool,
}

/// `kernel.pid_max` of a new pid namespace, whatever its parent's is (since Linux 6.14).
const NEW_PID_MAX: i32 = 4_194_304;
/// End of user addresses with four-level paging.
const END: u64 = (1 << 47) - 4096;

impl Case {
    pub(crate) fn draw(rng: &mut Rng, caller: Caller, host: &Host, slots: &[AtomicI64]) -> Case {
        let slot = |i: usize| &raw const slots[i] as u64;
        let legacy = rng.once_in(5);
        let mut flags = flags(rng, legacy);
        let mut exit_signal = rng.of(&[17, 17, 17, 0, 0, 10, 34, 64, 65, 70, 255, 256]);
        if rng.once_in(8) {
            exit_signal = rng.below(64);
        }
        if matches!(exit_signal, 9 | 19) || (legacy && exit_signal > 255) {
            exit_signal = 0;
        }
        if flags & 0x1_8000 != 0 && !rng.once_in(6) {
            exit_signal = 0;
        }
        let (stack, stack_size) = match rng.below(12) {
            0 => (0, 4096),
            1 => (slot(1024), 0),
            2 => (END - 4096, rng.of(&[4095, 4096, 4097])),
            3 => (u64::MAX - 10, rng.of(&[5, 10, 11, 4096])),
            4..=7 => (slot(1024), 4096),
            _ => (0, 0),
        };
        let tls = rng.of(&[0, slot(0), slot(0), END - 1, END, u64::MAX]);
        let tls = if rng.once_in(3) { tls } else { slot(0) };
        let parent_tid = rng.of(&[slot(0), slot(0), slot(0), 0, 8]);
        let mut args = CloneArgs {
            entry: if legacy { Entry::Clone } else { Entry::Clone3 },
            flags: F::from_bits_retain(flags),
            pidfd: rng.of(&[slot(8), slot(8), slot(8), slot(8), slot(0), 0, 8]),
            child_tid: rng.of(&[slot(16), slot(16), 0, 8]),
            parent_tid,
            exit_signal,
            stack,
            stack_size,
            tls,
            ..CloneArgs::default()
        };
        let mut case = Case {
            caller,
            args,
            size: rng.of(&[88, 88, 88, 88, 88, 88, 88, 88, 96, 4096]),
            tids: vec![],
            tail: Tail::Zero,
            good_cgroup: false,
        };
        if legacy {
            flags &= 0xffff_ff00;
            args = CloneArgs::legacy(flags | exit_signal, stack, parent_tid, args.child_tid, tls);
            return Case { args, ..case };
        }
        if rng.once_in(12) {
            case.size = rng.of(&[0, 63, 64, 65, 72, 73, 79, 80, 81, 87, 89, 4096, 4097, u64::MAX]);
        }
        if rng.once_in(40) {
            case.tail = rng.of(&[Tail::Used, Tail::Unreadable]);
        }
        if rng.once_in(5) {
            case.draw_tids(rng, host, slot(32));
        }
        case.draw_cgroup(rng, host);
        case
    }

    fn draw_tids(&mut self, rng: &mut Rng, host: &Host, at: u64) {
        let level = |rng: &mut Rng| match rng.below(8) {
            0 => rng.of(&[0, -1, host.pid_max, NEW_PID_MAX - 1, NEW_PID_MAX]),
            1 | 2 => 1,
            _ => loop {
                let tid = 3000 + rng.below((host.pid_max.min(4_000_000) - 3000) as u64) as i32;
                if !std::path::Path::new(&format!("/proc/{tid}")).exists() {
                    return tid;
                }
            },
        };
        self.args.set_tid = at;
        self.args.set_tid_size = rng.of(&[1, 1, 1, 2]);
        self.tids = (0..2).map(|_| level(rng)).collect();
        match rng.below(16) {
            0 => self.args.set_tid_size = rng.of(&[0, 32, 33, u64::MAX]),
            1 => self.args.set_tid = rng.of(&[0, 8]),
            _ => {}
        }
        if self.args.set_tid_size > 2 {
            self.tids.resize(32, 1);
        }
    }

    fn draw_cgroup(&mut self, rng: &mut Rng, host: &Host) {
        use std::os::fd::AsRawFd as _;
        self.args.cgroup = rng.of(&[0, 999, host.plain_dir.as_raw_fd() as u64, 1 << 31, 1 << 40]);
        let may = matches!(self.caller, Caller::Plain);
        if let Some(dir) = host.cgroup.as_ref().filter(|_| may && rng.once_in(2)) {
            self.args.cgroup = dir.as_raw_fd() as u64;
            self.good_cgroup = true;
        }
    }

    /// What is known of the caller whose process id, in its own namespace, is `own`.
    pub(crate) fn facts(&self, host: &Host, own: i64) -> CloneFacts {
        let nobody = matches!(self.caller, Caller::User | Caller::UserFull);
        let outer = PidLevel {
            pid_max: host.pid_max,
            has_init: true,
            may_choose: !nobody,
            taken: vec![1, own as i32],
        };
        let mut pid_levels = vec![outer.clone(); host.depth];
        match self.caller {
            // Their children are numbered in one namespace more.
            Caller::Init | Caller::Unshared => {
                let pid_max = if host.kernel >= (6, 14) { NEW_PID_MAX } else { host.pid_max };
                pid_levels.insert(0, PidLevel { pid_max, taken: vec![1], ..outer });
            }
            _ => {}
        }
        CloneFacts {
            kernel: host.kernel,
            task_size: END,
            tail: self.tail,
            set_tid: (self.args.set_tid > 8).then(|| self.tids.clone()),
            pidfd_writable: self.args.pidfd > 8,
            is_init: self.caller == Caller::Init,
            sys_admin: !nobody,
            over_nproc: !nobody,
            rlimit_nproc: if self.caller == Caller::UserFull { 0 } else { u64::MAX },
            deadline: self.caller == Caller::Deadline,
            chrooted: self.caller == Caller::Chrooted,
            fd_left: self.caller != Caller::NoFd,
            pid_levels,
            pid_ns_differs: self.caller == Caller::Unshared,
            into_cgroup: if self.good_cgroup { Ok(()) } else { Err(Errno::EBADF) },
            ..CloneFacts::default()
        }
    }
}

/// Anything at all one time in five, else something that has a chance.
fn flags(rng: &mut Rng, legacy: bool) -> u64 {
    const SHARING: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x4_0000 | 0x8000_0000;
    const NEW: [u64; 8] =
        [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
    const TIDS: [u64; 5] = [0x1000, 0x8_0000, 0x10_0000, 0x20_0000, 0x100_0000];
    const OTHER: [u64; 8] =
        [0x2000, 0x4000, 0x8000, 0x1_0000, 0x40_0000, 0x80_0000, 1 << 32, 1 << 33];
    if rng.once_in(5) {
        let wild = rng.next() & rng.next() & 0x3_ffff_ff80;
        return if rng.once_in(6) { wild | 1 << rng.below(64) } else { wild };
    }
    let mut flags = rng.next() & rng.next() & SHARING;
    for bit in NEW {
        let rare = if bit == 0x4000_0000 { 40 } else { 14 };
        flags |= if rng.once_in(rare) { bit } else { 0 };
    }
    for bit in TIDS {
        flags |= if rng.once_in(4) { bit } else { 0 };
    }
    for bit in OTHER {
        let rare = if bit == 0x40_0000 && !legacy { 60 } else { 9 };
        flags |= if rng.once_in(rare) { bit } else { 0 };
    }
    if !rng.once_in(5) {
        if flags & 0x1_0000 != 0 {
            flags = flags & !0x3000_0000 & !(1 << 32) | 0x800;
        }
        if flags & 0x800 != 0 {
            flags = flags & !(1 << 32) | 0x100;
        }
        if flags & 0x1002_0000 != 0 {
            flags &= !0x200;
        }
    }
    flags
}
