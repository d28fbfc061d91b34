//! Where things go: the kernel's formulas for stack top, mmap base, PIE base and break, with and
//! without randomisation (STK-4, STK-30 to STK-38, ELF-31, ELF-37, ELF-60, ELF-61).

use crate::abi::{LSM_MMAP_MIN_ADDR, PAGE, RLIM_INFINITY, page_down, page_up, personality};
use crate::arch::{Arch, Bits, Upwards, X86_64};
use crate::error::{Reason, Refusal, Stage};
use crate::mm::Mm;
use crate::story::{Story, tell};
use crate::world::{Facts, Sysctl, World};

/// The layout of one exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kind of task.
    pub arch: &'static Arch,
    /// End of its addresses.
    pub task_size: u64,
    /// Addresses are randomised.
    pub randomize: bool,
    /// The break is, too.
    pub randomize_brk: bool,
    /// End of the stack.
    pub stack_end: u64,
    /// Where the search for free room starts.
    pub mmap_base: u64,
    /// It goes upwards from there.
    pub bottom_up: bool,
    /// Lowest address that may be mapped.
    pub min_addr: u64,
    /// Lowest address that a search or a hint ends at.
    pub search_min: u64,
    /// Where the search upwards starts when none downwards has found room.
    pub legacy_base: u64,
}

impl Layout {
    /// Decides it. `persona` is the personality after the exec, `stack_limit` the stack limit
    /// after PIPE-47, in bytes; `raw_io` tells whether the new credentials have `CAP_SYS_RAWIO`;
    /// `given` is where mappings end when that cannot be chosen.
    pub fn decide(
        world: &mut dyn World,
        story: &mut Story,
        arch: &'static Arch,
        persona: u32,
        stack_limit: u64,
        raw_io: bool,
        given: Option<u64>,
    ) -> Layout {
        let wanted = persona & personality::ADDR_NO_RANDOMIZE == 0;
        let setting = if wanted { world.sysctl(Sysctl::RandomizeVaSpace) } else { 0 };
        let randomize = setting != 0;
        let compat = persona & personality::ADDR_COMPAT_LAYOUT != 0;
        let upwards = match arch.upwards {
            Upwards::Never => false,
            Upwards::StackUnlimited => stack_limit == RLIM_INFINITY,
            Upwards::Always => true,
        };
        let bottom_up =
            compat || upwards || (given.is_none() && world.sysctl(Sysctl::LegacyVaLayout) != 0);
        let bits = match (randomize, given) {
            (true, None) => mmap_bits(arch, world),
            _ => 0,
        };
        let min = world.sysctl(Sysctl::MmapMinAddr);
        let facts = world.facts();
        let layout = Layout {
            arch,
            task_size: if arch.is(&X86_64) { facts.task_size } else { arch.task_size },
            randomize,
            randomize_brk: setting == 2,
            stack_end: stack_end(arch, facts, randomize),
            mmap_base: given
                .unwrap_or_else(|| mmap_base(arch, facts, randomize, bits, bottom_up, stack_limit)),
            bottom_up,
            min_addr: if raw_io { 0 } else { min },
            search_min: page_up(min.max(LSM_MMAP_MIN_ADDR)),
            legacy_base: mmap_base(arch, facts, randomize, bits, true, stack_limit),
        };
        tell!(
            story,
            Stage::Stack,
            "STK-31",
            "addresses are {}randomised; the stack ends at {:#x}, mappings {} {:#x}",
            if randomize { "" } else { "not " },
            layout.stack_end,
            if bottom_up { "start at" } else { "end at" },
            layout.mmap_base
        );
        layout
    }

    /// The same where only the last bits of the stack's end are random (AOUT-4).
    pub(crate) fn unmoved(&mut self, facts: &Facts) {
        let top = if self.randomize { facts.entropy.stack_top_bytes % 8192 } else { 0 };
        self.stack_end = page_up((self.arch.stack_top - top) & !15);
        self.randomize = false;
        self.randomize_brk = false;
    }

    /// An empty address space of this layout.
    #[must_use]
    pub fn new_mm(&self, facts: &Facts) -> Mm {
        let Layout { mmap_base, bottom_up, min_addr, search_min, legacy_base, .. } = *self;
        let mut mm = Mm::new(self.task_size, mmap_base, bottom_up, min_addr, facts.limits);
        (mm.search_min, mm.legacy_base) = (search_min, legacy_base);
        mm.search_end = self.task_size.min(self.arch.task_size);
        mm
    }

    /// Base of a PIE with an interpreter, before alignment to its segments (ELF-37).
    pub fn pie_base(&self, world: &mut dyn World) -> u64 {
        let mut base = self.arch.et_dyn_base;
        if self.randomize {
            let bits = mmap_bits(self.arch, world);
            base = base.wrapping_add(pages(world.facts().entropy.pie, bits));
        }
        base
    }

    /// The break, from the end of the bss (ELF-60, ELF-61). `static_pie` is a program that is
    /// placed anywhere and has no interpreter.
    #[must_use]
    pub fn brk(&self, facts: &Facts, bss_end: u64, static_pie: bool) -> u64 {
        let mut brk = page_up(bss_end);
        // Since 6.15 moved away from the mmap area even when nothing is randomised.
        let moved = static_pie && (self.randomize_brk || facts.since(6, 15));
        if moved {
            brk = page_up(self.arch.et_dyn_base);
        }
        if self.randomize_brk {
            if !moved && facts.since(6, 10) {
                brk = brk.wrapping_add(PAGE);
            }
            let bits = if facts.since(6, 9) { self.arch.brk_bits } else { 13 };
            brk = brk.wrapping_add(pages(facts.entropy.brk, bits));
        }
        brk
    }
}

/// STK-32.
fn mmap_bits(arch: &Arch, world: &mut dyn World) -> u64 {
    match arch.mmap_bits {
        Bits::Setting(which) => world.sysctl(which),
        Bits::Fixed(bits) => bits,
    }
}

/// A draw of so many pages out of 2^`bits`, in bytes.
fn pages(draw: u64, bits: u64) -> u64 {
    let mask = 1u64.checked_shl(u32::try_from(bits).unwrap_or(0)).unwrap_or(0).wrapping_sub(1);
    (draw & mask).wrapping_mul(PAGE)
}

/// STK-4.
fn stack_end(arch: &Arch, facts: &Facts, randomize: bool) -> u64 {
    if let Some(end) = facts.stack_end.filter(|end| arch.is(&X86_64) && end % PAGE == 0) {
        return end.min(arch.stack_top);
    }
    if !randomize {
        return arch.stack_top;
    }
    let top = arch.stack_top - PAGE * (facts.entropy.stack_top & arch.stack_rnd);
    page_up((top - facts.entropy.stack_top_bytes % 8192) & !15)
}

/// STK-31, STK-34.
fn mmap_base(
    arch: &Arch,
    facts: &Facts,
    randomize: bool,
    bits: u64,
    bottom_up: bool,
    stack_limit: u64,
) -> u64 {
    let rnd = if randomize { pages(facts.entropy.mmap, bits) } else { 0 };
    // The window is that of four page table levels, also with five.
    // Elsewhere than on x86 the window ends where the stack does.
    let size = if arch.is_host() { arch.task_size } else { arch.stack_top };
    if bottom_up {
        return arch.legacy_base.wrapping_add(rnd);
    }
    let pad = (1 << 20) + if randomize { arch.stack_rnd * PAGE } else { 0 };
    let gap = stack_limit.checked_add(pad).unwrap_or(stack_limit);
    let gap = gap.max(128 << 20).min(size / 6 * 5);
    page_up(size.wrapping_sub(gap).wrapping_sub(rnd))
}

/// Aligns a PIE's base and turns it into a load bias (ELF-37).
#[must_use]
pub(crate) fn load_bias(base: u64, align: u64, first_vaddr: u64) -> u64 {
    page_down((base & !(align.wrapping_sub(1))).wrapping_sub(first_vaddr))
}

/// Shorthand of this room's failures.
pub(crate) const fn refuse(stage: Stage, reason: Reason) -> Refusal {
    Refusal::new(stage, reason)
}
