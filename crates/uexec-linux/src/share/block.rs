//! Memory for the arguments of a kernel exec by a process that shares its memory: the exec leaves it
//! behind, in the memory of a parent that knows nothing of it. So it is taken from a few blocks that
//! are kept, each until the process that has used it last is gone.

use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicI32, AtomicU64};

use uexec_core::Errno;
use uexec_core::abi::page_up;

use crate::arch::{nr, syscall6};
use crate::ffi::thread::{self, Shared};

/// One block that is kept.
struct Slot {
    /// The thread that uses it, or has: 0 for none.
    owner: AtomicI32,
    addr: AtomicU64,
    len: AtomicU64,
}

static SLOTS: [Slot; 16] =
    [const { Slot { owner: AtomicI32::new(0), addr: AtomicU64::new(0), len: AtomicU64::new(0) } };
        16];

/// Pointers and strings. Dropping it gives the memory back.
#[derive(Debug)]
pub(super) struct Block {
    addr: u64,
    len: u64,
    /// The slot it belongs to, if there was a free one.
    slot: Option<&'static Slot>,
}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Slot").field(&self.owner).finish()
    }
}

type Strings<'a, 'b> = &'a mut dyn Iterator<Item = &'b [u8]>;

impl Block {
    /// Two lists of pointers to C strings, each with a null pointer at its end, and the strings.
    pub(super) fn filled(first: Strings<'_, '_>, second: Strings<'_, '_>) -> Result<Block, Errno> {
        let (first, second): (alloc::vec::Vec<_>, alloc::vec::Vec<_>) =
            (first.collect(), second.collect());
        let all = || first.iter().chain(&second);
        if all().any(|s| s.contains(&0)) {
            return Err(Errno::EINVAL);
        }
        let pointers = (first.len() + second.len() + 2) * 8;
        let len = pointers + all().map(|s| s.len() + 1).sum::<usize>();
        let block = Block::take(page_up(len as u64))?;
        let place = block.addr as *mut u8;
        // SAFETY: mapped with at least that length, and used by nobody else.
        let memory = unsafe { core::slice::from_raw_parts_mut(place, len) };
        let (pointers, mut strings) = memory.split_at_mut(pointers);
        let mut at = block.addr + pointers.len() as u64;
        let mut words = pointers.chunks_exact_mut(8);
        let mut put = |word: u64| {
            if let Some(to) = words.next() {
                to.copy_from_slice(&word.to_ne_bytes());
            }
        };
        for list in [&first, &second] {
            for s in list {
                put(at);
                at += s.len() as u64 + 1;
                let (to, rest) = core::mem::take(&mut strings).split_at_mut(s.len() + 1);
                to[..s.len()].copy_from_slice(s);
                to[s.len()] = 0;
                strings = rest;
            }
            put(0);
        }
        Ok(block)
    }

    /// The first of its pointers.
    pub(super) fn words(&self) -> *const u64 {
        self.addr as *const u64
    }

    fn take(len: u64) -> Result<Block, Errno> {
        let own = thread::gettid();
        for slot in &SLOTS {
            let owner = slot.owner.load(SeqCst);
            if owner != 0 && owner != own && may_use(owner) {
                continue;
            }
            if slot.owner.compare_exchange(owner, own, SeqCst, SeqCst).is_err() {
                continue;
            }
            let (addr, old) = (slot.addr.load(SeqCst), slot.len.load(SeqCst));
            if old >= len {
                return Ok(Block { addr, len: old, slot: Some(slot) });
            }
            unmap(addr, old);
            slot.len.store(0, SeqCst);
            let addr = map(len).inspect_err(|_| slot.owner.store(0, SeqCst))?;
            slot.addr.store(addr, SeqCst);
            slot.len.store(len, SeqCst);
            return Ok(Block { addr, len, slot: Some(slot) });
        }
        Ok(Block { addr: map(len)?, len, slot: None })
    }
}

/// Whether a thread may still look at this memory.
fn may_use(owner: i32) -> bool {
    !matches!(thread::kcmp(thread::gettid(), owner, Shared::Memory), Ok(false) | Err(Errno::ESRCH))
}

impl Drop for Block {
    fn drop(&mut self) {
        unmap(self.addr, self.len);
        if let Some(slot) = self.slot {
            slot.len.store(0, SeqCst);
            slot.owner.store(0, SeqCst);
        }
    }
}

fn map(len: u64) -> Result<u64, Errno> {
    const READ_WRITE: u64 = 3;
    const PRIVATE_ANONYMOUS: u64 = 0x22;
    // SAFETY: a fresh mapping wherever there is room touches nothing that exists.
    let got = unsafe { syscall6(nr::MMAP, [0, len, READ_WRITE, PRIVATE_ANONYMOUS, u64::MAX, 0]) };
    if (-4095..0).contains(&got) { Err(Errno(-got as u16)) } else { Ok(got as u64) }
}

fn unmap(addr: u64, len: u64) {
    if len > 0 {
        // SAFETY: a mapping of this room's, which nobody uses any more.
        let _ = unsafe { syscall6(nr::MUNMAP, [addr, len, 0, 0, 0, 0]) };
    }
}
