//! What is not run, and why. One table.

use crate::args::User;
use crate::program::Program;

/// Names; a `*` at the end stands for any rest.
type Names = &'static [&'static str];

const DISK: &str = "writes to disks if it does not know the option";
const ACCOUNTS: &str = "changes user accounts or the system's settings whatever it is given";
const POWER: &str = "stops, restarts or re-parents the system";
const TERMINAL: &str = "waits for a terminal";
const DAEMON: &str = "stays in the background";
const SET_ID: &str = "set-user-ID or set-group-ID: uexec never grants it";

/// Reasons and names.
const TABLE: &[(&str, Names)] = &[
    (POWER, &["halt", "init", "killall5", "poweroff", "reboot", "runlevel", "shutdown", "telinit"]),
    (POWER, &["ctrlaltdel", "pivot_root", "rtcwake", "switch_root", "systemd*", "fstab-decode"]),
    (DISK, &["blkdiscard", "blkdeactivate", "e4defrag", "fsck*", "fsfreeze", "mke2fs"]),
    (DISK, &["mkfs*", "mklost+found", "mkswap", "swapoff", "swapon", "wipefs"]),
    (ACCOUNTS, &["add-shell", "remove-shell", "update-shells", "update-passwd", "shadowconfig"]),
    (ACCOUNTS, &["cpgr", "cppw", "grpconv", "grpunconv", "pwconv", "pwunconv", "newusers"]),
    (ACCOUNTS, &["update-ca-certificates", "locale-gen", "make-ssl-cert", "pam-auth-update"]),
    (ACCOUNTS, &["dpkg-fsys-usrunmess", "e2scrub*", "ldattach", "slattach", "logsave"]),
    (TERMINAL, &["agetty", "getty", "login", "sulogin", "sg", "vigr", "vipw", "cpan*"]),
    (DAEMON, &["jstatd", "rmiregistry", "gpg-connect-agent", "dirmngr-client"]),
];

/// Why a program is not run; `None` for nearly all.
pub(crate) fn reason(program: &Program, user: User) -> Option<&'static str> {
    if program.set_id && user != User::Root {
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

    fn reason_of(path: &str, set_id: bool, user: User) -> Option<&'static str> {
        reason(&Program { path: path.into(), kind: Kind::Pie, set_id }, user)
    }

    #[test]
    fn skips_by_name_and_by_start() {
        assert_eq!(reason_of("/sbin/reboot", false, User::Root), Some(POWER));
        assert_eq!(reason_of("/sbin/mkfs.ext4", false, User::Nobody), Some(DISK));
        assert_eq!(reason_of("/bin/ls", false, User::Root), None);
    }

    #[test]
    fn set_user_id_matters_to_the_unprivileged_only() {
        assert_eq!(reason_of("/bin/su", true, User::Root), None);
        assert_eq!(reason_of("/bin/su", true, User::Nobody), Some(SET_ID));
    }
}
