//! How much of a mapping is dumped, by the first rule that applies (CORE-40 to CORE-49; `core(5)`
//! and `vma_dump_size`, `fs/coredump.c`, 6.18). Reads no memory.

use super::process::Vma;
use crate::abi::PAGE;
use crate::mm::Prot;

/// `/proc/PID/coredump_filter` (`core(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter(pub u64);

impl Default for Filter {
    /// What a process has that nobody has told otherwise (CORE-49).
    fn default() -> Filter {
        Filter(0x33)
    }
}

impl Filter {
    const fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

/// Why so much of a mapping is in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The kernel's own page: always.
    Special,
    /// `MADV_DONTDUMP`.
    DontDump,
    /// Storage mapped as memory, by bits 7 and 8.
    Dax(bool),
    /// Huge pages, by bits 5 and 6.
    Hugetlb(bool),
    /// Memory of a device.
    Io,
    /// Shared memory without a name, by bit 1.
    SharedAnonymous(bool),
    /// A shared file, by bit 3.
    SharedFile(bool),
    /// Pages of the process's own, by bit 0.
    Private,
    /// No page of it was ever touched.
    Untouched,
    /// A private file, by bit 2.
    PrivateFile,
    /// The first page of a program or library, by bit 4.
    ElfHeader,
    /// Unchanged contents of a file, which are in the file.
    Unchanged,
    /// Cut, so that the file stays below its limit.
    Limit,
}

impl Why {
    /// The rule's number.
    #[must_use]
    pub const fn spec(self) -> &'static str {
        match self {
            Why::Special => "CORE-40",
            Why::DontDump => "CORE-41",
            Why::Dax(_) | Why::Hugetlb(_) => "CORE-42",
            Why::Io => "CORE-43",
            Why::SharedAnonymous(_) | Why::SharedFile(_) => "CORE-44",
            Why::Private => "CORE-45",
            Why::Untouched => "CORE-46",
            Why::PrivateFile => "CORE-47",
            Why::ElfHeader | Why::Unchanged => "CORE-48",
            Why::Limit => "CORE-7",
        }
    }

    /// The rule in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Why::Special => "the kernel's own page",
            Why::DontDump => "left out: MADV_DONTDUMP",
            Why::Dax(true) => "storage as memory (filter bits 7, 8)",
            Why::Dax(false) => "left out: storage as memory (filter bits 7, 8)",
            Why::Hugetlb(true) => "huge pages (filter bits 5, 6)",
            Why::Hugetlb(false) => "left out: huge pages (filter bits 5, 6)",
            Why::Io => "left out: memory of a device",
            Why::SharedAnonymous(true) => "shared memory without a name (filter bit 1)",
            Why::SharedAnonymous(false) => "left out: shared memory without a name (filter bit 1)",
            Why::SharedFile(true) => "a shared file (filter bit 3)",
            Why::SharedFile(false) => "left out: a shared file (filter bit 3)",
            Why::Private => "pages of its own (filter bit 0)",
            Why::Untouched => "left out: never touched, or pages of its own (filter bit 0)",
            Why::PrivateFile => "a private file (filter bit 2)",
            Why::ElfHeader => "headers of a program or library (filter bit 4)",
            Why::Unchanged => "left out: as in its file (filter bits 2, 4)",
            Why::Limit => "cut: the file would exceed its limit",
        }
    }
}

/// Whether [`Vma::elf_magic`] matters for this mapping, so that a look at its memory is needed.
#[must_use]
pub fn needs_magic(vma: &Vma, filter: Filter) -> bool {
    let without = Vma { elf_magic: false, ..vma.clone() };
    let with = Vma { elf_magic: true, ..vma.clone() };
    amount(&without, filter) != amount(&with, filter)
}

/// Bytes dumped of a mapping, from its start, and why.
///
/// ```
/// use uexec_core::coredump::{Filter, Vma, Why, amount::amount};
/// let touched = Vma { start: 0x1000, end: 0x3000, private_pages: true, ..Vma::default() };
/// assert_eq!(amount(&touched, Filter::default()), (0x2000, Why::Private));
/// ```
#[must_use]
pub fn amount(vma: &Vma, filter: Filter) -> (u64, Why) {
    let whole = |yes: bool, why: Why| (if yes { vma.len() } else { 0 }, why);
    if vma.special {
        return whole(true, Why::Special);
    }
    if vma.dont_dump {
        return whole(false, Why::DontDump);
    }
    if vma.file.as_ref().is_some_and(|f| f.dax) {
        let yes = filter.has(if vma.shared { 8 } else { 7 });
        return whole(yes, Why::Dax(yes));
    }
    if vma.hugetlb {
        let yes = filter.has(if vma.shared { 6 } else { 5 });
        return whole(yes, Why::Hugetlb(yes));
    }
    if vma.io {
        return whole(false, Why::Io);
    }
    if vma.shared {
        let unlinked = vma.file.as_ref().is_none_or(|f| f.unlinked);
        let yes = filter.has(if unlinked { 1 } else { 3 });
        let why = if unlinked { Why::SharedAnonymous(yes) } else { Why::SharedFile(yes) };
        return whole(yes, why);
    }
    if vma.private_pages && filter.has(0) {
        return whole(true, Why::Private);
    }
    let Some(file) = &vma.file else {
        return whole(false, Why::Untouched);
    };
    if filter.has(2) {
        return whole(true, Why::PrivateFile);
    }
    let head = filter.has(4) && file.offset == 0 && vma.prot.contains(Prot::READ);
    if head && (file.executable || vma.elf_magic) {
        return (PAGE.min(vma.len()), Why::ElfHeader);
    }
    whole(false, Why::Unchanged)
}
