//! Places a decoded image: which pages go where, after the point of no return
//! (ELF-34 to ELF-57). Decodes nothing.

use alloc::vec::Vec;

use crate::abi::elf::{PF_R, PF_W, PF_X};
use crate::abi::{PAGE, page_down, page_up};
use crate::error::{Reason, Refusal, Stage};
use crate::image::{Image, Object, Segment};
use crate::layout::{Layout, load_bias};
use crate::mm::{Backing, Mm, Place, Prot};
use crate::plan::Op;
use crate::world::{Sysctl, World};

/// Bytes that every machine has.
const MUCH: u64 = 16 << 20;
/// Mappings that every setting allows.
const MANY: usize = 128;

/// Where a program ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Added to every `p_vaddr`.
    pub load_bias: u64,
    /// `AT_PHDR` (ELF-51).
    pub phdr: u64,
    /// `AT_ENTRY` (ELF-52).
    pub entry: u64,
    /// Lowest executable segment (ELF-50).
    pub start_code: u64,
    /// End of the executable segments' file bytes.
    pub end_code: u64,
    /// Highest segment.
    pub start_data: u64,
    /// Highest end of file bytes.
    pub end_data: u64,
    /// Highest end in memory.
    pub bss_end: u64,
}

/// Collects the operations of one address space.
pub struct Loader<'a> {
    /// Who answers questions.
    pub world: &'a mut dyn World,
    /// The address space so far.
    pub mm: &'a mut Mm,
    /// The operations so far.
    pub ops: &'a mut Vec<Op>,
    /// Readable implies executable.
    pub read_implies_exec: bool,
    /// Large mappings of files are aligned where the file system asks for it (ELF-48).
    pub aligns_huge: bool,
}

fn prot(s: &Segment, read_implies_exec: bool) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, s.p_flags & PF_R != 0);
    prot.set(Prot::WRITE, s.p_flags & PF_W != 0);
    prot.set(Prot::EXEC, s.p_flags & PF_X != 0 || (read_implies_exec && s.p_flags & PF_R != 0));
    prot
}

impl Loader<'_> {
    /// Places the program (ELF-34 to ELF-52).
    ///
    /// # Errors
    /// Every refusal means death by `SIGSEGV`.
    pub fn program(&mut self, image: &Image, layout: &Layout) -> Result<Loaded, Refusal> {
        let object = &image.program;
        let mut bias = 0;
        for (i, s) in object.loads.iter().enumerate() {
            let fail = |reason| fault(Stage::Map, reason, object, s);
            let mut total = 0;
            let mut how = Exactly::Replace;
            if i == 0 && !object.is_dyn() {
                how = Exactly::IfFree;
            } else if i == 0 {
                total = object.total_size();
                if total == 0 {
                    return Err(fail(Reason::TotalSizeZero));
                }
                let align = object.max_align().unwrap_or(1);
                if image.wants_interp() {
                    bias = load_bias(layout.pie_base(self.world), align, s.p_vaddr);
                    how = Exactly::IfFree;
                } else if align > PAGE && self.world.facts().since(6, 11) {
                    // Tried once to find room, then moved down to the alignment (ELF-38).
                    let found = self.trial(object, s, total).map_err(fail)?;
                    bias = load_bias(found, align, s.p_vaddr);
                    how = Exactly::IfFree;
                } else {
                    bias = load_bias(0, PAGE, s.p_vaddr);
                    how = Exactly::Anywhere;
                }
            }
            let at = bias.wrapping_add(s.p_vaddr);
            let got = self.segment(object, s, at, how, total).map_err(fail)?;
            if got >= self.mm.task_size {
                return Err(fail(Reason::BeyondTaskSize { what: "address", value: got }));
            }
            if i == 0 && object.is_dyn() {
                bias = bias.wrapping_add(got.wrapping_sub(page_down(at)));
            }
            check_bounds(s, s.p_vaddr, self.mm.task_size).map_err(fail)?;
        }
        let loaded = bookkeeping(object, bias);
        if !image.wants_interp() && loaded.entry >= self.mm.task_size {
            let reason = Reason::BeyondTaskSize { what: "e_entry", value: loaded.entry };
            let (at, len) = object.class.e_entry();
            return Err(Refusal::new(Stage::Map, reason).of(&object.file.path).at(at, len));
        }
        Ok(loaded)
    }

    /// Places the interpreter (ELF-53 to ELF-57); returns its base and entry.
    ///
    /// # Errors
    /// Every refusal means death by `SIGSEGV`.
    pub fn interp(&mut self, object: &Object, program_bias: u64) -> Result<(u64, u64), Refusal> {
        let fail = |reason, at, len| {
            Refusal::new(Stage::MapInterp, reason).of(&object.file.path).at(at, len)
        };
        let e_type = object.header.e_type;
        if e_type != crate::abi::elf::ET_EXEC && e_type != crate::abi::elf::ET_DYN {
            return Err(fail(Reason::InterpType { e_type }, 16, 2));
        }
        let mut total = object.total_size();
        if total == 0 {
            let none = object.loads.is_empty();
            let reason = if none { Reason::NoLoadSegments } else { Reason::TotalSizeZero };
            return Err(fail(reason, object.header.e_phoff, object.class.phdr_len().into()));
        }
        let mut bias: Option<u64> = (!object.is_dyn()).then_some(0);
        for s in &object.loads {
            let fail = |reason| fault(Stage::MapInterp, reason, object, s);
            let how = if bias.is_some() { Exactly::Replace } else { Exactly::Anywhere };
            // Without a bias of the program the hint is the segment's own address (ELF-55).
            let hint = if program_bias == 0 { 0 } else { 0u64.wrapping_sub(s.p_vaddr) };
            let at = bias.unwrap_or(hint).wrapping_add(s.p_vaddr);
            let got = self.segment(object, s, at, how, total).map_err(fail)?;
            if got >= self.mm.task_size {
                // The kernel's loop ends here with an address that it takes for the base, as it is
                // no errno (`load_elf_interp`, 6.18). Only a segment without bytes gets this far.
                bias = Some(got);
                break;
            }
            total = 0;
            let bias = *bias.get_or_insert(got.wrapping_sub(page_down(s.p_vaddr)));
            let at = bias.wrapping_add(s.p_vaddr);
            check_bounds(s, at, self.mm.task_size).map_err(fail)?;
        }
        let base = bias.unwrap_or(0);
        let entry = base.wrapping_add(object.header.e_entry);
        let (at, len) = object.class.e_entry();
        if entry >= self.mm.task_size {
            return Err(fail(Reason::BeyondTaskSize { what: "its entry", value: entry }, at, len));
        }
        Ok((base, entry))
    }

    /// Maps one segment, clears the rest of its last page, adds its bss (ELF-39 to ELF-43).
    /// Returns the page it starts at.
    fn segment(
        &mut self,
        object: &Object,
        s: &Segment,
        at: u64,
        how: Exactly,
        total: u64,
    ) -> Result<u64, Reason> {
        let po = s.p_vaddr % PAGE;
        let prot = prot(s, self.read_implies_exec);
        let mut start = page_down(at);
        let len = page_up(s.p_filesz.wrapping_add(po));
        let bss_start = if s.p_filesz > 0 && len > 0 {
            start = self.file_part(object, s, start, len, how, total, prot)?;
            let bss = start.wrapping_add(po).wrapping_add(s.p_filesz);
            if s.p_memsz > s.p_filesz {
                self.clear_tail(object, s, start, bss, prot)?;
            }
            bss
        } else if s.p_filesz > 0 {
            start.wrapping_add(po).wrapping_add(s.p_filesz)
        } else {
            start
        };
        if s.p_memsz > s.p_filesz {
            let from = page_up(bss_start);
            let to = page_up(start.wrapping_add(po).wrapping_add(s.p_memsz));
            let exec = s.p_flags & PF_X != 0 || self.read_implies_exec;
            self.bss(from, to.wrapping_sub(from), exec)?;
        }
        Ok(start)
    }

    #[expect(clippy::too_many_arguments, reason = "one mapping has this many properties")]
    fn file_part(
        &mut self,
        object: &Object,
        s: &Segment,
        start: u64,
        len: u64,
        how: Exactly,
        total: u64,
        prot: Prot,
    ) -> Result<u64, Reason> {
        let po = s.p_vaddr % PAGE;
        let offset = s.p_offset.wrapping_sub(po);
        // With a `p_vaddr` near 2^64 the total wraps, and may be less than this very segment or
        // nothing at all (`elf_map`, 6.18).
        let reserve = if total == 0 { len } else { page_up(total) };
        if !offset.is_multiple_of(PAGE) {
            let Segment { p_offset, p_vaddr, .. } = *s;
            return Err(Reason::OffsetIncongruent { p_offset, p_vaddr });
        }
        if offset.checked_add(reserve).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(Reason::OffsetNegative { p_offset: offset });
        }
        let backing = Backing::File { file: object.file.id, offset };
        let place = match how {
            Exactly::Replace => Place::Fixed(start),
            Exactly::IfFree => Place::FixedNoReplace(start),
            Exactly::Anywhere => Place::Free(start),
        };
        self.learn_limits(reserve);
        let huge = self.aligns_huge
            && how == Exactly::Anywhere
            && reserve >= crate::abi::PMD_SIZE
            && self.world.mount(object.file.id).huge_aligned;
        let start = self.mm.admit(place, reserve, prot, &backing, huge)?;
        if how == Exactly::Replace && reserve > len {
            // The whole reservation replaced what was there; its tail is then unmapped.
            self.unmap(start.wrapping_add(len), reserve - len);
        }
        self.map(start, len.min(reserve), prot, backing);
        Ok(start)
    }

    /// Asks for the limits that only large programs come near.
    fn learn_limits(&mut self, len: u64) {
        if len >= MUCH && self.mm.commit_limit == u64::MAX {
            self.mm.commit_limit = self.world.commit_limit();
        }
        if self.mm.vmas().len() >= MANY && self.mm.max_map_count == u64::MAX {
            self.mm.max_map_count = self.world.sysctl(Sysctl::MaxMapCount);
        }
    }

    fn map(&mut self, addr: u64, len: u64, prot: Prot, backing: Backing) {
        let vma = crate::mm::Vma {
            start: addr,
            end: addr.saturating_add(len),
            prot,
            backing: backing.clone(),
            grows_down: false,
        };
        self.mm.insert(vma);
        self.ops.push(Op::Map { addr, len, prot, backing, grows_down: false });
    }

    fn unmap(&mut self, addr: u64, len: u64) {
        let end = addr.saturating_add(len);
        if self.mm.overlapping(addr, end).next().is_some() {
            self.mm.unmap(addr, end);
            self.ops.push(Op::Unmap { addr, len });
        }
    }

    /// Clears from the end of the file bytes to the end of their page (ELF-41).
    fn clear_tail(
        &mut self,
        object: &Object,
        s: &Segment,
        start: u64,
        from: u64,
        prot: Prot,
    ) -> Result<(), Reason> {
        let len = page_up(from).wrapping_sub(from);
        if len == 0 || !prot.contains(Prot::WRITE) {
            return Ok(());
        }
        // A total that has wrapped maps less than the segment: there may be nothing to write to.
        if self.mm.find(from).is_none_or(|v| !v.prot.contains(Prot::WRITE)) {
            return Err(Reason::BssBeyondEof { addr: from });
        }
        let page = page_down(from).wrapping_sub(start);
        let offset = s.p_offset.wrapping_sub(s.p_vaddr % PAGE).wrapping_add(page);
        if offset >= page_up(object.file.stat.size) {
            return Err(Reason::BssBeyondEof { addr: from });
        }
        self.ops.push(Op::Zero { addr: from, len });
        Ok(())
    }

    /// Adds zero pages: always readable and writable (ELF-42).
    fn bss(&mut self, from: u64, len: u64, exec: bool) -> Result<(), Reason> {
        if len == 0 {
            return Ok(());
        }
        let mut prot = Prot::READ | Prot::WRITE;
        prot.set(Prot::EXEC, exec);
        self.learn_limits(len);
        self.mm.admit(Place::Fixed(from), len, prot, &Backing::Anon, false)?;
        self.map(from, len, prot, Backing::Anon);
        Ok(())
    }

    /// ELF-38: where the whole program would go by a free search.
    fn trial(&mut self, object: &Object, s: &Segment, total: u64) -> Result<u64, Reason> {
        let mark = (self.mm.clone(), self.ops.len());
        let found = self.segment(object, s, s.p_vaddr % PAGE, Exactly::Anywhere, total)?;
        // Undone again by unmapping all of it, wherever that reaches (ELF-39).
        let (mm, ops) = mark;
        *self.mm = mm;
        self.ops.truncate(ops);
        self.unmap(found, page_up(total));
        Ok(found)
    }
}

/// How an address is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exactly {
    Replace,
    IfFree,
    Anywhere,
}

/// ELF-44, ELF-57.
fn check_bounds(s: &Segment, addr: u64, task_size: u64) -> Result<(), Reason> {
    let Segment { p_filesz, p_memsz, .. } = *s;
    let beyond = |what, value| Err(Reason::BeyondTaskSize { what, value });
    if addr >= task_size {
        return beyond("p_vaddr", addr);
    }
    if p_filesz > p_memsz {
        return Err(Reason::FileszOverMemsz { p_filesz, p_memsz });
    }
    if p_memsz > task_size {
        return beyond("p_memsz", p_memsz);
    }
    if task_size - p_memsz < addr {
        return beyond("the segment's end", addr.wrapping_add(p_memsz));
    }
    Ok(())
}

/// ELF-50 to ELF-52.
fn bookkeeping(object: &Object, bias: u64) -> Loaded {
    let add = |x: u64| x.wrapping_add(bias);
    let code = || object.loads.iter().filter(|s| s.p_flags & PF_X != 0);
    let wrap = |x| object.class.wrap(x);
    let file_end = |s: &Segment| wrap(s.p_vaddr.wrapping_add(s.p_filesz));
    let max = |ends: &mut dyn Iterator<Item = u64>| ends.max().unwrap_or(0);
    let phoff = object.header.e_phoff;
    let phdr = object
        .loads
        .iter()
        .rev()
        .find(|s| s.p_offset <= phoff && phoff < wrap(s.p_offset.wrapping_add(s.p_filesz)))
        .map_or(0, |s| wrap(phoff.wrapping_sub(s.p_offset).wrapping_add(s.p_vaddr)));
    Loaded {
        load_bias: bias,
        phdr: add(phdr),
        entry: add(object.header.e_entry),
        start_code: add(code().map(|s| s.p_vaddr).min().unwrap_or(u64::MAX)),
        end_code: add(max(&mut code().map(file_end))),
        start_data: add(max(&mut object.loads.iter().map(|s| s.p_vaddr))),
        end_data: add(max(&mut object.loads.iter().map(file_end))),
        bss_end: add(max(&mut object
            .loads
            .iter()
            .map(|s| wrap(s.p_vaddr.wrapping_add(s.p_memsz))))),
    }
}

/// A refusal that points at the segment's program header.
fn fault(stage: Stage, reason: Reason, object: &Object, s: &Segment) -> Refusal {
    Refusal::new(stage, reason).of(&object.file.path).at(s.at, object.class.phdr_len().into())
}
