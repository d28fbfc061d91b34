//! When several things are wrong at once, the first one the kernel meets is reported: all pairs
//! of faults, directly and behind a script.

use std::fs::File;

use crate::common::ask::{Ask, End, check};
use crate::common::elf::Elf;
use crate::common::place::Place;
use crate::common::{kernel_since, root, skip};

/// A program with an interpreter, and everything that can be wrong with it.
struct Scene {
    path: String,
    prog: Elf,
    ld: Elf,
    prog_mode: u32,
    ld_mode: u32,
    prog_busy: bool,
    ld_busy: bool,
    caps: bool,
    args: Vec<Vec<u8>>,
}

/// A fault by its name.
type Fault = (&'static str, fn(&mut Scene));

const FAULTS: &[Fault] = &[
    ("trailing slash", |s| s.path += "/"),
    ("name too long", |s| s.path = format!("./{}", "n".repeat(256))),
    ("missing", |s| s.path = "./none".into()),
    ("path too long", |s| s.path = "./".repeat(2050) + &s.path),
    ("no x bit", |s| s.prog_mode = 0o644),
    ("busy", |s| s.prog_busy = true),
    ("one string too long", |s| s.args.push(vec![b'a'; 131_072])),
    ("arguments too long", |s| s.args.extend(vec![vec![b'a'; 100_000]; 30])),
    ("magic", |s| s.prog.magic[0] = 0),
    ("type", |s| s.prog.e_type = 1),
    ("machine", |s| s.prog.machine = 183),
    ("phentsize", |s| s.prog.phentsize = 57),
    ("phnum", |s| s.prog.phnum = Some(0)),
    ("phoff", |s| s.prog.phoff = 1 << 40),
    ("interp size", |s| s.prog.phdrs[1].filesz = 1),
    ("interp outside", |s| s.prog.phdrs[1].offset = 1 << 40),
    ("interp negative", |s| s.prog.phdrs[1].offset = 1 << 63),
    ("interp unterminated", |s| s.prog.phdrs[1].filesz = 3),
    ("interp missing", |s| s.prog.interp = b"./l?\0".to_vec()),
    ("interp directory", |s| s.prog.interp = b"././\0".to_vec()),
    ("interp no x bit", |s| s.ld_mode = 0o644),
    ("interp busy", |s| s.ld_busy = true),
    ("interp short", |s| s.ld.cut = Some(60)),
    ("interp magic", |s| s.ld.magic[0] = 0),
    ("interp machine", |s| s.ld.machine = 3),
    ("interp phnum", |s| s.ld.phnum = Some(0)),
    ("capabilities", |s| s.caps = true),
    ("segment", |s| s.prog.phdrs[0].memsz -= 1),
    ("interp entry", |s| s.ld.entry = 1 << 47),
    ("interp type", |s| s.ld.e_type = 4),
    ("interp segment", |s| s.ld.phdrs[0].memsz -= 1),
];

fn possible(fault: &str) -> bool {
    match fault {
        "capabilities" => root(),
        "busy" | "interp busy" => kernel_since(6, 14),
        _ => true,
    }
}

/// Makes the scene and asks both.
fn compare(faults: &[Fault], behind_script: bool) -> Result<End, String> {
    let mut scene = Scene {
        path: "./prog".into(),
        prog: Elf::exit(42).with_interp("./ld"),
        ld: Elf::exit(43).at(0),
        prog_mode: 0o755,
        ld_mode: 0o755,
        prog_busy: false,
        ld_busy: false,
        caps: false,
        args: vec![],
    };
    faults.iter().for_each(|f| f.1(&mut scene));
    let p = Place::new();
    p.file("prog", scene.prog.bytes(), scene.prog_mode);
    p.file("ld", scene.ld.bytes(), scene.ld_mode);
    let mut ask = Ask::new(&p.path, scene.path.clone());
    if behind_script {
        p.script("script", format!("#!{}\n", scene.path));
        ask = Ask::new(&p.path, "./script");
    }
    ask.argv.extend(scene.args);
    let mut ask = ask.limit(libc::RLIMIT_STACK, 8 << 20);
    if scene.caps {
        crate::creds::set_caps(&p.join("prog"), 1 << 13, true).map_err(|e| e.to_string())?;
        ask = ask.before(|| {
            // SAFETY: only numbers are passed.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, 13, 0, 0, 0) })
        });
    }
    let _writers: Vec<File> = [("prog", scene.prog_busy), ("ld", scene.ld_busy)]
        .iter()
        .filter(|(_, busy)| *busy)
        .map(|(name, _)| p.writer(name))
        .collect();
    let kernel = match ask.kernel().end {
        End::Exit(43) => End::Exit(0),
        other => other,
    };
    let ours = ask.library().end;
    let names: Vec<&str> = faults.iter().map(|f| f.0).collect();
    match kernel == ours {
        true => Ok(kernel),
        false => {
            Err(format!("{names:?}, script {behind_script}: kernel {kernel:?}, uexec {ours:?}"))
        }
    }
}

#[test]
fn all_pairs() {
    let (faults, not): (Vec<Fault>, Vec<Fault>) =
        FAULTS.iter().copied().partition(|f| possible(f.0));
    for fault in not {
        skip(&format!("pairs with {:?}", fault.0), "needs root, or Linux 6.14");
    }
    assert_eq!(compare(&[], false), Ok(End::Exit(0)));
    let mut wrong = Vec::new();
    for behind_script in [false, true] {
        for (i, first) in faults.iter().enumerate() {
            // Every fault is one by itself, but the checks a script's interpreter name evades.
            match compare(&[*first], behind_script) {
                Ok(end) if behind_script || end != End::Exit(0) => {}
                Ok(end) => wrong.push(format!("{}: {end:?}", first.0)),
                Err(e) => wrong.push(e),
            }
            for second in &faults[i + 1..] {
                wrong.extend(compare(&[*first, *second], behind_script).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
}
