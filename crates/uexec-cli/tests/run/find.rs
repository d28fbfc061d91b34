//! Finding the program: PATH as `execvp(3)` has it, standard input, descriptors.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::common::ask::{End, check, finish, finish_with};
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::{run, text};

#[track_caller]
fn found(p: &Place, path: Option<&str>, name: &str) -> (End, String) {
    let mut command = run(p, [name]);
    command.env_clear();
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let seen = finish(&mut command);
    (seen.end, seen.stderr)
}

/// Every file that was looked at on the way stayed open, and no more than a dozen could.
#[test]
fn regression_many_that_are_not_executable() {
    let p = Place::new();
    p.elf("last/prog", &Elf::exit(1));
    let mut path = String::new();
    for i in 0..100 {
        p.file(&format!("{i}/prog"), Elf::exit(4).bytes(), 0o644);
        path += &format!("{i}:");
    }
    let (seen, stderr) = found(&p, Some(&(path.clone() + "last")), "prog");
    assert_eq!(seen, End::Exit(1), "{stderr}");
    let (seen, stderr) = found(&p, Some(&path), "prog");
    assert_eq!(seen, End::Exit(126), "{stderr}");
}

#[test]
fn path_search() {
    let p = Place::new();
    p.elf("one/prog", &Elf::exit(1));
    p.elf("two/prog", &Elf::exit(2));
    p.elf("prog", &Elf::exit(3));
    p.file("plain/prog", Elf::exit(4).bytes(), 0o644);
    fs::create_dir_all(p.join("dir/prog")).unwrap();
    p.elf("file", &Elf::exit(5));
    for (path, end) in [
        ("one:two", 1),
        ("two:one", 2),
        ("missing:two", 2),
        // Not a directory, a directory, not executable: all passed over.
        ("file:two", 2),
        ("dir:plain:one", 1),
        // An empty component is the working directory.
        ("", 3),
        (":one", 3),
        ("missing:", 3),
        ("missing::one", 3),
        // EACCES is remembered when nothing else is found.
        ("plain", 126),
        ("plain:missing", 126),
        ("missing:dir:missing", 126),
        ("missing:file", 127),
    ] {
        let (seen, stderr) = found(&p, Some(path), "prog");
        assert_eq!(seen, End::Exit(end), "PATH={path}: {stderr}");
        // The same as execvp(3).
        let kernel = execvp(&p, path);
        let status = match kernel {
            Err(libc::EACCES) => 126,
            Err(_) => 127,
            Ok(status) => status,
        };
        assert_eq!(status, end, "execvp with PATH={path}");
    }
    let (end, stderr) = found(&p, Some("one:two"), "nosuch");
    assert_eq!(end, End::Exit(127));
    assert!(stderr.contains("no directory in PATH has it"), "{stderr}");
    // A script that is there but whose interpreter is not tells more than one that is not there.
    p.script("one/script", "#!/missing/interpreter\n");
    let (end, stderr) = found(&p, Some("one:two"), "script");
    assert_eq!(end, End::Exit(127));
    assert!(stderr.contains("/missing/interpreter"), "{stderr}");
    // Without PATH: /bin and /usr/bin.
    assert_eq!(found(&p, None, "true").0, End::Exit(0));
    assert_eq!(found(&p, None, "prog").0, End::Exit(127));
    // A slash means no search.
    assert_eq!(found(&p, Some("one"), "two/prog").0, End::Exit(2));
}

/// What `execvp(3)` makes of the program `prog`.
fn execvp(p: &Place, path: &str) -> Result<i32, i32> {
    let mut command = Command::new("/proc/self/exe");
    let path = std::ffi::CString::new(format!("PATH={path}")).unwrap();
    command.current_dir(&p.path);
    let hook = move || {
        // SAFETY: nothing else runs in this child.
        unsafe { libc::putenv(path.as_ptr().cast_mut()) };
        let argv = [c"prog".as_ptr(), std::ptr::null()];
        // SAFETY: the array and its strings live until the call returns.
        unsafe { libc::execvp(argv[0], argv.as_ptr()) };
        Err(std::io::Error::last_os_error())
    };
    // SAFETY: the tests start children one at a time; the hook takes no lock.
    unsafe { command.pre_exec(hook) };
    match finish(&mut command).end {
        End::Exit(status) => Ok(status),
        End::Errno(errno) => Err(errno.0.into()),
        End::Signal(signal) => panic!("killed by {signal}"),
    }
}

/// Runs `uexec run -` with this on standard input.
fn piped(p: &Place, program: &[u8], args: &[&str]) -> crate::Seen {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create(c"x", flags).unwrap());
    file.write_all(program).unwrap();
    file.rewind().unwrap();
    finish_with(run(p, ["-"]).args(args).stdin(Stdio::from(file)))
}

#[test]
fn standard_input() {
    let p = Place::new();
    let seen = piped(&p, &Elf::exit(9).bytes(), &[]);
    assert_eq!(seen.end, End::Exit(9), "{}", seen.stderr);
    let seen = piped(&p, &Elf::echo().bytes(), &["a", "-v"]);
    assert_eq!(text(&seen), "-\0a\0-v\0");
    let seen = piped(&p, b"#!/bin/sh\necho \"$1\" is here\n", &["who"]);
    assert_eq!((seen.end, text(&seen).as_str()), (End::Exit(0), "who is here"), "{}", seen.stderr);
    let seen = piped(&p, b"not a program", &[]);
    assert_eq!(seen.end, End::Exit(126));
    let seen = piped(&p, b"", &[]);
    assert_eq!(seen.end, End::Exit(126));
    assert!(seen.stderr.contains("the file is empty"), "{}", seen.stderr);
    // Through a pipe, which has an end only when the writer closes it.
    let mut command = run(&p, ["-"]);
    command.stdin(Stdio::piped());
    let mut child = {
        let _lock = crate::common::place::one_at_a_time();
        command.spawn().unwrap()
    };
    child.stdin.take().unwrap().write_all(&Elf::exit(9).bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn descriptors() {
    let p = Place::new();
    p.elf("prog", &Elf::exit(9));
    p.script("script", "#!/bin/sh\necho \"$0\" \"$1\"\n");
    for (name, end, says) in [("prog", End::Exit(9), ""), ("script", End::Exit(0), "/dev/fd/9 x")] {
        let file = File::open(p.join(name)).unwrap();
        let mut command = run(&p, ["/dev/fd/9", "x"]);
        let fd = file.as_raw_fd();
        let hook = move || {
            // SAFETY: only numbers are passed.
            let got = unsafe { libc::dup2(fd, 9) };
            check((got - 9).signum())
        };
        // SAFETY: the tests start children one at a time; the hook takes no lock.
        unsafe { command.pre_exec(hook) };
        let seen = finish(&mut command);
        assert_eq!((seen.end, text(&seen).as_str()), (end, says), "{name}: {}", seen.stderr);
    }
    assert_eq!(finish(&mut run(&p, ["/dev/fd/77"])).end, End::Exit(127));
}

/// Standard input is the program's: uexec reads nothing of it.
#[test]
fn standard_input_is_untouched() {
    let p = Place::new();
    p.file("text", "first\nsecond\n", 0o644);
    let mut file = File::open(p.join("text")).unwrap();
    let mut first = [0; 6];
    file.read_exact(&mut first).unwrap();
    let seen = finish_with(run(&p, ["cat"]).stdin(file.try_clone().unwrap()));
    assert_eq!(text(&seen), "second");
}
