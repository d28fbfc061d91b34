//! Where slots of the global offset table lead, compared with what `LD_DEBUG=bindings` says of
//! the same program.

mod support;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use uexec_ld::{Disk, Ld, Settings, Slot};

/// Symbol, version and defining file, as the loader binds them for the program itself.
fn said(program: &Path) -> BTreeSet<(String, String, String)> {
    let mut command = Command::new(program);
    command.arg("--version").env_clear().env("LD_BIND_NOW", "1").env("LD_DEBUG", "bindings");
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let start = format!("binding file {} [0] to ", program.display());
    let mut all = BTreeSet::new();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once(&start) else { continue };
        let (file, rest) = rest.split_once(" [").unwrap();
        let mut words = rest.split(['`', '\'', '[', ']']).skip(2);
        let symbol = words.next().unwrap().to_owned();
        let version = words.nth(1).unwrap_or_default().to_owned();
        all.insert((symbol, version, file.to_owned()));
    }
    all
}

#[test]
fn slots_lead_where_the_loader_leads_them() {
    if support::glibc_loader().is_none() {
        eprintln!("SKIPPED: no glibc loader here");
        return;
    }
    let mut ld = Ld::new(Disk::host());
    let settings = Settings { bind_now: true, ..Settings::default() };
    let mut slots_seen = 0;
    for name in ["ls", "bash", "git", "tar", "sort", "perl", "python3", "gdb", "cc1", "xz", "c++"] {
        let Ok(path) = Path::new("/usr/bin").join(name).canonicalize() else { continue };
        let Ok(map) = ld.resolve(path.as_os_str().as_bytes(), &settings) else { continue };
        let theirs = said(&path);
        for slot in ld.bindings(&map, &settings).unwrap() {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            // What nobody defines, the loader does not tell of.
            let Some(by) = &slot.defined_by else {
                assert!(slot.weak, "{name} {slot:?}");
                continue;
            };
            let version = text(slot.version.as_deref().unwrap_or_default());
            let ours = (text(&slot.symbol), version, text(by));
            assert!(theirs.contains(&ours), "{name}: {ours:?} at {:#x}", slot.address);
            assert!(!slot.lazy);
            slots_seen += 1;
        }
    }
    eprintln!("bindings: {slots_seen} slots equal");
    assert!(slots_seen > 0);
}

#[test]
fn lazy_or_now() {
    if support::glibc_loader().is_none() || !support::compiler("cc") {
        return;
    }
    let dir = support::Dir::new("lazy");
    let source = "#include <stdio.h>\nint main(void) { puts(\"x\"); return stdout != 0; }";
    std::fs::write(dir.path("x.c"), source).unwrap();
    for (name, lazy) in [("lazy", true), ("now", false)] {
        let mut command = Command::new("cc");
        command.current_dir(&dir.0).args(["x.c", "-o", name, &format!("-Wl,-z,{name}")]);
        assert!(command.status().unwrap().success());
        let mut ld = Ld::new(Disk::inside("/".as_ref()).unwrap());
        let path = dir.path(name);
        let mut settings = Settings::default();
        let map = ld.resolve(path.as_os_str().as_bytes(), &settings).unwrap();
        let puts = |ld: &mut Ld, settings: &Settings| {
            let slots = ld.bindings(&map, settings).unwrap();
            slots.into_iter().find(|s| s.symbol == b"puts").unwrap()
        };
        let slot = puts(&mut ld, &settings);
        assert_eq!(slot.lazy, lazy && slot.slot == Slot::Plt);
        assert!(slot.defined_by.unwrap().ends_with(b"libc.so.6"));
        settings.bind_now = true;
        assert!(!puts(&mut ld, &settings).lazy);
    }
}
