//! Limits that only large programs meet: what the system promises, and how many mappings it keeps
//! (ELF-42).

use uexec_core::Reason;
use uexec_core::abi::TASK_SIZE_4LEVEL;
use uexec_core::mm::{Backing, Mm, Place, Prot};
use uexec_core::world::Limits;

const PAGE: u64 = 4096;

fn mm() -> Mm {
    Mm::new(TASK_SIZE_4LEVEL, TASK_SIZE_4LEVEL - (128 << 20), false, 0, Limits::default())
}

#[test]
fn more_than_all_memory_is_not_promised() {
    let mut mm = mm();
    mm.commit_limit = 4 * PAGE;
    let rw = Prot::READ | Prot::WRITE;
    assert!(mm.map(Place::Free(0), 4 * PAGE, rw, Backing::Anon).is_ok());
    // Each request counts alone.
    assert!(mm.map(Place::Free(0), 4 * PAGE, rw, Backing::Anon).is_ok());
    let refused = mm.map(Place::Free(0), 5 * PAGE, rw, Backing::Anon);
    assert_eq!(refused, Err(Reason::Overcommit { need: 5 * PAGE, limit: 4 * PAGE }));
    // What cannot be written needs no promise.
    assert!(mm.map(Place::Free(0), 5 * PAGE, Prot::READ, Backing::Anon).is_ok());
}

#[test]
fn mappings_are_counted() {
    let mut mm = mm();
    mm.max_map_count = 2;
    let mut map = |at| mm.map(Place::Fixed(at), PAGE, Prot::READ, Backing::Anon);
    // The kernel compares before it adds.
    for at in [0x10_0000, 0x20_0000, 0x30_0000] {
        assert_eq!(map(at), Ok(at));
    }
    assert_eq!(map(0x40_0000), Err(Reason::MapCount { limit: 2 }));
}
