//! The exec family against libc's: the same call in two forked children, once by glibc and the
//! kernel, once by uexec. Exit status, output and errno must be the same (ERR-70, ERR-71).

#![allow(unsafe_code, reason = "calls libc's own exec family")]

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("uexec-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn file(&self, path: &str, text: &str, mode: u32) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        xtask::scratch::write(&path, text, mode);
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What became of a child.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: i32,
    /// What the call failed with; 0 when it did not return.
    errno: i32,
    output: String,
}

/// Runs `f`, which answers an errno, in a child with this working directory and PATH.
fn in_child(dir: &Path, path: Option<&str>, f: &dyn Fn() -> i32) -> Outcome {
    let (mut out, child_out) = std::io::pipe().unwrap();
    let (mut err, child_err) = std::io::pipe().unwrap();
    let dir = CString::new(dir.to_str().unwrap()).unwrap();
    let path = path.map(|p| CString::new(p).unwrap());
    // SAFETY: the child uses what it has copied, and glibc makes its allocator usable in it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let name = c"PATH".as_ptr();
        // SAFETY: plain calls with valid strings, in a process of one thread.
        unsafe { libc::chdir(dir.as_ptr()) };
        // SAFETY: likewise; 1 is standard output.
        unsafe { libc::dup2(child_out.as_raw_fd(), 1) };
        match &path {
            // SAFETY: likewise.
            Some(path) => unsafe { libc::setenv(name, path.as_ptr(), 1) },
            // SAFETY: likewise.
            None => unsafe { libc::unsetenv(name) },
        };
        let errno = f().to_ne_bytes();
        // SAFETY: writes four bytes.
        unsafe { libc::write(child_err.as_raw_fd(), errno.as_ptr().cast(), 4) };
        // SAFETY: leaves without running anything of the parent's.
        unsafe { libc::_exit(99) }
    }
    drop((child_out, child_err));
    let mut output = String::new();
    out.read_to_string(&mut output).unwrap();
    let mut errno = [0; 4];
    let errno = err.read_exact(&mut errno).map_or(0, |()| i32::from_ne_bytes(errno));
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    Outcome { status, errno, output }
}

fn pointers(words: &[&CStr]) -> Vec<*const c_char> {
    words.iter().map(|w| w.as_ptr()).chain([std::ptr::null()]).collect()
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Numbers that look random and are the same each time (xorshift).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A tree with every kind of candidate.
fn tree(name: &str) -> Dir {
    let dir = Dir::new(name);
    dir.file("noexec/prog", "#!/bin/sh\n", 0o644);
    dir.file("text/prog", "echo text $0 $*\n", 0o755);
    dir.file("good/prog", "#!/bin/sh\necho good $0 $* $MARK\n", 0o755);
    dir.file("nointerp/prog", "#!/no/such\n", 0o755);
    dir.file("badinterp/prog", "#!/etc/passwd\n", 0o755);
    dir.file("emptyline/prog", "#! \n", 0o755);
    dir.file("junk/prog", "\u{7f}ELF", 0o755);
    dir.file("empty/prog", "", 0o755);
    dir.file("file", "", 0o644);
    fs::create_dir_all(dir.0.join("isdir/prog")).unwrap();
    fs::create_dir(dir.0.join("loops")).unwrap();
    symlink("prog", dir.0.join("loops/prog")).unwrap();
    fs::create_dir(dir.0.join("dangling")).unwrap();
    symlink("/no/such", dir.0.join("dangling/prog")).unwrap();
    dir.file("prog", "#!/bin/sh\necho here $0 $*\n", 0o755);
    dir
}

const DIRS: [&str; 15] = [
    "noexec",
    "text",
    "good",
    "nointerp",
    "badinterp",
    "emptyline",
    "junk",
    "empty",
    "file",
    "isdir",
    "loops",
    "dangling",
    "missing",
    "",
    "good",
];

#[test]
fn execvpe_searches_as_libc_does() {
    let dir = tree("execvpe");
    let mut rng = Rng(0x5eed);
    let long = "d/".repeat(2100);
    let names = ["prog", "prog", "prog", "prog", "absent", "", "./good/prog", "text/prog"];
    let huge = "x".repeat(256);
    for case in 0..250 {
        let mut parts: Vec<&str> = (0..rng.below(5)).map(|_| *rng.pick(&DIRS)).collect();
        if case % 50 == 7 {
            // And where nothing else is there, it leaves errno as it was.
            parts.push("missing");
            parts.insert(0, &long);
        }
        // An unset PATH finds nothing of ours, wherever it leads.
        let path = (case % 25 != 3).then(|| parts.join(":"));
        // Instead of a directory whose path is too long, glibc 2.36 looks in the working directory;
        // uexec does not follow it there, so that nothing must be found in it.
        let name = match case {
            _ if case % 50 == 7 => "absent",
            _ if case % 60 == 9 => huge.as_str(),
            _ => rng.pick(&names),
        };
        let file = CString::new(name).unwrap();
        let argv = &[c"zero", c"one"][..rng.below(3)];
        let envp = [c"MARK=x", c"PATH=/nowhere"];
        let libc_way = in_child(&dir.0, path.as_deref(), &|| {
            let (argv, envp) = (pointers(argv), pointers(&envp));
            // SAFETY: arrays of C strings that end with a null pointer.
            unsafe { libc::execvpe(file.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
            last_errno()
        });
        let ours = in_child(&dir.0, path.as_deref(), &|| {
            uexec_process::execvpe(&file, argv, &envp).errno().0.into()
        });
        assert_eq!(ours, libc_way, "case {case}: {name:?} with {argv:?} in {path:?}");
    }
}

/// Arguments of one call, for both ways.
struct Call<'a> {
    path: &'a CStr,
    argv: [&'a CStr; 2],
    envp: [&'a CStr; 1],
    dirfd: i32,
}

const FUNCTIONS: [&str; 9] =
    ["execv", "execve", "execvp", "execl", "execlp", "execle", "execveat", "nofollow", "bad flag"];

impl Call<'_> {
    fn by_libc(&self, function: &str) -> i32 {
        let (argv, envp) = (pointers(&self.argv), pointers(&self.envp));
        let (s, a, e) = (self.path.as_ptr(), argv.as_ptr(), envp.as_ptr());
        let (a0, a1) = (argv[0], argv[1]);
        // One sentence holds for all: arrays and lists of C strings end with a null pointer, and
        // live as long as the call.
        match function {
            // SAFETY: see above.
            "execv" => unsafe { libc::execv(s, a) },
            // SAFETY: see above.
            "execve" => unsafe { libc::execve(s, a, e) },
            // SAFETY: see above.
            "execvp" => unsafe { libc::execvp(s, a) },
            // SAFETY: see above.
            "execl" => unsafe { libc::execl(s, a0, a1, NULL) },
            // SAFETY: see above.
            "execlp" => unsafe { libc::execlp(s, a0, a1, NULL) },
            // SAFETY: see above.
            "execle" => unsafe { libc::execle(s, a0, a1, NULL, e) },
            // SAFETY: see above.
            "execveat" => unsafe { execveat(self.dirfd, s, a, e, 0) },
            // SAFETY: see above.
            "nofollow" => unsafe { execveat(-100, s, a, e, 0x100) },
            // SAFETY: see above.
            _ => unsafe { execveat(-100, s, a, e, 1) },
        };
        last_errno()
    }

    fn by_uexec(&self, function: &str) -> i32 {
        use uexec_process::{execl, execle, execlp, execv, execve, execveat, execvp};
        let (p, a, e) = (self.path, &self.argv, &self.envp);
        let error = match function {
            "execv" => execv(p, a),
            "execve" => execve(p, a, e),
            "execvp" => execvp(p, a),
            "execl" => execl(p, a),
            "execlp" => execlp(p, a),
            "execle" => execle(p, a, e),
            "execveat" => execveat(self.dirfd, p, a, e, 0),
            "nofollow" => execveat(-100, p, a, e, 0x100),
            _ => execveat(-100, p, a, e, 1),
        };
        error.errno().0.into()
    }
}

#[test]
fn the_others_are_as_libc() {
    let dir = tree("family");
    let good = fs::File::open(dir.0.join("good")).unwrap();
    for name in ["good/prog", "text/prog", "prog", "noexec/prog", "nointerp/prog", "missing", ""] {
        let path = CString::new(name).unwrap();
        let call = Call {
            path: &path,
            argv: [c"zero", c"one"],
            envp: [c"MARK=x"],
            dirfd: good.as_raw_fd(),
        };
        for function in FUNCTIONS {
            let expected = in_child(&dir.0, Some("text:good"), &|| call.by_libc(function));
            let got = in_child(&dir.0, Some("text:good"), &|| call.by_uexec(function));
            assert_eq!(got, expected, "{function} of {name:?}");
        }
    }
}

#[test]
fn descriptors_are_executed_as_by_libc() {
    let dir = tree("fexecve");
    let script = fs::File::open(dir.0.join("good/prog")).unwrap();
    // SAFETY: takes a number; the copy, which is not close-on-exec, stays until the test's end.
    let kept = unsafe { libc::dup(script.as_raw_fd()) };
    let elf = fs::File::open("/bin/echo").unwrap();
    let good = fs::File::open(dir.0.join("good")).unwrap();
    for (what, fd) in [
        ("a script", kept),
        ("a program, close-on-exec", elf.as_raw_fd()),
        ("a script, close-on-exec", script.as_raw_fd()),
        ("a directory", good.as_raw_fd()),
        ("nothing", -1),
        ("a closed one", 999),
    ] {
        let (argv, envp) = ([c"zero", c"one"], [c"MARK=x"]);
        let expected = in_child(&dir.0, None, &|| {
            let (argv, envp) = (pointers(&argv), pointers(&envp));
            // SAFETY: arrays of C strings that end with a null pointer.
            unsafe { libc::fexecve(fd, argv.as_ptr(), envp.as_ptr()) };
            last_errno()
        });
        let got =
            in_child(&dir.0, None, &|| uexec_process::fexecve(fd, &argv, &envp).errno().0.into());
        assert_eq!(got, expected, "fexecve of {what}");
    }
    // SAFETY: nobody else knows it.
    unsafe { libc::close(kept) };
}

const NULL: *const c_char = std::ptr::null();

unsafe extern "C" {
    fn execveat(
        dirfd: i32,
        path: *const c_char,
        argv: *const *const c_char,
        envp: *const *const c_char,
        flags: i32,
    ) -> i32;
}
