//! a.out programs, which no kernel runs any more: made by hand, by an assembler that still writes
//! them, and by a linker, run by `uexec run`; the kernel must refuse them (AOUT-2).

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::Scratch;
use uexec_core::World;
use uexec_linux::Host;
use uexec_oracle::elf::write_program;
use uexec_oracle::launch::Exec;
use uexec_oracle::skip;
use uexec_oracle::trace::{Outcome, by_kernel, by_uexec};
use uexec_oracle::uexec::uexec_binary;

const ENOEXEC: u16 = 8;

/// Magic number, text offset in the file, text address.
const KINDS: [(&str, u32, usize, u32); 4] = [
    ("OMAGIC", 0x107, 32, 0),
    ("NMAGIC", 0x108, 32, 0),
    ("ZMAGIC", 0x10b, 1024, 0),
    ("QMAGIC", 0xcc, 0, 4096),
];

/// Writes `argv[1]`, `envp[0]`, its data and one byte of bss, and ends with status `argc`.
fn code(data: u32, bss: u32) -> Vec<u8> {
    let write = |len: u8| {
        let mut c = vec![0xba, len, 0, 0, 0, 0xbb, 1, 0, 0, 0]; // mov edx, len; mov ebx, 1
        c.extend([0xb8, 4, 0, 0, 0, 0xcd, 0x80]); // write
        c
    };
    let mut c = vec![0x8b, 0x44, 0x24, 4, 0x8b, 0x48, 4]; // mov eax, [esp+4]; mov ecx, [eax+4]
    c.extend(write(3));
    c.extend([0x8b, 0x44, 0x24, 8, 0x8b, 0x08]); // mov eax, [esp+8]; mov ecx, [eax]
    c.extend(write(3));
    for (at, len) in [(data, 4), (bss, 1)] {
        c.push(0xb9); // mov ecx, address
        c.extend(at.to_le_bytes());
        c.extend(write(len));
    }
    c.extend([0xc7, 0x05]); // mov dword [bss], 1: it can be written to
    c.extend(bss.to_le_bytes());
    c.extend(1u32.to_le_bytes());
    c.extend([0x8b, 0x1c, 0x24, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]); // exit(argc)
    c
}

/// A program with a page of text, a page of data and two of bss.
fn program((_, magic, offset, text): (&str, u32, usize, u32)) -> Vec<u8> {
    let header = if magic == 0xcc { 32 } else { 0 };
    let (data, bss) = (text + 4096, text + 8192);
    let words = [magic | 100 << 16, 4096, 4096, 8192, 0, text + header, 0, 0];
    let mut file = vec![0; offset + 8192];
    for (i, word) in words.iter().enumerate() {
        file[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
    }
    let code = code(data, bss);
    let at = offset + header as usize;
    file[at..at + code.len()].copy_from_slice(&code);
    file[offset + 4096..offset + 4100].copy_from_slice(b"data");
    file
}

/// Whether i386 code runs here at all.
fn runs() -> bool {
    let known = Host::new().ia32();
    if let Err(why) = &known {
        skip("a.out", why);
    }
    known.is_ok()
}

/// Whether this process may map page 0 (AOUT-9).
fn may_map_0() -> bool {
    const SYS_RAWIO: u64 = 1 << 17;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0");
    u64::from_str_radix(line.trim(), 16).unwrap_or(0) & SYS_RAWIO != 0
}

fn mmap_min_addr() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").unwrap_or_default();
    text.trim().parse().unwrap_or(65_536)
}

fn uexec(path: &Path) -> Output {
    let mut command = Command::new(uexec_binary());
    command.arg("run").arg(path).args(["arg", "more"]).env_clear().env("E", "1").output().unwrap()
}

fn write(dir: &Scratch, kind: (&str, u32, usize, u32)) -> PathBuf {
    let path = dir.path(kind.0);
    write_program(&path, &program(kind)).unwrap();
    path
}

#[test]
fn every_kind_runs() {
    if !runs() {
        return;
    }
    let dir = Scratch::new("aout");
    for kind in KINDS {
        let path = write(&dir, kind);
        let kernel = by_kernel(&Exec::new(&path)).unwrap();
        assert!(matches!(kernel, Outcome::Refused(e) if e.0 == ENOEXEC), "{} {kernel:?}", kind.0);
        let out = uexec(&path);
        if !may_map_0() && u64::from(kind.3) < mmap_min_addr() {
            assert_eq!(out.status.code(), None, "{}: {out:?}", kind.0);
            skip(kind.0, "this user may not map so low (vm.mmap_min_addr)");
            continue;
        }
        assert_eq!(out.stdout, b"argE=1data\0", "{}: {out:?}", kind.0);
        assert_eq!(out.status.code(), Some(3), "{}", kind.0);
    }
}

/// AOUT-5, AOUT-12, AOUT-13 as they are at the first instruction.
#[test]
fn start_of_a_qmagic_program() {
    if !runs() || (!may_map_0() && mmap_min_addr() > 4096) {
        return skip("QMAGIC", "this user may not map so low, or no i386 program");
    }
    let dir = Scratch::new("aout-start");
    let path = write(&dir, KINDS[3]);
    let started = by_uexec(&Exec::new(&path).args(["x"]), uexec_binary(), &[]).unwrap().started();
    let s = started.snapshot().unwrap();
    let r = &s.registers;
    assert_eq!(r.rip, 4096 + 32);
    assert_eq!((r.general, r.eflags), ([0; 15], 0x202));
    assert_eq!(r.segments, [0x23, 0x2b, 0x2b, 0x2b, 0, 0]);
    let word =
        |i: usize| u64::from(u32::from_le_bytes(s.stack[4 * i..4 * i + 4].try_into().unwrap()));
    assert_eq!([0, 1, 2].map(word), [2, r.rsp + 12, r.rsp + 24]);
    assert_eq!([5, 6].map(word), [0, 0]);
    assert_eq!(s.personality, 0x4_0000);
    let file: Vec<_> = s.maps.iter().filter(|m| m.path.ends_with("QMAGIC")).collect();
    let got: Vec<_> = file.iter().map(|m| (m.start, m.end, m.perms.as_str(), m.offset)).collect();
    assert_eq!(got, [(0x1000, 0x2000, "r-xp", 0), (0x2000, 0x3000, "rwxp", 0x1000)]);
}

/// The one assembler that still writes them. Its object files have no relocations when they need
/// none, and are then programs.
#[test]
fn by_an_assembler() {
    const SOURCE: &str = "bits 32\nsection .text\nstart: call next\nnext: pop ecx\n\
        add ecx, text - next\nmov eax, 4\nmov ebx, 1\nmov edx, 6\nint 0x80\n\
        mov eax, 1\nmov ebx, 5\nint 0x80\ntext: db \"a.out\", 10\n";
    if !runs() || !may_map_0() {
        return skip("nasm", "this user may not map page 0, or no i386 program");
    }
    let dir = Scratch::new("aout-nasm");
    let (from, to) = (dir.path("p.asm"), dir.path("p"));
    std::fs::write(&from, SOURCE).unwrap();
    let nasm = std::env::var_os("NASM").unwrap_or_else(|| "nasm".into());
    match Command::new(nasm).args(["-f", "aout", "-o"]).arg(&to).arg(&from).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => return skip("nasm", &error.to_string()),
    }
    write_program(&to, &std::fs::read(&to).unwrap()).unwrap();
    let out = uexec(&to);
    assert_eq!((out.stdout, out.status.code()), (b"a.out\n".to_vec(), Some(5)));
}

/// Writes, counts in its data and in its bss, and ends with the sum.
const TO_LINK: &str = "
    .text
    .globl _start
_start:
    movl $msg, %ecx
    movl $6, %edx
    movl $1, %ebx
    movl $4, %eax
    int $0x80
    movl counter, %ebx
    addl $2, (bss)
    addl bss, %ebx
    movl $1, %eax
    int $0x80
    PAD
    .data
msg: .ascii \"a.out\\n\"
    .p2align 2
counter: .long 5
    .p2align 12
    .bss
    .lcomm bss, 64
";

/// The header's words.
fn header(file: &[u8]) -> [u32; 8] {
    std::array::from_fn(|i| u32::from_le_bytes(file[4 * i..4 * i + 4].try_into().unwrap()))
}

/// By a linker that still makes them: binutils built for the target `i386-unknown-bsd` with
/// `--enable-targets=i386-pc-msdos`, whose format `a.out-i386` is Linux's but for `ZMAGIC`.
#[test]
fn by_a_linker() {
    let tool = |name: &str, usual: &str| std::env::var_os(name).unwrap_or_else(|| usual.into());
    let (gas, ld) =
        (tool("AOUT_AS", "i386-unknown-bsd-as"), tool("AOUT_LD", "i386-unknown-bsd-ld"));
    if !runs() || !may_map_0() {
        return skip("a.out by a linker", "this user may not map page 0, or no i386 program");
    }
    let dir = Scratch::new("aout-ld");
    let link = |pad: &str, options: &[&str]| -> Result<Vec<u8>, String> {
        let (source, object, to) = (dir.path("p.s"), dir.path("p.o"), dir.path("p"));
        std::fs::write(&source, TO_LINK.replace("PAD", pad)).unwrap();
        let assembled = Command::new(&gas).arg("-o").args([&object, &source]).status();
        let assembled = assembled.map_err(|e| format!("{}: {e}", gas.display()))?;
        let mut linker = Command::new(&ld);
        linker.args(["-m", "i386aout", "-s", "-e", "_start"]).args(options);
        let linked = linker.arg("-o").args([&to, &object]).status();
        let linked = linked.map_err(|e| format!("{}: {e}", ld.display()))?;
        assert!(assembled.success() && linked.success());
        Ok(std::fs::read(&to).unwrap())
    };
    let omagic = match link("", &["-N", "-Ttext", "0"]) {
        Ok(file) => file,
        Err(why) => return skip("a.out by a linker", &why),
    };
    let run = |file: &[u8]| {
        let path = dir.path("p");
        write_program(&path, file).unwrap();
        let out = uexec(&path);
        (String::from_utf8(out.stdout).unwrap(), out.status.code())
    };
    let works = ("a.out\n".to_owned(), Some(7));
    assert_eq!((header(&omagic)[0] & 0xffff, run(&omagic)), (0x107, works.clone()));
    let whole_pages = ".p2align 12";
    let nmagic = link(whole_pages, &["-n", "-Ttext", "0"]).unwrap();
    assert_eq!((header(&nmagic)[0] & 0xffff, run(&nmagic)), (0x108, works.clone()));
    // Text that fills no whole pages: its data lies elsewhere than it was linked for (AOUT-7).
    let short = link("", &["-n", "-Ttext", "0"]).unwrap();
    assert_eq!(run(&short), ("\0".repeat(6), Some(2)));
    // What it makes for paging has the header in the text, as QMAGIC has, and leaves it uncounted.
    let mut qmagic = link("", &["-Ttext", "0x1020"]).unwrap();
    let (info, text) = (header(&qmagic)[0], header(&qmagic)[1]);
    assert_eq!((info & 0xffff, text), (0x10b, 0xfe0));
    qmagic[..8].copy_from_slice(&[0xcc, 0, 100, 0, 0, 0x10, 0, 0]);
    assert_eq!(run(&qmagic), works);
    // Linux's ZMAGIC differs in where the text starts in the file.
    let mut zmagic = nmagic;
    zmagic[..2].copy_from_slice(&0x10bu16.to_le_bytes());
    zmagic.splice(32..32, [0; 1024 - 32]);
    assert_eq!(run(&zmagic), works);
}
