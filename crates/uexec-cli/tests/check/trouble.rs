//! One program for each way not to start.

use std::fs;
use std::os::unix::fs::symlink;

use crate::Check;
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::skip;

/// An ELF header and nothing else, for another machine.
fn foreign(class: u8, data: u8, e_type: u16, machine: u16) -> Vec<u8> {
    let mut b = b"\x7fELF".to_vec();
    b.extend([class, data, 1]);
    b.resize(64, 0);
    let put = |v: u16| if data == 2 { v.to_be_bytes() } else { v.to_le_bytes() };
    b[16..18].copy_from_slice(&put(e_type));
    b[18..20].copy_from_slice(&put(machine));
    b
}

/// A library: a static PIE without `DF_1_PIE`, with an empty dynamic section.
fn library() -> Elf {
    Elf::exit(0).at(0)
}

#[test]
fn every_kind_of_trouble_is_told_apart() {
    let p = Place::new();
    p.elf("good", &Elf::exit(0));
    p.elf("static-pie", &Elf::exit(0).at(0));
    p.elf("libx.so.1", &library());
    p.script("script", "#!/no/such/interp -x\n");
    p.script("crlf", "#!/bin/sh\r\necho\r\n");
    p.script("empty", "");
    p.script("text", "echo hello\n");
    p.script("blank", "#!  \n");
    p.elf("cut", &Elf::exit(0).but(|e| e.cut = Some(80)));
    p.elf("musl", &Elf::exit(0).with_interp("/lib/ld-musl-none.so.1"));
    p.elf("dies", &Elf::exit(0).but(|e| e.phdrs[0].filesz = e.phdrs[0].memsz + 1));
    p.script("arm64", foreign(2, 1, 2, 183));
    p.script("riscv", foreign(2, 1, 3, 243));
    p.script("s390", foreign(2, 2, 2, 22));
    p.script("i386", foreign(1, 1, 2, 3));
    p.script("script-of-arm64", format!("#!{}\n", p.join("arm64").display()));
    p.file("data", "no program", 0o644);
    let ia32 = uexec_core::World::ia32(&mut uexec_linux::Host::new()).is_ok();
    let checked = Check::new(&[&p.path]).json();
    assert_eq!(checked.status, 1);
    for (name, verdict) in [
        ("/good", ("ok", "", "")),
        ("/static-pie", ("ok", "", "")),
        ("/libx.so.1", ("library", "", "")),
        ("/script", ("error", "ENOENT", "script.interp")),
        ("/crlf", ("error", "ENOENT", "script.interp")),
        ("/empty", ("error", "ENOEXEC", "search")),
        ("/text", ("error", "ENOEXEC", "search")),
        ("/blank", ("error", "ENOEXEC", "binfmt_script")),
        ("/cut", ("error", "ENOEXEC", "binfmt_elf")),
        ("/musl", ("error", "ENOENT", "elf.interp")),
        ("/dies", ("error", "EINVAL", "map")),
        ("/arm64", ("foreign", "ENOEXEC", "binfmt_elf")),
        ("/riscv", ("foreign", "ENOEXEC", "binfmt_elf")),
        ("/s390", ("foreign", "ENOEXEC", "binfmt_elf")),
        // Has no program headers: damaged where the kernel runs such programs.
        ("/i386", (if ia32 { "error" } else { "foreign" }, "ENOEXEC", "binfmt_elf")),
        ("/script-of-arm64", ("foreign", "ENOEXEC", "binfmt_elf")),
    ] {
        assert_eq!(checked.verdict(name), verdict, "{name}: {}", checked.of(name));
    }
    assert_eq!(checked.lines.len(), 16, "{:#?}", checked.paths());
    for (name, machine, class, big) in [
        ("/arm64", "aarch64", 64, false),
        ("/riscv", "riscv", 64, false),
        ("/s390", "s390", 64, true),
        ("/i386", "i386", 32, false),
        ("/good", "x86_64", 64, false),
        ("/libx.so.1", "x86_64", 64, false),
    ] {
        let line = checked.of(name);
        assert_eq!(line["machine"], machine, "{line}");
        assert_eq!(line["class"], class, "{line}");
        assert_eq!(line["big_endian"], big, "{line}");
    }
    assert_eq!(checked.of("/script")["interp"], "/no/such/interp");
    assert_eq!(checked.of("/script")["format"], "script");
    assert_eq!(checked.of("/musl")["interp"], "/lib/ld-musl-none.so.1");
    assert_eq!(checked.of("/dies")["error"]["signal"], "SIGSEGV");
    assert!(checked.of("/crlf")["error"]["hint"].as_str().unwrap().contains("dos2unix"));
    let s = &checked.summary;
    let sums = ["programs", "ok", "error", "foreign", "libraries", "unreadable"];
    assert_eq!(
        sums.map(|k| s[k].as_u64().unwrap()),
        [15, 2, 8 + u64::from(ia32), 5 - u64::from(ia32), 1, 0],
        "{s:#}"
    );
}

#[test]
fn a_person_reads_a_line_each_and_sums_by_cause() {
    let p = Place::new();
    p.elf("a", &Elf::exit(0));
    p.elf("b", &Elf::exit(0).with_interp("/lib/ld-musl-none.so.1"));
    p.elf("c", &Elf::exit(0).with_interp("/lib/ld-musl-none.so.1"));
    p.elf("libx.so", &library());
    let at = |name| p.join(name).display().to_string();
    let (text, status) = Check::new(&[&p.path]).text();
    let missing = "ENOENT: its interpreter /lib/ld-musl-none.so.1 is missing";
    assert_eq!(
        text,
        format!(
            "{}: {missing}\n{}: {missing}\n\n3 programs: 1 starts\n       \
             2 lack their interpreter /lib/ld-musl-none.so.1\n         \
             hint built for musl, as on Alpine: install musl, or use a build for glibc\n\
             1 library is not counted\n",
            at("b"),
            at("c")
        )
    );
    assert_eq!(status, 1);
    let (text, _) = Check::new(&[&"--all", &p.path]).text();
    assert!(text.starts_with(&format!("{}: starts\n", at("a"))), "{text}");
    assert!(text.contains(&format!("{}: a library, not a program\n", at("libx.so"))), "{text}");
    let (text, status) = Check::new(&[&at("a")]).text();
    assert_eq!((text.as_str(), status), ("1 program, and it starts\n", 0));
}

#[test]
fn exit_statuses() {
    let p = Place::new();
    p.elf("good", &Elf::exit(0));
    fs::create_dir(p.join("none")).unwrap();
    for (path, status) in [("good", 0), ("none", 0), ("missing", 1)] {
        assert_eq!(Check::new(&[&p.join(path)]).json().status, status, "{path}");
    }
    for args in [&["--root", "/no/such/root", "/"][..], &[], &["--libraries", "perhaps", "/"]] {
        let args: Vec<_> = args.iter().map(|a| a as &dyn AsRef<std::ffi::OsStr>).collect();
        let out = Check::new(&args).output();
        assert_eq!(out.status.code(), Some(125), "{out:?}");
    }
}

#[test]
fn what_is_named_counts_whatever_it_is() {
    let p = Place::new();
    p.file("data", "#!/bin/sh\n", 0o644);
    let (data, dir) = (p.join("data"), p.path.clone());
    let checked = Check::new(&[&data, &dir, &data, &"/dev/null", &"/no/such/file"]).json();
    assert_eq!(checked.lines.len(), 3, "{:#?}", checked.paths());
    assert_eq!(checked.verdict("/data"), ("error", "EACCES", "open"));
    assert_eq!(checked.verdict("/dev/null"), ("error", "EACCES", "open"));
    assert_eq!(checked.verdict("/no/such/file"), ("error", "ENOENT", "open"));
    assert_eq!(checked.status, 1);
}

#[test]
fn programs_below_two_paths_are_told_once() {
    let p = Place::new();
    p.elf("a/b/x", &Elf::exit(0));
    p.elf("a/y", &Elf::exit(0));
    symlink("a", p.join("link")).unwrap();
    let below = p.join("a/b");
    let named = p.join("a/y");
    let checked = Check::new(&[&below, &p.path, &named]).json();
    assert_eq!(checked.lines.len(), 2, "{:#?}", checked.paths());
    // By another name it is another program.
    let checked = Check::new(&[&p.path, &p.join("link/b")]).json();
    assert_eq!(checked.lines.len(), 3, "{:#?}", checked.paths());
}

#[test]
fn order_is_that_of_the_paths() {
    let p = Place::new();
    for i in 0..300 {
        p.script(&format!("d{}/s{i}", i % 7), "#!/bin/sh\n");
    }
    p.elf("d1.x", &Elf::exit(0));
    p.elf("d1-x", &Elf::exit(0));
    let checked = Check::new(&[&p.path]).json();
    let mut sorted = checked.paths();
    sorted.sort_unstable();
    assert_eq!(checked.paths(), sorted);
    assert_eq!(checked.lines.len(), 302);
}

#[test]
fn missing_libraries_and_versions() {
    let Ok(truth) = fs::read("/bin/true") else { return skip("libraries", "no /bin/true") };
    let replaced = |from: &[u8], to: &[u8]| {
        let at = truth.windows(from.len()).position(|w| w == from)?;
        let mut bytes = truth.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        Some(bytes)
    };
    let p = Place::new();
    p.script("good", &truth);
    let Some(bytes) = replaced(b"\0libc.so.6\0", b"\0libq.so.6\0") else {
        return skip("libraries", "/bin/true does not need libc.so.6");
    };
    p.script("lib", bytes);
    p.script("of-lib", format!("#!{}\n", p.join("lib").display()));
    let version = replaced(b"\0GLIBC_2.34\0", b"\0GLIBC_2.99\0");
    match &version {
        Some(bytes) => drop(p.script("version", bytes)),
        None => skip("versions", "/bin/true does not need GLIBC_2.34"),
    }
    let checked = Check::new(&[&p.path]).json();
    assert_eq!(checked.status, 1);
    assert_eq!(checked.verdict("/good"), ("ok", "", ""));
    for name in ["/lib", "/of-lib"] {
        assert_eq!(checked.verdict(name), ("error", "", "libraries"));
        assert_eq!(checked.of(name)["missing"][0]["name"], "libq.so.6");
    }
    if version.is_some() {
        assert_eq!(checked.of("/version")["missing"][0]["version"], "GLIBC_2.99");
    }
    let checked = Check::new(&[&"--libraries", &"no", &p.path]).json();
    assert_eq!(checked.status, 0, "{:#?}", checked.lines);
}
