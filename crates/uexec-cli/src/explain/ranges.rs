//! How far randomisation may move each part of the address space. Computes no formula of its own:
//! the same exec is planned again with one draw at its smallest and at its largest.

use uexec_core::{Exec, KERNEL_FORMATS, Plan, World};
use uexec_linux::Host;

use super::Explained;
use crate::find::find_and_plan;

/// Where one address may be.
pub(crate) struct Range {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) now: u64,
    /// Distance between neighbouring places, in bytes.
    pub(crate) grain: u64,
    pub(crate) spec: &'static str,
}

impl Range {
    /// Bits of randomness, 0 where nothing is random.
    pub(crate) fn bits(&self) -> u32 {
        ((self.high - self.low) / self.grain + 1).ilog2()
    }
}

/// What is drawn: which one to set, where its effect shows.
struct Draw {
    id: &'static str,
    what: &'static str,
    spec: &'static str,
    grain: u64,
    set: fn(&mut uexec_core::world::Entropy, u64),
    get: fn(&Plan) -> Option<u64>,
}

const PAGE: u64 = uexec_core::abi::PAGE;

const DRAWS: [Draw; 5] = [
    Draw {
        id: "pie",
        what: "the program (base of a PIE)",
        spec: "STK-33",
        grain: PAGE,
        set: |e, x| e.pie = x,
        get: |p| p.vmas.iter().map(|v| v.start).min(),
    },
    Draw {
        id: "brk",
        what: "the heap (brk)",
        spec: "ELF-61",
        grain: PAGE,
        set: |e, x| e.brk = x,
        get: |p| Some(p.mm.start_brk),
    },
    Draw {
        id: "mmap",
        what: "end of the mappings (loader, vdso)",
        spec: "STK-32",
        grain: PAGE,
        set: |e, x| e.mmap = x,
        get: |p| p.vmas.iter().filter(|v| !v.grows_down).map(|v| v.end).max(),
    },
    Draw {
        id: "rsp",
        what: "rsp within the stack",
        spec: "STK-10",
        grain: 16,
        set: |e, x| e.stack_gap = x & 8191,
        get: |p| Some(p.registers.rsp),
    },
    Draw {
        id: "stack",
        what: "end of the stack",
        spec: "STK-4",
        grain: PAGE,
        set: |e, x| {
            e.stack_top = x;
            e.stack_top_bytes = x & 8191;
        },
        get: |p| Some(p.stack.end),
    },
];

/// All ranges of an exec that starts; empty if it does not.
pub(crate) fn ranges(exec: &Exec, explained: &Explained) -> Vec<Range> {
    let Ok(plan) = &explained.result else { return Vec::new() };
    if plan.death.is_some() {
        return Vec::new();
    }
    DRAWS
        .iter()
        .filter_map(|draw| {
            let now = (draw.get)(plan)?;
            let (a, b) =
                (moved(exec, explained, draw, 0)?, moved(exec, explained, draw, u64::MAX)?);
            Some(Range {
                id: draw.id,
                what: draw.what,
                low: a.min(b).min(now),
                high: a.max(b).max(now),
                now,
                grain: draw.grain,
                spec: draw.spec,
            })
        })
        .collect()
}

/// The address when one draw has this value and all others are as they are.
fn moved(exec: &Exec, explained: &Explained, draw: &Draw, value: u64) -> Option<u64> {
    let mut host: Host = explained.host.again();
    let facts = explained.host.facts().clone();
    *host.facts_mut() = facts;
    (draw.set)(&mut host.facts_mut().entropy, value);
    let path = std::env::var_os("PATH");
    let path = path.as_ref().map(|p| std::os::unix::ffi::OsStrExt::as_bytes(p.as_os_str()));
    let plan = find_and_plan(exec.clone(), path, &mut host, &KERNEL_FORMATS).ok()?;
    if plan.death.is_some() {
        return None;
    }
    (draw.get)(&plan)
}
