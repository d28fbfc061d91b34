//! What holds of every plan, whatever the input: no panic, and operations that give exactly the
//! promised address space and stack.
mod common;
use common::elf::{Elf, LOAD, Ph, STACK};
use common::{Mem, model};
use proptest::prelude::*;
use proptest::sample::select;
use uexec_core::abi::personality::{
    ADDR_COMPAT_LAYOUT, ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, READ_IMPLIES_EXEC,
};
use uexec_core::story::Story;
use uexec_core::world::{Entropy, Limits};
use uexec_core::{Exec, Plan, Privileges};

/// Numbers at which things change.
fn edge() -> impl Strategy<Value = u64> {
    let page = 4096;
    let edges = vec![
        0,
        1,
        page - 1,
        page,
        page + 1,
        2 * page,
        65_536,
        2 << 20,
        0x40_0000,
        1 << 46,
        (1 << 47) - 2 * page,
        (1 << 47) - page,
        1 << 47,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX - page,
        u64::MAX - 1,
        u64::MAX,
    ];
    prop_oneof![
        3 => select(edges),
        3 => (0u64..16).prop_map(move |n| n * page),
        2 => 0u64..0x8000,
        1 => 0x7fff_fff0_0000u64..0x7fff_ffff_f000,
        1 => any::<u64>(),
    ]
}

/// Small numbers mostly, so that many files live.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![18 => 0u64..0x5000, 3 => (0u64..0x500).prop_map(|n| n * 4096), 1 => edge()]
}

fn header() -> impl Strategy<Value = Ph> {
    let kind = prop_oneof![8 => Just(LOAD), 1 => Just(STACK), 1 => any::<u32>()];
    let page = (0u64..64).prop_map(|n| n * 4096);
    let vaddr = prop_oneof![9 => page, 6 => size(), 1 => edge()];
    let offset = prop_oneof![1 => edge(), 6 => (0u64..4).prop_map(|n| n * 4096)];
    (
        kind,
        0u32..8,
        offset,
        vaddr,
        size(),
        size(),
        prop_oneof![Just(4096), edge()],
        prop::bool::weighted(0.9),
    )
        .prop_map(|(kind, flags, offset, vaddr, filesz, more, align, fits)| {
            // Mostly congruent and with more memory than file, as a program is.
            let offset = if fits { (offset & !4095) | (vaddr & 4095) } else { offset };
            let memsz = if fits { filesz.saturating_add(more) } else { more };
            Ph { kind, flags, offset, vaddr, filesz, memsz, align }
        })
}

fn elf() -> impl Strategy<Value = Elf> {
    let phs = proptest::collection::vec(header(), 0..6);
    let entry = prop_oneof![3 => size(), 1 => edge()];
    (select(vec![2u16, 3, 3, 3, 3, 4]), entry, phs, any::<bool>(), 0x300usize..0x4000).prop_map(
        |(e_type, entry, phs, interp, size)| {
            let elf = Elf { size, ..Elf::new(e_type, entry, &phs) };
            if interp { elf.with_interp(b"/ld\0") } else { elf }
        },
    )
}

fn strings() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = prop_oneof![
        8 => proptest::collection::vec(1u8.., 0..20),
        1 => (0usize..140_000).prop_map(|n| vec![b'x'; n]),
    ];
    prop_oneof![
        8 => proptest::collection::vec(text, 0..6),
        1 => (0usize..3000).prop_map(|n| vec![b"s".to_vec(); n]),
    ]
}

prop_compose! {
    fn world()(
        limits in (edge(), edge(), edge(), prop::bool::weighted(0.2)),
        personality in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        draws in proptest::array::uniform6(any::<u64>()),
        at_random in any::<[u8; 16]>(),
        settings in (0u64..3, 0u64..40, edge(), 0u64..2),
        kernel in select(vec![(6, 18), (6, 18), (6, 14), (6, 8), (5, 15)]),
        base in proptest::option::weighted(0.1, edge()),
        task_size in proptest::option::weighted(0.05, edge()),
        user in any::<bool>(),
        no_vdso in any::<bool>(),
        odd_min in prop::bool::weighted(0.1),
        huge in any::<bool>(),
    ) -> Mem {
        let mut mem = if user { Mem::default().by_user(1000) } else { Mem::default() };
        let [stack_top, stack_top_bytes, stack_gap, mmap, pie, brk] = draws;
        let f = &mut mem.facts;
        f.entropy = Entropy { stack_top, stack_top_bytes, stack_gap, mmap, pie, brk, at_random };
        let (stack, data, address_space, narrow) = limits;
        if narrow {
            f.limits = Limits { stack, data, address_space };
        }
        let bits = [ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC];
        let on: [bool; 4] = personality.into();
        f.personality = bits.iter().zip(on).filter(|b| b.1).map(|b| b.0).sum();
        f.kernel = kernel;
        f.mmap_base = base;
        f.task_size = task_size.unwrap_or(f.task_size);
        if no_vdso {
            f.vdso.clear();
        }
        (mem.randomize, mem.rnd_bits, mem.min_addr, mem.legacy) = settings;
        mem.min_addr = if odd_min { mem.min_addr } else { 4096 };
        mem.add("/p", "").mount.huge_aligned = huge;
        mem.add("/ld", "").mount.huge_aligned = huge;
        mem
    }
}

/// Everything that is checked of one exec.
fn check(mem: &mut Mem, exec: Exec) -> Option<Plan> {
    let told = mem.plan(exec.clone());
    let again = mem.plan(exec.clone());
    let untold = mem.plan(Exec { untold: true, ..exec.clone() });
    match (told, again, untold) {
        (Ok(mut told), Ok(again), Ok(untold)) => {
            assert_eq!(told, again);
            assert!(untold.story.events().is_empty());
            told.story = Story::untold();
            assert_eq!(told, untold);
            model::check(&told, &exec, &mem.facts);
            Some(told)
        }
        (Err(told), Err(again), Err(untold)) => {
            assert_eq!(told.refusal, again.refusal);
            assert_eq!(told.refusal, untold.refusal);
            assert!(!told.to_string().is_empty());
            None
        }
        _ => panic!("the same input, another outcome"),
    }
}

fn exec(argv: Vec<Vec<u8>>, envp: Vec<Vec<u8>>) -> Exec {
    Exec { argv, envp, privileges: Privileges::Ignore, ..Exec::new("/p") }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_program(
        mut mem in world(), program in elf(), interp in elf(),
        good in any::<bool>(), i386 in any::<bool>(), argv in strings(), envp in strings(),
    ) {
        let of = |elf: Elf| if i386 { elf.i386() } else { elf }.build();
        mem.files[1].contents = of(program);
        mem.files[2].contents = of(if good { Elf::ld() } else { interp });
        check(&mut mem, exec(argv, envp));
    }

    #[test]
    fn any_strings_and_facts(
        mut mem in world(), good in any::<bool>(), argv in strings(), envp in strings(),
    ) {
        mem.files[1].contents = if good { Elf::pie() } else { Elf::static_pie() }.build();
        mem.files[2].contents = Elf::ld().build();
        check(&mut mem, exec(argv, envp));
    }

    #[test]
    fn any_bytes(mut mem in world(), bytes in proptest::collection::vec(any::<u8>(), 0..300),
        magic in select(vec![&b""[..], b"\x7fELF", b"#!", b"#! /p\n", b"#!/ld"])) {
        let bytes = [magic, &bytes].concat();
        mem.files[1].contents = bytes.clone();
        mem.files[2].contents = bytes;
        check(&mut mem, exec(vec![b"a".to_vec()], vec![]));
    }

    #[test]
    fn mutated_bytes(
        mut mem in world(), kind in 0usize..3, i386 in any::<bool>(),
        changes in proptest::collection::vec((0usize..64 + 4 * 56, any::<u8>()), 1..6),
        of_interp in any::<bool>(),
    ) {
        let of = |elf: Elf| if i386 { elf.i386() } else { elf }.build();
        mem.files[1].contents = of([Elf::pie(), Elf::static_pie(), Elf::fixed()][kind].clone());
        mem.files[2].contents = of(Elf::ld());
        let file = &mut mem.files[if of_interp { 2 } else { 1 }].contents;
        for (at, byte) in changes {
            file[at] = byte;
        }
        check(&mut mem, exec(vec![b"a".to_vec()], vec![b"E=1".to_vec()]));
    }

    #[test]
    fn any_line(mut mem in world(), line in "[ \t/pl#!d\0\r\n-]{0,300}", argv in strings()) {
        mem.files[1].contents = [b"#!", line.as_bytes()].concat();
        mem.files[2].contents = Elf::fixed().build();
        check(&mut mem, exec(argv, vec![]));
    }
}

/// The strategies must not produce refusals only.
#[test]
fn many_programs_live() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut alive = 0;
    for i in 0..500 {
        let (mut mem, program) = (world(), elf()).new_tree(&mut runner).unwrap().current();
        let of = |elf: Elf| if i % 3 == 0 { elf.i386() } else { elf }.build();
        mem.files[1].contents = of(program);
        mem.files[2].contents = of(Elf::ld());
        let plan = mem.plan(exec(vec![], vec![]));
        alive += usize::from(plan.is_ok_and(|p| p.death.is_none()));
    }
    assert!(alive > 50, "{alive} of 500");
}
