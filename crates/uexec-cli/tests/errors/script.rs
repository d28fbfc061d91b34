//! `#!` lines: SCR-10 to SCR-26, and how many may follow each other.

use uexec_core::Errno;

use crate::common::ask::{Ask, End};
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::{kernel_since, skip};
use crate::{errno, row};

fn place() -> Place {
    let place = Place::new();
    place.elf("I", &Elf::echo());
    place
}

/// Kernel and command run this script alike, and hand these arguments on.
#[track_caller]
fn runs(p: &Place, line: &[u8], expected: &[&[u8]]) {
    p.script("script", line);
    let ask = Ask::new(&p.path, "./script").args(&[b"a1", b"", b"a \xff"]);
    let (kernel, ours) = (ask.kernel(), ask.uexec());
    let shown = line.escape_ascii();
    assert_eq!(kernel.end, End::Exit(42), "{shown}");
    assert_eq!(ours.end, End::Exit(42), "{shown}: {}", ours.stderr);
    let mut all = expected.to_vec();
    all.extend([&b"./script"[..], b"a1", b"", b"a \xff"]);
    let all: Vec<u8> = all.iter().flat_map(|a| [a, &b"\0"[..]].concat()).collect();
    assert_eq!(kernel.stdout.escape_ascii().to_string(), all.escape_ascii().to_string(), "{shown}");
    assert_eq!(ours.stdout, kernel.stdout, "{shown}");
}

/// Kernel and command refuse it alike.
#[track_caller]
fn refused(p: &Place, name: &str, line: impl AsRef<[u8]>, expected: Errno) {
    p.script("script", line);
    row(name, &Ask::new(&p.path, "./script"), errno(expected));
}

/// A name for the interpreter of so many bytes.
fn name(len: usize) -> Vec<u8> {
    let mut name = b"./".repeat(len / 2);
    if len.is_multiple_of(2) {
        name.pop();
    }
    name.push(b'I');
    assert_eq!(name.len(), len);
    name
}

fn padded(name: &[u8], rest: &[u8]) -> Vec<u8> {
    [b"#!", name, rest].concat()
}

#[test]
fn scr_10_to_12_plain_lines() {
    let p = place();
    for line in ["#!./I\n", "#! ./I\n", "#!\t./I\t \n", "#!./I", "#!I\n", "#!./I \nmore\n"] {
        let name = if line == "#!I\n" { &b"I"[..] } else { b"./I" };
        runs(&p, line.as_bytes(), &[name]);
    }
    runs(&p, b"#!./I a b  c \n", &[b"./I", b"a b  c"]);
    runs(&p, b"#!./I a b  ", &[b"./I", b"a b  "]);
    runs(&p, b"#!./I \ta\x0bb\x0c\n", &[b"./I", b"a\x0bb\x0c"]);
    runs(&p, b"#!./I a\r\n", &[b"./I", b"a\r"]);
}

#[test]
fn scr_13_to_15_no_interpreter() {
    let p = place();
    refused(&p, "scr_13_carriage_return", "#!./I\r\n", Errno::ENOENT);
    refused(&p, "scr_14_nothing", "#!\n", Errno::ENOEXEC);
    refused(&p, "scr_14_blanks", "#!  \t\n./I\n", Errno::ENOEXEC);
    refused(&p, "scr_15_end_of_file", "#!", Errno::EACCES);
    refused(&p, "scr_15_blanks_end_of_file", "#!   ", Errno::EACCES);
    refused(&p, "scr_15_nul", b"#!\0./I\n", Errno::EACCES);
}

#[test]
fn scr_1_not_quite_a_script() {
    let p = place();
    refused(&p, "err_28_byte_order_mark", b"\xef\xbb\xbf#!./I\n", Errno::ENOEXEC);
    refused(&p, "err_28_blank_first", " #!./I\n", Errno::ENOEXEC);
    refused(&p, "err_28_blank_inside", "# !./I\n", Errno::ENOEXEC);
    refused(&p, "err_28_text", "echo hello\n", Errno::ENOEXEC);
    refused(&p, "err_28_empty", "", Errno::ENOEXEC);
    refused(&p, "err_28_one_byte", "#", Errno::ENOEXEC);
}

#[test]
fn scr_16_to_18_nul_inside() {
    let p = place();
    runs(&p, b"#!./I\0x\n", &[b"./I"]);
    runs(&p, b"#!./I a\0b\n", &[b"./I", b"a"]);
    runs(&p, b"#!./I \0\n", &[b"./I", b""]);
}

#[test]
fn scr_19_longest_name() {
    let p = place();
    let longest = name(253);
    for rest in [&b"\n"[..], b" \n", b" x\n", b"\0", b"", b" ", b"\t"] {
        p.script("script", padded(&longest, rest));
        let ask = Ask::new(&p.path, "./script");
        let (kernel, ours) = (ask.kernel(), ask.uexec());
        let shown = rest.escape_ascii();
        assert_eq!(kernel.end, End::Exit(42), "{shown}");
        assert_eq!((ours.end, &ours.stdout), (kernel.end, &kernel.stdout), "{shown}");
    }
    refused(&p, "scr_19_name_of_254", padded(&name(254), b"\n"), Errno::ENOEXEC);
    refused(&p, "err_29_name_without_end", padded(&name(400), b"\n"), Errno::ENOEXEC);
}

#[test]
fn scr_20_to_22_long_lines() {
    let p = place();
    // The argument is cut after offset 254.
    let line = [b"#!./I ".to_vec(), vec![b'x'; 400], b"\n".to_vec()].concat();
    runs(&p, &line, &[b"./I", &[b'x'; 249]]);
    let line = [b"#!./I".to_vec(), vec![b' '; 300], b"text\n".to_vec()].concat();
    runs(&p, &line, &[b"./I"]);
    let line = [b"#!".to_vec(), vec![b' '; 300], b"./I\n".to_vec()].concat();
    refused(&p, "scr_22_only_blanks", line, Errno::ENOEXEC);
}

/// Every length around the end of the buffer, with every kind of byte there.
#[test]
fn scr_edges_of_the_buffer() {
    let p = place();
    for len in 250..=257 {
        for rest in [&b""[..], b"\n", b" ", b"\0", b" a", b" a\n", b"\ta \n", b"  ", b"\0a\n"] {
            for line in [
                padded(&name(len), rest),
                [b"#!./I ".to_vec(), vec![b'y'; len - 6], rest.to_vec()].concat(),
                [b"#!./I".to_vec(), vec![b' '; len - 5], rest.to_vec()].concat(),
            ] {
                p.script("script", &line);
                let ask = Ask::new(&p.path, "./script");
                let (kernel, ours) = (ask.kernel(), ask.uexec());
                let same = (ours.end, &ours.stdout) == (kernel.end, &kernel.stdout);
                assert!(same, "{}: {kernel:?} {ours:?}", line.escape_ascii());
            }
        }
    }
}

#[test]
fn scr_25_scripts_of_scripts() {
    let p = place();
    p.script("s1", "#!./I one\n");
    for i in 2..=7 {
        p.script(&format!("s{i}"), format!("#!./s{} arg {i}\n", i - 1));
    }
    // Five interpreters in a row are allowed, six are not (PIPE-35).
    for i in 1..=5 {
        let ask = Ask::new(&p.path, format!("./s{i}")).args(&[b"x"]);
        let (kernel, ours) = (ask.kernel(), ask.uexec());
        assert_eq!((kernel.end, ours.end), (End::Exit(42), End::Exit(42)), "./s{i}");
        assert_eq!(ours.stdout, kernel.stdout, "./s{i}");
    }
    row("err_09_six_interpreters", &Ask::new(&p.path, "./s6"), errno(Errno::ELOOP));
    p.script("self", "#!./self\n");
    row("err_09_its_own_interpreter", &Ask::new(&p.path, "./self"), errno(Errno::ELOOP));
}

#[test]
fn scr_26_bad_interpreters() {
    let p = place();
    refused(&p, "err_04_script_missing_interpreter", "#!./missing -x\n", Errno::ENOENT);
    refused(&p, "err_18_script_directory", "#!/\n", Errno::EACCES);
    refused(&p, "err_18_script_proc", "#!/proc/version\n", Errno::EACCES);
    p.file("plain", Elf::exit(42).bytes(), 0o644);
    refused(&p, "err_18_script_no_x_bit", "#!./plain\n", Errno::EACCES);
    refused(&p, "err_18_script_not_a_directory", "#!./I/x\n", Errno::ENOTDIR);
    p.script("text", "not a program\n");
    refused(&p, "err_28_script_interpreter_is_text", "#!./text\n", Errno::ENOEXEC);
    if !kernel_since(6, 14) {
        return skip("ERR-22", "uexec cannot ask for it on kernels before 6.14");
    }
    p.script("script", "#!./I\n");
    {
        let _writer = p.writer("script");
        row("err_22_script", &Ask::new(&p.path, "./script"), errno(Errno::ETXTBSY));
    }
    let _writer = p.writer("I");
    row("err_22_script_interpreter", &Ask::new(&p.path, "./script"), errno(Errno::ETXTBSY));
}
