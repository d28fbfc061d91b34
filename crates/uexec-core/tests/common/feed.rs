//! How plain bytes become an exec: the same for the fuzz targets and for the inputs they found.

use super::elf::{Elf, Ph, foreign};
use super::{Mem, model};
use uexec_core::arch::Class;
use uexec_core::arch::foreign::FOREIGN;
use uexec_core::binfmt::misc::Test;
use uexec_core::binfmt::script::parse;
use uexec_core::shlib::plan_shlib;
use uexec_core::{ALL_FORMATS, EVERY_FORMAT, Exec, Privileges};

fn check(mem: &mut Mem, exec: Exec) {
    let told = mem.plan(exec.clone());
    let untold = mem.plan(Exec { untold: true, ..exec.clone() });
    match (told, untold) {
        (Ok(told), Ok(untold)) => {
            assert_eq!(told.ops, untold.ops);
            assert_eq!(told.vmas, untold.vmas);
            assert_eq!(told.death, untold.death);
            model::check(&told, &exec, &mem.facts);
        }
        (Err(told), Err(untold)) => {
            assert_eq!(told.refusal, untold.refusal);
            assert!(!told.to_string().is_empty());
        }
        _ => panic!("the story changes the outcome"),
    }
}

fn exec() -> Exec {
    Exec { privileges: Privileges::Ignore, ..Exec::new("/p") }
}

/// The first byte chooses which of program and interpreter the rest is.
pub fn elf(data: &[u8], mem: &mut Mem) {
    let Some((which, file)) = data.split_first() else { return };
    let [program, interp] = match which % 3 {
        0 => [file.to_vec(), Elf::ld().build()],
        1 => [Elf::pie().build(), file.to_vec()],
        _ => [file.to_vec(), file.to_vec()],
    };
    mem.add("/p", program);
    mem.add("/ld", interp);
    check(mem, exec());
}

/// A `#!` line; the interpreter is `/i`, or `/p` for the script itself.
pub fn script(data: &[u8], mem: &mut Mem) {
    let mut head = [0; 256];
    let len = data.len().min(256);
    head[..len].copy_from_slice(&data[..len]);
    if let Ok(line) = parse(&head) {
        let name = &head[line.name];
        assert!(!name.iter().any(|b| b" \t\n\0".contains(b)));
        let arg = line.arg.map(|r| head[r].to_vec()).unwrap_or_default();
        assert!(!arg.contains(&0) && !arg.starts_with(b" ") && !arg.contains(&b'\n'));
    }
    mem.add("/p", data);
    mem.add("/i", Elf::fixed());
    check(mem, exec());
}

/// Takes numbers from bytes; zero when there are none left.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One byte for a common number, nine for any.
    fn number(&mut self) -> u64 {
        let b = self.byte();
        match b {
            0..128 => u64::from(b) * 4096,
            128..200 => 1u64.rotate_left(b.into()).wrapping_sub(u64::from(b & 1)),
            200..220 => ((1 << 47) - 4096 * u64::from(b - 199)) & !(u64::from(b & 1) * 4095),
            220..240 => u64::from(b - 220).wrapping_neg(),
            _ => u64::from_le_bytes([0; 8].map(|_: u8| self.byte())),
        }
    }

    fn header(&mut self) -> Ph {
        let (kind, flags) = (self.byte(), self.byte());
        let kind = if kind < 200 { 1 } else { u32::from(kind) - 200 };
        let [offset, vaddr, filesz, memsz, align] = [(); 5].map(|()| self.number());
        Ph { kind, flags: flags.into(), offset, vaddr, filesz, memsz, align }
    }

    fn strings(&mut self) -> Vec<Vec<u8>> {
        let count = self.byte() % 8;
        (0..count)
            .map(|_| vec![self.byte().max(1); (self.number() / 64) as usize % 140_000])
            .collect()
    }

    fn file(&mut self) -> Elf {
        let e_type = 2 + u16::from(self.byte() % 2);
        let entry = self.number();
        let phs: Vec<Ph> = (0..self.byte() % 6).map(|_| self.header()).collect();
        Elf::new(e_type, entry, &phs)
    }
}

/// Facts, settings, two files and strings, all from the same bytes.
pub fn plan(data: &[u8], mem: &mut Mem) {
    let mut n = Numbers(data);
    let choices = n.byte();
    let f = &mut mem.facts;
    if choices & 1 != 0 {
        f.limits.stack = n.number();
        f.limits.data = n.number();
        f.limits.address_space = n.number();
    }
    if choices & 2 != 0 {
        f.personality = n.number() as u32;
        let e = &mut f.entropy;
        for draw in [&mut e.stack_top, &mut e.stack_top_bytes, &mut e.stack_gap] {
            *draw = n.number();
        }
        for draw in [&mut e.mmap, &mut e.pie, &mut e.brk] {
            *draw = n.number();
        }
    }
    if choices & 4 != 0 {
        f.creds.effective = 0;
        f.creds.uid = n.byte().into();
        f.creds.euid = n.byte().into();
        f.creds.permitted = n.number();
    }
    if choices & 8 != 0 {
        (mem.randomize, mem.rnd_bits, mem.legacy) = (n.byte().into(), n.byte().into(), 1);
        mem.min_addr = n.number();
    }
    if choices & 16 != 0 {
        f.kernel = (5 + u16::from(n.byte() % 2), n.byte().into());
    }
    if choices & 32 != 0 {
        f.task_size = n.number();
        f.mmap_base = Some(n.number());
        for part in &mut f.vdso {
            part.len = n.number();
        }
    }
    let (program, interp) = (n.file(), n.file());
    let program = if choices & 64 != 0 { program.with_interp(b"/ld\0") } else { program };
    mem.add("/p", program);
    mem.add("/ld", interp);
    for file in &mut mem.files {
        file.mount.huge_aligned = choices & 128 != 0;
    }
    let (argv, envp) = (n.strings(), n.strings());
    check(mem, Exec { argv, envp, ..exec() });
}

/// What only uexec knows: a.out programs, programs of other machines, libraries as `uselib(2)` took
/// them. The first byte chooses whether the rest is a file, an a.out header or an ELF file in numbers.
pub fn formats(data: &[u8], mem: &mut Mem) {
    let Some((which, rest)) = data.split_first() else { return };
    let mut n = Numbers(rest);
    let file = match which % 3 {
        0 => rest.to_vec(),
        1 => {
            let magic = [0x107u32, 0x108, 0x10b, 0xcc][usize::from(n.byte() % 4)];
            let words = [(); 7].map(|()| n.number() as u32);
            let mut file: Vec<u8> = magic.to_le_bytes().into();
            file.extend(words.iter().flat_map(|w| w.to_le_bytes()));
            file.resize(file.len() + usize::from(n.byte()) * 512, 1);
            file
        }
        _ => {
            let arch = &FOREIGN[usize::from(n.byte()) % FOREIGN.len()];
            let wide = arch.class == Class::Elf64;
            foreign(n.file(), wide, arch.big_endian, arch.machines[0])
        }
    };
    mem.add("/p", file);
    mem.min_addr = u64::from(which >> 7) * 0x1_0000;
    for formats in [&ALL_FORMATS, &EVERY_FORMAT] {
        match uexec_core::plan(exec(), mem, formats) {
            Ok(plan) => model::check_space(&plan, &mem.facts),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    match plan_shlib(b"/p", mem, &ALL_FORMATS) {
        Ok(lib) => model::check_library(&lib),
        Err(refusal) => assert!(!refusal.why().is_empty()),
    }
}

/// Any bytes as the text of a rule, which is then to run a script with the same bytes behind it.
pub fn misc(data: &[u8], world: &mut Mem) {
    use uexec_core::KERNEL_FORMATS;
    use uexec_core::binfmt::misc::{Misc, parse, parse_entry};

    let _ = parse_entry(b"x", data);
    let rule = match parse(data) {
        Ok(rule) => rule,
        Err(bad) => {
            // A letter that is missing at the end counts as there.
            assert!(bad.at <= data.len() && bad.at + bad.len <= data.len() + 2, "{bad:?}");
            assert!(!bad.fault.why().is_empty() && !bad.fault.spec().is_empty());
            return;
        }
    };
    if let Some(text) = rule.register_text()
        && text.len() <= uexec_core::binfmt::misc::LONGEST
    {
        assert_eq!(parse(&text).as_ref(), Ok(&rule), "{}", text.escape_ascii());
    }
    let mut misc = Misc::default();
    let Ok(entry) = misc.add(rule) else { return };
    let lines = |bytes: &[u8]| bytes.contains(&b'\n');
    let extension = matches!(&entry.rule.test, Test::Extension(e) if lines(e));
    if !lines(&entry.rule.interpreter) && !extension {
        let again = parse_entry(&entry.rule.name, &entry.text());
        assert_eq!(again.as_ref(), Some(entry));
    }
    let mut formats = KERNEL_FORMATS;
    formats.insert(&misc);
    let mut world = core::mem::take(world).with("/script", "#!/bin/sh\n").with("/x.jar", data);
    for path in ["/script", "/x.jar"] {
        let _ = uexec_core::plan(Exec::new(path), &mut world, &formats);
    }
}
