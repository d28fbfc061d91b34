//! Judges whether this process is as after an exec: one thread, the expected id, and nothing left of
//! whoever was here before.

use std::fs;

/// Complaints, a line each.
pub(crate) fn complaints(pid: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |what: &str, expected: &str, got: &str| {
        if expected != got {
            found.push(format!("{what} is {got}, not {expected}"));
        }
    };
    expect("pid", pid, &std::process::id().to_string());
    // SAFETY: asks for a number.
    expect("tid", pid, &unsafe { libc::syscall(libc::SYS_gettid) }.to_string());
    let tasks = fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(0);
    expect("threads", "1", &tasks.to_string());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for name in ["SigPnd", "ShdPnd", "SigBlk"] {
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        expect(name, "0000000000000000", line.unwrap_or("").trim());
    }
    for (what, got) in [("descriptors", descriptors()), ("mappings", mappings())] {
        expect(what, "", &got);
    }
    found
}

/// Descriptors besides the standard ones.
fn descriptors() -> String {
    let Ok(dir) = fs::read_dir("/proc/self/fd") else { return "unknown".to_owned() };
    let names = dir.flatten().map(|e| e.path());
    let links = names.filter_map(|p| {
        let number: u32 = p.file_name()?.to_str()?.parse().ok()?;
        // The directory that is being read is closed when it is looked at.
        (number > 2).then(|| format!("{number} {}", fs::read_link(p).unwrap_or_default().display()))
    });
    links.filter(|l| !l.ends_with("/fd")).collect::<Vec<_>>().join(", ")
}

/// Mappings of files other than the program, and anonymous ones that lie where none should.
fn mappings() -> String {
    // Not /proc/self/exe, which only some may set (STK-40).
    let own = std::env::args().next().unwrap_or_default();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let odd = maps.lines().filter(|line| {
        let name = line.split_whitespace().nth(5).unwrap_or("");
        let known = name.is_empty() || name.starts_with('[') || name == own;
        // Writable and executable memory is what an exec is carried out from.
        !known || line.split_whitespace().nth(1).is_some_and(|p| p.starts_with("rwx"))
    });
    odd.collect::<Vec<_>>().join(", ")
}

/// The file behind `AT_EXECFD`, and how many threads there are.
pub(crate) fn handed() -> String {
    // SAFETY: asks for a number.
    let fd = unsafe { libc::getauxval(libc::AT_EXECFD) };
    // 0 also stands for none.
    let file = (fd != 0).then(|| fs::read_link(format!("/proc/self/fd/{fd}")));
    let tasks = fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(0);
    format!(
        "{} {tasks}",
        file.map_or("none".into(), |f| f.unwrap_or_default().display().to_string())
    )
}
