//! a.out programs as data: AOUT-1 to AOUT-14.
mod common;
use common::{Mem, death, exec};
use uexec_core::abi::personality::ADDR_NO_RANDOMIZE;
use uexec_core::binfmt::aout::{Header, Magic};
use uexec_core::mm::{Backing, Prot, Vma};
use uexec_core::{ALL_FORMATS, Errno, Exec, ExecError, KERNEL_FORMATS, Op, Plan, Reason};

const OMAGIC: u32 = 0x107;
const NMAGIC: u32 = 0x108;
const ZMAGIC: u32 = 0x10b;
const QMAGIC: u32 = 0xcc;

/// A file of so many bytes that counts up behind its header.
fn file(info: u32, [text, data, bss, entry]: [u32; 4], len: usize) -> Vec<u8> {
    let mut out: Vec<u8> = (0..len).map(|i| i as u8).collect();
    for (i, word) in [info, text, data, bss, 0, entry, 0, 0].iter().enumerate() {
        out[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn with(file: Vec<u8>) -> Mem {
    let mut mem = Mem::default().with("/p", file);
    mem.min_addr = 0;
    mem
}

fn run(mem: &mut Mem) -> Result<Plan, ExecError> {
    uexec_core::plan(Exec::new("/p"), mem, &ALL_FORMATS)
}

fn errno(file: Vec<u8>) -> Option<Errno> {
    run(&mut with(file)).err().map(|e| e.errno())
}

fn maps(plan: &Plan) -> Vec<(u64, u64, Prot)> {
    let special = |v: &&Vma| matches!(v.backing, Backing::Special(_));
    let own = plan.vmas.iter().filter(|v| !v.grows_down && !special(v));
    own.map(|v| (v.start, v.end, v.prot)).collect()
}

const RW: Prot = Prot::READ.union(Prot::WRITE);
const RWX: Prot = RW.union(Prot::EXEC);

#[test]
fn aout_1_offsets_and_addresses() {
    let h = |info| Header::read(&file(info, [0x1234, 0x100, 0x50, 0], 0x4000)).unwrap();
    let places = |info| (h(info).text_offset(), h(info).text_addr(), h(info).data_addr());
    assert_eq!(places(OMAGIC), (32, 0, 0x1234));
    assert_eq!(places(NMAGIC), (32, 0, 0x2000));
    assert_eq!(places(ZMAGIC), (1024, 0, 0x2000));
    assert_eq!(places(QMAGIC), (0, 4096, 0x3000));
    assert_eq!(h(0x0064_00cc).magic, Magic::Qmagic);
    assert_eq!(h(QMAGIC).bss_addr(), 0x3100);
}

#[test]
fn aout_2_what_is_a_program() {
    let good = || file(QMAGIC, [0x1000, 0x1000, 0, 0x1020], 0x2000);
    assert_eq!(errno(good()), None);
    let mut cut = good();
    cut.pop();
    assert_eq!(errno(cut), Some(Errno::ENOEXEC));
    for at in [24, 28] {
        let mut relocated = good();
        relocated[at] = 8;
        assert_eq!(errno(relocated), Some(Errno::ENOEXEC));
    }
    assert_eq!(errno(file(0x10c, [0, 0, 0, 0], 0x100)), Some(Errno::ENOEXEC));
    // The sum of the three sizes wraps.
    let mut wraps = file(QMAGIC, [0x1000, 0xffff_f000, 0, 0], 0x1000);
    wraps[16] = 0;
    assert_ne!(errno(wraps), Some(Errno::ENOEXEC));
    let mut off = with(good());
    off.ia32 = None;
    assert_eq!(run(&mut off).unwrap_err().errno(), Errno::ENOEXEC);
}

#[test]
fn aout_2_the_kernel_says_no_to_all() {
    let mut mem = with(file(QMAGIC, [0x1000, 0x1000, 0, 0x1020], 0x2000));
    let error = uexec_core::plan(Exec::new("/p"), &mut mem, &KERNEL_FORMATS).unwrap_err();
    assert_eq!(error.errno(), Errno::ENOEXEC);
    assert_eq!(error.refusal.reason, Reason::AoutGone { magic: "QMAGIC" });
    // What only begins like one is not called one.
    let mut mem = with(file(QMAGIC, [0x1000, 0x1000, 0, 0x1020], 64));
    let error = uexec_core::plan(Exec::new("/p"), &mut mem, &KERNEL_FORMATS).unwrap_err();
    assert!(matches!(error.refusal.reason, Reason::NoFormat { .. }));
}

#[test]
fn aout_3_data_limit() {
    let mut mem = with(file(OMAGIC, [0x100, 0x100, 0x1000, 0], 0x300));
    mem.facts.limits.data = 0x10ff;
    assert_eq!(run(&mut mem).unwrap_err().errno(), Errno::ENOMEM);
    mem.facts.limits.data = 0x2000;
    assert!(run(&mut mem).is_ok());
}

#[test]
fn aout_4_personality_and_stack() {
    let mut mem = with(file(OMAGIC, [0x100, 0, 0, 0], 0x200));
    mem.facts.personality = 0x0840_0000;
    mem.facts.entropy.stack_top_bytes = 8191;
    mem.facts.entropy.stack_top = u64::MAX;
    let plan = run(&mut mem).unwrap();
    assert_eq!((plan.death, plan.personality), (None, 0));
    assert_eq!(plan.stack.end, 0xffff_c000, "only the last bits are random");
    assert_eq!(plan.vmas.last().unwrap().prot, RW);
}

#[test]
fn aout_5_to_10_what_goes_where() {
    let plan = |info, sizes| {
        let plan = run(&mut with(file(info, sizes, 0x8000))).unwrap();
        assert_eq!(plan.death, None);
        plan
    };
    let o = plan(OMAGIC, [0x1234, 0x100, 0x2000, 0]);
    assert_eq!(maps(&o), [(0, 0x2000, RWX), (0x2000, 0x4000, RW)]);
    let mm = o.mm;
    assert_eq!((mm.start_code, mm.end_code), (0, 0x1234));
    assert_eq!((mm.start_data, mm.end_data), (0x1234, 0x1334));
    assert_eq!((mm.start_brk, mm.brk), (0x1334, 0x3334));
    let copied = o.ops.iter().find_map(|op| match op {
        Op::Copy { addr: 0, bytes } => Some((bytes.len(), bytes[0])),
        _ => None,
    });
    assert_eq!(copied, Some((0x1334, 32)));
    let z = plan(ZMAGIC, [0x1000, 0x200, 0, 0]);
    assert_eq!(maps(&z), [(0, 0x2000, RWX)]);
    let q = plan(QMAGIC, [0x1000, 0x2000, 0x10, 0x1020]);
    assert_eq!(
        maps(&q),
        [(0x1000, 0x2000, Prot::READ | Prot::EXEC), (0x2000, 0x4000, RWX), (0x4000, 0x5000, RW)]
    );
    let data = q.vmas.iter().find(|v| v.start == 0x2000).unwrap();
    assert!(matches!(data.backing, Backing::File { offset: 0x1000, .. }));
    assert_eq!(q.registers.rip, 0x1020);
}

#[test]
fn aout_8_qmagic_without_whole_pages_dies() {
    for sizes in [[0x1010, 0x100, 0, 0x1020], [0x1000, 0, 0, 0x1020], [0, 0x100, 0, 0x1020]] {
        let reason = death(run(&mut with(file(QMAGIC, sizes, 0x3000))));
        assert_eq!((reason.errno(), reason.spec()), (Errno::EINVAL, "AOUT-8"));
    }
}

#[test]
fn aout_9_page_0_needs_privilege() {
    let mut mem = with(file(ZMAGIC, [0x1000, 0, 0, 0], 0x2000)).by_user(1000);
    mem.min_addr = 4096;
    assert!(matches!(death(run(&mut mem)), Reason::BelowMmapMin { .. }));
    let mut mem = with(file(QMAGIC, [0x1000, 0x1000, 0, 0x1020], 0x2000)).by_user(1000);
    mem.min_addr = 4096;
    assert_eq!(run(&mut mem).unwrap().death, None);
}

#[test]
fn aout_12_stack() {
    let mut mem = with(file(OMAGIC, [0x100, 0, 0, 0], 0x200));
    mem.facts.personality = ADDR_NO_RANDOMIZE;
    let exec = Exec { path: b"/p".to_vec(), ..exec(&["/p", "x"], &["A=1"]) };
    let plan = uexec_core::plan(exec, &mut mem, &ALL_FORMATS).unwrap();
    let s = plan.stack;
    // Hole, "/p", "A=1", "x", "/p"; then five words of arrays and three.
    assert_eq!(s.args, 0xffff_e000 - 8 - 3 - 4 - 2 - 3);
    assert_eq!(s.rsp, (s.args & !3) - 4 * (2 + 3 + 3));
    assert_eq!((plan.registers.rsp, plan.mm.start_stack), (s.rsp, s.rsp));
    let bytes = plan.stack_bytes(&mut mem);
    let words: Vec<u64> =
        bytes[..32].chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap()).into()).collect();
    let argv = s.rsp + 12;
    let expected = [2, argv, argv + 12, s.args, s.args + 3, 0, s.args + 5, 0];
    assert_eq!(words, expected);
    assert!(plan.auxv.0.is_empty());
}
