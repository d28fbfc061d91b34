//! i386 programs, started by the kernel and by `uexec run` with randomisation off: the same
//! comparison as for 64-bit programs, with one known deviation more ([vsyscall]).

mod support;

use std::path::Path;
use std::process::Command;

use support::{Scratch, ordinary, same};
use uexec_oracle::elf::{ET_DYN, ET_EXEC, Elf, R, W, X, code32};
use uexec_oracle::launch::{Exec, run};
use uexec_oracle::skip;
use uexec_oracle::state::State;
use uexec_oracle::uexec::uexec_binary;

const RLIMIT_STACK: u32 = 3;
const READ_IMPLIES_EXEC: u64 = 0x40_0000;
const ADDR_LIMIT_3GB: u64 = 0x800_0000;
const ADDR_COMPAT_LAYOUT: u64 = 0x20_0000;

/// Whether this kernel runs i386 programs at all, said aloud if it does not.
fn runs(dir: &Scratch) -> bool {
    let path = dir.path("probe");
    Elf::program(ET_EXEC, 0x804_8000, &code32::exit(7)).i386().write(&path).unwrap();
    let ok = run(&Exec::new(&path)).unwrap() == 7;
    if !ok {
        skip("i386", "this kernel does not run i386 programs");
    }
    ok
}

fn hand_made() -> Vec<(&'static str, Elf)> {
    let code = code32::exit(0);
    let plain = |e_type, vaddr| Elf::program(e_type, vaddr, &code).i386();
    let data = |mut elf: Elf, at: u64| {
        elf.load(R | W, at, b"some data").p_memsz = 0x5000;
        elf
    };
    let stack = |mut elf: Elf, flags| {
        elf.stack(flags);
        elf
    };
    let fixed = || data(plain(ET_EXEC, 0x804_8000), 0x805_0000);
    let pie = || data(plain(ET_DYN, 0), 0x3000);
    let mut aligned = stack(pie(), R | W);
    aligned.phdrs[0].p_align = 0x20_0000;
    let mut large = stack(pie(), R | W);
    large.bss(R | W, 0x10_0000, 0x40_0000);
    vec![
        ("missing PT_GNU_STACK", fixed()),
        ("static", stack(fixed(), R | W)),
        ("executable stack", stack(fixed(), R | W | X)),
        ("static PIE", stack(pie(), R | W)),
        ("static PIE without PT_GNU_STACK", pie()),
        ("aligned", aligned),
        ("large", large),
        ("high", stack(plain(ET_EXEC, 0xf000_0000), R | W)),
        ("low", stack(plain(ET_EXEC, 0x1_0000), R | W)),
        ("in the stack's place", stack(plain(ET_EXEC, 0xffff_d000), R | W)),
        ("beyond the end", stack(plain(ET_EXEC, 0xffff_e000), R | W)),
        ("where uexec puts its list", stack(plain(ET_EXEC, 0x312_3000), R | W)),
    ]
}

#[test]
fn hand_made_programs() {
    let dir = Scratch::new("i386-handmade");
    if !runs(&dir) {
        return;
    }
    for (what, elf) in hand_made() {
        let path = dir.path("p");
        elf.write(&path).unwrap();
        same(what, &ordinary(&path));
    }
}

#[test]
fn states_of_the_caller() {
    let dir = Scratch::new("i386-states");
    if !runs(&dir) {
        return;
    }
    let path = dir.path("p");
    hand_made()[1].1.write(&path).unwrap();
    let exec = ordinary(&path);
    for stack in [64 << 10, 1 << 20, 1 << 30, u64::MAX] {
        same("stack limit", &exec.clone().state(State::Limit(RLIMIT_STACK, stack)));
    }
    for bits in [ADDR_LIMIT_3GB, ADDR_COMPAT_LAYOUT, ADDR_LIMIT_3GB | ADDR_COMPAT_LAYOUT] {
        same("personality", &exec.clone().state(State::Personality(bits)));
    }
    same("another argv[0]", &Exec { argv: vec![c"name".into()], ..exec.clone() });
    same("1000 arguments", &exec.args((0..999).map(|i| format!("argument {i}"))));
}

/// Known deviation: what the caller of `uexec` had set there the kernel has cleared at the exec
/// of `uexec`, a 64-bit program.
#[test]
fn deviation_read_implies_exec_is_not_passed_on() {
    let dir = Scratch::new("i386-rie");
    if !runs(&dir) {
        return;
    }
    let path = dir.path("p");
    hand_made()[1].1.write(&path).unwrap();
    let exec = ordinary(&path).state(State::Personality(READ_IMPLIES_EXEC));
    let found = support::differences(&exec);
    assert!(found.iter().any(|f| f.contains("personality")), "{found:?}");
}

#[test]
fn the_c_library_and_its_loader() {
    let dir = Scratch::new("i386-libc");
    let loader = ["/lib32/ld-linux.so.2", "/lib/i386-linux-gnu/ld-linux.so.2"];
    let Some(loader) = loader.into_iter().find(|p| Path::new(p).exists()) else {
        return skip("i386 loader", "no i386 C library (libc6-i386)");
    };
    if !runs(&dir) {
        return;
    }
    same("ld.so", &ordinary(Path::new(loader)));
    // A program with an interpreter, made by hand: the loader is started, and finds no dynamic
    // section.
    let path = dir.path("p");
    let mut elf = Elf::program(ET_DYN, 0x1000, &code32::exit(0)).i386();
    elf.interp(loader.as_bytes());
    elf.stack(R | W);
    elf.write(&path).unwrap();
    same("PIE", &ordinary(&path));
    let mut elf = Elf::program(ET_EXEC, 0x804_8000, &code32::exit(0)).i386();
    elf.interp(loader.as_bytes());
    elf.stack(R | W);
    elf.write(&path).unwrap();
    same("dynamic", &ordinary(&path));
    // Libraries that can be executed.
    let library = Path::new(loader).with_file_name("libc.so.6");
    if library.exists() {
        same("libc", &ordinary(&library));
    }
}

#[test]
fn programs_of_this_machine() {
    let names = ["/bin/busybox.i386", "/usr/i386/bin/busybox", "/usr/i386-linux-gnu/bin/busybox"];
    let named = std::env::var_os("UEXEC_I386_PROGRAMS");
    let extra = named.iter().flat_map(std::env::split_paths).collect::<Vec<_>>();
    let found = names.map(std::path::PathBuf::from).into_iter().chain(extra);
    let found: Vec<_> = found.filter(|p| p.is_file()).collect();
    if found.is_empty() {
        skip("i386 programs", "none here; UEXEC_I386_PROGRAMS=PATH:PATH names some");
    }
    for path in found {
        same("program", &ordinary(&path));
    }
}

const EVERYTHING: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static __thread int tls = 7;
static __thread char big[3000];
static volatile sig_atomic_t handled;
static void on(int s, siginfo_t *i, void *u) { (void)u; handled += i->si_signo == s && tls == 7; }
static void *thread(void *a) {
    tls += (int)(long)a;
    memset(big, tls, sizeof big);
    usleep(100);
    return (void *)(long)(tls + big[2999]);
}
int main(void) {
    pthread_t t[8];
    long sum = 0;
    for (long i = 0; i < 8; i++) pthread_create(&t[i], 0, thread, (void *)i);
    for (int i = 0; i < 8; i++) { void *r; pthread_join(t[i], &r); sum += (long)r; }
    struct sigaction sa = {0};
    sa.sa_sigaction = on;
    sa.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR1, &sa, 0);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR1);
    stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&ss, 0);
    sa.sa_flags |= SA_ONSTACK;
    sigaction(SIGUSR2, &sa, 0);
    raise(SIGUSR2);
    int st;
    pid_t p = fork();
    if (!p) _exit(5);
    waitpid(p, &st, 0);
    free(malloc(50 << 20));
    void *m = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct timespec now;
    int clock = clock_gettime(CLOCK_MONOTONIC, &now);
    char *brk = sbrk(4096);
    double d = 1.5;
    for (int i = 0; i < 10; i++) d *= 1.25;
    printf("sum %ld handled %d child %d tls %d %f mmap %d clock %d brk %d\n", sum, (int)handled,
           WEXITSTATUS(st), tls, d, m != MAP_FAILED && (unsigned long)m < 0xffffe000ul, clock,
           brk != (char *)-1);
    return 3;
}
"#;

/// Threads, thread-local storage, signals, forks, the vdso's clock, the break: the same output and
/// status, for every kind of program a compiler makes; and the same start.
#[test]
fn compiled_programs_work() {
    let dir = Scratch::new("i386-compiled");
    if !runs(&dir) {
        return;
    }
    let kinds: [&[&str]; 4] =
        [&["-static"], &["-static-pie", "-fPIE"], &["-no-pie"], &["-pie", "-fPIE"]];
    for kind in kinds {
        let options = [&["-m32", "-pthread"], kind].concat();
        let Some(path) = dir.cc("everything", EVERYTHING, &options) else { continue };
        let kernel = Command::new(&path).output().unwrap();
        assert_eq!(kernel.status.code(), Some(3), "{kind:?}");
        let expected = "sum 168 handled 3 child 5 tls 7 13.969839 mmap 1 clock 0 brk 1\n";
        assert_eq!(String::from_utf8_lossy(&kernel.stdout), expected, "{kind:?}");
        for options in [&[][..], &["--no-aslr"], &["--seed", "5"], &["--userns"]] {
            let mut command = Command::new(uexec_binary());
            let uexec = command.arg("run").args(options).arg(&path).output().unwrap();
            if options == ["--userns"] && uexec.status.code() == Some(125) {
                skip("--userns", &String::from_utf8_lossy(&uexec.stderr));
                continue;
            }
            assert_eq!(uexec, kernel, "{kind:?} {options:?}");
        }
        same("compiled", &ordinary(&path));
    }
}

/// Where the kernel has no IA32 emulation its `int 0x80` is a general protection fault, `SIGSEGV` for
/// who asks. Here `strace(1)` sends that at the first i386 call.
#[test]
fn without_emulation_they_are_refused_with_a_reason() {
    let dir = Scratch::new("i386-off");
    if !runs(&dir) {
        return;
    }
    let path = dir.path("probe");
    let run = |command: &str| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=mmap2", "-e", "inject=mmap2:signal=SIGSEGV", "-o"]);
        strace.arg("/dev/null").arg(uexec_binary()).arg(command).arg(&path).output()
    };
    let refused = match run("run") {
        Ok(out) if out.status.code() == Some(126) => out,
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            // Before 5.0 it cannot; where it is forbidden to trace it says so.
            assert!(said.contains("strace"), "{out:?}");
            return skip("i386 without emulation", said.lines().next().unwrap_or("strace"));
        }
        Err(error) => return skip("i386 without emulation", &format!("strace: {error}")),
    };
    let said = String::from_utf8_lossy(&refused.stderr);
    for part in ["(ENOEXEC)", "it is an i386 program", "no IA32 emulation", "hint"] {
        assert!(said.contains(part), "{said}");
    }
    // Explained all the same, as a 32-bit kernel would lay it out.
    let explained = run("explain").unwrap();
    let said = String::from_utf8_lossy(&explained.stdout);
    assert!(said.contains("no IA32 emulation") && said.contains("i386 (32-bit kernel)"), "{said}");
}
