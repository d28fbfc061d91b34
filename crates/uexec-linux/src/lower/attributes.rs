//! Everything of a process but its memory, lowered: what is registered with the kernel, signals,
//! the published layout, credentials and the rest of PIPE-49.

use alloc::vec::Vec;

use rustix::fd::AsRawFd;
use uexec_core::world::World;
use uexec_core::{ExecError, Op};

use super::Lowering;
use crate::Difference;
use crate::arch::{Kind, nr};
use crate::ffi::{self, CAP_HEADER, RSEQ_LEN, RSEQ_SIG};
use crate::host::Host;
use crate::publish::{acceptable, mm_map};

const PR_SET_DUMPABLE: u64 = 4;
const PR_SET_KEEPCAPS: u64 = 8;
const PR_SET_MM: u64 = 35;
const PR_SET_MM_MAP: u64 = 14;
const PR_SET_MM_MAP_SIZE: u64 = 104;
const PR_CAP_AMBIENT: u64 = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;
const PR_SET_SYSCALL_USER_DISPATCH: u64 = 59;
const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
const RLIMIT_DATA: u64 = 2;
const F_SETFD: u64 = 2;
const F_SETFL: u64 = 4;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_CHECKPOINT_RESTORE: u64 = 1 << 40;

/// Whether this process may say which file it has executed.
pub(crate) fn may_set_exe(host: &Host) -> bool {
    host.facts().creds.effective & (CAP_SYS_ADMIN | CAP_CHECKPOINT_RESTORE) != 0
}

impl Lowering<'_> {
    /// What the kernel would otherwise write to after it is gone.
    pub(super) fn drop_registrations(&mut self) {
        if self.caller.rseq != 0 {
            let size = self.host.rseq_len();
            let drop = |len| [self.caller.rseq, len, 1, RSEQ_SIG, 0, 0];
            if size == RSEQ_LEN {
                self.may(nr::RSEQ, drop(size));
            } else {
                self.push(Kind::CallOrElse, nr::RSEQ, drop(size));
                self.may(nr::RSEQ, drop(RSEQ_LEN));
            }
        }
        if !self.caller.untouched {
            self.may(nr::SET_ROBUST_LIST, [0, 24, 0, 0, 0, 0]);
            self.may(nr::SET_TID_ADDRESS, [0; 6]);
        }
        if !self.caller.fresh {
            self.prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0);
        }
    }

    pub(super) fn reset_signals(&mut self) {
        if self.caller.handled.is_empty() {
            return;
        }
        let default = self.keep_words(&[0; 4]);
        for signal in &self.caller.handled {
            self.may(nr::RT_SIGACTION, [*signal, default, 0, 8, 0, 0]);
        }
    }

    pub(super) fn set_mm(&mut self) -> Result<(), ExecError> {
        let saved = self.plan.image.arch.bytes_of(&self.plan.auxv.words());
        let auxv = self.keep(&saved);
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
        let size = saved.len() as u32;
        let with_exe = self.keep(&mm_map(&mm, auxv, size, exe as u32));
        let without = self.keep(&mm_map(&mm, auxv, size, u32::MAX));
        let call = |at| [PR_SET_MM, PR_SET_MM_MAP, at, PR_SET_MM_MAP_SIZE, 0, 0];
        if may_set_exe(self.host) {
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

    /// What the leader is given of the thread in whose place it goes on.
    pub(super) fn inherit(&mut self) {
        let Some(of) = &self.caller.inherited else { return };
        for (option, a, b) in &of.options {
            self.prctl(*option, *a, *b);
        }
        let set = self.keep_words(&of.affinity);
        let len = of.affinity.len() as u64 * 8;
        self.may(nr::SCHED_SETAFFINITY, [0, len, set, 0, 0, 0]);
        self.may(nr::IOPRIO_SET, [1, 0, of.io_priority, 0, 0, 0]);
        if let Some((mode, nodes)) = &of.memory_policy {
            let set = self.keep_words(nodes);
            let bits = nodes.len() as u64 * 64;
            self.may(nr::SET_MEMPOLICY, [*mode, set, bits, 0, 0, 0]);
        }
    }

    /// Credentials and the rest that must wait until nothing privileged is left to do.
    pub(super) fn attributes(&mut self) -> Result<(), ExecError> {
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
        let persona =
            if self.caller.untouched { self.host.facts().personality } else { ffi::personality() };
        if self.caller.inherited.is_some() || persona != self.plan.personality {
            self.may(nr::PERSONALITY, [self.plan.personality.into(), 0, 0, 0, 0, 0]);
        }
        self.descriptors()?;
        if !self.caller.untouched {
            self.may(nr::ARCH_PRCTL, [ARCH_SET_FS, 0, 0, 0, 0, 0]);
            self.may(nr::ARCH_PRCTL, [ARCH_SET_GS, 0, 0, 0, 0, 0]);
        }
        Ok(())
    }

    /// Hands the kept file on (MISC-26), and closes what is close-on-exec.
    fn descriptors(&mut self) -> Result<(), ExecError> {
        let mut given = None;
        for op in &self.plan.ops {
            if let Op::KeepFile { file, fd } = op {
                let open = self.host.data_fd(*file).map_err(|e| ExecError::host("open", e))?;
                let (from, to) = (open.as_raw_fd() as u64, u64::from(*fd));
                // Opened by us: whoever else has this description is closed below.
                self.may(nr::FCNTL, [from, F_SETFL, 0, 0, 0, 0]);
                if from == to {
                    self.may(nr::FCNTL, [from, F_SETFD, 0, 0, 0, 0]);
                } else {
                    self.must(nr::DUP2, [from, to, 0, 0, 0, 0]);
                }
                given = Some(fd.cast_signed());
            }
        }
        let mut fds: Vec<i32> = self.host.descriptors().collect();
        fds.extend(&self.caller.cloexec);
        fds.sort_unstable();
        fds.dedup();
        for fd in fds.into_iter().filter(|fd| Some(*fd) != given) {
            self.may(nr::CLOSE, [fd as u64, 0, 0, 0, 0, 0]);
        }
        Ok(())
    }
}
