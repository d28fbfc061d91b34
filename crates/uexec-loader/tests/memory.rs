//! The memory a program finds that the loader has put into its own place, compared with what the
//! kernel gives: with and without what the loader can be told beforehand, as root and as nobody,
//! small and too large for the room the loader has.

mod common;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use uexec_linux::{Host, Known};
use uexec_loader::config::Config;

/// The image in memory.
fn image(told: bool) -> OwnedFd {
    let known = told.then(|| Known::of(&mut Host::new())).flatten();
    assert_eq!(known.is_some(), told);
    common::image(&Config { known, ..Config::default() })
}

#[derive(Clone, Copy, Debug)]
struct How {
    fixed: bool,
    nobody: bool,
    /// Bytes of environment.
    env: usize,
    /// Memory that was once written to must not become executable: `PR_SET_MDWE(2const)`.
    mdwe: bool,
}

/// What the program writes: loaded by the kernel, or by an image.
fn said(image: Option<&OwnedFd>, how: How, path: &str, args: &[&str]) -> Vec<u8> {
    let mut command;
    if let Some(image) = image {
        command = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()));
        command.arg0("tag").args(["-", path, path]).args(args);
    } else {
        command = Command::new(path);
        command.args(args);
    }
    let set_up = move || {
        let persona = if how.fixed { 0x4_0000 } else { 0 };
        // SAFETY: numbers are passed.
        if unsafe { libc::personality(persona) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the same; kernels before 6.3 do not know the option, and refuse it.
        let _ = how.mdwe && unsafe { libc::prctl(65, 1, 0, 0, 0) } == -1;
        // SAFETY: the same.
        if how.nobody && unsafe { libc::setresuid(65534, 65534, 65534) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(set_up) };
    command.env_clear();
    for i in 0..how.env.div_ceil(100) {
        command.env(format!("VARIABLE_{i}"), "x".repeat(100.min(how.env)));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{how:?} {path} {args:?}: {output:?}");
    output.stdout
}

fn all() -> impl Iterator<Item = (bool, How)> {
    let root = rustix::process::getuid().is_root();
    let users = if root { &[false, true][..] } else { &[false][..] };
    [true, false].into_iter().flat_map(move |told| {
        [true, false].into_iter().flat_map(move |fixed| {
            users.iter().flat_map(move |nobody| {
                [0, 3000, 30_000, 300_000]
                    .map(|env| (told, How { fixed, nobody: *nobody, env, mdwe: false }))
            })
        })
    })
}

/// Mappings without their addresses where those are random, and how far each is from the one
/// before where they belong together.
fn shape(maps: &[u8], fixed: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(maps);
    let number = |s: &str| u64::from_str_radix(s, 16).unwrap();
    let mut end = 0;
    let mut shape = Vec::new();
    for line in text.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').map(|(f, t)| (number(f), number(t))).unwrap();
        let joined = from == end;
        end = to;
        let place = if fixed { format!("{from:x}") } else { format!("{joined}") };
        shape.push(format!("{place} {:x} {rest}", to - from));
    }
    shape
}

#[test]
fn mappings_are_the_kernels() {
    let mdwe = |(told, how)| [how, How { mdwe: true, ..how }].map(|how| (told, how));
    for (told, how) in all().flat_map(mdwe) {
        let image = image(told);
        let [ours, kernels] = [Some(&image), None]
            .map(|image| shape(&said(image, how, "/bin/cat", &["/proc/self/maps"]), how.fixed));
        // Where the kernel has random addresses, the sizes of what cat itself asks for stay.
        assert_eq!(ours, kernels, "told {told}, {how:?}");
    }
}

/// A program of this folder, where everybody can reach it.
fn compiled(name: &str, options: &[&str]) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name);
    let id = std::process::id();
    let to = std::env::temp_dir().join(format!("uexec-loader-{id}-{name}{}", options.len()));
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-static", "-nostdlib", "-fno-stack-protector", "-o"]).arg(&to).arg(&from);
    let done = cc.args(options).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    to
}

#[test]
fn stacks_are_the_kernels_byte_for_byte() {
    // The second has an executable stack, which the kernel makes for no loader.
    for options in [&["-Wl,-z,noexecstack"][..], &["-Wl,-z,execstack", "-Wl,--no-warn-mismatch"]] {
        let program = compiled("stack.c", options);
        let path = program.to_str().unwrap();
        for (told, how) in all().filter(|(_, how)| how.fixed) {
            let image = image(told);
            let [ours, kernels] =
                [Some(&image), None].map(|image| said(image, how, path, &["one", "two"]));
            assert_eq!(ours.len(), kernels.len(), "told {told}, {how:?}, {options:?}");
            let differs = ours.iter().zip(&kernels).position(|(a, b)| a != b);
            assert_eq!(differs, None, "told {told}, {how:?}, {options:?}");
        }
        std::fs::remove_file(&program).unwrap();
    }
}

/// A program where the loader is itself.
#[test]
fn the_loaders_own_place_can_be_wanted() {
    let program = compiled("stack.c", &["-Wl,-Ttext=0x200000001000", "-mcmodel=large", "-fno-pic"]);
    let path = program.to_str().unwrap();
    for (told, how) in all().filter(|(_, how)| how.env == 3000 && how.fixed) {
        let image = image(told);
        let [ours, kernels] = [Some(&image), None].map(|image| said(image, how, path, &["one"]));
        assert_eq!(ours, kernels, "told {told}, {how:?}");
    }
    std::fs::remove_file(&program).unwrap();
}
