//! The same death, dumped twice: by uexec while the signal is about to be delivered, and then by the
//! kernel when it is.

#[path = "coredump/both.rs"]
mod both;
#[path = "coredump/i386.rs"]
mod i386;

use std::path::Path;

use both::{Both, Place, dies, victim};
use uexec_core::coredump::{Core, Note, fault, nt};

/// What may differ, and why.
///
/// * times: `/proc` has hundredths of a second, rounded so that they add up; the kernel writes what
///   it has counted, in microseconds (CORE-30).
/// * flags of the process: the kernel notes in them that it is dumping, and that a signal kills.
fn neutral(class_64: bool, note: &Note) -> Note {
    let mut note = note.clone();
    let masked = match (note.kind, class_64) {
        (nt::PRSTATUS, true) => 48..112,
        (nt::PRSTATUS, false) => 40..72,
        (nt::PRPSINFO, true) => 8..16,
        (nt::PRPSINFO, false) => 4..8,
        _ => 0..0,
    };
    if note.name == b"CORE" {
        note.bytes[masked].fill(0);
    }
    note
}

/// Notes in an order that does not depend on which thread stopped first.
fn notes(core: &Core) -> Vec<Note> {
    let class_64 = core.class == uexec_core::arch::Class::Elf64;
    let mut threads = core.threads.clone();
    if let Some((_, rest)) = threads.split_first_mut() {
        rest.sort_by_key(|t| t.tid);
    }
    // The last note of all, the XSAVE layout, belongs to none.
    let last = core.notes.iter().filter(|n| n.kind == nt::X86_XSAVE_LAYOUT);
    let of = |t: &uexec_core::coredump::CoreThread| core.notes[t.notes.clone()].to_vec();
    let all = threads.iter().flat_map(of).filter(|n| n.kind != nt::X86_XSAVE_LAYOUT);
    all.chain(last.cloned()).map(|n| neutral(class_64, &n)).collect()
}

fn compare(how: &str, both: &Both) {
    let (ours, kernels) = (both.ours(), both.kernels());
    assert_eq!(ours.complaints, Vec::<&str>::new(), "{how}");
    assert_eq!(
        (ours.class, ours.machine, ours.big_endian),
        (kernels.class, kernels.machine, kernels.big_endian),
        "{how}"
    );
    let (a, b) = (notes(&ours), notes(&kernels));
    for (a, b) in a.iter().zip(&b) {
        let differ = a.bytes.iter().zip(&b.bytes).enumerate().filter(|(_, (a, b))| a != b);
        let differ: Vec<_> = differ.take(20).collect();
        assert!(a == b, "{how}: note {:#x}, ours and the kernel's: {differ:?}", a.kind);
    }
    assert_eq!(a.len(), b.len(), "{how}: number of notes");
    for (a, b) in ours.loads.iter().zip(&kernels.loads) {
        assert_eq!(a, b, "{how}: segment {:x}", a.start);
        let bytes = both.ours_memory(a).iter().zip(both.kernels_memory(b)).enumerate();
        let differ: Vec<_> = bytes.filter(|(_, (a, b))| a != b).take(40).collect();
        assert!(differ.is_empty(), "{how}: memory at {:x}: {differ:x?}", a.start);
    }
    assert_eq!(ours.loads.len(), kernels.loads.len(), "{how}");
    assert_eq!(both.ours_head(), both.kernels_head(), "{how}: headers");
}

fn parity(how: &str) -> Option<Both> {
    let place = Place::new();
    let victim = victim(&place)?;
    let both = dies(place, &victim, &[how])?;
    compare(how, &both);
    Some(both)
}

#[test]
fn core_10_one_thread() {
    parity("plain");
}

#[test]
fn core_20_fifty_threads() {
    if let Some(both) = parity("threads") {
        assert_eq!(both.ours().threads.len(), 51);
    }
}

#[test]
fn core_26_avx_state() {
    if std::is_x86_feature_detected!("avx") {
        parity("avx");
    }
}

#[test]
fn core_15_large_and_holes() {
    parity("large");
    if let Some(both) = parity("holes") {
        // Pages that were read but never written to, or written zeros to, take no room.
        assert!(both.ours_blocks() <= both.kernels_blocks());
    }
}

#[test]
fn core_44_shared_and_deleted() {
    parity("shared");
    parity("deleted");
}

#[test]
fn core_41_dontdump() {
    parity("dontdump");
}

#[test]
fn faults_are_told() {
    for (how, kind) in [("overflow", fault::Kind::StackOverflow), ("null", fault::Kind::Null)] {
        let Some(both) = parity(how) else { return };
        for core in [both.ours(), both.kernels()] {
            assert_eq!(fault::of(&core).map(|f| f.kind), Some(kind), "{how}");
        }
    }
    let Some(both) = parity("plain") else { return };
    assert_eq!(fault::of(&both.ours()), None);
}

#[test]
fn core_34_i386() {
    let place = Place::new();
    let program = i386::program();
    let path = place.file("i386", &program);
    let runs = std::process::Command::new(Path::new(&path)).arg("probe").status();
    if runs.is_err() {
        both::skip("core_34_i386", "this kernel runs no i386 programs");
        return;
    }
    if let Some(both) = dies(place, &path, &[]) {
        compare("i386", &both);
    }
}

#[test]
fn the_example_dumps_itself() {
    // cargo builds examples beside the tests.
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples/dump_on_panic");
    if !example.exists() {
        both::skip("the_example_dumps_itself", "it was not built");
        return;
    }
    let place = Place::new();
    let child = std::process::Command::new(&example)
        .current_dir(place.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let out = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && error.contains("index out of bounds"), "{out:?}");
    let core = std::fs::read(place.path().join(format!("core.{pid}"))).expect(&error);
    let read = uexec_core::coredump::Core::read(&mut &core[..]).unwrap();
    assert_eq!(read.threads.len(), 1);
    assert_eq!(read.threads[0].tid as u32, pid);
    // What it was about to index.
    let numbers: Vec<u8> = [1i32, 2, 3].iter().flat_map(|n| n.to_ne_bytes()).collect();
    assert!(core.windows(12).any(|w| w == numbers));
}
