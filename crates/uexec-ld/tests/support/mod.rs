//! What several tests ask with.
#![allow(dead_code, reason = "each test uses its part")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The glibc loader of this machine, if there is one.
pub(crate) fn glibc_loader() -> Option<PathBuf> {
    let all = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    all.iter().map(PathBuf::from).find(|p| p.exists())
}

/// An empty directory of this test, gone when dropped.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("uexec-ld-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir.canonicalize().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the loader itself says: lines without tabs and addresses, errors apart.
pub(crate) fn asked(program: &Path, env: &[(&str, &OsStr)]) -> (Vec<String>, String) {
    let mut command = Command::new(program);
    command.env_clear().env("LD_TRACE_LOADED_OBJECTS", "1").envs(env.iter().copied());
    let out = command.output().unwrap();
    (lines(&out.stdout), String::from_utf8_lossy(&out.stderr).into_owned())
}

pub(crate) fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let without_address = |l: &str| match l.rsplit_once(" (0x") {
        Some((before, _)) => before.trim().to_owned(),
        None => l.trim().to_owned(),
    };
    text.lines().map(without_address).collect()
}

pub(crate) fn texts(lines: Vec<Vec<u8>>) -> Vec<String> {
    lines.iter().map(|l| String::from_utf8_lossy(l).into_owned()).collect()
}

/// Where a compiler is, or says that the test is skipped.
pub(crate) fn compiler(name: &str) -> bool {
    let there = Command::new(name).arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: no {name} here");
    }
    there
}
