//! What a tree adds to each exec, and to a build: both ways, beside tracers and proot.
//!
//! ```text
//! cargo bench -p uexec --bench tree            7 rounds of 1,000 execs each, and a build
//! cargo bench -p uexec --bench tree -- 20      more
//! cargo bench -p uexec --bench tree -- /dir    make there, in place of twenty files that do nothing
//! ```
//!
//! Printed are the least and the median of microseconds for one start and end of `/bin/true` by a
//! shell, and what is added to the plain way's least. The kernel starts the loader for every
//! program; the tracer puts it in place only where another dynamic loader is asked for, so it is
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
    side.way(
        "run --tree --via ptrace, nobody is served",
        &[uexec, "run", "--tree", "--via", "ptrace"],
    );
    // The usual loader by its real name, so that everything else stays as it is.
    let usual = Path::new("/lib64/ld-linux-x86-64.so.2");
    match usual.canonicalize().ok().filter(|real| real != usual) {
        Some(real) => {
            let pair = format!("{}={}", usual.display(), real.display());
            let ptrace = [uexec, "run", "--tree", "--via", "ptrace", "--interp", &pair];
            side.way("run --tree --via ptrace, all are served", &ptrace);
        }
        None => println!("all served by ptrace: skipped, the dynamic loader has one name only"),
    }
    side.way("uexec trace", &[uexec, "trace", "-o", &out]);
    let strace = ["strace", "-f", "--seccomp-bpf", "-e", "execve", "-o", &out];
    side.way("strace -f --seccomp-bpf", &strace);
    side.way("proot", &["proot"]);
    let line = "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i + 1)); done";
    side.measure(&["sh", "-c", line], 1000.0);
}
