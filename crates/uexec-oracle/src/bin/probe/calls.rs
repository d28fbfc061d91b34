//! What system calls and registers tell.

use std::fmt::Debug;

use crate::Report;

/// A system call's answer: its result or minus its errno.
fn plain(nr: i64, args: [u64; 5]) -> i64 {
    // SAFETY: used below for calls that only ask, with numbers or with places that are valid.
    let ret = unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4]) };
    match ret {
        -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        ret => ret,
    }
}

/// A call that fills the argument at this position.
fn filled<T: Debug + Default>(nr: i64, mut args: [u64; 5], at: usize) -> String {
    let mut place = T::default();
    args[at] = (&raw mut place) as u64;
    match plain(nr, args) {
        error @ ..0 => format!("errno {}", -error),
        ret => format!("{ret} {place:x?}"),
    }
}

fn prctl(option: u64, args: [u64; 2]) -> i64 {
    plain(libc::SYS_prctl, [option, args[0], args[1], 0, 0])
}

/// Asks everything.
pub(crate) fn ask(report: &mut Report) {
    registers(report);
    signals(report);
    prctls(report);
    scheduling(report);
    timers(report);
    rest(report);
}

fn registers(report: &mut Report) {
    let (mut mxcsr, mut control) = (0u32, 0u16);
    // SAFETY: stores to two valid places.
    unsafe {
        std::arch::asm!(
            "stmxcsr [{}]", "fnstcw [{}]",
            in(reg) &raw mut mxcsr, in(reg) &raw mut control, options(nostack)
        );
    };
    report.add("mxcsr", format!("{mxcsr:x}"));
    report.add("x87.control", format!("{control:x}"));
}

fn signals(report: &mut Report) {
    for signal in 1..=64 {
        // handler, flags, restorer, mask
        let action = filled::<[u64; 4]>(libc::SYS_rt_sigaction, [signal, 0, 0, 8, 0], 2);
        report.add(&format!("signal.{signal}"), action);
    }
    report.add("signal.mask", filled::<u64>(libc::SYS_rt_sigprocmask, [0, 0, 0, 8, 0], 2));
    report.add("signal.pending", filled::<u64>(libc::SYS_rt_sigpending, [0, 8, 0, 0, 0], 0));
    report.add("signal.stack", filled::<[u64; 3]>(libc::SYS_sigaltstack, [0; 5], 1));
}

fn prctls(report: &mut Report) {
    let numbers = [
        ("dumpable", 3),
        ("keepcaps", 7),
        ("timing", 13),
        ("seccomp", 21),
        ("securebits", 27),
        ("timerslack", 30),
        ("mce_kill", 34),
        ("no_new_privs", 39),
        ("thp_disable", 42),
        ("io_flusher", 58),
        ("mdwe", 65 + 1),
        ("memory_merge", 68),
    ];
    for (name, option) in numbers {
        report.add(&format!("prctl.{name}"), prctl(option, [0, 0]));
    }
    let places = [("pdeathsig", 2), ("tsc", 25), ("child_subreaper", 37), ("tid_address", 40)];
    for (name, option) in places {
        let answer = filled::<u64>(libc::SYS_prctl, [option, 0, 0, 0, 0], 1);
        report.add(&format!("prctl.{name}"), answer);
    }
    for which in 0..3 {
        report.add(&format!("prctl.speculation.{which}"), prctl(52, [which, 0]));
    }
    let arch = [("cpuid", 0x1011), ("gs", 0x1004), ("xcomp_perm", 0x1022), ("untag", 0x4001)];
    for (name, option) in arch {
        let answer = match name {
            "cpuid" => plain(libc::SYS_arch_prctl, [option, 0, 0, 0, 0]).to_string(),
            _ => filled::<u64>(libc::SYS_arch_prctl, [option, 0, 0, 0, 0], 1),
        };
        report.add(&format!("arch_prctl.{name}"), answer);
    }
}

fn scheduling(report: &mut Report) {
    report.add("nice", plain(libc::SYS_getpriority, [0; 5]));
    report.add("scheduler", plain(libc::SYS_sched_getscheduler, [0; 5]));
    let attributes = filled::<[u64; 7]>(libc::SYS_sched_getattr, [0, 0, 56, 0, 0], 1);
    report.add("scheduler.attributes", attributes);
    report.add("io_priority", plain(libc::SYS_ioprio_get, [1, 0, 0, 0, 0]));
    report.add("memory_policy", filled::<u64>(libc::SYS_get_mempolicy, [0; 5], 0));
    const GET_REGISTRATIONS: u64 = 1 << 9;
    report.add("membarrier", plain(libc::SYS_membarrier, [GET_REGISTRATIONS, 0, 0, 0, 0]));
}

fn timers(report: &mut Report) {
    for which in 0..3u64 {
        let mut timer = [0i64; 4];
        let to = (&raw mut timer) as u64;
        plain(libc::SYS_getitimer, [which, to, 0, 0, 0]);
        let [seconds, micros, left, left_micros] = timer;
        let armed = (left, left_micros) != (0, 0);
        // How much is left depends on when one asks.
        report.add(&format!("itimer.{which}"), format!("{seconds} {micros} armed {armed}"));
    }
}

fn rest(report: &mut Report) {
    for which in 0..16 {
        let limit = filled::<[u64; 2]>(libc::SYS_prlimit64, [0, which, 0, 0, 0], 3);
        report.add(&format!("rlimit.{which}"), limit);
    }
    let mut robust = [0u64; 2];
    let (head, len) = ((&raw mut robust[0]) as u64, (&raw mut robust[1]) as u64);
    plain(libc::SYS_get_robust_list, [0, head, len, 0, 0]);
    report.add("robust_list", format!("{robust:x?}"));
    for (name, keyring) in [("thread", -1i64), ("process", -2)] {
        // What it holds: KEYCTL_READ fills nothing here and answers how many bytes there are.
        let held = plain(libc::SYS_keyctl, [11, keyring as u64, 0, 0, 0]);
        report.add(&format!("keyring.{name}"), held);
    }
    report.add("brk", format!("{:x}", plain(libc::SYS_brk, [0; 5])));
    for (name, nr) in [("pgid", libc::SYS_getpgid), ("sid", libc::SYS_getsid)] {
        let id = plain(nr, [0; 5]);
        let own = id == i64::from(std::process::id());
        report.add(name, if own { "own".to_owned() } else { id.to_string() });
    }
    report.add("fsuid", plain(libc::SYS_setfsuid, [u64::from(u32::MAX), 0, 0, 0, 0]));
    report.add("fsgid", plain(libc::SYS_setfsgid, [u64::from(u32::MAX), 0, 0, 0, 0]));
}
