//! What a tree adds to each exec, and to a build: each way, beside tracers and proot.
//!
//! ```text
//! cargo bench -p uexec --bench tree            7 rounds of 1,000 execs each, and a build
//! cargo bench -p uexec --bench tree -- 20      more
//! cargo bench -p uexec --bench tree -- /dir    make there, in place of twenty files that do nothing
//! ```
//!
//! Printed are the least and the median of microseconds for one start and end of `/bin/true` by a
//! shell, and what is added to the plain way's least. The kernel starts the loader for every
//! program; from aside it is put in place only where another dynamic loader is asked for, so that is
//! measured with and without.

mod side;

use std::path::Path;

use side::Side;

fn main() {
    let mut side = Side::new("tree");
    let out = side.dir.join("out").display().to_string();
    let uexec = env!("CARGO_BIN_EXE_uexec");
    side.way("plain", &[]);
    side.way("run --tree --via binfmt", &[uexec, "run", "--tree", "--via", "binfmt"]);
    // The usual loader by its real name, so that everything else stays as it is.
    let usual = Path::new("/lib64/ld-linux-x86-64.so.2");
    let real = usual.canonicalize().ok().filter(|real| real != usual);
    let pair = real.map(|real| format!("{}={}", usual.display(), real.display()));
    if pair.is_none() {
        println!("all served from aside: skipped, the dynamic loader has one name only");
    }
    for via in ["notify", "ptrace"] {
        let words = [uexec, "run", "--tree", "--via", via];
        side.way(&format!("run --tree --via {via}, nobody is served"), &words);
        if let Some(pair) = &pair {
            let words = [&words[..], &["--interp", pair]].concat();
            side.way(&format!("run --tree --via {via}, all are served"), &words);
        }
    }
    side.way("uexec trace", &[uexec, "trace", "-o", &out]);
    let strace = ["strace", "-f", "--seccomp-bpf", "-e", "execve", "-o", &out];
    side.way("strace -f --seccomp-bpf", &strace);
    side.way("proot", &["proot"]);
    let line = "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i + 1)); done";
    side.measure(&["sh", "-c", line], 1000.0);
}
