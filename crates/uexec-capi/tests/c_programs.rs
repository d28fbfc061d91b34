//! Programs in C with the library: the examples, and the exec family beside libc's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use uexec_core::World;
use xtask::scratch::{Scratch, lost_program, may_map_so_low, prefix};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name)
}

/// What pkg-config would say, from the file that is installed for it.
fn flags(prefix: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(prefix.join("lib/pkgconfig/uexec.pc")).unwrap();
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
    let root = value("prefix=");
    let expand = |s: String| {
        s.replace("${libdir}", &value("libdir="))
            .replace("${includedir}", &value("includedir="))
            .replace("${prefix}", &root)
    };
    expand(value(name)).split_whitespace().map(str::to_owned).collect()
}

fn shared(prefix: &Path) -> Vec<String> {
    let mut all = flags(prefix, "Cflags:");
    all.extend(flags(prefix, "Libs:"));
    all.push(format!("-Wl,-rpath,{}", prefix.join("lib").display()));
    all
}

fn strs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

const EXAMPLE: &str = "\
spawn: 2, open: the file, or a directory on the way to it, does not exist
spawn: 2, chdir: chdir failed: No such file or directory
explain: 13, /: open: it is a directory, and only regular files are executed
execv: 13, open: no execute bit is set in its mode 0644; not even root may run it (chmod +x it)
and so on
";

#[test]
fn the_example_works_with_the_shared_library() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("c-shared");
    let program = dir.compile(&source("example.c"), "example", &strs(&shared(prefix)));
    let output = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), EXAMPLE, "{output:?}");
}

#[test]
fn the_example_works_with_the_static_library() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("c-static");
    let mut all = flags(prefix, "Cflags:");
    all.push(prefix.join("lib/libuexec.a").display().to_string());
    all.extend(flags(prefix, "Libs.private:"));
    let program = dir.compile(&source("example.c"), "example", &strs(&all));
    let output = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), EXAMPLE, "{output:?}");
}

const FUNCTIONS: [&str; 14] = [
    "execl", "execl0", "execl1", "execlp", "execle", "execle9", "execv", "execvp", "execvpe",
    "execve", "execve0", "execveat", "fexecve", "fexecve0",
];

#[test]
fn the_family_is_as_libc() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("c-family");
    dir.file("good/prog", "#!/bin/sh\necho $0 $# $* $MARK\n", 0o755);
    dir.file("text/prog", "echo by the shell $0 $# $*\n", 0o755);
    dir.file("noexec/prog", "", 0o644);
    let ours = dir.compile(&source("family.c"), "ours", &strs(&shared(prefix)));
    let libcs =
        dir.compile(&source("family.c"), "libcs", &["-DLIBC", "-Wno-nonnull", "-Wno-format"]);
    let run = |program: &Path, function: &str, name: &str, threads: bool| -> Output {
        let mut command = Command::new(program);
        command.args([function, name]).args(threads.then_some("threads"));
        let path = format!("{0}/noexec:{0}/text:{0}/good:/bin", dir.path().display());
        command.current_dir(dir.path()).env("PATH", path).output().unwrap()
    };
    for function in FUNCTIONS {
        for name in
            ["good/prog", "text/prog", "prog", "noexec/prog", "missing", "", "NULL", "/bin/echo"]
        {
            // libc's search takes a null pointer for a string.
            if name == "NULL" && function.starts_with("execvp") | function.starts_with("execlp") {
                continue;
            }
            for threads in [false, true] {
                let expected = run(&libcs, function, name, false);
                let got = run(&ours, function, name, threads);
                assert_eq!(got, expected, "{function} of {name:?}, threads: {threads}");
            }
        }
    }
}

#[test]
fn formats_that_the_kernel_has_lost() {
    let Some(prefix) = prefix() else { return };
    let dir = Scratch::new("c-lost");
    dir.file("prog", &lost_program(), 0o755);
    let program = dir.compile(&source("lost.c"), "lost", &strs(&shared(prefix)));
    if let Err(why) = uexec_linux::Host::new().ia32() {
        return eprintln!("skipped: a.out from C: {why}");
    }
    if !may_map_so_low() {
        return eprintln!("skipped: a.out from C: this user may not map so low (vm.mmap_min_addr)");
    }
    let output = Command::new(program).arg(dir.path().join("prog")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "8 0 7\n", "{output:?}");
}
