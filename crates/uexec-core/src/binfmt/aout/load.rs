//! Places an a.out program (AOUT-5 to AOUT-11). Decodes nothing.
//!
//! Two differences from Linux 5.15, without which no program would run: what the kernel loaded as
//! writable pages is executable here, as it was on processors without NX (AOUT-11); and the vdso is
//! mapped, which signal handlers return through (AOUT-14).

use alloc::vec;
use alloc::vec::Vec;

use super::{Header, Magic};
use crate::abi::{page_down, page_up};
use crate::bprm::File;
use crate::error::{Errno, Reason, Refusal, Stage};
use crate::mm::{Backing, Mm, Place, Prot, Vma};
use crate::plan::{MmFields, Op};
use crate::world::World;

/// The address space being filled.
pub(crate) struct Loader<'a> {
    pub(crate) world: &'a mut dyn World,
    pub(crate) mm: &'a mut Mm,
    pub(crate) ops: &'a mut Vec<Op>,
}

impl Loader<'_> {
    /// Places text, data and bss.
    ///
    /// # Errors
    /// Every refusal means death by `SIGSEGV`.
    pub(crate) fn program(&mut self, file: &File, header: &Header) -> Result<(), Refusal> {
        self.place(file, header)
            .map_err(|reason| Refusal::new(Stage::Map, reason).of(&file.path).at(0, 32))
    }

    fn place(&mut self, file: &File, h: &Header) -> Result<(), Reason> {
        let all = Prot::READ | Prot::WRITE | Prot::EXEC;
        if h.magic == Magic::Qmagic {
            let backing = |offset: u32| Backing::File { file: file.id, offset: offset.into() };
            let (text, data) = (h.a_text, h.a_data);
            // mmap(2) refuses other offsets, and no bytes. Before Linux 2.6.12 it took the latter.
            if !text.is_multiple_of(4096) || text == 0 || data == 0 {
                return Err(Reason::AoutPages { text, data });
            }
            self.map(h.text_addr(), text, Prot::READ | Prot::EXEC, backing(0))?;
            self.map(h.data_addr(), data, all, backing(text))?;
        } else if h.loaded_len() > 0 {
            self.map(h.text_addr(), h.loaded_len(), all, Backing::Anon)?;
            self.read(file, h)?;
        }
        let (bss, end) = (u64::from(h.bss_addr()), u64::from(end_of_bss(h)));
        let (from, to) = (page_up(bss), page_up(end));
        if to > from {
            self.map_at(from, to - from, Prot::READ | Prot::WRITE, Backing::Anon)?;
        }
        Ok(())
    }

    /// Copies text and data, which lie in the file as in memory. What the file lacks stays zero.
    fn read(&mut self, file: &File, h: &Header) -> Result<(), Reason> {
        let mut bytes = vec![0; h.in_file(file.stat.size)];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = u64::from(h.text_offset()) + done as u64;
            match self.world.read_at(file.id, at, rest) {
                Ok(0) => break,
                Ok(n) => done += n.min(rest.len()),
                Err(errno) if h.magic == Magic::Omagic || errno == Errno::EACCES => {
                    return Err(Reason::Io { errno });
                }
                Err(_) => break,
            }
        }
        bytes.truncate(done);
        self.ops.push(Op::Copy { addr: h.text_addr().into(), bytes });
        Ok(())
    }

    fn map(&mut self, addr: u32, len: u32, prot: Prot, backing: Backing) -> Result<(), Reason> {
        self.map_at(addr.into(), len.into(), prot, backing)
    }

    fn map_at(&mut self, addr: u64, len: u64, prot: Prot, backing: Backing) -> Result<(), Reason> {
        let start = page_down(addr);
        let len = page_up(len);
        self.mm.admit(Place::Fixed(start), len, prot, &backing, false)?;
        let end = start.saturating_add(len);
        let vma = Vma { start, end, prot, backing: backing.clone(), grows_down: false };
        self.mm.insert(vma);
        self.ops.push(Op::Map { addr: start, len, prot, backing, grows_down: false });
        Ok(())
    }
}

fn end_of_bss(h: &Header) -> u32 {
    h.bss_addr().wrapping_add(h.a_bss)
}

/// AOUT-5: what is known before the stack is.
pub(crate) fn fields(h: &Header) -> MmFields {
    let (text, data) = (u64::from(h.text_addr()), u64::from(h.data_addr()));
    MmFields {
        start_code: text,
        end_code: text + u64::from(h.a_text),
        start_data: data,
        end_data: data + u64::from(h.a_data),
        start_brk: h.bss_addr().into(),
        brk: end_of_bss(h).into(),
        ..MmFields::default()
    }
}
