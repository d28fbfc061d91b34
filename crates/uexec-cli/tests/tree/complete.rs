//! However an exec is made, it is served: the program then has the dynamic loader that the tree was
//! told to use, which only uexec can have given it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::place::Place;
use crate::common::skip;
use crate::{command, compile, interpreter, output, possible, run};

/// Says which dynamic loader it was started with, and its arguments.
const WITNESS: &str = r#"
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    char line[4096];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) found |= strstr(line, "/ld-of-the-tree") != 0;
    printf("%s", found ? "served" : "not served");
    for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
    puts("");
}
"#;

/// Starts its arguments in every way there is.
const STARTER: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static char **words;
static void *thread(void *how) {
    execve(words[0], words, environ);
    abort();
}
static void end(void) { int status; wait(&status); if (status) exit(1); }
int main(int argc, char **argv) {
    words = argv + 1;
    pid_t pid;
    if (posix_spawn(&pid, words[0], 0, 0, words, environ)) return 1;
    end();
    if (!vfork()) { execve(words[0], words, environ); _exit(1); }
    end();
    if (!fork()) { syscall(SYS_execve, words[0], words, environ); _exit(1); }
    end();
    if (!fork()) { int fd = open(words[0], O_RDONLY); fexecve(fd, words, environ); _exit(1); }
    end();
    if (!fork()) { syscall(SYS_execveat, AT_FDCWD, words[0], words, environ, 0); _exit(1); }
    end();
    if (!fork()) { pthread_t t; pthread_create(&t, 0, thread, 0); pause(); }
    end();
    char line[4096] = "exec";
    for (char **w = words; *w; w++) { strcat(line, " "); strcat(line, *w); }
    if (system(line)) return 1;
    execv(words[0], words);
}
"#;

struct Tree {
    place: Place,
    witness: PathBuf,
    starter: PathBuf,
    pair: String,
}

fn tree() -> Option<Tree> {
    let place = Place::new();
    let witness = compile(&place, "witness", WITNESS, &[]);
    let Some(old) = interpreter(&witness) else {
        skip("who is served", "the C compiler makes static programs");
        return None;
    };
    let new = place.file("ld-of-the-tree", fs::read(&old).unwrap(), 0o755);
    let starter = compile(&place, "starter", STARTER, &["-pthread"]);
    let pair = format!("{old}={}", new.display());
    Some(Tree { place, witness, starter, pair })
}

impl Tree {
    /// What a program writes in the tree.
    fn says(&self, words: &[&str]) -> String {
        let mut all = vec!["--interp", &self.pair];
        all.extend(words);
        output(command(true, all).current_dir(&self.place.path))
    }

    fn witness(&self) -> &str {
        self.witness.to_str().unwrap()
    }
}

#[track_caller]
fn all_served(said: &str, count: usize, words: &str) {
    let expected = format!("served {words}\n").repeat(count);
    assert_eq!(said, expected);
}

#[test]
fn every_system_call_and_library_function() {
    if !possible("every way of an exec") {
        return;
    }
    let Some(tree) = tree() else { return };
    let words = format!("{} a b", tree.witness());
    all_served(&tree.says(&[tree.witness(), "a", "b"]), 1, &words);
    let starter = tree.starter.to_str().unwrap();
    all_served(&tree.says(&[starter, tree.witness(), "a", "b"]), 8, &words);
    // The same from a program without a dynamic loader.
    let fixed = compile(&tree.place, "fixed", STARTER, &["-static", "-pthread"]);
    all_served(&tree.says(&[fixed.to_str().unwrap(), tree.witness(), "a", "b"]), 8, &words);
    // And the witness, when nobody replaces its loader.
    assert!(output(&mut command(true, [&tree.witness])).starts_with("not served"));
}

#[test]
fn scripts_shells_and_other_languages() {
    if !possible("scripts and languages") {
        return;
    }
    let Some(tree) = tree() else { return };
    let witness = tree.witness();
    let script = tree.place.script("script", format!("#!{witness} one two\n"));
    let script = script.to_str().unwrap();
    all_served(&tree.says(&["./script", "x"]), 1, &format!("{witness} one two ./script x"));
    let shell = format!("{witness} a; {witness} a | cat; (exec {witness} a); env {witness} a");
    all_served(&tree.says(&["sh", "-c", &shell]), 4, &format!("{witness} a"));
    assert_eq!(tree.says(&["sh", "-c", &format!("exec {script} y")]).lines().count(), 1);
    let python = format!(
        "import os,subprocess as s,sys\n\
         for f in (True, False): sys.stdout.write(s.check_output(['{witness}','a'],close_fds=f,text=True))\n\
         sys.stdout.flush()\n\
         os.waitpid(os.posix_spawn('{witness}',['{witness}','a'],os.environ),0)\n\
         os.execv('{witness}',['{witness}','a'])"
    );
    match run(command(true, ["python3", "-c", ""]).stdin(std::process::Stdio::null())).status.code()
    {
        Some(0) => {
            all_served(&tree.says(&["python3", "-c", &python]), 4, &format!("{witness} a"));
        }
        _ => skip("Python", "python3 is not installed"),
    }
}

#[test]
fn a_program_whose_loader_is_missing() {
    if !possible("a missing loader") {
        return;
    }
    let Some(tree) = tree() else { return };
    let flag = "-Wl,--dynamic-linker=/nowhere/ld.so";
    let lost = compile(&tree.place, "lost", WITNESS, &[flag]);
    let lost = lost.to_str().unwrap();
    let failed = run(&mut command(true, ["sh", "-c", lost]));
    assert_eq!(failed.status.code(), Some(127), "{failed:?}");
    let said = String::from_utf8_lossy(&failed.stderr);
    let expected = if crate::VIA == "binfmt" { "/nowhere/ld.so" } else { "not found" };
    assert!(said.contains(expected), "{failed:?}");
    let (_, new) = tree.pair.split_once('=').unwrap();
    let pair = format!("/nowhere/ld.so={new}");
    let said = output(&mut command(true, ["--interp", &pair, "sh", "-c", lost]));
    all_served(&said, 1, lost);
}

#[test]
fn a_build() {
    if !possible("a build") {
        return;
    }
    if run(&mut command(false, ["sh", "-c", "command -v make"])).status.code() != Some(0) {
        return skip("a build", "make is not installed");
    }
    let built = [true, false].map(|in_tree| {
        let place = Place::new();
        let mut objects = String::new();
        for i in 0..6 {
            place.file(&format!("f{i}.c"), format!("int f{i}(int x) {{ return x * {i}; }}\n"), 0o644);
            objects += &format!(" f{i}.o");
        }
        place.file("main.c", "int f3(int); int main(void) { return f3(14) - 42; }\n", 0o644);
        let rules = format!(
            "CFLAGS = -O1 -ffile-prefix-map=$(CURDIR)=.\nprog: main.o libf.a\n\t$(CC) -o $@ main.o libf.a\n\
             libf.a:{objects}\n\t$(AR) rcD $@ $^\n"
        );
        place.file("Makefile", rules, 0o644);
        let made = command(in_tree, ["make", "-j2", "-s"]).current_dir(&place.path).output();
        assert!(made.as_ref().unwrap().status.success(), "{made:?}");
        let run = command(in_tree, ["./prog"]).current_dir(&place.path).status().unwrap();
        assert_eq!(run.code(), Some(0));
        files(&place.path)
    });
    assert_eq!(built[0].len(), 17);
    assert!(built[0] == built[1], "files differ");
}

/// Names and contents.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let read =
        |e: fs::DirEntry| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap());
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    all
}
