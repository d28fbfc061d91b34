//! Cores as data: what is planned can be read back, and nothing a file says makes the reader panic.

use proptest::prelude::*;
use uexec_core::Binfmt;
use uexec_core::abi::elf::{EM_386, EM_X86_64};
use uexec_core::arch::Class;
use uexec_core::binfmt::elf::Elf;
use uexec_core::binfmt::script::Script;
use uexec_core::coredump::{
    Backing, Core, Filter, Options, Problem, Process, RegSet, Summary, Thread, Vma, Why, amount,
    fault, nt, plan,
};
use uexec_core::mm::Prot;

fn process(class: Class, vmas: Vec<Vma>) -> Process {
    let (words, machine) = if class == Class::Elf64 { (27, EM_X86_64) } else { (17, EM_386) };
    let word = class.word() as usize;
    let thread = |tid| Thread {
        tid,
        regs: (0..words * word).map(|i| (i / word) as u8 * u8::from(i % word == 0)).collect(),
        sets: vec![RegSet { kind: nt::PRFPREG, bytes: vec![1; 108] }],
        ..Thread::default()
    };
    Process {
        class,
        machine,
        summary: Summary { pid: 7, sname: b'R', comm: b"prog".to_vec(), ..Summary::default() },
        signal: 11,
        siginfo: [0; 128],
        auxv: [6, 4096, 0, 0u64].iter().flat_map(|w| w.to_le_bytes()[..word].to_vec()).collect(),
        threads: vec![thread(7), thread(8)],
        vmas,
        xsave: vec![],
    }
}

fn touched(start: u64, pages: u64) -> Vma {
    Vma {
        start,
        end: start + pages * 4096,
        prot: Prot::READ | Prot::WRITE,
        private_pages: true,
        ..Vma::default()
    }
}

/// The planned file, memory left out.
fn file(process: &Process, options: &Options) -> Vec<u8> {
    let plan = plan(process, options).unwrap();
    let mut file = plan.head.clone();
    file.resize(plan.tail_offset as usize, 0);
    file.extend(&plan.tail);
    assert_eq!(file.len() as u64, plan.len());
    file
}

#[test]
fn what_is_planned_is_read_back() {
    for class in [Class::Elf64, Class::Elf32] {
        let mut mapped = touched(0x9000, 1);
        mapped.file =
            Some(Backing { path: b"/bin/x".to_vec(), offset: 8192, ..Backing::default() });
        let process = process(class, vec![touched(0x1000, 2), mapped]);
        let file = file(&process, &Options::default());
        let core = Core::read(&mut &file[..]).unwrap();
        assert_eq!(core.complaints, Vec::<&str>::new());
        assert_eq!((core.class, core.machine), (class, process.machine));
        assert_eq!(core.threads.iter().map(|t| t.tid).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(core.threads[0].regs.iter().take(3).copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(core.loads.iter().map(|l| l.file_len).collect::<Vec<_>>(), [8192, 4096]);
        assert_eq!(core.psinfo.as_ref().unwrap().comm, b"prog");
        assert_eq!((core.files[0].offset, &core.files[0].path[..]), (8192, &b"/bin/x"[..]));
        assert_eq!(core.auxv.first(), Some(&(6, 4096)));
    }
}

#[test]
fn core_16_more_mappings_than_their_field_can_say() {
    for count in [0xfffd_u64, 0xfffe, 0x1_2000] {
        let vmas =
            (1..=count).map(|i| Vma { private_pages: false, ..touched(i * 8192, 1) }).collect();
        let process = process(Class::Elf64, vmas);
        let file = file(&process, &Options::default());
        assert_eq!(file[56..58] == [0xff, 0xff], count + 1 >= 0xffff, "{count}");
        assert_eq!(Core::read(&mut &file[..]).unwrap().loads.len() as u64, count);
    }
}

#[test]
fn core_7_a_limit_gives_a_smaller_core_that_is_whole() {
    let process = process(Class::Elf64, (1..50).map(|i| touched(i << 20, i)).collect());
    let whole = plan(&process, &Options::default()).unwrap();
    let mut limit = whole.len() + 1;
    loop {
        match plan(&process, &Options { limit, ..Options::default() }) {
            Ok(plan) => {
                assert!(plan.len() <= limit);
                let cut = plan.segments.iter().any(|s| s.why == Why::Limit);
                assert_eq!(cut, limit < whole.len());
                let file = file(&process, &Options { limit, ..Options::default() });
                let core = Core::read(&mut &file[..]).unwrap();
                assert_eq!(core.complaints, Vec::<&str>::new());
                assert_eq!(core.threads.len(), 2);
            }
            Err(Problem::Limit { needs }) => {
                assert!(limit < needs);
                break;
            }
            Err(problem) => panic!("{problem}"),
        }
        limit = limit * 9 / 10;
    }
}

#[test]
fn core_13_sorted_by_how_much_there_is() {
    let process = process(Class::Elf64, vec![touched(0x10_0000, 9), touched(0x20_0000, 1)]);
    let plan = plan(&process, &Options { sort: true, ..Options::default() }).unwrap();
    assert_eq!(plan.segments.iter().map(|s| s.vma).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn core_40_to_49_rules() {
    let of = |v: Vma, bits: u64| amount::amount(&v, Filter(bits));
    let v = || touched(0x1000, 4);
    let whole = 4 * 4096;
    let file = |unlinked, executable| {
        Some(Backing { unlinked, executable, path: b"/f".to_vec(), ..Backing::default() })
    };
    assert_eq!(of(Vma { special: true, ..v() }, 0), (whole, Why::Special));
    assert_eq!(of(Vma { dont_dump: true, ..v() }, !0), (0, Why::DontDump));
    assert_eq!(of(Vma { hugetlb: true, ..v() }, 1 << 5), (whole, Why::Hugetlb(true)));
    assert_eq!(of(Vma { hugetlb: true, shared: true, ..v() }, 1 << 5), (0, Why::Hugetlb(false)));
    assert_eq!(of(Vma { io: true, ..v() }, !0), (0, Why::Io));
    let shared = |f| Vma { shared: true, file: f, ..v() };
    assert_eq!(of(shared(file(true, false)), 2), (whole, Why::SharedAnonymous(true)));
    assert_eq!(of(shared(file(false, false)), 2), (0, Why::SharedFile(false)));
    assert_eq!(of(shared(file(false, false)), 8), (whole, Why::SharedFile(true)));
    assert_eq!(of(v(), 1), (whole, Why::Private));
    let clean = |f| Vma { private_pages: false, file: f, ..v() };
    assert_eq!(of(clean(None), !0), (0, Why::Untouched));
    assert_eq!(of(clean(file(false, false)), 4), (whole, Why::PrivateFile));
    assert_eq!(of(clean(file(false, true)), 16), (4096, Why::ElfHeader));
    assert_eq!(of(clean(file(false, false)), 16), (0, Why::Unchanged));
    assert!(amount::needs_magic(&clean(file(false, false)), Filter(16)));
    assert!(!amount::needs_magic(&clean(file(false, true)), Filter(16)));
}

#[test]
fn elf_has_a_dumper_and_scripts_have_none() {
    assert!(Elf.core_dump().is_some() && Script.core_dump().is_none());
    assert_eq!((Elf.min_coredump(), Script.min_coredump()), (4096, 0));
}

#[test]
fn notes_may_lie_about_their_length() {
    let process = process(Class::Elf64, vec![]);
    let good = file(&process, &Options::default());
    for len in [0, 1, u32::MAX - 11, u32::MAX] {
        for at in [120, 124] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&len.to_le_bytes());
            let _ = Core::read(&mut &bad[..]).map(|core| fault::of(&core));
        }
    }
}

proptest! {
    #[test]
    fn damaged_cores_are_read_without_panic(
        class_64: bool,
        signal in prop_oneof![Just(11u8), Just(7), any::<u8>()],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        cut in any::<prop::sample::Index>(),
        keep: bool,
    ) {
        let class = if class_64 { Class::Elf64 } else { Class::Elf32 };
        let mut process = process(class, vec![touched(0x1000, 1), touched(0x5000, 1)]);
        process.siginfo[0] = signal;
        process.siginfo[8] = 1;
        let mut bytes = file(&process, &Options::default());
        for (at, value) in damage {
            let at = at.index(bytes.len().min(1200));
            bytes[at] = value;
        }
        if !keep {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(core) = Core::read(&mut &bytes[..]) {
            let _ = fault::of(&core);
            for load in &core.loads {
                let _ = fault::name(&core, load);
                let mut buf = [0; 64];
                let _ = core.memory(&mut &bytes[..], load.start, &mut buf);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>) {
        for (to, from) in bytes.iter_mut().zip(b"\x7fELF\x02\x01\x01") {
            *to = *from;
        }
        if let Some(to) = bytes.get_mut(16) {
            *to = 4;
        }
        let _ = Core::read(&mut &bytes[..]).map(|core| fault::of(&core));
    }
}
