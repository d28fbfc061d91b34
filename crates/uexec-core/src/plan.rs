//! The plan: everything an exec will do, as an ordered list of operations. Pure data; this room
//! decides nothing and carries nothing out.

use alloc::vec::Vec;

use crate::auxv::Auxv;
use crate::creds::NewCreds;
use crate::error::Refusal;
use crate::image::Image;
use crate::mm::{Backing, Prot, Vma};
use crate::stack::Stack;
use crate::story::{Link, Story};
use crate::world::{FileId, World};

/// One operation. All before [`Op::PointOfNoReturn`] can still be undone; nothing after it can
/// fail but by killing the process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// From here on the caller no longer exists (PIPE-49.2).
    PointOfNoReturn,
    /// End the other threads (PIPE-49.3).
    EndThreads,
    /// Drop robust-futex list, clear-child-tid address and every mapping (PIPE-49.9).
    DropMemory,
    /// Delete POSIX timers (PIPE-49.11).
    DeleteTimers,
    /// Set `personality(2)` to this (PIPE-49.13, ELF-30).
    Personality(u32),
    /// Close descriptors that are close-on-exec (PIPE-49.14).
    CloseOnExec,
    /// Remove the parent-death signal (PIPE-47, PIPE-48).
    ClearParentDeathSignal,
    /// Remove the alternate signal stack (PIPE-49.16).
    DropSignalStack,
    /// Set whether the process may be dumped (PIPE-49.17, PIPE-48).
    Dumpable(u8),
    /// Name the task (PIPE-49.18).
    Comm(Vec<u8>),
    /// Set handled signals to their default; ignored ones stay ignored (PIPE-49.19).
    ResetSignals,
    /// Take on the new credentials (PIPE-49.20).
    Creds,
    /// Give an open file to the program, for reading (PIPE-49.21, MISC-26).
    KeepFile {
        /// Which.
        file: FileId,
        /// The number of its descriptor, free once close-on-exec ones are closed.
        fd: u32,
    },
    /// Map memory, in place of what is there.
    Map {
        /// First address.
        addr: u64,
        /// Length in bytes, whole pages.
        len: u64,
        /// Permissions.
        prot: Prot,
        /// Contents.
        backing: Backing,
        /// The stack: grows down.
        grows_down: bool,
    },
    /// Unmap memory.
    Unmap {
        /// First address.
        addr: u64,
        /// Length in bytes, whole pages.
        len: u64,
    },
    /// Write zeros.
    Zero {
        /// First address.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Write bytes.
    Copy {
        /// First address.
        addr: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Place the vdso block, its lowest mapping first.
    MapVdso {
        /// Where the lowest mapping starts.
        addr: u64,
    },
    /// Map page 0 readable and executable, if that is allowed (ELF-63).
    MapPageZero,
    /// Publish the layout (`PR_SET_MM_MAP(2const)`).
    SetMm,
    /// Lower the soft stack limit (PIPE-47).
    StackLimit(u64),
    /// Drop the rseq registration (PIPE-49.23).
    DropRseq,
    /// Reset FPU, vector and segment registers and start.
    Jump,
}

/// Fields of the memory descriptor that are published (STK-8, ELF-50, ELF-60).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
#[allow(missing_docs, reason = "the names are those of PR_SET_MM(2const)")]
pub struct MmFields {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// Registers at the first instruction (ELF-64); all others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
#[allow(missing_docs, reason = "register names")]
pub struct Registers {
    pub rip: u64,
    pub rsp: u64,
}

/// A decided exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `AT_EXECFN`.
    pub filename: Vec<u8>,
    /// The task's name, at most 15 bytes.
    pub comm: Vec<u8>,
    /// Files asked, from the one named to the one that runs.
    pub chain: Vec<Link>,
    /// The program and its interpreter.
    pub image: Image,
    /// Credentials after the exec.
    pub creds: NewCreds,
    /// `personality(2)` after the exec.
    pub personality: u32,
    /// The mappings when the first instruction runs.
    pub vmas: Vec<Vma>,
    /// Published layout.
    pub mm: MmFields,
    /// The first stack.
    pub stack: Stack,
    /// Its auxiliary vector.
    pub auxv: Auxv,
    /// Where it starts.
    pub registers: Registers,
    /// What is done, in order.
    pub ops: Vec<Op>,
    /// When the program cannot be laid out: why. The point of no return is behind by then, so
    /// carrying the plan out means dying by `SIGSEGV` (PIPE-50).
    pub death: Option<Refusal>,
    /// How all this was decided.
    pub story: Story,
}

impl Plan {
    /// Number of operations that can be undone: the index of [`Op::PointOfNoReturn`].
    #[must_use]
    pub fn point_of_no_return(&self) -> usize {
        self.ops.iter().position(|op| *op == Op::PointOfNoReturn).unwrap_or(self.ops.len())
    }

    /// What `/proc/PID/maps` calls a mapping that is no file: `[heap]` before `[stack]`, whatever
    /// lies where the break or the stack starts (`proc_pid_maps(5)`); empty for a nameless one.
    #[must_use]
    pub fn name_of<'a>(&self, vma: &'a Vma) -> &'a str {
        let MmFields { start_brk, brk, start_stack, .. } = self.mm;
        match &vma.backing {
            Backing::Special(name) => name,
            Backing::Anon if vma.start < brk && vma.end > start_brk => "[heap]",
            Backing::Anon if vma.start <= start_stack && vma.end >= start_stack => "[stack]",
            Backing::Anon | Backing::File { .. } => "",
        }
    }

    /// The bytes of the first stack, from `rsp` to its end; none when the process dies. Files are
    /// only read where a segment lies in the stack's place.
    #[must_use]
    pub fn stack_bytes(&self, world: &mut dyn World) -> Vec<u8> {
        match self.death {
            Some(_) => Vec::new(),
            None => memory(&self.ops, self.registers.rsp, self.stack.end, world),
        }
    }
}

/// What stands in memory from `start` to `end` after these operations; zeros where nothing does.
pub(crate) fn memory(ops: &[Op], start: u64, end: u64, world: &mut dyn World) -> Vec<u8> {
    let mut out = alloc::vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
    for op in ops {
        let (addr, len) = match op {
            Op::Copy { addr, bytes } => (*addr, bytes.len() as u64),
            Op::Map { addr, len, grows_down: false, .. } | Op::Zero { addr, len } => (*addr, *len),
            _ => continue,
        };
        let (from, to) = (addr.max(start), addr.saturating_add(len).min(end));
        if from >= to {
            continue;
        }
        let Some(part) = out.get_mut((from - start) as usize..(to - start) as usize) else {
            continue;
        };
        let skipped = from - addr;
        match op {
            Op::Copy { bytes, .. } => {
                if let Some(bytes) = bytes.get(skipped as usize..skipped as usize + part.len()) {
                    part.copy_from_slice(bytes);
                }
            }
            Op::Map { backing: Backing::File { file, offset }, .. } => {
                part.fill(0);
                // What cannot be read reads as zero here; whether it may be touched is not asked.
                let _ = world.read_at(*file, offset.saturating_add(skipped), part);
            }
            _ => part.fill(0),
        }
    }
    out
}
