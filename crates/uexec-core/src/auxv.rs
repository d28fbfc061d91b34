//! The auxiliary vector, in the kernel's order (STK-20).

use alloc::vec::Vec;

use crate::abi::{PAGE, at};
use crate::arch::Arch;
use crate::creds::NewCreds;
use crate::world::Facts;

/// Pairs of type and value, in order, without the final `AT_NULL`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Auxv(pub Vec<(u64, u64)>);

/// Addresses and numbers that the vector tells the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each is the value of the AT_ type of its name")]
pub struct AuxvInput {
    pub sysinfo: Option<u64>,
    pub sysinfo_ehdr: Option<u64>,
    pub phdr: u64,
    pub phent: u64,
    pub phnum: u64,
    pub base: u64,
    pub flags: u64,
    pub entry: u64,
    pub random: u64,
    pub execfn: u64,
    pub platform: u64,
    pub execfd: Option<u64>,
}

impl Auxv {
    /// Number of pairs, known before any address is.
    #[must_use]
    pub fn count(facts: &Facts, arch: &Arch, vdso: bool, sysinfo: bool, execfd: bool) -> u64 {
        16 + u64::from(arch.platform_len() > 0)
            + u64::from(vdso)
            + u64::from(sysinfo)
            + u64::from(facts.minsigstksz.is_some())
            + u64::from(facts.hwcap2.is_some())
            + u64::from(execfd)
            + 2 * u64::from(facts.rseq.is_some())
    }

    /// Builds the vector.
    #[must_use]
    pub fn build(facts: &Facts, creds: &NewCreds, arch: &Arch, input: &AuxvInput) -> Auxv {
        let mut v = Vec::with_capacity(24);
        let word = |x| arch.class.wrap(x);
        let mut put = |a_type, value: Option<u64>| v.extend(value.map(|x| (a_type, word(x))));
        put(at::SYSINFO, input.sysinfo);
        put(at::SYSINFO_EHDR, input.sysinfo_ehdr);
        put(at::MINSIGSTKSZ, facts.minsigstksz);
        put(at::HWCAP, Some(facts.hwcap));
        put(at::PAGESZ, Some(PAGE));
        put(at::CLKTCK, Some(facts.clktck));
        put(at::PHDR, Some(input.phdr));
        put(at::PHENT, Some(input.phent));
        put(at::PHNUM, Some(input.phnum));
        put(at::BASE, Some(input.base));
        put(at::FLAGS, Some(input.flags));
        put(at::ENTRY, Some(input.entry));
        put(at::UID, Some(creds.uid.into()));
        put(at::EUID, Some(creds.euid.into()));
        put(at::GID, Some(creds.gid.into()));
        put(at::EGID, Some(creds.egid.into()));
        put(at::SECURE, Some(creds.secureexec.into()));
        put(at::RANDOM, Some(input.random));
        put(at::HWCAP2, facts.hwcap2);
        put(at::EXECFN, Some(input.execfn));
        put(at::PLATFORM, (arch.platform_len() > 0).then_some(input.platform));
        put(at::EXECFD, input.execfd);
        put(at::RSEQ_FEATURE_SIZE, facts.rseq.map(|r| r.0));
        put(at::RSEQ_ALIGN, facts.rseq.map(|r| r.1));
        Auxv(v)
    }

    /// The value of a type.
    #[must_use]
    pub fn get(&self, a_type: u64) -> Option<u64> {
        self.0.iter().find(|(t, _)| *t == a_type).map(|(_, v)| *v)
    }

    /// The words as they stand in memory, `AT_NULL` pair included.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        self.0.iter().flat_map(|(t, v)| [*t, *v]).chain([at::NULL, 0]).collect()
    }

    /// Name of a type as in `getauxval(3)`.
    #[must_use]
    pub const fn name(a_type: u64) -> &'static str {
        match a_type {
            at::NULL => "AT_NULL",
            at::EXECFD => "AT_EXECFD",
            at::PHDR => "AT_PHDR",
            at::PHENT => "AT_PHENT",
            at::PHNUM => "AT_PHNUM",
            at::PAGESZ => "AT_PAGESZ",
            at::BASE => "AT_BASE",
            at::FLAGS => "AT_FLAGS",
            at::ENTRY => "AT_ENTRY",
            at::UID => "AT_UID",
            at::EUID => "AT_EUID",
            at::GID => "AT_GID",
            at::EGID => "AT_EGID",
            at::PLATFORM => "AT_PLATFORM",
            at::HWCAP => "AT_HWCAP",
            at::CLKTCK => "AT_CLKTCK",
            at::SECURE => "AT_SECURE",
            at::RANDOM => "AT_RANDOM",
            at::HWCAP2 => "AT_HWCAP2",
            at::RSEQ_FEATURE_SIZE => "AT_RSEQ_FEATURE_SIZE",
            at::RSEQ_ALIGN => "AT_RSEQ_ALIGN",
            at::EXECFN => "AT_EXECFN",
            at::SYSINFO => "AT_SYSINFO",
            at::SYSINFO_EHDR => "AT_SYSINFO_EHDR",
            at::MINSIGSTKSZ => "AT_MINSIGSTKSZ",
            _ => "AT_?",
        }
    }
}
