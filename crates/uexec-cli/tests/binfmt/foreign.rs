//! Programs for other processors, run by qemu-user through a rule, without privilege.

use std::path::Path;

use super::{by_rule, cc};
use crate::common::ask::{End, finish};
use crate::common::place::Place;
use crate::common::skip;

const HELLO: &str = r#"
#include <stdio.h>
int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++) printf("[%s]", argv[i]);
    puts("");
    return 42;
}
"#;

/// The rule of qemu-user for a little-endian 64-bit machine: any program or library for Linux.
fn rule(machine: u8, qemu: &str, flags: &str) -> String {
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    format!(r":q:M::{magic}\x{machine:02x}\x00:{mask}:{qemu}:{flags}")
}

#[test]
fn static_and_dynamic_programs() {
    for (arch, machine) in [("aarch64", 183), ("riscv64", 243)] {
        let qemu = [format!("/usr/bin/qemu-{arch}-static"), format!("/usr/bin/qemu-{arch}")];
        let Some(qemu) = qemu.into_iter().find(|q| Path::new(q).exists()) else {
            skip(&format!("programs for {arch}"), "qemu-user is not installed");
            continue;
        };
        let p = Place::new();
        let compiler = format!("{arch}-linux-gnu-gcc");
        let Some(()) = cc(&p, &compiler, HELLO, "static", &["-static"]) else { continue };
        let Some(()) = cc(&p, &compiler, HELLO, "dynamic", &[]) else { continue };
        p.file("qemu.conf", rule(machine, &qemu, "OF") + "\n", 0o644);
        for name in ["./static", "./dynamic"] {
            let mut command = by_rule(&p, &["qemu.conf".to_owned()], &[name, "a", "b c"]);
            let seen = finish(command.env("QEMU_LD_PREFIX", format!("/usr/{arch}-linux-gnu")));
            assert_eq!(seen.end, End::Exit(42), "{arch} {name}: {}", seen.stderr);
            assert_eq!(seen.stdout, format!("[{name}][a][b c]\n").into_bytes(), "{arch}");
        }
    }
}
