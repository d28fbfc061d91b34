//! The first stack byte for byte: STK-1 to STK-20, STK-44.
mod common;
use common::elf::{Elf, R, W, X, load};
use common::{Mem, alive, death, exec};
use uexec_core::{Exec, Op, Plan, Reason};

fn dynamic() -> Mem {
    Mem::default().with("./dyn", Elf::pie()).with("/ld", Elf::ld())
}

fn vector() -> Plan {
    let mut mem = dynamic();
    mem.facts.entropy.at_random = *b"0123456789abcdef";
    alive(mem.plan(exec(&["./dyn", "x", "yy"], &["A=1", "BB=22"])))
}

fn word(plan: &Plan, addr: u64) -> u64 {
    let at = (addr - plan.registers.rsp) as usize;
    u64::from_le_bytes(
        plan.stack_bytes(&mut common::Mem::default())[at..at + 8].try_into().unwrap(),
    )
}

fn bytes(plan: &Plan, addr: u64, len: usize) -> Vec<u8> {
    let at = (addr - plan.registers.rsp) as usize;
    plan.stack_bytes(&mut common::Mem::default())[at..at + len].to_vec()
}

#[test]
fn stk_44_addresses() {
    let plan = vector();
    assert_eq!(plan.stack.end, 0x7fff_ffff_f000);
    assert_eq!(plan.stack.filename, 0x7fff_ffff_eff2);
    assert_eq!(plan.stack.args, 0x7fff_ffff_efdd);
    assert_eq!(plan.stack.platform, 0x7fff_ffff_efc9);
    assert_eq!(plan.stack.random, 0x7fff_ffff_efb9);
    assert_eq!(plan.registers.rsp, 0x7fff_ffff_ee00);
    let mm = plan.mm;
    assert_eq!(mm.start_stack, 0x7fff_ffff_ee00);
    assert_eq!((mm.arg_start, mm.arg_end), (0x7fff_ffff_efdd, 0x7fff_ffff_efe8));
    assert_eq!((mm.env_start, mm.env_end), (0x7fff_ffff_efe8, 0x7fff_ffff_eff2));
    let stack = plan.vmas.iter().find(|v| v.grows_down).unwrap();
    assert_eq!((stack.start, stack.end), (0x7fff_fffd_e000, 0x7fff_ffff_f000));
}

#[test]
fn stk_44_bytes() {
    let plan = vector();
    let rsp = plan.registers.rsp;
    let head: Vec<u64> = (0..8).map(|i| word(&plan, rsp + 8 * i)).collect();
    let at = |low: u64| 0x7fff_ffff_ef00 + low;
    assert_eq!(head, [3, at(0xdd), at(0xe3), at(0xe5), 0, at(0xe8), at(0xec), 0]);
    let auxv = 0x7fff_ffff_ee40;
    assert_eq!(word(&plan, auxv), 33);
    assert_eq!((word(&plan, auxv + 22 * 16), word(&plan, auxv + 22 * 16 + 8)), (0, 0));
    let tail = [
        &[0; 9][..],
        b"0123456789abcdef",
        b"x86_64\0",
        &[0; 13],
        b"./dyn\0x\0yy\0A=1\0BB=22\0./dyn\0",
        &[0; 8],
    ]
    .concat();
    assert_eq!(bytes(&plan, 0x7fff_ffff_efb0, 0x50), tail);
}

#[test]
fn stk_20_order() {
    let types: Vec<u64> = vector().auxv.0.iter().map(|p| p.0).collect();
    let expected =
        [33, 51, 16, 6, 17, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 23, 25, 26, 31, 15, 27, 28];
    assert_eq!(types, expected);
    let mut mem = dynamic();
    mem.facts.rseq = None;
    mem.facts.minsigstksz = None;
    mem.facts.vdso = Vec::new();
    let plan = alive(mem.run("./dyn"));
    let types: Vec<u64> = plan.auxv.0.iter().map(|p| p.0).collect();
    assert_eq!(types, expected[2..20]);
    assert_eq!(plan.auxv.get(4), Some(56));
    assert_eq!(plan.auxv.get(5), Some(3));
}

#[test]
fn stk_11_padding() {
    for n in 1..9 {
        let argv = vec!["./dyn"; n];
        let plan = alive(dynamic().plan(exec(&argv, &[])));
        let words = 2 * 23 + (n as u64 + 1) + 2;
        let padding = plan.stack.random - plan.registers.rsp - 8 * words;
        assert_eq!(padding, if n % 2 == 1 { 9 } else { 1 }, "{n}");
    }
}

#[test]
fn stk_4_10_randomised() {
    let top = |pages: u64, bytes: u64, gap: u64| {
        let mut mem = dynamic();
        mem.facts.personality = 0;
        let e = &mut mem.facts.entropy;
        (e.stack_top, e.stack_top_bytes, e.stack_gap) = (pages, bytes, gap);
        alive(mem.run("./dyn")).stack
    };
    for (bytes, pages) in [(0, 0), (4080, 0), (4081, 1), (8176, 1), (8177, 2), (8191, 2)] {
        assert_eq!(top(0, bytes, 0).end, 0x7fff_ffff_f000 - 4096 * pages, "{bytes}");
    }
    assert_eq!(top(u64::MAX, 0, 0).end, 0x7fff_ffff_f000 - 4096 * 0x3f_ffff);
    let stack = top(1, 5000, 8191);
    assert_eq!(stack.platform + 7, (stack.args - 8191) & !15);
}

#[test]
fn stk_7_first_size() {
    let size = |limit: u64, len: usize| {
        let mut mem = dynamic();
        mem.facts.limits.stack = limit;
        let exec = Exec { argv: vec![vec![b'a'; len]], ..Exec::new("./dyn") };
        let plan = alive(mem.plan(exec));
        plan.vmas.iter().find(|v| v.grows_down).unwrap().len()
    };
    assert_eq!(size(8 << 20, 1), 0x2_1000);
    assert_eq!(size(8 << 20, 9000), 0x2_3000);
    assert_eq!(size(0x1_0fff, 1), 0x1_0000);
    assert_eq!(size(u64::MAX, 1), 0x2_1000);
}

#[test]
fn stk_13_no_room_for_the_tables() {
    let mut mem = dynamic();
    mem.facts.limits.stack = 4096;
    let exec = Exec { argv: vec![vec![b'a'; 4000]], ..Exec::new("./dyn") };
    assert!(matches!(death(mem.plan(exec)), Reason::StackGrow { limit: 4096, .. }));
}

#[test]
fn stk_3_leftovers_show_in_the_padding() {
    let mut mem = Mem::default().with("/s", "#!/p\n").with("/p", Elf::fixed());
    let argv = ["Z".repeat(2000), "x".into()];
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let plan = alive(mem.plan(Exec { path: b"/s".to_vec(), ..exec(&argv, &[]) }));
    let (random, platform) = (plan.stack.random, plan.stack.platform);
    // argc 3 without environment: nine bytes.
    assert_eq!(bytes(&plan, random - 9, 9), b"ZZZZZZZZZ");
    assert_eq!(word(&plan, random - 25), 0);
    let gap = (plan.stack.args - platform - 7) as usize;
    assert_eq!(bytes(&plan, platform + 7, gap), vec![b'Z'; gap]);
    assert_eq!(bytes(&plan, plan.stack.args, 8), b"/p\0/s\0x\0");
    // They keep their pages, too.
    let copied: u64 = plan
        .ops
        .iter()
        .map(|op| if let Op::Copy { addr, .. } = op { *addr } else { u64::MAX })
        .min()
        .unwrap();
    assert!(copied < plan.registers.rsp);
}

/// Checked on 6.18.44: the strings are those that are in memory by then.
#[test]
fn elf_34_strings_replaced_by_a_segment() {
    let over = |flags, filesz: u64| {
        let s = load(flags, 0x1000, 0x7fff_ffff_e000, filesz).mem(0x1000);
        let mut elf = Elf::fixed().and(s);
        elf.bytes.push((0x1fe0, vec![b'a'; 32]));
        elf.bytes.push((0x1ff2, b"b\0cc\0".to_vec()));
        elf.bytes.push((0x1fff, vec![0]));
        Mem::default().with("/p", elf).plan(exec(&["/p", "x"], &["A=1"]))
    };
    // Zero pages: every string is empty.
    let plan = alive(over(R | W, 0));
    assert_eq!(plan.mm.arg_end, plan.mm.arg_start + 2);
    assert_eq!(plan.mm.env_end, plan.mm.arg_start + 3);
    // File pages: whatever strings are there.
    let plan = alive(over(R | W, 0x1000));
    assert_eq!(plan.stack.args, 0x7fff_ffff_efec);
    assert_eq!(word(&plan, plan.registers.rsp + 16), 0x7fff_ffff_eff4);
    assert_eq!(plan.mm.env_end - plan.mm.env_start, 0x7fff_ffff_f000 - 0x7fff_ffff_eff7);
    assert!(matches!(death(over(R, 0x1000)), Reason::StackGrow { .. }));
    assert!(matches!(death(over(R | X, 0x1000)), Reason::StackGrow { .. }));
}

#[test]
fn dead_plans_have_no_stack_bytes() {
    let mut mem = dynamic();
    mem.facts.limits.stack = 4096;
    let exec = Exec { argv: vec![vec![b'a'; 4000]], ..Exec::new("./dyn") };
    assert!(mem.plan(exec).unwrap().stack_bytes(&mut common::Mem::default()).is_empty());
}
