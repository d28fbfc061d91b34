//! Turns a plan into the trampoline's list: every operation becomes system calls with their
//! arguments, copies and zeroing. Decides nothing about the program; touches nothing.

use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::AsRawFd;
use uexec_core::abi::{PAGE, at, page_up};
use uexec_core::arch::Class;
use uexec_core::mm::{Backing, Prot};
use uexec_core::world::World;
use uexec_core::{Errno, ExecError, Op, Plan, Registers};

use crate::Difference;
use crate::arch::ia32::{DS32, Frame32, nr32};
use crate::arch::{Frame, Kind, MicroOp, nr};
use crate::ffi;
use crate::gadget::Exit;
use crate::host::Host;
use crate::process::Caller;

mod attributes;

pub(crate) use attributes::may_set_exe;

const MAP_PRIVATE: u64 = 2;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_GROWSDOWN: u64 = 0x100;
const MREMAP_TO: u64 = 3;
const PR_SET_PDEATHSIG: u64 = 1;
const PR_GET_MEMORY_MERGE: u64 = 68;
const MADV_UNMERGEABLE: u64 = 13;
const PR_SET_NAME: u64 = 15;
const RLIMIT_STACK: u64 = 3;
const ARCH_MAP_VDSO_32: u64 = 0x2002;

/// What became of a plan.
pub(crate) struct Lowered {
    /// Address of the first operation.
    pub(crate) list: u64,
    /// What will differ.
    pub(crate) differences: Vec<Difference>,
}

/// Bytes kept for the code: one page.
pub(crate) const CODE_LEN: u64 = PAGE;

/// Room for operations, in bytes: an upper bound.
fn list_room(plan: &Plan, host: &Host, caller: &Caller) -> usize {
    let descriptors = caller.cloexec.len() + host.descriptors().count();
    let per_item = caller.handled.len() + descriptors + caller.timers.len();
    (56 + plan.ops.len() + per_item) * size_of::<MicroOp>()
}

/// Bytes that lowering a plan takes behind the code page: an upper bound, whole pages.
pub(crate) fn room(plan: &Plan, host: &Host, caller: &Caller) -> u64 {
    let copied = |op: &Op| match op {
        Op::Copy { bytes, .. } => bytes.len() + 16,
        _ => 0,
    };
    let bytes: usize = plan.ops.iter().map(copied).sum();
    page_up((list_len(plan, host, caller) + bytes) as u64)
}

/// The same where the bytes that a plan copies stay where they are.
pub(crate) fn list_len(plan: &Plan, host: &Host, caller: &Caller) -> usize {
    let inherited = caller.inherited.as_ref().map_or(0, |i| i.affinity.len() * 8 + 256);
    list_room(plan, host, caller) + inherited + 2048
}

/// Memory that is there until the last step.
pub(crate) struct Room<'a> {
    /// Where it starts, and its length: what the last step unmaps. Behind it lie as many bytes as
    /// the vdso block has that the plan does not map.
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// For the operations, then for what they point to.
    pub(crate) memory: &'a mut [u8],
    /// The stack that the kernel has made, if the plan has one at the same place.
    pub(crate) stack: Option<OwnStack>,
    /// What the plan holds is not changed or freed any more; where it lies within the room, it is
    /// copied to the program from there.
    pub(crate) plan_stays: bool,
}

/// A stack that stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnStack {
    /// Where it begins; lower parts of the mapping go.
    pub(crate) start: u64,
    /// From here on something has been written to it.
    pub(crate) touched: u64,
    pub(crate) end: u64,
}

struct Lowering<'a> {
    plan: &'a Plan,
    host: &'a mut Host,
    caller: &'a Caller,
    room: Room<'a>,
    /// Where the next operation goes.
    op_at: usize,
    /// Where operations must end.
    op_end: usize,
    /// Where the next bytes go.
    data_at: usize,
    differences: Vec<Difference>,
}

/// Lowers a plan into this room.
pub(crate) fn lower(
    plan: &Plan,
    host: &mut Host,
    caller: &Caller,
    room: Room<'_>,
) -> Result<Lowered, ExecError> {
    let op_end = list_room(plan, host, caller);
    let end = room.start + room.len;
    let len = room.len + host.vdso_len();
    let list = room.memory.as_ptr() as u64;
    let mut this = Lowering {
        plan,
        host,
        caller,
        room,
        op_at: 0,
        op_end,
        data_at: op_end,
        differences: Vec::new(),
    };
    this.run(end, len)?;
    if this.op_at > this.op_end || this.data_at > this.room.memory.len() {
        return Err(ExecError::host("building the list of operations", Errno::ENOMEM));
    }
    Ok(Lowered { list, differences: this.differences })
}

impl Lowering<'_> {
    /// Adds an operation. What does not fit is counted all the same and refused in the end.
    fn push_op(&mut self, kind: Kind, args: [u64; 7]) {
        let op = MicroOp::new(kind, args);
        let to = self.op_at + size_of::<MicroOp>();
        if to <= self.op_end
            && let Some(slot) = self.room.memory.get_mut(self.op_at..to)
        {
            slot.copy_from_slice(op.bytes());
        }
        self.op_at = to;
    }

    fn push(&mut self, kind: Kind, nr: u64, args: [u64; 6]) {
        let [a, b, c, d, e, f] = args;
        self.push_op(kind, [nr, a, b, c, d, e, f]);
    }

    fn must(&mut self, nr: u64, args: [u64; 6]) {
        self.push(Kind::MustCall, nr, args);
    }

    fn may(&mut self, nr: u64, args: [u64; 6]) {
        self.push(Kind::MayCall, nr, args);
    }

    fn prctl(&mut self, option: u64, a: u64, b: u64) {
        self.may(nr::PRCTL, [option, a, b, 0, 0, 0]);
    }

    /// Keeps bytes in the room; returns their address there.
    fn keep(&mut self, bytes: &[u8]) -> u64 {
        let from = self.data_at.next_multiple_of(16);
        self.data_at = from + bytes.len();
        if let Some(slot) = self.room.memory.get_mut(from..self.data_at) {
            slot.copy_from_slice(bytes);
        }
        self.room.memory.as_ptr() as u64 + from as u64
    }

    fn keep_words(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.keep(&bytes)
    }

    fn run(&mut self, parking: u64, len: u64) -> Result<(), ExecError> {
        if self.is_vdso_stuck() {
            return Err(ExecError::host("moving the vdso, which is sealed,", Errno::EPERM));
        }
        let all = self.keep_words(&[u64::MAX]);
        self.must(nr::RT_SIGPROCMASK, [2, all, 0, 8, 0, 0]);
        self.drop_registrations();
        self.inherit();
        // Before anything is moved: a caller with as many mappings as `vm.max_map_count` allows
        // could not move one.
        let vdso_len = self.vdso_target().map_or(0, |_| self.host.vdso_len());
        let stack = self.room.stack.map_or((0, 0), |s| (s.start, s.end - s.start));
        let vdso = (self.host.vdso_start(), vdso_len);
        self.unmap_all_but(&[(self.room.start, len), vdso, stack]);
        let vdso = self.move_vdso_out(parking);
        self.reset_signals();
        for op in &self.plan.ops {
            self.op(op, vdso)?;
        }
        if self.host.moved() {
            self.differences.push(Difference::MmapBase);
        }
        self.attributes()?;
        self.finish(len);
        Ok(())
    }

    /// Whether the program is one for i386.
    fn is_ia32(&self) -> bool {
        self.plan.image.arch.class == Class::Elf32
    }

    /// Where the plan wants this process's vdso block.
    fn vdso_target(&self) -> Option<u64> {
        if self.is_ia32() {
            return None;
        }
        self.plan.ops.iter().find_map(|op| match op {
            Op::MapVdso { addr } => Some(*addr),
            _ => None,
        })
    }

    /// Whether the vdso has to be moved and cannot be.
    fn is_vdso_stuck(&self) -> bool {
        let start = self.host.vdso_start();
        let code = self.host.facts().vdso.last().map_or(0, |p| p.len);
        code > 0
            && (self.is_ia32() || self.vdso_target().is_some_and(|target| target != start))
            && ffi::is_vdso_sealed(start + self.host.vdso_len() - code)
    }

    fn move_vdso(&mut self, from: u64, to: u64) {
        let facts = self.host.facts();
        // Since 6.17 several mappings can be moved at once.
        let lens: Vec<u64> = match facts.since(6, 17) {
            true => vec![self.host.vdso_len()],
            false => facts.vdso.iter().map(|p| p.len).collect(),
        };
        let mut offset = 0;
        for len in lens {
            self.must(nr::MREMAP, [from + offset, len, len, MREMAP_TO, to + offset, 0]);
            offset += len;
        }
    }

    /// Moves the vdso block straight to its place if that is not where it overlaps itself, else
    /// to the parking place. Returns where it then is.
    fn move_vdso_out(&mut self, parking: u64) -> u64 {
        let (start, len) = (self.host.vdso_start(), self.host.vdso_len());
        let Some(target) = self.vdso_target() else { return parking };
        if target == start {
            return start;
        }
        let overlaps = target < start + len && start < target + len;
        let to = if overlaps { parking } else { target };
        self.move_vdso(start, to);
        to
    }

    /// Unmaps all user addresses but these ranges.
    fn unmap_all_but(&mut self, keep: &[(u64, u64)]) {
        let mut keep: Vec<(u64, u64)> = keep.iter().filter(|k| k.1 > 0).copied().collect();
        keep.sort_unstable();
        let mut from = PAGE;
        for (start, len) in keep {
            if start > from {
                self.must(nr::MUNMAP, [from, start - from, 0, 0, 0, 0]);
            }
            from = from.max(start + len);
        }
        let end = self.host.facts().task_size;
        if end > from {
            self.must(nr::MUNMAP, [from, end - from, 0, 0, 0, 0]);
        }
        // Page 0 may be sealed (MMAP_PAGE_ZERO); then it stays, as it would.
        self.may(nr::MUNMAP, [0, PAGE, 0, 0, 0, 0]);
        if !self.caller.fresh {
            self.may(nr::MUNLOCKALL, [0; 6]);
        }
    }

    fn op(&mut self, op: &Op, vdso: u64) -> Result<(), ExecError> {
        match op {
            Op::PointOfNoReturn | Op::EndThreads | Op::DropMemory | Op::ResetSignals
            | Op::DropRseq | Op::DropSignalStack | Op::Jump
            // Done for every plan, elsewhere in this file.
            | Op::KeepFile { .. } | Op::Creds | Op::Dumpable(_) | Op::CloseOnExec | Op::Personality(_) => {}
            Op::DeleteTimers => {
                for id in &self.caller.timers {
                    self.may(nr::TIMER_DELETE, [*id, 0, 0, 0, 0, 0]);
                }
            }
            Op::ClearParentDeathSignal => self.prctl(PR_SET_PDEATHSIG, 0, 0),
            Op::Comm(name) => {
                let mut text = name.clone();
                text.push(0);
                let at = self.keep(&text);
                self.prctl(PR_SET_NAME, at, 0);
            }
            Op::StackLimit(soft) => {
                if let Some([_, hard]) = ffi::limit(RLIMIT_STACK) {
                    let at = self.keep_words(&[*soft, hard]);
                    self.may(nr::SETRLIMIT, [RLIMIT_STACK, at, 0, 0, 0, 0]);
                }
            }
            Op::Map { addr, len, prot, backing, grows_down } => {
                self.map(*addr, *len, *prot, backing, *grows_down)?;
            }
            Op::MapPageZero => {
                let prot = u64::from((Prot::READ | Prot::EXEC).bits());
                let flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
                self.may(nr::MMAP, [0, PAGE, prot, flags, u64::MAX, 0]);
            }
            Op::Unmap { addr, len } => self.must(nr::MUNMAP, [*addr, *len, 0, 0, 0, 0]),
            Op::Zero { addr, len } => {
                self.push_op(Kind::Zero, [*addr, *len, 0, 0, 0, 0, 0]);
            }
            Op::Copy { addr, bytes } if self.stays(bytes) => {
                let args = [*addr, bytes.as_ptr() as u64, bytes.len() as u64, 0, 0, 0, 0];
                self.push_op(Kind::Copy, args);
            }
            Op::Copy { addr, bytes } => self.copy(*addr, bytes),
            Op::MapVdso { addr } if self.is_ia32() => {
                self.must(nr::ARCH_PRCTL, [ARCH_MAP_VDSO_32, *addr, 0, 0, 0, 0]);
            }
            Op::MapVdso { addr } => {
                if vdso != *addr {
                    self.move_vdso(vdso, *addr);
                }
            }
            Op::SetMm => self.set_mm()?,
            other => {
                let _ = other;
                return Err(ExecError::host("carrying out an unknown operation", Errno::ENOSYS));
            }
        }
        Ok(())
    }

    /// Whether bytes of the plan are still there when they are copied.
    fn stays(&self, bytes: &[u8]) -> bool {
        let at = bytes.as_ptr() as u64;
        let end = self.room.start + self.room.len;
        self.room.plan_stays && self.room.start <= at && at + bytes.len() as u64 <= end
    }

    fn copy(&mut self, addr: u64, bytes: &[u8]) {
        let from = self.keep(bytes);
        let args = [addr, from, bytes.len() as u64, 0, 0, 0, 0];
        self.push_op(Kind::Copy, args);
    }

    fn map(
        &mut self,
        addr: u64,
        len: u64,
        prot: Prot,
        backing: &Backing,
        grows_down: bool,
    ) -> Result<(), ExecError> {
        if let Some(own) = self.room.stack.filter(|own| grows_down && own.start == addr) {
            self.push_op(Kind::Zero, [own.touched, own.end - own.touched, 0, 0, 0, 0, 0]);
            return Ok(());
        }
        let mut flags = MAP_PRIVATE | MAP_FIXED;
        if grows_down {
            flags |= MAP_GROWSDOWN;
        }
        let (fd, offset) = match backing {
            Backing::File { file, offset } => {
                let fd = self.host.data_fd(*file).map_err(|e| ExecError::host("open", e))?;
                (fd.as_raw_fd() as u64, *offset)
            }
            _ => {
                flags |= MAP_ANONYMOUS;
                (u64::MAX, 0)
            }
        };
        self.must(nr::MMAP, [addr, len, prot.bits().into(), flags, fd, offset]);
        // The kernel makes the first stack before memory merging is passed on (6.18); what
        // mmap(2) makes has it.
        if grows_down && ffi::prctl(PR_GET_MEMORY_MERGE, 0, 0) == Ok(1) {
            self.may(nr::MADVISE, [addr, len, MADV_UNMERGEABLE, 0, 0, 0]);
        }
        Ok(())
    }

    /// The last steps: registers, mask and FPU from a signal frame, then the region unmaps itself
    /// from inside the vdso, whose `ret` enters the program.
    fn finish(&mut self, len: u64) {
        let registers = self.plan.registers;
        let mut selector = 0;
        let frame = match self.exit() {
            _ if self.is_ia32() => {
                selector = DS32.into();
                self.ia32_frame(len)
            }
            Some((vdso, exit)) => {
                let sp = registers.rsp - 8 - exit.skip;
                self.copy(registers.rsp - 8, &registers.rip.to_le_bytes());
                let rbp = exit.rbp.map_or(0, |add| sp + add);
                let call = [nr::MUNMAP, self.room.start, len];
                Frame::new(vdso + exit.offset as u64, sp, rbp, call, self.caller.mask)
            }
            None => {
                self.differences.push(Difference::Leftover);
                Frame::new(registers.rip, registers.rsp, 0, [0; 3], self.caller.mask)
            }
        };
        let at = self.keep(frame.bytes());
        if self.differences.contains(&Difference::Leftover) {
            // What stays lies where anybody can guess: it must neither tell secrets (the random
            // bytes and the environment are copied from here) nor be written to.
            let list = self.room.memory.as_ptr() as u64;
            let data = list + self.op_end as u64;
            self.push_op(Kind::Zero, [data, at - data, 0, 0, 0, 0, 0]);
            let (read, exec) = (Prot::READ.bits(), (Prot::READ | Prot::EXEC).bits());
            let len = self.room.memory.len() as u64;
            self.may(nr::MPROTECT, [list, len, read.into(), 0, 0, 0]);
            self.may(nr::MPROTECT, [self.room.start, CODE_LEN, exec.into(), 0, 0, 0]);
        }
        self.push_op(Kind::End, [at, selector, 0, 0, 0, 0, 0]);
    }

    /// The same for an i386 program: the call that unmaps the region returns into another that
    /// sets all registers. The frame of that one lies below the program's stack.
    fn ia32_frame(&mut self, len: u64) -> Frame {
        self.differences.push(Difference::Ia32);
        if self.plan.image.aout.is_some() {
            self.differences.push(Difference::Aout);
        }
        let Registers { rip, rsp } = self.plan.registers;
        let exit = self.host.known_ia32().as_ref().ok().and_then(|known| known.exit);
        // a.out programs have no vector that would tell.
        let code = self.plan.vmas.iter().find(|v| self.plan.name_of(v) == "[vdso]");
        let (Some(exit), Some(vdso)) = (exit, code.map(|v| v.start)) else {
            self.differences.push(Difference::Leftover);
            return Frame::ia32(rip, rsp, [0; 3], self.caller.mask);
        };
        let frame = Frame32::new(rip, rsp, self.caller.mask);
        // The call pops, returns, and then finds all of the frame but its return address.
        let mut words = vec![0; exit.pops];
        words.push(vdso + exit.sigreturn);
        let mut bytes = self.plan.image.arch.bytes_of(&words);
        bytes.extend_from_slice(frame.bytes().get(4..).unwrap_or_default());
        let esp = (rsp - bytes.len() as u64) & !3;
        self.copy(esp, &bytes);
        Frame::ia32(vdso + exit.call, esp, [nr32::MUNMAP, self.room.start, len], u64::MAX)
    }

    /// The exit sequence and the address of the vdso's code in the new layout.
    fn exit(&self) -> Option<(u64, Exit)> {
        Some((self.plan.auxv.get(at::SYSINFO_EHDR)?, self.host.exit()?))
    }
}
