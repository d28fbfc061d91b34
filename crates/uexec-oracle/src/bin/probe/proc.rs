//! What `/proc/self` tells.

use std::fs;

use crate::Report;

/// Open descriptors: number, flags as in `fdinfo`, and what is behind them.
pub(crate) fn descriptors(report: &mut Report) {
    let mut numbers: Vec<u32> = fs::read_dir("/proc/self/fd")
        .map(|dir| dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    numbers.sort_unstable();
    for fd in numbers {
        // The directory that was just read is closed by now.
        let Ok(link) = fs::read_link(format!("/proc/self/fd/{fd}")) else { continue };
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).unwrap_or("?").trim();
        report.add(&format!("fd.{fd}"), format!("{flags} {}", link.display()));
    }
}

/// Asks everything else.
pub(crate) fn ask(report: &mut Report) {
    status(report);
    stat(report);
    let texts = [
        "personality",
        "limits",
        "coredump_filter",
        "oom_score_adj",
        "timerslack_ns",
        "comm",
        "cgroup",
        "loginuid",
        "sessionid",
        "setgroups",
        "uid_map",
        "gid_map",
        "projid_map",
        "maps",
        "timens_offsets",
        "attr/current",
        "cpuset",
    ];
    for name in texts {
        report.add(&format!("proc.{name}"), text(name));
    }
    // Its number counts sessions.
    let autogroup = text("autogroup");
    report.add("proc.autogroup", autogroup.split_once(' ').map_or("none", |a| a.1));
    for name in ["cmdline", "environ", "auxv"] {
        report.add(&format!("proc.{name}"), bytes(name).escape_ascii());
    }
    for name in ["exe", "cwd", "root"] {
        report.add(&format!("proc.{name}"), link(name));
    }
    for name in uexec_linux::core::abi::NAMESPACES {
        report.add(&format!("ns.{name}"), link(&format!("ns/{name}")));
    }
    timers(report);
    locks(report);
    flags_of_mappings(report);
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(format!("/proc/self/{name}")).unwrap_or_else(|e| e.to_string().into_bytes())
}

fn text(name: &str) -> String {
    String::from_utf8_lossy(&bytes(name)).into_owned()
}

fn link(name: &str) -> String {
    match fs::read_link(format!("/proc/self/{name}")) {
        Ok(path) => path.display().to_string(),
        Err(error) => error.to_string(),
    }
}

/// All of it but numbers of processes and what is measured rather than set.
fn status(report: &mut Report) {
    const OTHERS: [&str; 21] = [
        "Pid",
        "Tgid",
        "PPid",
        "Ngid",
        "NStgid",
        "NSpid",
        "NSpgid",
        "NSsid",
        "State",
        "VmPeak",
        "VmHWM",
        "VmRSS",
        "VmPTE",
        "VmSwap",
        "RssAnon",
        "RssFile",
        "RssShmem",
        "SigQ",
        "voluntary_ctxt_switches",
        "nonvoluntary_ctxt_switches",
        "FDSize",
    ];
    for line in text("status").lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        if !OTHERS.contains(&key) {
            report.add(&format!("status.{key}"), value.trim());
        }
    }
}

/// `proc_pid_stat(5)`: what is set rather than measured.
fn stat(report: &mut Report) {
    let text = text("stat");
    let rest = text.rsplit_once(')').map_or("", |r| r.1);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let wanted = [
        (7, "tty_nr"),
        (9, "flags"),
        (18, "priority"),
        (19, "nice"),
        (20, "num_threads"),
        (23, "vsize"),
        (25, "rsslim"),
        (26, "startcode"),
        (27, "endcode"),
        (28, "startstack"),
        (38, "exit_signal"),
        (40, "rt_priority"),
        (41, "policy"),
        (45, "start_data"),
        (46, "end_data"),
        (47, "start_brk"),
        (48, "arg_start"),
        (49, "arg_end"),
        (50, "env_start"),
        (51, "env_end"),
    ];
    for (number, name) in wanted {
        report.add(&format!("stat.{name}"), fields.get(number - 3).unwrap_or(&"?"));
    }
}

/// POSIX timers, without the number of the process they signal.
fn timers(report: &mut Report) {
    let text = text("timers");
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("notify:")).collect();
    report.add("proc.timers", lines.join(" "));
}

/// Locks of files that this process holds (`proc_locks(5)`).
fn locks(report: &mut Report) {
    let own = std::process::id().to_string();
    let text = fs::read_to_string("/proc/locks").unwrap_or_default();
    let of_own = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = fields.iter().position(|f| *f == own)?;
        Some(format!("{} {}", fields.get(1..at)?.join(" "), fields.get(at + 1..)?.join(" ")))
    });
    report.add("locks", of_own.collect::<Vec<_>>().join("; "));
}

/// What `/proc/self/smaps` says of each mapping besides what is resident.
fn flags_of_mappings(report: &mut Report) {
    let text = text("smaps");
    for (i, line) in text.lines().filter(|l| l.starts_with("VmFlags:")).enumerate() {
        report.add(&format!("smaps.{i}"), line);
    }
}
