//! Every exec of a command and of all its descendants is seen by `uexec trace`, and served by
//! `uexec run --tree`: as many as the kernel's own tracepoint reports in the same run, by the same
//! processes, of the same files, with the same arguments; and what the command makes is the same.
//! Small commands here; `cargo run --release -p uexec-oracle --bin execs -- CMD` takes any.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use uexec_oracle::skip;
use uexec_oracle::uexec::uexec_binary;

/// A directory, gone again at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("uexec-test-execs-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> &Folder {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Compares, with so many execs at least. The other program tells what it cannot do.
#[track_caller]
fn equal(via: &str, least: usize, copy: &Path, words: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_execs"));
    command.arg("--uexec").arg(uexec_binary()).args(["--via", via, "--least", &least.to_string()]);
    command.arg("--copy").arg(copy).arg("--").args(words);
    let told = command.env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    let said = String::from_utf8_lossy(&told.stdout);
    let errors = String::from_utf8_lossy(&told.stderr);
    if let Some(line) = errors.lines().find(|line| line.starts_with("skipped: ")) {
        return skip(&words.join(" "), line);
    }
    assert!(told.status.success(), "{said}{errors}");
    assert!(said.ends_with("  equal\n"), "{said}{errors}");
}

/// Whether a program runs here; says so if not.
fn has(program: &str, argument: &str) -> bool {
    let there = Command::new(program).arg(argument).output().is_ok_and(|o| o.status.success());
    if !there {
        skip(program, "not installed");
    }
    there
}

const PROJECT: &str = "\
all: a b c
	cat a b c > all
%: %.c
	$(CC) -o $@ $<
a.c b.c c.c:
	echo 'int main(void) { return 0; }' > $@
";

#[test]
fn make_of_a_c_project() {
    if !has("make", "--version") {
        return;
    }
    let folder = Folder::new("make");
    folder.file("Makefile", PROJECT);
    for via in ["trace", "binfmt", "notify", "ptrace"] {
        equal(via, 10, &folder.0, &["make", "-j3", "-s"]);
    }
}

const CONFIGURE: &str = "\
#!/bin/sh
for i in 1 2 3; do if test -x \"$(command -v prog$i)\"; then exit 1; fi
echo $i | sed s/1/one/ | cat >> conf; done
cat > conftest.c <<_EOF
int main(void) { return 0; }
_EOF
cc -static -o conftest conftest.c && ./conftest && echo static >> conf
(sleep 0.01 & wait)
./config.sub >> conf
exec /bin/true
";

#[test]
fn configure_with_static_programs_and_scripts() {
    let folder = Folder::new("configure");
    folder.file("configure", CONFIGURE).file("config.sub", "#!/bin/sh -e\nexec /bin/echo x86_64\n");
    for via in ["trace", "binfmt", "notify", "ptrace"] {
        equal(via, 10, &folder.0, &["./configure"]);
    }
}

#[test]
fn git() {
    if !has("git", "--version") {
        return;
    }
    let folder = Folder::new("git");
    folder.file("a", "a\n").file("hook", "#!/bin/sh\nexec /bin/true\n");
    let script = "export GIT_COMMITTER_DATE='2001-01-01 00:00:00 +0000' HOME=/nonexistent
        git init -q r && cd r && cp ../a . && cp ../hook .git/hooks/pre-commit && git add a
        git -c user.name=x -c user.email=x@x commit -q -m x --date=2001-01-01T00:00:00
        git log --oneline > ../log && git repack -q -a -d && git fsck > ../fsck 2>&1
        git clone -q . ../s; rm -rf .git ../s/.git";
    equal("trace", 8, &folder.0, &["sh", "-c", script]);
}

/// All ways that Python has, from another thread too.
const PYTHON: &str = "\
import subprocess, os, threading
for vfork in True, False:
	subprocess._USE_VFORK = vfork
	assert subprocess.run(['sh', '-c', 'exit 4']).returncode == 4
os.posix_spawn('/bin/true', ['true', 'a\\nb', '', '\\u00e4'], {})
os.wait()
if not os.fork(): os.execve(os.open('/bin/true', os.O_RDONLY), ['by descriptor'], {})
os.wait()
try: os.execv('/nonexistent', ['x'])
except OSError: pass
t = threading.Thread(target=lambda: os.execv('/bin/true', ['from another thread']))
t.start(); t.join()
";

/// An interactive shell in a terminal of its own: a job is stopped, goes on, and is interrupted.
const SHELL: &str = "\
import os, pty, select, signal, sys, time
signal.alarm(60)
pid, fd = pty.fork()
if pid == 0:
	# Who runs the tests may ignore them, and a shell leaves it at that.
	for s in signal.SIGINT, signal.SIGQUIT, signal.SIGHUP: signal.signal(s, signal.SIG_DFL)
	os.execvpe('sh', ['sh', '-i'], {**os.environ, 'PS1': '% ', 'ENV': ''})
steps = [('% ', \"sh -c 'echo rea''dy; exec sleep 1000'\\n\"), ('ready', '\\x1a'), ('% ', 'jobs; echo s${U}aw\\n'),
         ('saw', 'fg\\n'), ('sleep', '\\x03'), ('% ', '/bin/true | cat; exit 5\\n')]
seen = ''
for wanted, typed in steps:
	while wanted not in seen:
		assert select.select([fd], [], [], 30)[0], seen
		seen += os.read(fd, 4096).decode()
	seen = seen.split(wanted, 1)[1]
	# Keys are for the job, once it has the terminal.
	while typed < ' ' and os.tcgetpgrp(fd) == pid: time.sleep(0.01)
	os.write(fd, typed.encode())
try:
	while os.read(fd, 4096): pass
except OSError: pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 5)
";

#[test]
fn python_and_a_shell_with_job_control() {
    if !has("python3", "--version") {
        return;
    }
    let folder = Folder::new("python");
    folder.file("spawn.py", PYTHON).file("shell.py", SHELL);
    equal("trace", 5, &folder.0, &["python3", "spawn.py"]);
    equal("trace", 5, &folder.0, &["python3", "shell.py"]);
}

#[test]
fn cargo_and_go() {
    let folder = Folder::new("cargo");
    folder.file("Cargo.toml", "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    folder.file("src/main.rs", "fn main() {}\n").file("build.rs", "fn main() {}\n");
    if has("cargo", "--version") {
        let build =
            ["cargo", "build", "--offline", "-q", "--target-dir", "/dev/shm/uexec-execs-target"];
        let build = [
            &["sh", "-c", "\"$@\"; s=$?; rm -rf /dev/shm/uexec-execs-target; exit $s", "-"],
            &build[..],
        ]
        .concat();
        equal("trace", 5, &folder.0, &build);
    }
    let program = "package main\nimport \"os/exec\"\nfunc main() { for i := 0; i < 5; i++ { \
                   if exec.Command(\"true\").Run() != nil { panic(1) } } }\n";
    folder.file("p.go", program);
    if has("go", "version") {
        let cache = folder.0.join("cache");
        let mut build = Command::new("go");
        build.args(["build", "-o", "p", "p.go"]).env("GOCACHE", &cache).env("GOFLAGS", "-mod=mod");
        let built = build.current_dir(&folder.0).output().unwrap();
        let _ = fs::remove_dir_all(cache);
        if !built.status.success() {
            return skip("a Go program", "it cannot be built here");
        }
        for via in ["trace", "binfmt", "notify", "ptrace"] {
            equal(via, 6, &folder.0, &["./p"]);
        }
    }
}
