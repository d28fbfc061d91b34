//! A `binfmt_misc` of a process's own, in namespaces in which the user stays who he is (MISC-33).
//! They end with the last process in them; nothing has to be cleaned up.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, mount};
use rustix::process::{getegid, geteuid, getppid};
use rustix::thread::{
    CapabilitySet, UnshareFlags, capabilities, configure_capability_in_ambient_set,
    set_capabilities,
};

use crate::userns::{map, unshare};

/// What failed, and how.
pub(crate) type Tried<T = ()> = Result<T, (&'static str, io::Error)>;

/// Where everybody looks for it.
const PLACE: &str = "/proc/sys/fs/binfmt_misc";

/// Moves this process into namespaces of its own with a `binfmt_misc` that holds what `rules`
/// writes to it.
pub(crate) fn enter(rules: impl FnOnce(&Path) -> Tried) -> Tried {
    let own = (geteuid().as_raw(), getegid().as_raw());
    let all = may_map_all() && enter_with_all_ids()?;
    if !all {
        if !in_new_namespace() {
            unshare_both()?;
        }
        map((0, 0), own).map_err(|e| ("writing the id maps", e))?;
    }
    mount("binfmt_misc", PLACE, "binfmt_misc", MountFlags::empty(), None)
        .map_err(|e| ("mounting binfmt_misc", e.into()))?;
    rules(Path::new(PLACE))?;
    if !all && own != (0, 0) {
        // Only root of a namespace may write rules; now he is himself again.
        unshare(UnshareFlags::NEWUSER).map_err(|e| ("unshare(CLONE_NEWUSER)", e))?;
        map(own, (0, 0)).map_err(|e| ("writing the id maps", e))?;
    }
    if own.0 != 0 {
        keep_capability().map_err(|e| ("keeping CAP_CHECKPOINT_RESTORE", e))?;
    }
    Ok(())
}

fn unshare_both() -> Tried {
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
        .map_err(|e| ("unshare(CLONE_NEWUSER|CLONE_NEWNS)", e))
}

/// Who may have `/proc/self/exe` name the program, and nothing else: no capability of a user
/// namespace reaches out of it. An exec keeps it for those who are not root.
fn keep_capability() -> io::Result<()> {
    let which = CapabilitySet::CHECKPOINT_RESTORE;
    let mut sets = capabilities(None)?;
    sets.inheritable |= which;
    set_capabilities(None, sets)?;
    Ok(configure_capability_in_ambient_set(which, true)?)
}

/// Whether this process may give a namespace all of its ids.
fn may_map_all() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Whether the process is in a namespace that nobody has given ids yet.
fn in_new_namespace() -> bool {
    std::fs::read("/proc/self/uid_map").is_ok_and(|map| map.is_empty())
}

/// The same with all ids that there are here, which only somebody outside may say: a second
/// process. `false` where that is refused; the process is then in the namespaces all the same.
fn enter_with_all_ids() -> Tried<bool> {
    let failed = |e| ("starting uexec for the id maps", e);
    let mut helper = Command::new("/proc/self/exe")
        .arg("map-ids")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let entered = unshare_both();
    if let Some(mut go) = helper.stdin.take()
        && entered.is_ok()
    {
        let _ = go.write_all(b"\n");
    }
    // Where children are not waited for, what it has done is seen all the same.
    let _ = helper.wait();
    entered.map(|()| !in_new_namespace())
}

/// What that process does: the parent is given the ids that there are here, all of them.
pub(crate) fn map_ids_of_parent() -> io::Result<()> {
    let mut go = [0];
    io::stdin().read_exact(&mut go)?;
    let parent = getppid().ok_or(io::ErrorKind::NotFound)?.as_raw_nonzero();
    for file in ["gid_map", "uid_map"] {
        let mut same = String::new();
        for line in std::fs::read_to_string(format!("/proc/self/{file}"))?.lines() {
            let mut words = line.split_whitespace();
            if let (Some(first), Some(_), Some(count)) = (words.next(), words.next(), words.next())
            {
                same += &format!("{first} {first} {count}\n");
            }
        }
        std::fs::write(format!("/proc/{parent}/{file}"), same)?;
    }
    Ok(())
}
