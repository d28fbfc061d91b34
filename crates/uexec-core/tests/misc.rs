//! `binfmt_misc`: the text of rules, what they match, and what an exec by them becomes (MISC-1 to
//! MISC-31).

mod common;

use common::{Mem, alive, exec, feed, words};
use proptest::prelude::*;
use uexec_core::abi::at;
use uexec_core::binfmt::misc::{Fault, Flags, Misc, Test, command, parse, parse_entry};
use uexec_core::{Errno, Exec, ExecError, KERNEL_FORMATS, Op, Plan, plan};

#[track_caller]
fn refused(text: &[u8], spec: &str, at: usize, len: usize) {
    let bad = parse(text).expect_err(&text.escape_ascii().to_string());
    assert_eq!(bad.fault.errno(), Errno::EINVAL);
    assert_eq!((bad.fault.spec(), bad.at, bad.len), (spec, at, len), "{bad}");
    assert!(!bad.fault.hint().is_empty());
}

fn magic_of(text: &[u8]) -> (usize, Vec<u8>, Option<Vec<u8>>) {
    match parse(text).unwrap().test {
        Test::Magic { offset, magic, mask } => (offset, magic, mask),
        Test::Extension(e) => panic!("{e:?}"),
    }
}

#[test]
fn misc_1_length() {
    refused(&b":a:E::x::/:"[..10], "MISC-1", 10, 0);
    parse(b":a:E::x::/:").unwrap();
    let long = |n: usize| [&b":a:E::x::"[..], &b"/".repeat(n - 10), b":"].concat();
    parse(&long(1920)).unwrap();
    refused(&long(1921), "MISC-1", 1920, 1);
}

#[test]
fn misc_2_and_3_name_and_type() {
    refused(b"::E::ext::/bin/x:", "MISC-2", 1, 0);
    refused(b":.:E::ext::/bin/x:", "MISC-2", 1, 1);
    refused(b":..:E::ext::/bin/x:", "MISC-2", 1, 2);
    refused(b":a/b:E::ext::/bin/x:", "MISC-2", 1, 3);
    parse(b":...:E::ext::/bin/x:").unwrap();
    refused(b":a:e::ext::/bin/x:", "MISC-3", 3, 1);
    refused(b":a:EM::ext::/bin/x:", "MISC-3", 3, 2);
    refused(b":a\0:E::ext::/bin/x:", "MISC-9", 2, 1);
}

#[test]
fn misc_4_offset() {
    for (text, offset) in
        [("", 0), ("0", 0), ("+7", 7), ("007", 7), ("7\n", 7), ("-0", 0), ("252", 252)]
    {
        let rule = format!(":a:M:{text}:abcd::/bin/x:");
        assert_eq!(magic_of(rule.as_bytes()).0, offset, "{text:?}");
    }
    for text in ["-1", "0x7", " 7", "7 ", "7\n\n", "a", "+", "\n", "2147483648", "+-1"] {
        refused(format!(":a:M:{text}:abcd::/bin/x:").as_bytes(), "MISC-4", 5, text.len());
    }
    refused(b":a:M:253:abcd::/bin/x:", "MISC-7", 5, 8);
    refused(b":a:M:2147483647:abcd::/bin/x:", "MISC-7", 5, 15);
}

#[test]
fn misc_5_and_6_magic_and_mask() {
    assert_eq!(magic_of(b":a:M::\\x7fE\\q::/bin/x:").1, b"\x7fE\\q");
    assert_eq!(magic_of(b":a:M::\\x00\\x3a::/bin/x:").1, b"\0:");
    assert_eq!(magic_of(b":a:M::A\0B::/bin/x:").1, b"A");
    // A backslash before a backslash stands for both, and the rest is text.
    assert_eq!(magic_of(b":a:M::\\\\x41::/bin/x:").1, b"\\\\x41");
    assert_eq!(magic_of(b":a:M::ab:\\xff\\x0F:/bin/x:").2, Some(vec![0xff, 0x0f]));
    assert_eq!(magic_of(b":a:M::ab:\0zz:/bin/x:").2, None);
    refused(b":a:M::::/bin/x:", "MISC-5", 6, 0);
    refused(b":a:M::\0A::/bin/x:", "MISC-5", 6, 2);
    refused(b":a:M::\\x4::/bin/x:", "MISC-5", 6, 4);
    refused(b":a:M::ab:\\xzz:/bin/x:", "MISC-5", 9, 4);
    refused(b":a:M::ab:\\xff:/bin/x:", "MISC-6", 9, 4);
}

#[test]
fn misc_8_extension() {
    let rule = parse(b":a:E:junk:x\\x41:mask:/i:").unwrap();
    assert_eq!(rule.test, Test::Extension(b"x\\x41".into()));
    refused(b":a:E::::/bin/x:", "MISC-8", 6, 0);
    refused(b":a:E::a/b::/bin/x:", "MISC-8", 6, 3);
}

#[test]
fn misc_9_and_10_interpreter_and_flags() {
    assert_eq!(parse(b":a:E::x::some thing:").unwrap().interpreter, b"some thing");
    refused(b":a:E::ext:::", "MISC-9", 11, 0);
    refused(b":a:E::ext::/bin/x", "MISC-9", 11, 6);
    let flags = |text: &[u8]| parse(&[b":a:E::ext::/bin/x:", text].concat()).map(|r| r.flags);
    assert_eq!(flags(b"").unwrap(), Flags::empty());
    assert_eq!(flags(b"CPF\n").unwrap(), Flags::all());
    assert_eq!(flags(b"PPPP").unwrap(), Flags::PRESERVE_ARGV0);
    assert_eq!(flags(b"C").unwrap(), Flags::CREDENTIALS | Flags::OPEN_BINARY);
    refused(b":a:E::ext::/bin/x:p", "MISC-10", 18, 1);
    refused(b":a:E::ext::/bin/x:P\n\n", "MISC-10", 20, 1);
    // The kernel takes its own padding for the newline, unless there is one.
    refused(b"\na\nE\n\next\n\n/bin/x\nP", "MISC-10", 0, 1);
    refused(b"\na\nE\n\next\n\n/bin/x\n", "MISC-10", 0, 1);
    parse(b"\na\nE\n\next\n\n/bin/x\nP\n").unwrap();
    parse(b"\na\nE\n\next\n\n/bin/x\n\n").unwrap();
    refused(b"PaPEPPextPP/bin/xPP\n", "MISC-10", 0, 1);
    parse(b"\0a\0E\0\0ext\0\0/bin/x\0P").unwrap();
}

#[test]
fn misc_12_names_in_use() {
    let mut misc = Misc::default();
    misc.register(b":a:E::x::/i:", &mut Mem::default()).unwrap();
    let long = format!(":{}:E::y::/i:", "n".repeat(256));
    for (text, fault, errno) in [
        (":a:E::y::/i:", Fault::Exists, Errno::EEXIST),
        (":status:E::y::/i:", Fault::Exists, Errno::EEXIST),
        (":register:E::y::/i:", Fault::Exists, Errno::EEXIST),
        (&long, Fault::NameTooLong { len: 256 }, Errno::ENAMETOOLONG),
    ] {
        let bad = misc.register(text.as_bytes(), &mut Mem::default()).unwrap_err();
        assert_eq!((bad.fault.errno(), bad.fault), (errno, fault));
    }
}

#[test]
fn misc_13_to_15_files() {
    let mut misc = Misc::default();
    let world = &mut Mem::default();
    misc.register(b":b:M:2:\\xABc:\\xff\\x0f:/i j:OP", world).unwrap();
    let text = b"enabled\ninterpreter /i j\nflags: PO\noffset 2\nmagic ab63\nmask ff0f\n";
    let entry = misc.entry(b"b").unwrap();
    assert_eq!(entry.text(), text);
    assert_eq!(parse_entry(b"b", text).as_ref(), Some(entry));
    let again = parse(&entry.rule.register_text().unwrap()).unwrap();
    assert_eq!(again, entry.rule);
    let extension = misc.register(b":e:E::sh::/i:", world).unwrap().text();
    assert_eq!(extension, b"enabled\ninterpreter /i\nflags: \nextension .sh\n");
    misc.write_entry(b"e", b"0\n").unwrap();
    assert!(misc.entry(b"e").unwrap().text().starts_with(b"disabled\n"));
    misc.write_status(b"0").unwrap();
    assert_eq!(misc.status(), "disabled\n");
    for bad in ["2", " 1", "1 ", "\n", "01", "-1\n\n", "-1 1", "+1"] {
        assert_eq!(command(bad.as_bytes()), Err(Errno::EINVAL), "{bad:?}");
    }
    assert_eq!(misc.write_entry(b"none", b"1"), Err(Errno::ENOENT));
    misc.write_entry(b"e", b"-1").unwrap();
    assert_eq!(misc.entry(b"e"), None);
    misc.write_status(b"-1\n").unwrap();
    assert!(misc.is_empty());
    assert_eq!(misc.status(), "disabled\n");
}

/// A world with a program to interpret things, and files to be interpreted.
fn world() -> Mem {
    Mem::default()
        .with("/i", common::elf::Elf::fixed().build())
        .with("/s.jar", "PK\x03\x04")
        .with("/script", "#!/i arg\n")
        .with("/to-jar", "#!/s.jar\n")
}

fn rules(list: &[&str], world: &mut Mem) -> Misc {
    let mut misc = Misc::default();
    for rule in list {
        misc.register(rule.as_bytes(), world).unwrap();
    }
    misc
}

fn run(list: &[&str], what: Exec) -> Result<Plan, ExecError> {
    let mut world = world();
    let misc = rules(list, &mut world);
    let mut formats = KERNEL_FORMATS;
    formats.insert(&misc);
    plan(what, &mut world, &formats)
}

/// What the program finds as its arguments.
fn argv(plan: &Plan) -> Vec<Vec<u8>> {
    let bytes = plan.stack_bytes(&mut world());
    let at = |addr: u64| &bytes[(addr - plan.registers.rsp) as usize..];
    let word = |addr: u64| u64::from_le_bytes(at(addr)[..8].try_into().unwrap());
    let string = |addr: u64| at(addr).split(|b| *b == 0).next().unwrap().to_vec();
    (0..plan.stack.argc).map(|i| string(word(plan.registers.rsp + 8 + 8 * i))).collect()
}

#[test]
fn misc_20_to_22_newest_first_before_scripts() {
    let chain = |rules: &[&str], path: &str| -> Vec<String> {
        let plan = alive(run(rules, Exec::new(path)));
        plan.chain.iter().map(|l| l.format.to_string()).collect()
    };
    let (old, new) = (":old:E::jar::/none:", ":new:M::PK::/i:");
    assert_eq!(chain(&[old, new], "/s.jar"), ["misc:new", "elf"]);
    assert_eq!(chain(&[":sh:M::#!::/i:"], "/script"), ["misc:sh", "elf"]);
    // In a later round the name is that of the interpreter.
    assert_eq!(chain(&[":jar:E::jar::/i:"], "/to-jar"), ["script", "misc:jar", "elf"]);
    // Bytes beyond the end of the file are NUL.
    assert_eq!(chain(&[":z:M:7:g\n\\x00\\x00::/i:"], "/script"), ["misc:z", "elf"]);
}

#[test]
fn misc_25_arguments_and_flags() {
    let plan_of = |flags: &str| {
        let rule = format!(":j:E::jar::/i:{flags}");
        alive(run(&[&rule], exec(&["/s.jar", "a"], &[])))
    };
    assert_eq!(argv(&plan_of("")), words(&["/i", "/s.jar", "a"]));
    assert_eq!(plan_of("").auxv.get(at::FLAGS), Some(0));
    let kept = Exec { argv: words(&["name", "a"]), ..Exec::new("/s.jar") };
    let plan = alive(run(&[":j:E::jar::/i:P"], kept));
    assert_eq!(argv(&plan), words(&["/i", "/s.jar", "name", "a"]));
    assert_eq!(plan.auxv.get(at::FLAGS), Some(1));
    let none = |flags| {
        let rule = format!(":j:E::jar::/i:{flags}");
        argv(&alive(run(&[&rule], Exec { argv: vec![], ..Exec::new("/s.jar") })))
    };
    assert_eq!(none(""), words(&["/i", "/s.jar"]));
    assert_eq!(none("P"), words(&["/i", "/s.jar", ""]));
}

#[test]
fn misc_26_the_file_stays_open() {
    let plan = alive(run(&[":j:E::jar::/i:O"], Exec::new("/s.jar")));
    assert_eq!(plan.auxv.get(at::EXECFD), Some(3));
    let at = |f: fn(&Op) -> bool| plan.ops.iter().position(f).unwrap();
    let keep = at(|op| matches!(op, Op::KeepFile { fd: 3, .. }));
    assert!(at(|op| *op == Op::CloseOnExec) < keep && at(|op| *op == Op::Creds) < keep);
    assert_eq!(plan.stack.rsp % 16, 0);
    let without = alive(run(&[":j:E::jar::/i:"], Exec::new("/s.jar")));
    assert_eq!(without.auxv.get(at::EXECFD), None);
}

#[test]
fn misc_27_credentials_of_the_file() {
    let euid = |flags: &str| {
        let mut world = world().by_user(1000).with("/suid.jar", "PK");
        world.files.last_mut().unwrap().mode = 0o4755;
        let misc = rules(&[&format!(":j:E::jar::/i:{flags}")], &mut world);
        let mut formats = KERNEL_FORMATS;
        formats.insert(&misc);
        let privileges = uexec_core::Privileges::AsKernel;
        let what = Exec { privileges, ..Exec::new("/suid.jar") };
        alive(plan(what, &mut world, &formats)).creds.euid
    };
    assert_eq!((euid("O"), euid("C")), (1000, 0));
}

#[test]
fn misc_23_and_30_interpreters_of_interpreters() {
    let failed = |rules: &[&str], path: &str| run(rules, Exec::new(path)).unwrap_err();
    assert_eq!(failed(&[":all:M::x:\\x00:/i:"], "/i").errno(), Errno::ELOOP);
    assert_eq!(failed(&[":all:M::x:\\x00:/i:O"], "/i").errno(), Errno::ENOEXEC);
    let error = failed(&[":j:E::jar::/script:O"], "/s.jar");
    assert_eq!((error.errno(), error.refusal.reason.spec()), (Errno::ENOEXEC, "PIPE-36"));
    alive(run(&[":j:E::jar::/script:P"], Exec::new("/s.jar")));
    let error = failed(&[":j:E::jar::/none:"], "/s.jar");
    assert_eq!((error.errno(), error.refusal.stage.as_str()), (Errno::ENOENT, "misc.interp"));
}

#[test]
fn misc_11_and_28_fixed_interpreters() {
    let mut world = world();
    let mut misc = Misc::default();
    let bad = misc.register(b":j:E::jar::/none:F", &mut world).unwrap_err();
    assert_eq!((bad.fault.errno(), bad.at, bad.len), (Errno::ENOENT, 11, 5));
    misc.register(b":j:E::jar::/i:F", &mut world).unwrap();
    assert!(misc.entry(b"j").unwrap().interpreter.is_some());
}

/// The file that was opened counts: not its permissions now, nor whether it is still there.
#[test]
fn misc_28_a_fixed_interpreter_is_not_asked_again() {
    let chain = |interpreter: &str, later: fn(&mut Mem, &str)| -> Vec<String> {
        let mut world = world();
        let misc = rules(&[&format!(":j:E::jar::{interpreter}:F")], &mut world);
        later(&mut world, interpreter);
        let mut formats = KERNEL_FORMATS;
        formats.insert(&misc);
        let plan = alive(plan(Exec::new("/s.jar"), &mut world, &formats));
        plan.chain.iter().map(|l| l.format.to_string()).collect()
    };
    fn node<'a>(world: &'a mut Mem, path: &str) -> &'a mut common::Node {
        world.files.iter_mut().find(|f| f.path == path.as_bytes()).unwrap()
    }
    let plain: fn(&mut Mem, &str) = |world, path| node(world, path).mode = 0o644;
    let gone: fn(&mut Mem, &str) = |world, path| node(world, path).path = b"/gone".into();
    for later in [plain, gone] {
        assert_eq!(chain("/i", later), ["misc:j", "elf"]);
        // Of any format.
        assert_eq!(chain("/script", later), ["misc:j", "script", "elf"]);
    }
}

#[test]
fn misc_24_inaccessible() {
    let what = Exec {
        at: uexec_core::world::At::Fd(3),
        flags: uexec_core::flags::AT_EMPTY_PATH,
        fd_cloexec: true,
        ..Exec::new("")
    };
    let mut world = Mem::default().with("/script", "PK").with("/i", "");
    let misc = rules(&[":j:M::PK::/none:OC"], &mut world);
    let mut formats = KERNEL_FORMATS;
    formats.insert(&misc);
    let error = plan(what, &mut world, &formats).unwrap_err();
    assert_eq!((error.errno(), error.refusal.reason.spec()), (Errno::ENOENT, "PIPE-29"));
}

/// Parts of rules, in any order.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&[u8]> = vec![
        b":", b"::", b"a", b"M", b"E", b"jar", b"\\x00", b"\\x7", b"\\", b"PK", b"0", b"+1", b"-1",
        b"/i", b"P", b"OCF", b"\n", b"\0", b"/",
    ];
    prop_oneof![
        8 => proptest::sample::select(parts).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    /// No text panics; what is right reads back from its own texts, what is wrong says where.
    #[test]
    fn misc_1_to_15_any_text(
        rest in proptest::collection::vec(part(), 0..20),
        whole in any::<bool>(),
    ) {
        let begin: &[u8] = if whole { b":a:E::jar::/i:" } else { b":a:M" };
        feed::misc(&[begin, &rest.concat()].concat(), &mut Mem::default());
    }
}
