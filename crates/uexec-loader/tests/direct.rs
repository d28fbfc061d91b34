//! The loader started directly: what it loads looks as if the kernel had executed it.

mod common;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};

use uexec_loader::config::Config;

/// The image in memory, told nothing.
fn image() -> OwnedFd {
    common::image(&Config::default())
}

const NO_RANDOMIZE: libc::c_ulong = 0x004_0000;

fn fixed() -> io::Result<()> {
    // SAFETY: changes where the next programs of this process are laid out.
    match unsafe { libc::personality(NO_RANDOMIZE) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Runs a program without randomised addresses: by the kernel, or by the loader that is told
/// `words` first.
fn run(by_loader: bool, at: &str, path: &str, argv: &[&str]) -> Output {
    let image = image();
    let name = format!("/proc/self/fd/{}", image.as_raw_fd());
    let mut command = Command::new(if by_loader { &name } else { path });
    if by_loader {
        command.arg0("tag").args([at, path]).args(argv);
    } else {
        command.arg0(argv[0]).args(&argv[1..]);
    }
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(fixed) };
    command.env_clear().env("A", "1").output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn nothing_of_the_loader_is_left() {
    for file in ["maps", "cmdline", "environ", "comm", "auxv"] {
        let file = format!("/proc/self/{file}");
        let argv = ["cat", file.as_str()];
        let [ours, kernels] = [true, false].map(|ours| {
            let output = run(ours, "-", "/bin/cat", &argv);
            assert!(output.status.success(), "{output:?}");
            output.stdout
        });
        if file.ends_with("auxv") {
            // Where the random bytes lie is the same, and so is the rest.
            assert_eq!(ours.len(), kernels.len());
        }
        let shown = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        assert_eq!(shown(&ours), shown(&kernels), "{file}");
    }
}

#[test]
fn scripts_are_loaded_too() {
    let dir = std::env::temp_dir().join(format!("uexec-loader-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let script = dir.join("script");
    std::fs::write(&script, "#!/bin/sh\necho \"$0 $1\"\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = script.to_str().unwrap();
    let ours = text(&run(true, "-", path, &["x", "y"]));
    assert_eq!(ours, format!("{path} y\n"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_descriptor_is_kept_or_closed_as_asked() {
    let program = std::fs::File::open("/bin/ls").unwrap();
    const FD: i32 = 200;
    let fd = program.as_raw_fd();
    for (at, left) in [(FD.to_string(), true), (format!("-{FD}"), false)] {
        let image = image();
        let mut command = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()));
        command.arg0("tag").args([&at, "", "ls", "/proc/self/fd"]);
        let dup = move || {
            // SAFETY: the number is nobody's in the child.
            match unsafe { libc::dup2(fd, FD) } {
                FD => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes one system call.
        unsafe { command.pre_exec(dup) };
        let listed = text(&command.output().unwrap());
        assert_eq!(listed.lines().any(|l| l == "200"), left, "{at}: {listed}");
    }
}

#[test]
fn failures_are_told() {
    let output = run(true, "-", "/nowhere/at/all", &["x"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ENOENT"), "{output:?}");
    let output = run(true, "-", "/etc/passwd", &["x"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&output.stderr).contains("EACCES"), "{output:?}");
    let nothing = Command::new(format!("/proc/self/fd/{}", image().as_raw_fd())).output();
    assert_eq!(nothing.map(|o| o.status.code()).unwrap_or(Some(125)), Some(125));
}

#[test]
fn a_program_that_cannot_be_laid_out_dies() {
    // PT_LOAD whose file size is larger than its size in memory: the kernel kills it (ELF-44).
    let mut elf = std::fs::read("/proc/self/exe").unwrap();
    elf.truncate(64);
    elf[16] = 2;
    elf[32..40].copy_from_slice(&64u64.to_le_bytes());
    elf[56..58].copy_from_slice(&1u16.to_le_bytes());
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0u64, 0x40_0000, 0x40_0000, 0x200, 0x100, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.resize(0x1000, 0);
    let path = std::env::temp_dir().join(format!("uexec-loader-dies-{}", std::process::id()));
    std::fs::write(&path, &elf).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let [ours, kernels] =
        [true, false].map(|ours| run(ours, "-", path.to_str().unwrap(), &["x"]).status.signal());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(ours, Some(libc::SIGSEGV));
    assert_eq!(ours, kernels);
}
