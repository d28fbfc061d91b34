//! The command as the kernel's own handler: `kernel.core_pattern` points to it, and a program dies.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use uexec_core::coredump::Core;

use crate::common::place::{Place, one_at_a_time, uexec};
use crate::common::skip;
use crate::core_pattern::CorePattern;
use crate::victim::build;
use crate::{names, ok};

const TEST: &str = "the_kernel_pipes_into_the_handler";

#[test]
fn the_kernel_pipes_into_the_handler() {
    let place = Place::new();
    if !is_seen_by_init(&place.path) || !is_seen_by_init(uexec()) {
        return skip(TEST, "the kernel looks for the handler elsewhere, or that cannot be seen");
    }
    let Some(program) = build(&place, TEST) else { return };
    // The pattern has room for 127 bytes.
    let handler = place.join("u");
    std::os::unix::fs::symlink(uexec(), &handler).unwrap();
    let kept = place.join("kept");
    let words = format!("core --handler {} %P %s %t", kept.display());
    let pattern = format!("|{} {words}", handler.display());
    if pattern.len() > 127 {
        return skip(TEST, "the temporary directory has too long a name");
    }
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let (pid, line) = {
        let borrowed = match CorePattern::set(&pattern) {
            Ok(borrowed) => borrowed,
            Err(error) => return skip(TEST, &format!("core_pattern cannot be set: {error}")),
        };
        let mut command = Command::new(&program);
        command.args(["threads", "3", "die"]).stdout(Stdio::piped());
        let child = {
            let _lock = one_at_a_time();
            command.spawn().unwrap()
        };
        let pid = child.id();
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.signal(), Some(11));
        assert!(out.status.core_dumped(), "{:?}", out.status);
        drop(borrowed);
        (pid, String::from_utf8(out.stdout).unwrap())
    };
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    let core = wait_for(&kept, pid);
    // What is told of it.
    let listed = ok(&["core", "list", "--json", "kept"], &place.path);
    let ours = |l: &&str| l.contains(&format!("\"pid\":{pid},"));
    let told: serde_json::Value = serde_json::from_str(listed.lines().find(ours).unwrap()).unwrap();
    assert_eq!((&told["signal"], &told["signal_name"]), (&11.into(), &"SIGSEGV".into()));
    assert_eq!(told["program"], program.to_str().unwrap());
    assert_eq!(told["argv"], serde_json::json!([program.to_str().unwrap(), "threads", "3", "die"]));
    assert_eq!(told["uid"], rustix::process::getuid().as_raw());
    assert_eq!((&told["cut"], &told["fault"]), (&false.into(), &"null".into()), "{told}");
    assert!(told["story"].as_str().unwrap().contains("null pointer, 16 bytes into"), "{told}");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now - told["time"].as_u64().unwrap() < 60);
    let meta = fs::metadata(&core).unwrap();
    assert_eq!(told["bytes"], meta.len());
    assert_eq!(meta.mode() & 0o777, 0o600);
    // The core: threads, signal, and memory.
    let bytes = fs::read(&core).unwrap();
    let mut source = &bytes[..];
    let read = Core::read(&mut source).unwrap();
    assert_eq!(read.complaints, Vec::<&str>::new());
    assert_eq!(read.threads.len(), 4);
    assert_eq!(read.threads[0].tid as u32, pid);
    let at = line.trim().split("0x").nth(1).unwrap();
    let mut marker = [0; 20];
    let at = u64::from_str_radix(at, 16).unwrap();
    let got = read.memory(&mut source, at, &mut marker);
    assert_eq!((got, &marker), (20, b"a marker in the data"));
    // Sparse, as all of ours.
    assert!(meta.blocks() * 512 < meta.len());
    let core = format!("kept/{}", core.file_name().unwrap().to_str().unwrap());
    let info = ok(&["core", "info", &core], &place.path);
    assert!(info.contains("null pointer"), "{info}");
    ok(&["core", "rm", &core], &place.path);
    assert!(names(&kept).iter().all(|n| !n.contains(&format!(".{pid}."))));
}

/// Whether a path leads to the same file where the kernel starts its handlers: where its own threads
/// are, of which kthreadd is one.
fn is_seen_by_init(path: &Path) -> bool {
    let there = Path::new("/proc/2/root").join(path.strip_prefix("/").unwrap());
    let id = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    id(path).is_some() && id(path) == id(&there)
}

/// The kernel does not wait for its handler.
fn wait_for(kept: &Path, pid: u32) -> std::path::PathBuf {
    for _ in 0..1000 {
        let all = if kept.exists() { names(kept) } else { Vec::new() };
        let whole = |n: &&String| n.contains(&format!(".{pid}.")) && !n.ends_with(".json");
        if let Some(name) = all.iter().find(|n| !n.starts_with('.') && whole(n)) {
            return kept.join(name);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the handler kept nothing");
}
