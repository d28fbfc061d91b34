//! With whose rights files are looked at: those of a thread, taken for a while by this one. Decides
//! nothing, and takes none that this process has not itself.

use alloc::format;
use alloc::vec::Vec;

use uexec_core::Errno;

use crate::ffi::{self, tracer};
use crate::procfs;

/// What the kernel goes by when a file is looked up, opened or executed (`credentials(7)`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rights {
    fsuid: u32,
    fsgid: u32,
    groups: Vec<u32>,
    /// Effective capabilities; none where they are another user namespace's.
    effective: u64,
}

/// Which user namespace: device and number.
pub type UserSpace = Option<(u64, u64)>;

/// A thread that is about to execute something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many system call filters it has, where the kernel tells (Linux 5.9).
    pub filters: Option<u32>,
    /// Signals that it ignores: bit 0 is signal 1.
    pub ignores: u64,
    /// Its rights.
    pub before: Rights,
    /// What they will be when it has executed a file that grants nothing.
    pub after: Rights,
}

impl Standing {
    /// Of a thread that stands still; `None` where it is gone. Capabilities are those in this user
    /// namespace, which is that of the caller ([`user_space`]).
    #[must_use]
    pub fn of(tid: i32, own: UserSpace) -> Option<Standing> {
        let name = procfs::Text::new(format_args!("/proc/{tid}/status"));
        let mut standing = Standing::told(&procfs::read_file(name.as_c_str()))?;
        let any = standing.before.effective | standing.after.effective != 0;
        if any && user_space(tid) != own {
            standing.before.effective = 0;
            standing.after.effective = 0;
        }
        Some(standing)
    }

    /// From a text as of `/proc/TID/status`.
    fn told(status: &[u8]) -> Option<Standing> {
        let text = core::str::from_utf8(status).ok()?;
        // In the kernel's order (fs/proc/array.c): what is not there leaves nothing behind it.
        let mut lines = text.lines();
        let mut value = |name: &str| {
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let ids = |text: &str| -> Option<Vec<u32>> {
            text.split_ascii_whitespace().map(|id| id.parse().ok()).collect()
        };
        let set = |text: &str| u64::from_str_radix(text, 16).ok();
        let &[_, euid, _, fsuid] = ids(value("Uid")?)?.as_slice() else { return None };
        let &[_, egid, _, fsgid] = ids(value("Gid")?)?.as_slice() else { return None };
        let groups = ids(value("Groups")?)?;
        let ignores = set(value("SigIgn")?)?;
        let inheritable = set(value("CapInh")?)?;
        let effective = set(value("CapEff")?)?;
        let bounding = set(value("CapBnd")?)?;
        // Before Linux 4.3 there is no ambient set.
        let ambient = value("CapAmb").and_then(set).unwrap_or(0);
        let after = if euid == 0 { bounding | inheritable } else { ambient };
        Some(Standing {
            filters: value("Seccomp_filters").and_then(|number| number.parse().ok()),
            ignores,
            before: Rights { fsuid, fsgid, groups: groups.clone(), effective },
            after: Rights { fsuid: euid, fsgid: egid, groups, effective: after },
        })
    }
}

/// That of a thread.
#[must_use]
pub fn user_space(tid: i32) -> UserSpace {
    let stat = rustix::fs::stat(format!("/proc/{tid}/ns/user")).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

impl Rights {
    /// Takes them, until the value is dropped. Capabilities that this process has not stay away.
    ///
    /// # Errors
    /// `EPERM` where it may not take these ids.
    pub fn take<'a>(&self, own: &'a Rights) -> Result<Taken<'a>, Errno> {
        let [_, permitted, inheritable] = ffi::capget()?;
        let taken = Taken { own, permitted, inheritable };
        // When something fails, dropping it undoes the rest.
        if self.groups != own.groups {
            tracer::set_groups(&self.groups)?;
        }
        if !tracer::set_fs_ids(self.fsuid, self.fsgid) {
            return Err(Errno::EPERM);
        }
        taken.have(self.effective)?;
        Ok(taken)
    }
}

/// Another's rights, taken.
#[derive(Debug)]
pub struct Taken<'a> {
    own: &'a Rights,
    permitted: u64,
    inheritable: u64,
}

impl Taken<'_> {
    fn have(&self, effective: u64) -> Result<(), Errno> {
        ffi::capset([effective & self.permitted, self.permitted, self.inheritable])
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // Nothing of this is refused to who has it among its permitted capabilities. Another file
        // user changes the effective ones, so they come once more.
        let _ = self.have(self.permitted);
        tracer::set_fs_ids(self.own.fsuid, self.own.fsgid);
        let _ = tracer::set_groups(&self.own.groups);
        let _ = self.have(self.own.effective);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let text = "Name:\tUid\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n\
                    SigIgn:\t0000000000001000\nCapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000002\n\
                    CapBnd:\t0000000000000004\nCapAmb:\t0000000000000008\nSeccomp:\t2\n\
                    Seccomp_filters:\t3\n";
        let before = Rights { fsuid: 4, fsgid: 8, groups: [9, 10].into(), effective: 2 };
        let after = Rights { fsuid: 2, fsgid: 6, groups: [9, 10].into(), effective: 8 };
        let standing = Standing { filters: Some(3), ignores: 0x1000, before, after };
        assert_eq!(Standing::told(text.as_bytes()).unwrap(), standing);
        let root = text.replace("1\t2\t3\t4", "1\t0\t3\t4").replace("Groups:\t9 10 ", "Groups:\t");
        let root = Standing::told(root.as_bytes()).unwrap();
        assert_eq!((root.after.effective, root.after.groups), (5, Vec::new()));
        assert_eq!(Standing::told(b"Name:\tx\n"), None);
    }

    #[test]
    fn rights_are_taken_and_given_back() {
        let now = || {
            Standing::of(ffi::thread::gettid(), user_space(ffi::thread::gettid())).unwrap().before
        };
        let own = now();
        assert_eq!(now(), own);
        // Without capabilities: anybody may.
        let none = Rights { effective: 0, ..own.clone() };
        let taken = none.take(&own).unwrap();
        assert_eq!(now(), none);
        drop(taken);
        assert_eq!(now(), own);
        let other = Rights { fsuid: 65534, fsgid: 65533, groups: [12, 13].into(), effective: 0 };
        match other.take(&own) {
            Ok(taken) => {
                assert_eq!(now(), other);
                drop(taken);
            }
            Err(error) => assert_eq!(error, Errno::EPERM),
        }
        assert_eq!(now(), own);
    }
}
