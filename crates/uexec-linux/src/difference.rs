//! What is not as after a kernel exec, in words.

use core::fmt;

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
    /// The kernel takes a process that it has started as a 64-bit one for such a one to the end.
    Ia32,
    /// An a.out program has a vdso, and its writable pages are executable.
    Aout,
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
            Difference::Ia32 => {
                "the process stays a 64-bit one for the kernel: [vsyscall] in /proc/self/maps, core dumps in ELF64, fixed mappings up to 4 GiB"
            }
            Difference::Aout => {
                "the kernel gave a.out programs no vdso, and on processors with NX no executable data"
            }
            Difference::MmapBase => "mappings made later lie where the kernel had put uexec's",
        })
    }
}
