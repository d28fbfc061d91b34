//! What tracing adds to each exec, and to a build, beside other tracers.
//!
//! ```text
//! cargo bench -p uexec --bench trace            7 rounds of 1,000 execs each, and a build
//! cargo bench -p uexec --bench trace -- 20      more
//! ```
//!
//! Printed are the least and the median of microseconds for one start and end of `/bin/true` by a
//! shell, and what is added to the plain way's least.

mod side;

use side::Side;

fn main() {
    let mut side = Side::new("trace");
    let out = side.dir.join("out").display().to_string();
    let uexec = env!("CARGO_BIN_EXE_uexec");
    side.way("plain", &[]);
    side.way("uexec trace", &[uexec, "trace", "-o", &out]);
    side.way("uexec trace --format json", &[uexec, "trace", "--format", "json", "-o", &out]);
    side.way("uexec trace --format html", &[uexec, "trace", "--format", "html", "-o", &out]);
    let strace = ["strace", "-f", "--seccomp-bpf", "-e", "execve", "-o", &out];
    side.way("strace -f --seccomp-bpf", &strace);
    side.way("tracexec log", &["tracexec", "log", "-o", &out, "--"]);
    let line = "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i + 1)); done";
    side.measure(&["sh", "-c", line], 1000.0);
}
