//! Rules of `binfmt_misc` that are wrong, and execs that fail by rules that are right. The kernel is
//! asked about them elsewhere, in a `binfmt_misc` of one's own: by the test `misc` of `uexec-oracle`.

use std::process::Command;

use uexec_core::Errno;

use crate::common::ask::{Ask, End, finish};
use crate::common::elf::Elf;
use crate::common::place::{Place, uexec};
use crate::{errno, message};

/// The command is given this rule in a file.
#[track_caller]
fn wrong(name: &str, rule: impl AsRef<[u8]>, errno: Errno) {
    let p = Place::new();
    p.file("rules.conf", [b"# rules\n", rule.as_ref(), b"\n"].concat(), 0o644);
    let mut command = Command::new(uexec());
    let seen = finish(command.args(["run", "--binfmt", "rules.conf", "x"]).current_dir(&p.path));
    assert_eq!(seen.end, End::Exit(125), "{}", seen.stderr);
    assert!(seen.stderr.contains(&format!("({})", errno.name())), "{}", seen.stderr);
    message(name, &seen.stderr);
}

#[test]
fn misc_1_to_12_rules_that_cannot_be_registered() {
    let einval = Errno::EINVAL;
    wrong("misc_01_too_short", ":a:E::x::/", einval);
    wrong("misc_01_too_long", format!(":a:E::x::{}:", "/".repeat(1920)), einval);
    wrong("misc_02_no_name", "::E::jar::/usr/bin/jexec:", einval);
    wrong("misc_02_slash_in_name", ":a/b:E::jar::/usr/bin/jexec:", einval);
    wrong("misc_03_type", ":jar:X::jar::/usr/bin/jexec:", einval);
    wrong("misc_04_offset", ":jar:M:0x4:PK::/usr/bin/jexec:", einval);
    wrong("misc_05_no_magic", ":jar:M::::/usr/bin/jexec:", einval);
    wrong("misc_05_escape", ":jar:M::PK\\x3\\x4::/usr/bin/jexec:", einval);
    wrong("misc_06_mask_length", ":jar:M::PK\\x03\\x04:\\xff\\xff:/usr/bin/jexec:", einval);
    wrong("misc_07_too_far", ":jar:M:254:PK\\x03\\x04::/usr/bin/jexec:", einval);
    wrong("misc_08_no_extension", ":jar:E::::/usr/bin/jexec:", einval);
    wrong("misc_09_no_interpreter", ":jar:E::jar:::", einval);
    wrong("misc_09_not_ended", ":jar:E::jar::/usr/bin/jexec", einval);
    wrong("misc_10_arguments", ":jar:E::jar::/usr/bin/java:-jar", einval);
    wrong("misc_10_delimiter", "PjarPEPPjarPP/usr/bin/jexecP", einval);
    wrong("misc_11_fixed_interpreter", ":jar:E::jar::/no/such/jexec:F", Errno::ENOENT);
    wrong("misc_12_name_in_use", ":status:E::jar::/usr/bin/jexec:", Errno::EEXIST);
    let long = format!(":{}:E::jar::/usr/bin/jexec:", "n".repeat(256));
    wrong("misc_12_name_too_long", long, Errno::ENAMETOOLONG);
}

/// A file fails by this rule.
#[track_caller]
fn fails(name: &str, p: &Place, rule: &str, expected: Errno) {
    let mut ask = Ask::new(&p.path, "./hello.jar");
    for option in ["--binfmt", "none", "--binfmt", rule] {
        ask = ask.option(option);
    }
    let ours = ask.uexec();
    assert_eq!(ours.end, errno(expected), "{}", ours.stderr);
    message(name, &ours.stderr);
    crate::explained(name, &ask, errno(expected), &ours.stderr);
}

#[test]
fn misc_23_to_30_execs_that_fail_by_a_rule() {
    let p = Place::new();
    p.script("hello.jar", "PK");
    p.script("script", "#!./i\n");
    p.elf("i", &Elf::exit(0));
    p.file("plain", "", 0o644);
    fails("misc_23_greedy", &p, ":all:M::x:\\x00:./i:", Errno::ELOOP);
    fails("misc_29_missing_interpreter", &p, ":jar:E::jar::./none:", Errno::ENOENT);
    fails("misc_29_not_executable", &p, ":jar:E::jar::./plain:", Errno::EACCES);
    fails("misc_30_script_after_o", &p, ":jar:E::jar::./script:O", Errno::ENOEXEC);
}
