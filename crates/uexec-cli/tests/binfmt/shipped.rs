//! Rules that distributions ship are read, and take what they are meant for.

use uexec_core::binfmt::misc::{Misc, parse};

use super::with;
use crate::common::ask::{End, finish};
use crate::common::elf::Elf;
use crate::common::place::Place;

/// Rule, then a name and first bytes that it takes.
const RULES: [(&str, &str, &[u8]); 8] = [
    // Debian's qemu-user-static and systemd's qemu rules.
    (
        r":qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/libexec/qemu-binfmt/aarch64-binfmt-P:OPF",
        "hello",
        b"\x7fELF\x02\x01\x01\x03\0\0\0\0\0\0\0\0\x03\0\xb7\0",
    ),
    (
        r":qemu-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/usr/libexec/qemu-binfmt/s390x-binfmt-P:OPF",
        "hello",
        b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x03\0\x16",
    ),
    // binfmt-support's way of a rule with a detector.
    (":cli:M::MZ::/usr/lib/binfmt-support/run-detectors:", "a.exe", b"MZ"),
    (":wine:M::MZ::/usr/bin/wine:", "setup.exe", b"MZ\x90\0"),
    (r":jar:M::PK\x03\x04::/usr/bin/jexec:", "hello.jar", b"PK\x03\x04\n"),
    (r":python3.11:M::\xa7\x0d\x0d\x0a::/usr/bin/python3.11:", "m.pyc", b"\xa7\r\r\n"),
    (":llvm-14-runtime.binfmt:M::BC::/usr/bin/lli-14:", "a.bc", b"BC\xc0\xde"),
    // The examples of binfmt.d(5) and of the kernel's documentation.
    (":DOSWin:M::MZ::/usr/bin/wine:", "x", b"MZ"),
];

#[test]
fn every_rule_is_read_and_works() {
    for (text, name, bytes) in RULES {
        let mut misc = Misc::default();
        misc.add(parse(text.as_bytes()).unwrap_or_else(|bad| panic!("{text}: {bad}"))).unwrap();
        let mut head = [0; 256];
        head[..bytes.len()].copy_from_slice(bytes);
        assert!(misc.find(name.as_bytes(), &head).is_some(), "{text}");
        head[1] ^= 1;
        assert!(misc.find(name.as_bytes(), &head).is_none(), "{text}");
    }
}

/// Debian's own format, as the packages wine-binfmt, openjdk-17-jre-headless, python3.11-minimal and
/// qemu-user-static write it, with an interpreter that is here; then bytes that it takes.
const FORMATS: [(&str, &str, &[u8]); 4] = [
    ("wine", "package wine\ninterpreter INTERPRETER\nmagic MZ\n", b"MZ\x90\0"),
    ("jar", "package openjdk-17\ninterpreter INTERPRETER\nmagic PK\\x03\\x04\n", b"PK\x03\x04\n"),
    (
        "python3.11",
        "package python3.11\ninterpreter INTERPRETER\nmagic \\xa7\\x0d\\x0d\\x0a\n",
        b"\xa7\r\r\n",
    ),
    (
        "qemu-aarch64",
        "package qemu-user-static\ninterpreter INTERPRETER\nmagic \\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00\noffset 0\nmask \\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff\ncredentials no\nfix_binary yes\npreserve yes\n",
        b"\x7fELF\x02\x01\x01\x03\0\0\0\0\0\0\0\0\x03\0\xb7\0",
    ),
];

/// The same by the command: read from a folder such as /usr/share/binfmts, and run.
#[test]
fn debians_own_format_works() {
    let p = Place::new();
    std::fs::create_dir(p.join("binfmts")).unwrap();
    for (i, (name, text, bytes)) in FORMATS.iter().enumerate() {
        let status = 20 + i as u8;
        p.elf(name, &Elf::exit(status));
        let text = text.replace("INTERPRETER", &p.join(name).display().to_string());
        p.file(&format!("binfmts/{name}"), text, 0o644);
        p.file(&format!("{name}.prog"), bytes, 0o755);
    }
    for (i, (name, _, _)) in FORMATS.iter().enumerate() {
        let checked = finish(&mut with(&p, ["binfmt", "check", &format!("binfmts/{name}")]));
        assert_eq!(checked.stdout, b"1 rules, 0 wrong, 0 notes\n", "{name}");
        for rules in [format!("binfmts/{name}"), "binfmts".to_owned()] {
            let program = format!("./{name}.prog");
            let args = ["run", "--binfmt", "none", "--binfmt", &rules, &program];
            let seen = finish(&mut with(&p, args));
            assert_eq!(seen.end, End::Exit(20 + i as i32), "{name}: {}", seen.stderr);
        }
    }
}
