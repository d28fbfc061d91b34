//! Turns a plan into the trampoline's list: every operation becomes system calls with their
//! arguments, copies and zeroing. Decides nothing about the program; touches nothing.

use alloc::vec::Vec;
use core::fmt;

use rustix::fd::AsRawFd;
use uexec_core::abi::{PAGE, at, page_up};
use uexec_core::mm::{Backing, Prot};
use uexec_core::world::World;
use uexec_core::{Errno, ExecError, MmFields, Op, Plan};

use crate::arch::{Frame, Kind, MicroOp, nr};
use crate::ffi;
use crate::gadget::{Exit, find_exit};
use crate::host::Host;
use crate::process::Caller;

/// `_LINUX_CAPABILITY_VERSION_3` and "this thread" (`capget(2)`).
pub(crate) const CAP_HEADER: [u32; 2] = [0x2008_0522, 0];

const MAP_PRIVATE: u64 = 2;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_GROWSDOWN: u64 = 0x100;
const MREMAP_TO: u64 = 3;
const PR_SET_PDEATHSIG: u64 = 1;
const PR_SET_DUMPABLE: u64 = 4;
const PR_SET_KEEPCAPS: u64 = 8;
const PR_GET_MEMORY_MERGE: u64 = 68;
const MADV_UNMERGEABLE: u64 = 13;
const PR_SET_NAME: u64 = 15;
const PR_SET_MM: u64 = 35;
const PR_SET_MM_MAP: u64 = 14;
const PR_SET_MM_MAP_SIZE: u64 = 104;
const PR_CAP_AMBIENT: u64 = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;
const PR_SET_SYSCALL_USER_DISPATCH: u64 = 59;
const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
const RLIMIT_DATA: u64 = 2;
const RLIMIT_STACK: u64 = 3;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_CHECKPOINT_RESTORE: u64 = 1 << 40;

/// Something that will not be as after a kernel exec, for `-v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// `/proc/self/exe` keeps naming the caller's program: setting it needs
    /// `CAP_CHECKPOINT_RESTORE` in the process's user namespace.
    ExeLink,
    /// The published layout had to be made acceptable to `PR_SET_MM_MAP`.
    MmFields,
    /// No vdso with usable last instructions was found (without `/proc` none is): one mapping of
    /// ours stays behind. It cannot be written to, and tells nothing.
    Leftover,
    /// Later mappings are placed where the kernel put this process's, not where the plan's layout
    /// would have them.
    MmapBase,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Difference::ExeLink => {
                "/proc/self/exe still names uexec (setting it needs CAP_CHECKPOINT_RESTORE; try --userns)"
            }
            Difference::MmFields => "/proc/self/stat shows a layout adapted to what prctl(2) accepts",
            Difference::Leftover => {
                "one mapping of uexec's stays behind, and there is no vdso: /proc does not show one with an exit"
            }
            Difference::MmapBase => "mappings made later lie where the kernel had put uexec's",
        })
    }
}

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
    (44 + plan.ops.len() + per_item) * size_of::<MicroOp>()
}

/// Bytes that lowering a plan takes behind the code page: an upper bound, whole pages.
pub(crate) fn room(plan: &Plan, host: &Host, caller: &Caller) -> u64 {
    let copied = |op: &Op| match op {
        Op::Copy { bytes, .. } => bytes.len() + 16,
        _ => 0,
    };
    let bytes: usize = plan.ops.iter().map(copied).sum();
    page_up((list_room(plan, host, caller) + bytes + 1536) as u64)
}

/// Length of this process's vdso block in bytes.
pub(crate) fn vdso_len(host: &Host) -> u64 {
    host.facts().vdso.iter().map(|p| p.len).sum()
}

struct Lowering<'a> {
    plan: &'a Plan,
    host: &'a mut Host,
    caller: &'a Caller,
    /// Where the region starts.
    base: u64,
    /// The region behind the code page: first the operations, then what they point to.
    memory: &'a mut [u8],
    /// Where the next operation goes.
    op_at: usize,
    /// Where operations must end.
    op_end: usize,
    /// Where the next bytes go.
    data_at: usize,
    differences: Vec<Difference>,
}

/// Lowers a plan into a region at `base`, whose bytes behind the code page are `memory`. Behind
/// the region lie as many bytes as the vdso block has that the plan does not map.
pub(crate) fn lower(
    plan: &Plan,
    host: &mut Host,
    caller: &Caller,
    base: u64,
    memory: &mut [u8],
) -> Result<Lowered, ExecError> {
    let op_end = list_room(plan, host, caller);
    let end = base + CODE_LEN + memory.len() as u64;
    let len = end - base + vdso_len(host);
    let mut this = Lowering {
        plan,
        host,
        caller,
        base,
        memory,
        op_at: 0,
        op_end,
        data_at: op_end,
        differences: Vec::new(),
    };
    this.run(end, len)?;
    if this.op_at > this.op_end || this.data_at > this.memory.len() {
        return Err(ExecError::host("building the list of operations", Errno::ENOMEM));
    }
    Ok(Lowered { list: base + CODE_LEN, differences: this.differences })
}

impl Lowering<'_> {
    /// Adds an operation. What does not fit is counted all the same and refused in the end.
    fn push_op(&mut self, kind: Kind, args: [u64; 7]) {
        let op = MicroOp::new(kind, args);
        let to = self.op_at + size_of::<MicroOp>();
        if to <= self.op_end
            && let Some(slot) = self.memory.get_mut(self.op_at..to)
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

    /// Keeps bytes in the region; returns their address there.
    fn keep(&mut self, bytes: &[u8]) -> u64 {
        let from = self.data_at.next_multiple_of(16);
        self.data_at = from + bytes.len();
        if let Some(slot) = self.memory.get_mut(from..self.data_at) {
            slot.copy_from_slice(bytes);
        }
        self.base + CODE_LEN + from as u64
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
        // Before anything is moved: a caller with as many mappings as `vm.max_map_count` allows
        // could not move one.
        let vdso_len = self.vdso_target().map_or(0, |_| vdso_len(self.host));
        self.unmap_all_but(&[(self.base, len), (self.host.vdso_start(), vdso_len)]);
        let vdso = self.move_vdso_out(parking);
        self.reset_signals();
        for op in &self.plan.ops {
            self.op(op, vdso)?;
        }
        if self.host.moved() {
            self.differences.push(Difference::MmapBase);
        }
        self.attributes();
        self.finish(len);
        Ok(())
    }

    /// What the kernel would otherwise write to after it is gone.
    fn drop_registrations(&mut self) {
        if self.caller.rseq != 0 {
            // glibc registers what the kernel's features need, at least the original size.
            let size = self.host.facts().rseq.map_or(32, |r| r.0.next_multiple_of(32).max(32));
            let drop = [self.caller.rseq, size, 1, 0x5305_3053, 0, 0];
            if size == 32 {
                self.may(nr::RSEQ, drop);
            } else {
                self.push(Kind::CallOrElse, nr::RSEQ, drop);
                self.may(nr::RSEQ, [self.caller.rseq, 32, 1, 0x5305_3053, 0, 0]);
            }
        }
        self.may(nr::SET_ROBUST_LIST, [0, 24, 0, 0, 0, 0]);
        self.may(nr::SET_TID_ADDRESS, [0; 6]);
        if !self.caller.fresh {
            self.prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0);
        }
    }

    /// Where the plan wants the vdso block.
    fn vdso_target(&self) -> Option<u64> {
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
            && self.vdso_target().is_some_and(|target| target != start)
            && ffi::is_vdso_sealed(start + vdso_len(self.host) - code)
    }

    fn move_vdso(&mut self, from: u64, to: u64) {
        let lens: Vec<u64> = self.host.facts().vdso.iter().map(|p| p.len).collect();
        let mut offset = 0;
        for len in lens {
            self.must(nr::MREMAP, [from + offset, len, len, MREMAP_TO, to + offset, 0]);
            offset += len;
        }
    }

    /// Moves the vdso block straight to its place if that is not where it overlaps itself, else
    /// to the parking place. Returns where it then is.
    fn move_vdso_out(&mut self, parking: u64) -> u64 {
        let (start, len) = (self.host.vdso_start(), vdso_len(self.host));
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
        self.must(nr::MUNMAP, [from, end - from, 0, 0, 0, 0]);
        // Page 0 may be sealed (MMAP_PAGE_ZERO); then it stays, as it would.
        self.may(nr::MUNMAP, [0, PAGE, 0, 0, 0, 0]);
        if !self.caller.fresh {
            self.may(nr::MUNLOCKALL, [0; 6]);
        }
    }

    fn reset_signals(&mut self) {
        if self.caller.handled.is_empty() {
            return;
        }
        let default = self.keep_words(&[0; 4]);
        for signal in &self.caller.handled {
            let (signal, args) = (*signal, [0, 0, 8, 0, 0]);
            let [_, old, size, ..] = args;
            self.may(nr::RT_SIGACTION, [signal, default, old, size, 0, 0]);
        }
    }

    fn op(&mut self, op: &Op, vdso: u64) -> Result<(), ExecError> {
        match op {
            Op::PointOfNoReturn | Op::EndThreads | Op::DropMemory | Op::ResetSignals
            | Op::DropRseq | Op::DropSignalStack | Op::Jump
            // Done for every plan, elsewhere in this file.
            | Op::Creds | Op::Dumpable(_) | Op::CloseOnExec | Op::Personality(_) => {}
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
            Op::Copy { addr, bytes } => self.copy(*addr, bytes),
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

    fn set_mm(&mut self) -> Result<(), ExecError> {
        let words = self.plan.auxv.words();
        let auxv = self.keep_words(&words);
        let (mut mm, mut changed) = acceptable(self.plan.mm, self.host.facts().task_size);
        // The call asks for RLIMIT_DATA (STK-42); exec does not. Raised as far as needed.
        let [soft, hard] = ffi::limit(RLIMIT_DATA).unwrap_or([u64::MAX; 2]);
        let data = mm.end_data - mm.start_data;
        if data > hard {
            (mm.end_data, changed) = (mm.start_data + hard, true);
        }
        if changed {
            self.differences.push(Difference::MmFields);
        }
        if data > soft {
            let raised = self.keep_words(&[hard, hard]);
            self.may(nr::SETRLIMIT, [RLIMIT_DATA, raised, 0, 0, 0, 0]);
        }
        let program = self.plan.image.program.file.id;
        let exe = self.host.data_fd(program).map_err(|e| ExecError::host("open", e))?.as_raw_fd();
        let size = (words.len() * 8) as u32;
        let with_exe = self.keep(&mm_map(&mm, auxv, size, exe as u32));
        let without = self.keep(&mm_map(&mm, auxv, size, u32::MAX));
        let call = |at| [PR_SET_MM, PR_SET_MM_MAP, at, PR_SET_MM_MAP_SIZE, 0, 0];
        let caps = self.host.facts().creds.effective;
        if caps & (CAP_SYS_ADMIN | CAP_CHECKPOINT_RESTORE) != 0 {
            self.push(Kind::CallOrElse, nr::PRCTL, call(with_exe));
        } else {
            self.differences.push(Difference::ExeLink);
        }
        self.may(nr::PRCTL, call(without));
        if data > soft {
            let old = self.keep_words(&[soft, hard]);
            self.may(nr::SETRLIMIT, [RLIMIT_DATA, old, 0, 0, 0, 0]);
        }
        Ok(())
    }

    /// Credentials and the rest that must wait until nothing privileged is left to do.
    fn attributes(&mut self) {
        let old = self.host.facts().creds.clone();
        let new = self.plan.creds.clone();
        let same = u64::from(u32::MAX);
        if new.clear_ambient {
            self.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0);
        }
        if new.settle_ids {
            self.may(nr::SETRESGID, [same, same, new.egid.into(), 0, 0, 0]);
            self.may(nr::SETRESUID, [same, same, new.euid.into(), 0, 0, 0]);
        }
        // Capabilities are only ever lowered.
        let permitted = new.permitted & old.permitted;
        let effective = new.effective & permitted;
        if (permitted, effective) != (old.permitted, old.effective) {
            let header = self.keep(&CAP_HEADER.map(u32::to_le_bytes).concat());
            let half = |shift: u32| {
                [effective, permitted, old.inheritable].map(|set| (set >> shift) as u32)
            };
            let data = [half(0), half(32)].concat();
            let bytes: Vec<u8> = data.iter().flat_map(|w| w.to_le_bytes()).collect();
            let data = self.keep(&bytes);
            self.must(nr::CAPSET, [header, data, 0, 0, 0, 0]);
        }
        if old.securebits & 0x10 != 0 {
            self.prctl(PR_SET_KEEPCAPS, 0, 0);
        }
        for op in &self.plan.ops {
            if let Op::Dumpable(value) = op {
                // 2 ("readable by root only") cannot be set from user space.
                self.prctl(PR_SET_DUMPABLE, u64::from(*value == 1), 0);
            }
        }
        if ffi::personality() != self.plan.personality {
            self.may(nr::PERSONALITY, [self.plan.personality.into(), 0, 0, 0, 0, 0]);
        }
        let mut fds: Vec<i32> = self.host.descriptors().collect();
        fds.extend(&self.caller.cloexec);
        fds.sort_unstable();
        fds.dedup();
        for fd in fds {
            self.may(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0]);
        }
        self.may(nr::ARCH_PRCTL, [ARCH_SET_FS, 0, 0, 0, 0, 0]);
        self.may(nr::ARCH_PRCTL, [ARCH_SET_GS, 0, 0, 0, 0, 0]);
    }

    /// The last steps: registers, mask and FPU from a signal frame, then the region unmaps itself
    /// from inside the vdso, whose `ret` enters the program.
    fn finish(&mut self, len: u64) {
        let registers = self.plan.registers;
        let frame = match self.exit() {
            Some((vdso, exit)) => {
                let sp = registers.rsp - 8 - exit.skip;
                self.copy(registers.rsp - 8, &registers.rip.to_le_bytes());
                let rbp = exit.rbp.map_or(0, |add| sp + add);
                let call = [nr::MUNMAP, self.base, len];
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
            let data = self.base + CODE_LEN + self.op_end as u64;
            self.push_op(Kind::Zero, [data, at - data, 0, 0, 0, 0, 0]);
            let (read, exec) = (Prot::READ.bits(), (Prot::READ | Prot::EXEC).bits());
            let len = self.memory.len() as u64;
            self.may(nr::MPROTECT, [self.base + CODE_LEN, len, read.into(), 0, 0, 0]);
            self.may(nr::MPROTECT, [self.base, CODE_LEN, exec.into(), 0, 0, 0]);
        }
        self.push_op(Kind::End, [at, 0, 0, 0, 0, 0, 0]);
    }

    /// The exit sequence and the address of the vdso's code in the new layout.
    fn exit(&self) -> Option<(u64, Exit)> {
        let code = self.host.facts().vdso.last()?;
        let now = self.host.vdso_start() + vdso_len(self.host) - code.len;
        let then = self.plan.auxv.get(at::SYSINFO_EHDR)?;
        let exit = find_exit(ffi::vdso_code(now, code.len)?)?;
        Some((then, exit))
    }
}

/// The argument of `PR_SET_MM_MAP(2const)`.
fn mm_map(mm: &MmFields, auxv: u64, auxv_size: u32, exe_fd: u32) -> Vec<u8> {
    let words = [
        mm.start_code,
        mm.end_code,
        mm.start_data,
        mm.end_data,
        mm.start_brk,
        mm.brk,
        mm.start_stack,
        mm.arg_start,
        mm.arg_end,
        mm.env_start,
        mm.env_end,
        auxv,
    ];
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    bytes.extend(auxv_size.to_le_bytes());
    bytes.extend(exe_fd.to_le_bytes());
    bytes
}

/// The fields as `PR_SET_MM_MAP` accepts them (STK-42), and whether they had to be changed.
fn acceptable(mm: MmFields, task_size: u64) -> (MmFields, bool) {
    // Every vm.mmap_min_addr in use is at most this.
    const LOW: u64 = 65_536;
    let clamp = |x: u64| x.clamp(LOW, task_size - PAGE);
    let mut ok = MmFields {
        start_code: clamp(mm.start_code),
        end_code: clamp(mm.end_code),
        start_data: clamp(mm.start_data),
        end_data: clamp(mm.end_data),
        start_brk: clamp(mm.start_brk),
        brk: clamp(mm.brk),
        ..mm
    };
    if ok.start_code >= ok.end_code {
        ok.start_code = ok.end_code.min(task_size - 2 * PAGE);
        ok.end_code = ok.start_code + 1;
    }
    ok.end_data = ok.end_data.max(ok.start_data);
    (ok, ok != mm)
}
