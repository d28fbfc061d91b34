//! `#!` lines: every row of SCR-1 to SCR-26.
mod common;
use common::elf::Elf;
use common::{Mem, alive, exec};
use uexec_core::error::FileKind;
use uexec_core::world::Denied;
use uexec_core::{Errno, Exec, Plan, Reason};

fn world(script: impl Into<Vec<u8>>) -> Mem {
    Mem::default().with("/s", script).with("/i", Elf::fixed())
}

/// The arguments as the program finds them.
fn argv(plan: &Plan) -> Vec<String> {
    let bytes = plan.stack_bytes(&mut common::Mem::default());
    let start = (plan.mm.arg_start - plan.registers.rsp) as usize;
    let end = (plan.mm.arg_end - plan.registers.rsp) as usize;
    let text = String::from_utf8_lossy(&bytes[start..end]).into_owned();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[track_caller]
fn runs(script: impl Into<Vec<u8>>, expected: &[&str]) {
    let plan = alive(world(script).plan(exec(&["/s", "a1"], &[])));
    assert_eq!(argv(&plan), expected);
}

#[track_caller]
fn fails(script: impl Into<Vec<u8>>, errno: Errno) -> Reason {
    let e = world(script).run("/s").unwrap_err();
    assert_eq!(e.errno(), errno, "{e}");
    e.refusal.reason.clone()
}

fn blanks(n: usize) -> String {
    " ".repeat(n)
}

#[test]
fn scr_1_only_at_the_start() {
    for text in [" #!/i\n", "\u{feff}#!/i\n", "# !/i\n", "#", ""] {
        fails(text, Errno::ENOEXEC);
    }
}

#[test]
fn scr_10_plain() {
    for text in ["#!/i\n", "#! /i\n", "#!\t/i\t \n", "#!/i"] {
        runs(text, &["/i", "/s", "a1"]);
    }
}

#[test]
fn scr_11_one_argument() {
    runs("#!/i a b  c \n", &["/i", "a b  c", "/s", "a1"]);
    runs("#!/i\t \ta\n", &["/i", "a", "/s", "a1"]);
}

#[test]
fn scr_12_trailing_blanks_without_newline() {
    runs("#!/i a b  ", &["/i", "a b  ", "/s", "a1"]);
}

#[test]
fn scr_13_carriage_return() {
    let reason = fails("#!/i\r\n", Errno::ENOENT);
    assert_eq!(reason, Reason::Walk { errno: Errno::ENOENT });
}

#[test]
fn scr_14_15_no_name() {
    fails("#!\n", Errno::ENOEXEC);
    fails("#!  \t\n", Errno::ENOEXEC);
    fails("#!", Errno::EACCES);
    fails("#!   ", Errno::EACCES);
    fails("#!\0/i\n", Errno::EACCES);
}

#[test]
fn scr_16_to_18_nul() {
    runs("#!/i\0x\n", &["/i", "/s", "a1"]);
    runs("#!/i a\0b\n", &["/i", "a", "/s", "a1"]);
    runs("#!/i \0\n", &["/i", "", "/s", "a1"]);
}

#[test]
fn scr_19_longest_name() {
    let named = |len: usize, after: &str| {
        let name = format!("/{}", "n".repeat(len - 1));
        let script = format!("#!{name}{after}");
        Mem::default()
            .with("/s", script)
            .with(&name, Elf::fixed())
            .run("/s")
            .err()
            .map(|e| e.errno())
    };
    for after in ["\n", " x", "", "\0"] {
        assert_eq!(named(253, after), None, "{after:?}");
    }
    for after in [" x\n", "", "\0"] {
        assert_eq!(named(254, after), Some(Errno::ENOEXEC), "{after:?}");
    }
}

#[test]
fn scr_20_argument_cut() {
    let text = format!("#!/i {}", "x".repeat(400));
    runs(text, &["/i", &"x".repeat(250), "/s", "a1"]);
}

#[test]
fn scr_21_22_too_many_blanks() {
    runs(format!("#!/i{}x", blanks(256)), &["/i", "/s", "a1"]);
    fails(format!("#!{}/i\n", blanks(254)), Errno::ENOEXEC);
    fails(format!("#!{}", blanks(253)), Errno::ENOEXEC);
    fails(format!("#!{}/i\n", blanks(252)), Errno::ENOEXEC);
    runs(format!("#!{}/i", blanks(251)), &["/i", "/s", "a1"]);
}

#[test]
fn scr_2_newline_must_be_within_256() {
    // At offset 255 it is still found.
    runs(format!("#!/i {}\n", "x".repeat(250)), &["/i", &"x".repeat(250), "/s", "a1"]);
    runs(format!("#!/i x{}\n", blanks(249)), &["/i", "x", "/s", "a1"]);
}

#[test]
fn scr_23_relative_name() {
    let plan = alive(Mem::default().with("/s", "#!i x\n").with("i", Elf::fixed()).run("/s"));
    assert_eq!(argv(&plan), ["i", "x", "/s"]);
}

#[test]
fn scr_24_no_arguments() {
    let none = Exec { argv: vec![], ..Exec::new("/s") };
    let plan = alive(world("#!/i x\n").plan(none));
    assert_eq!(argv(&plan), ["/i", "x", "/s"]);
    assert_eq!(plan.stack.argc, 3);
}

#[test]
fn scr_25_27_script_of_a_script() {
    let mut mem = world("#!/t arg1\n").with("/t", "#!/i arg2\n");
    let plan = alive(mem.plan(Exec { path: b"/s".to_vec(), ..exec(&["name", "a1"], &["E=1"]) }));
    assert_eq!(argv(&plan), ["/i", "arg2", "/t", "arg1", "/s", "a1"]);
    assert_eq!((plan.filename.as_slice(), plan.comm.as_slice()), (&b"/s"[..], &b"s"[..]));
    let formats: Vec<_> = plan.chain.iter().map(|l| l.format.as_ref()).collect();
    assert_eq!(formats, ["script", "script", "elf"]);
}

#[test]
fn scr_26_bad_interpreters() {
    fails("#!/missing\n", Errno::ENOENT);
    for (denied, errno) in [
        (Denied::NoexecMount, Errno::EACCES),
        (Denied::NoPermission, Errno::EACCES),
        (Denied::TextBusy, Errno::ETXTBSY),
    ] {
        let mut mem = world("#!/i\n");
        mem.files[2].denied = Some(denied);
        assert_eq!(mem.run("/s").unwrap_err().errno(), errno);
    }
    let mut mem = world("#!/i\n");
    mem.files[2].kind = FileKind::Directory;
    assert_eq!(mem.run("/s").unwrap_err().errno(), Errno::EACCES);
}

#[test]
fn scr_28_set_user_id_of_scripts_is_ignored() {
    let mut mem = world("#!/i\n").by_user(1000);
    mem.files[1].mode = 0o4755;
    assert_eq!(alive(mem.run("/s")).creds.euid, 1000);
    mem.files[2].mode = 0o4755;
    assert_eq!(mem.run("/s").unwrap_err().errno(), Errno::EPERM);
}

#[test]
fn pipe_33_nobody_knows_it() {
    for text in [&b""[..], b"x", b"\x7fEL", b"MZ\0\0"] {
        assert!(matches!(fails(text, Errno::ENOEXEC), Reason::NoFormat { .. }));
    }
}

#[test]
fn pipe_35_five_hops() {
    let chain = |hops: usize| {
        let mut mem = Mem::default();
        for i in 0..hops {
            mem.add(format!("/{i}"), format!("#!/{}\n", i + 1));
        }
        mem.add(format!("/{hops}"), Elf::fixed());
        mem.run("/0").err().map(|e| e.errno())
    };
    assert_eq!(chain(5), None);
    assert_eq!(chain(6), Some(Errno::ELOOP));
    fails("#!/s\n", Errno::ELOOP);
    // The sixth interpreter is still looked for.
    let mut mem = Mem::default();
    for i in 0..6 {
        mem.add(format!("/{i}"), format!("#!/{}\n", i + 1));
    }
    assert_eq!(mem.run("/0").unwrap_err().errno(), Errno::ENOENT);
}
