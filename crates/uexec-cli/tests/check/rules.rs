//! Rules of the kernel's own `binfmt_misc`, in a namespace of their own.

use std::process::Command;

use crate::common::place::{Place, uexec};
use crate::common::skip;

/// Mounts an instance, registers rules, checks a directory, and runs what a rule should run.
const SCRIPT: &str = r#"
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 77
cd /proc/sys/fs/binfmt_misc || exit 77
printf '%s' ':old:E::uexec-test::/bin/false:' > register || exit 77
printf '%s' ':new:E::uexec-test::/bin/echo:' > register || exit 77
printf '%s' ':arm:M:18:\xb7\x00:\xff\xff:/usr/bin/qemu-aarch64:' > register || exit 77
printf '%s' ':off:M:18:\xb7\x00:\xff\xff:/nobody:' > register && echo 0 > off || exit 77
"$1" check --all "$2"
echo "status $?"
"$2/x.uexec-test"
"#;

#[test]
fn the_rule_that_runs_a_file_is_named() {
    let p = Place::new();
    p.script("x.uexec-test", "text\n");
    let mut arm = b"\x7fELF\x02\x01\x01".to_vec();
    arm.resize(64, 0);
    (arm[16], arm[18]) = (2, 183);
    p.script("arm", arm);
    let out = Command::new("unshare")
        .args(["-Urm", "sh", "-c", SCRIPT, "sh"])
        .args([uexec(), &p.path])
        .output();
    let Ok(out) = out else { return skip("binfmt_misc", "no unshare(1)") };
    if out.status.code() != Some(0) || !String::from_utf8_lossy(&out.stdout).contains("status") {
        return skip("binfmt_misc", "no instance of its own in a user namespace (Linux 6.7)");
    }
    let text = String::from_utf8(out.stdout).unwrap();
    let at = |name| p.join(name).display().to_string();
    for line in [
        format!(
            "{}: foreign: for aarch64 (64-bit), run by /usr/bin/qemu-aarch64 by the binfmt_misc \
             rule arm\n",
            at("arm")
        ),
        // The newest rule, as the kernel then does.
        format!("{0}: starts, run by /bin/echo by the binfmt_misc rule new\n", at("x.uexec-test")),
        "status 0\n".to_owned(),
        format!("status 0\n{}\n", at("x.uexec-test")),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}
