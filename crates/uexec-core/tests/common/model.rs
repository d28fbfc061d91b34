//! What must hold of every plan: its operations, carried out on a model of an address space, give
//! its mappings and its stack.

use std::collections::BTreeMap;

use uexec_core::abi::PAGE;
use uexec_core::arch::Class;
use uexec_core::mm::{Backing, Prot, Vma};
use uexec_core::shlib::Shlib;
use uexec_core::world::{Facts, Ia32, VdsoPart};
use uexec_core::{Exec, Op, Plan};

/// An address space of single pages, and the bytes that were written to it.
#[derive(Default)]
struct Space {
    vmas: Vec<Vma>,
    written: BTreeMap<u64, Vec<u8>>,
}

impl Space {
    fn unmap(&mut self, start: u64, end: u64) {
        let mut out = Vec::new();
        for v in self.vmas.drain(..) {
            if v.end <= start || v.start >= end {
                out.push(v);
                continue;
            }
            if v.start < start {
                out.push(Vma { end: start, ..v.clone() });
            }
            if v.end > end {
                out.push(from(&v, end));
            }
        }
        self.vmas = out;
    }

    fn map(&mut self, vma: Vma) {
        self.unmap(vma.start, vma.end);
        self.vmas.push(vma);
        self.vmas.sort_by_key(|v| v.start);
    }

    fn check_write(&self, addr: u64, len: u64) {
        let (mut at, end) = (addr, addr.checked_add(len).expect("a write that wraps"));
        while at < end {
            let v = self.vmas.iter().find(|v| v.start <= at && at < v.end);
            let v = v.unwrap_or_else(|| panic!("{at:#x} is written but not mapped"));
            assert!(v.prot.contains(Prot::WRITE), "{at:#x} is written but read-only");
            at = v.end;
        }
    }
}

/// What is left of a mapping above `start`.
fn from(v: &Vma, start: u64) -> Vma {
    let mut v = v.clone();
    if let Backing::File { offset, .. } = &mut v.backing {
        *offset = offset.wrapping_add(start - v.start);
    }
    v.start = start;
    v
}

/// Mappings without the borders between those that continue each other.
fn merged(vmas: &[Vma]) -> Vec<Vma> {
    let mut out: Vec<Vma> = Vec::new();
    for v in vmas {
        if let Some(last) = out.last_mut()
            && last.end == v.start
            && !matches!(v.backing, Backing::Special(_))
            && from(last, v.start) == (Vma { end: v.start, ..v.clone() })
        {
            last.end = v.end;
        } else {
            out.push(v.clone());
        }
    }
    out
}

fn aligned(x: u64) {
    assert_eq!(x % PAGE, 0, "{x:#x} is not the start of a page");
}

/// Checks everything about a plan.
pub fn check(plan: &Plan, exec: &Exec, facts: &Facts) {
    check_space(plan, facts);
    if plan.death.is_some() {
        assert!(plan.stack_bytes(&mut super::Mem::default()).is_empty());
        return;
    }
    let rsp = plan.registers.rsp;
    assert_eq!(rsp % 16, 0);
    let whole = plan.vmas.iter().any(|v| v.grows_down && v.start <= rsp && v.end == plan.stack.end);
    if whole {
        check_stack(plan, exec, facts);
    }
}

/// What holds of plans of every format: the operations give the mappings.
pub fn check_space(plan: &Plan, facts: &Facts) {
    check_vmas(&plan.vmas);
    assert_eq!(plan.point_of_no_return(), 0);
    let mut space = Space::default();
    let ia32 = Ia32::example();
    let vdso = if plan.image.arch.class == Class::Elf32 { &ia32.vdso } else { &facts.vdso };
    for op in &plan.ops {
        replay(&mut space, op, vdso);
    }
    if plan.death.is_some() {
        return;
    }
    assert_eq!(merged(&space.vmas), merged(&plan.vmas), "the operations give other mappings");
    assert_eq!(plan.ops.last(), Some(&Op::Jump));
}

/// What holds of every library: it is mapped within its bounds, and nothing else is written to.
pub fn check_library(lib: &Shlib) {
    assert!(lib.start < lib.end);
    let mut space = Space::default();
    lib.ops.iter().for_each(|op| replay(&mut space, op, &[]));
    let (first, last) = (space.vmas.first().unwrap(), space.vmas.last().unwrap());
    assert_eq!((first.start, last.end), (lib.start, lib.end));
}

fn check_vmas(vmas: &[Vma]) {
    let mut end = 0;
    for v in vmas {
        assert!(v.start >= end && v.start < v.end, "{v:x?}");
        aligned(v.start);
        aligned(v.end);
        end = v.end;
    }
}

fn replay(space: &mut Space, op: &Op, vdso: &[VdsoPart]) {
    let anon = |start, end, prot, backing| Vma { start, end, prot, backing, grows_down: false };
    match op {
        Op::Map { addr, len, prot, backing, grows_down } => {
            aligned(*addr);
            aligned(*len);
            let mut vma = anon(*addr, addr.checked_add(*len).unwrap(), *prot, backing.clone());
            vma.grows_down = *grows_down;
            assert!(*len > 0);
            space.map(vma);
        }
        Op::Unmap { addr, len } => {
            aligned(*addr);
            aligned(*len);
            space.unmap(*addr, addr.saturating_add(*len));
        }
        Op::Zero { addr, len } => space.check_write(*addr, *len),
        Op::Copy { addr, bytes } => {
            space.check_write(*addr, bytes.len() as u64);
            space.written.insert(*addr, bytes.clone());
        }
        Op::MapVdso { addr } => {
            let mut at = *addr;
            for p in vdso.iter().filter(|p| p.len > 0) {
                let end = at + p.len.next_multiple_of(PAGE);
                space.map(anon(at, end, p.prot, Backing::Special(p.name.clone())));
                at = end;
            }
        }
        Op::MapPageZero => {
            space.map(anon(0, PAGE, Prot::READ | Prot::EXEC, Backing::Anon));
        }
        _ => {}
    }
}

/// Reads the stack as `_start` does.
fn check_stack(plan: &Plan, exec: &Exec, facts: &Facts) {
    let bytes = plan.stack_bytes(&mut super::Mem::default());
    let rsp = plan.registers.rsp;
    assert_eq!(bytes.len() as u64, plan.stack.end - rsp);
    let size = plan.image.arch.class.word() as usize;
    let word = |i: usize| {
        let word = &bytes[size * i..size * (i + 1)];
        word.iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b))
    };
    let string = |addr: u64| {
        let rest = &bytes[usize::try_from(addr - rsp).unwrap()..];
        rest[..rest.iter().position(|b| *b == 0).unwrap()].to_vec()
    };
    let argc = word(0) as usize;
    let mut at = 1;
    let mut list = |count: Option<usize>| {
        let mut out = Vec::new();
        while word(at) != 0 {
            out.push(string(word(at)));
            at += 1;
        }
        at += 1;
        assert!(count.is_none_or(|n| n == out.len()));
        out
    };
    let (argv, envp) = (list(Some(argc)), list(None));
    assert_eq!(envp, exec.envp);
    if plan.chain.len() == 1 {
        let empty = vec![Vec::new()];
        assert_eq!(&argv, if exec.argv.is_empty() { &empty } else { &exec.argv });
    } else {
        let rest = exec.argv.get(1..).unwrap_or_default();
        assert!(argv.ends_with(rest));
    }
    let mut auxv = Vec::new();
    while word(at) != 0 {
        auxv.push((word(at), word(at + 1)));
        at += 2;
    }
    assert_eq!(auxv, plan.auxv.0);
    assert_eq!(word(at + 1), 0);
    let get = |t| plan.auxv.get(t).unwrap();
    assert_eq!(string(get(31)), *exec.filename());
    assert_eq!(string(get(15)), plan.image.arch.platform);
    let random = usize::try_from(get(25) - rsp).unwrap();
    assert_eq!(bytes[random..random + 16], facts.entropy.at_random);
    assert_eq!(plan.mm.arg_start, plan.stack.args);
    assert_eq!(plan.mm.env_end, get(31));
}
