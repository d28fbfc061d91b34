//! The example of a format of one's own, run: a ZIP application handed to its runtime (PIPE-32).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_zip_application_is_handed_to_its_runtime() {
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples/zipapp");
    if !example.exists() {
        return eprintln!("skipped: a format of one's own: the example was not built");
    }
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = dir.join(format!("zipapp-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    // The runtime is a script itself: the formats meet again.
    let runtime = write(&dir, "runtime", b"#!/bin/sh\necho \"$0|$*\"\nexit 5\n");
    let app = write(&dir, "app.pyz", b"PK\x03\x04rest");
    let other = write(&dir, "other", b"PK\x03\x05rest");
    let run = |runtime: &Path, app: &Path| -> Output {
        Command::new(&example).args([runtime, app]).args(["one", "two three"]).output().unwrap()
    };
    let out = run(&runtime, &app);
    let expected = format!("{}|{} one two three\n", runtime.display(), app.display());
    assert_eq!(
        (String::from_utf8_lossy(&out.stdout), out.status.code()),
        (expected.into(), Some(5))
    );
    for (runtime, app, errno) in
        [(&runtime, &other, "ENOEXEC"), (&dir.join("none"), &app, "ENOENT")]
    {
        let out = run(runtime, app);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains(errno) && out.status.code() == Some(126), "{said}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
