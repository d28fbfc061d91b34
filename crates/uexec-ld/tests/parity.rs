//! Every dynamic program of this machine: the same libraries, paths and order as its own loader
//! says with `LD_TRACE_LOADED_OBJECTS=1`.

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use uexec_ld::{Cpu, Disk, Ld, Libc, LinkMap, Settings};

/// Real paths of the ELF programs in the usual places.
fn programs() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let mut dirs: Vec<PathBuf> =
        ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/libexec"].map(PathBuf::from).into();
    dirs.push(PathBuf::from(home).join(".cargo/bin"));
    if let Some(cargo) = std::env::var_os("CARGO") {
        dirs.extend(PathBuf::from(cargo).parent().map(PathBuf::from));
    }
    let mut all = BTreeSet::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.flatten().filter_map(|e| e.path().canonicalize().ok()) {
            let mut magic = [0; 4];
            let read = std::fs::File::open(&path).and_then(|mut f| f.read_exact(&mut magic));
            if path.is_file() && read.is_ok() && &magic == b"\x7fELF" {
                all.insert(path);
            }
        }
    }
    all.into_iter().collect()
}

fn dynamic(ld: &mut Ld, settings: &Settings) -> Vec<(PathBuf, LinkMap)> {
    let resolve = |path: PathBuf| {
        let map = ld.resolve(path.as_os_str().as_bytes(), settings).ok()?;
        (map.libc == Libc::Glibc).then_some((path, map))
    };
    programs().into_iter().filter_map(resolve).collect()
}

#[test]
fn every_program_of_this_machine() {
    let Some(loader) = support::glibc_loader() else {
        eprintln!("SKIPPED: no glibc loader here");
        return;
    };
    let mut ld = Ld::new(Disk::host());
    let settings = Settings::default();
    let maps = dynamic(&mut ld, &settings);
    let start = Instant::now();
    for (path, _) in &maps {
        ld.resolve(path.as_os_str().as_bytes(), &settings).unwrap();
    }
    let warm = start.elapsed();

    let mut equal = 0;
    let mut asked = 0;
    for (path, map) in &maps {
        if map.loader.as_deref() != Some(loader.as_os_str().as_bytes()) {
            continue;
        }
        asked += 1;
        let out = Command::new(&loader)
            .arg(path)
            .env_clear()
            .env("LD_TRACE_LOADED_OBJECTS", "1")
            .output()
            .unwrap();
        let (theirs, ours) = (support::lines(&out.stdout), support::texts(map.trace()));
        if theirs == ours {
            equal += 1;
        } else {
            eprintln!("{}:\n  loader {theirs:?}\n  here   {ours:?}", path.display());
            eprintln!("{}", String::from_utf8_lossy(&out.stderr));
        }
    }
    eprintln!("parity: {equal} of {asked} programs; all resolved again in {warm:?}");
    assert!(asked > 0);
    assert_eq!(equal, asked);
}

#[test]
fn the_host_as_a_root_directory_says_the_same() {
    if support::glibc_loader().is_none() {
        eprintln!("SKIPPED: no glibc loader here");
        return;
    }
    let settings = Settings::default();
    let host = dynamic(&mut Ld::new(Disk::host()), &settings);
    let root = Disk::inside("/".as_ref()).unwrap();
    let inside = dynamic(&mut Ld::new(root), &settings);
    assert_eq!(host.len(), inside.len());
    for ((path, a), (_, b)) in host.iter().zip(&inside) {
        assert_eq!(a.trace(), b.trace(), "{}", path.display());
        assert_eq!(a.missing_versions, b.missing_versions);
    }
}

/// glibc says which levels it uses on this processor.
#[test]
fn levels_are_those_of_the_loader() {
    let Some(loader) = support::glibc_loader() else {
        eprintln!("SKIPPED: no glibc loader here");
        return;
    };
    let out = Command::new(loader).arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let ours: Vec<String> = support::texts(Cpu::detect().levels);
    let theirs: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("  x86-64-v") && l.contains("supported, searched"))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    if !text.contains("x86-64-v2") {
        eprintln!("SKIPPED: this loader does not say");
        return;
    }
    assert_eq!(ours, theirs);
}
