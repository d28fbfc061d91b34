//! Every exec is seen: as many, by the same processes, of the same paths, as the kernel's own
//! tracepoint reports; and what the command makes is the same as without a tracer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{self, place::Place};
use super::{has, of, records, traced};

/// A tracing instance of its own that records execs; gone again at the end.
struct Kernel(PathBuf);

impl Kernel {
    fn new() -> Option<Kernel> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("uexec-{}-{n}", std::process::id());
        let path = Path::new("/sys/kernel/tracing/instances").join(name);
        if !common::root() || fs::create_dir(&path).is_err() {
            common::skip("the kernel's own list of execs", "no root, or no tracefs");
            return None;
        }
        let kernel = Kernel(path);
        let on = kernel.0.join("events/sched/sched_process_exec/enable");
        if fs::write(on, "1").is_err() {
            common::skip("the kernel's own list of execs", "no such tracepoint");
            return None;
        }
        Some(kernel)
    }

    /// Process and path of each exec so far.
    fn execs(&self) -> Vec<(i64, String)> {
        let text = fs::read_to_string(self.0.join("trace")).unwrap();
        let found = text.lines().filter_map(|line| {
            let (path, rest) = line.split_once("filename=")?.1.rsplit_once(" pid=")?;
            let pid = rest.split(' ').next()?.parse().ok()?;
            Some((pid, path.to_owned()))
        });
        found.collect()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("events/sched/sched_process_exec/enable"), "0");
        let _ = fs::remove_dir(&self.0);
    }
}

/// Runs the command in a place of its own, traced, and compares with the kernel.
fn compare(place: &Place, words: &[&str]) -> usize {
    let kernel = Kernel::new();
    let output = traced(place, "json", words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    let records = records(place);
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let mut ours: Vec<(i64, String)> = of(&records, "exec")
        .iter()
        .map(|e| (e["pid"].as_i64().unwrap(), text(&e["path"])))
        .collect();
    let count = ours.len();
    assert!(count > 0);
    if let Some(kernel) = kernel {
        let spawned = of(&records, "spawn");
        let pids: Vec<i64> = spawned.iter().filter_map(|s| s["pid"].as_i64()).collect();
        let root = ours[0].0;
        let mut theirs = kernel.execs();
        theirs.retain(|(pid, path)| {
            (pids.contains(pid) || *pid == root) && !path.ends_with("/uexec")
        });
        if theirs.is_empty() {
            common::skip("the kernel's own list of execs", "its process ids are not ours");
            return count;
        }
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{words:?}");
    }
    count
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
    if !(has("make") && has("cc")) {
        return;
    }
    let (one, two) = (Place::new(), Place::new());
    for place in [&one, &two] {
        place.file("Makefile", PROJECT, 0o644);
    }
    let count = compare(&one, &["make", "-j3"]);
    assert!(count >= 10, "{count}");
    assert!(Command::new("make").current_dir(&two.path).output().unwrap().status.success());
    assert!(fs::read(one.join("all")).unwrap() == fs::read(two.join("all")).unwrap());
}

#[test]
fn shells_git_python_go_and_threads() {
    let place = Place::new();
    place.script(
        "configure",
        "#!/bin/sh\nfor i in 1 2 3 4 5; do if test -x \"$(command -v prog$i)\"; then exit 1; fi\n\
         echo $i | sed s/1/one/ | cat >> conf; done\n(sleep 0.01 & wait)\nexec /bin/true\n",
    );
    assert!(compare(&place, &["./configure"]) >= 12);
    assert_eq!(fs::read_to_string(place.join("conf")).unwrap(), "one\n2\n3\n4\n5\n");
    if has("git") {
        let script = "git init -q r && cd r && git -c user.name=x -c user.email=x@x commit -q \
                      --allow-empty -m x && git log --oneline >/dev/null && git gc -q";
        assert!(compare(&place, &["sh", "-c", script]) >= 5);
    }
    let python = "import subprocess, os, threading\n\
                  for vfork in True, False:\n\
                  \tsubprocess._USE_VFORK = vfork\n\
                  \tassert subprocess.run(['sh', '-c', 'exit 4']).returncode == 4\n\
                  os.posix_spawn('/bin/true', ['true'], {})\nos.wait()\n\
                  t = threading.Thread(target=lambda: os.execv('/bin/true', ['true']))\n\
                  t.start(); t.join()\n";
    if has("python3") {
        assert!(compare(&place, &["python3", "-c", python]) >= 5);
    }
    if has("go") {
        let program = "package main\nimport \"os/exec\"\nfunc main() { for i := 0; i < 5; i++ { \
                       if exec.Command(\"true\").Run() != nil { panic(1) } } }\n";
        place.file("p.go", program, 0o644);
        let cache = place.join("cache");
        let built = Command::new("go")
            .args(["build", "-o", "p", "p.go"])
            .env("GOCACHE", &cache)
            .env("GOFLAGS", "-mod=mod")
            .current_dir(&place.path)
            .output()
            .unwrap();
        match built.status.success() {
            true => assert!(compare(&place, &["./p"]) >= 6),
            false => common::skip("a Go program", "it cannot be built here"),
        }
    }
}
