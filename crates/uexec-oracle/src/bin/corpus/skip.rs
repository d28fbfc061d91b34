//! What is not run, and why. One table.

use crate::args::User;
use crate::program::Program;

/// Names; a `*` at the end stands for any rest.
type Names = &'static [&'static str];

const DISK: &str = "writes to disks if it does not know the option";
const SETTINGS: &str = "changes accounts or settings of the system whatever it is given";
const POWER: &str = "stops, restarts or re-parents the system";
const NETWORK: &str = "asks the network";
const TERMINAL: &str = "waits for a terminal";
const ENDLESS: &str = "does not end by itself, under the kernel neither";
const SET_ID: &str = "set-user-ID or set-group-ID: uexec never grants it";

/// Reasons and names.
const TABLE: &[(&str, Names)] = &[
    (POWER, &["halt", "init", "killall5", "poweroff", "reboot", "runlevel", "shutdown", "telinit"]),
    (POWER, &["ctrlaltdel", "fstab-decode", "pivot_root", "rtcwake", "switch_root", "systemd"]),
    (DISK, &["blkdiscard", "blkdeactivate", "e2scrub*", "e4defrag", "fsck*", "fsfreeze"]),
    (DISK, &["mke2fs", "mkfs*", "mkswap", "swapoff", "swapon", "wipefs"]),
    (SETTINGS, &["add-shell", "remove-shell", "update-shells", "update-passwd", "shadowconfig"]),
    (SETTINGS, &["cpgr", "cppw", "grpconv", "grpunconv", "pwconv", "pwunconv", "newusers"]),
    (SETTINGS, &["dpkg-fsys-usrunmess", "ldattach", "locale-gen", "make-ssl-cert", "slattach"]),
    (SETTINGS, &["pam-auth-update", "systemd-machine-id-setup", "update-ca-certificates"]),
    (NETWORK, &["cpan*"]),
    (TERMINAL, &["agetty", "getty", "sulogin", "vigr", "vipw"]),
    (ENDLESS, &["debconf-apt-progress", "instmodsh", "jconsole", "llvm-PerfectShuffle*"]),
    (ENDLESS, &["mvnDebug"]),
    ("waits ten seconds, as long as is waited here", &["git-filter-branch"]),
];

/// Why a program is not run; `None` for nearly all.
pub(crate) fn reason(program: &Program, user: User) -> Option<&'static str> {
    let (uid, gid) = user.ids();
    if program.set_uid.is_some_and(|u| u != uid) || program.set_gid.is_some_and(|g| g != gid) {
        return Some(SET_ID);
    }
    let name = program.path.file_name()?.to_str()?;
    let is = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    };
    TABLE.iter().find(|(_, names)| names.iter().any(is)).map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Kind;

    fn reason_of(path: &str, set_uid: Option<u32>, user: User) -> Option<&'static str> {
        reason(&Program { path: path.into(), kind: Kind::Pie, set_uid, set_gid: None }, user)
    }

    #[test]
    fn skips_by_name_and_by_start() {
        assert_eq!(reason_of("/sbin/reboot", None, User::Root), Some(POWER));
        assert_eq!(reason_of("/sbin/mkfs.ext4", None, User::Nobody), Some(DISK));
        assert_eq!(reason_of("/bin/ls", None, User::Root), None);
    }

    #[test]
    fn set_user_id_matters_where_it_changes_the_user() {
        assert_eq!(reason_of("/bin/su", Some(0), User::Root), None);
        assert_eq!(reason_of("/bin/su", Some(0), User::Nobody), Some(SET_ID));
    }
}
