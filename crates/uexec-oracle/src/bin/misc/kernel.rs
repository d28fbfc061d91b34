//! The kernel's side: an instance of this process's own (Linux 6.7), in namespaces of its own.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{getgid, getuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The instance, and a folder for files.
pub(crate) struct Mount {
    folder: PathBuf,
    misc: PathBuf,
}

impl Mount {
    /// Moves this process into namespaces of its own and mounts `binfmt_misc` there.
    pub(crate) fn new() -> Result<Mount, String> {
        let folder = std::env::temp_dir().join(format!("uexec-misc-{}", std::process::id()));
        let misc = folder.join("misc");
        let named = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
        fs::create_dir_all(&misc).map_err(named("making a folder"))?;
        let made = Mount { folder, misc };
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        // SAFETY: neither memory nor descriptors are touched, and there is one thread.
        let alone = unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) };
        alone.map_err(|e| format!("unshare(CLONE_NEWUSER): {e}"))?;
        fs::write("/proc/self/setgroups", "deny").map_err(named("setgroups"))?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(named("uid_map"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(named("gid_map"))?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|e| format!("making mounts private: {e}"))?;
        mount("binfmt_misc", &made.misc, "binfmt_misc", MountFlags::empty(), None)
            .map_err(|e| format!("mounting binfmt_misc in a user namespace (Linux 6.7): {e}"))?;
        Ok(made)
    }

    /// Where files may be made.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes to a file of the instance in one go; the errno, 0 for success.
    pub(crate) fn write(&self, name: &[u8], bytes: &[u8]) -> i32 {
        let path = self.misc.join(std::ffi::OsStr::from_bytes(name));
        let write = |file: File| rustix::io::write(&file, bytes).map_err(io::Error::from);
        match OpenOptions::new().write(true).open(path).and_then(write) {
            Ok(n) if n == bytes.len() => 0,
            Ok(_) => -1,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        }
    }

    /// What a file of the instance says.
    pub(crate) fn read(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        fs::read(self.misc.join(std::ffi::OsStr::from_bytes(name)))
    }

    /// Runs a file: its exit status, or the errno.
    pub(crate) fn run(&self, path: &Path) -> Result<i32, i32> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| -1)?;
        let exec = move || {
            let argv = [name.as_ptr(), std::ptr::null()];
            let envp = [std::ptr::null()];
            // SAFETY: path and both arrays live until the call returns, if it does.
            unsafe { libc::execve(name.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
            Err(io::Error::last_os_error())
        };
        // Never executed: the hook comes before it. The standard library's own exec would have a
        // shell run what nobody knows.
        let mut command = Command::new("/proc/self/exe");
        // SAFETY: the hook makes one system call and allocates nothing.
        unsafe { command.pre_exec(exec) };
        match command.stdin(Stdio::null()).status() {
            Ok(status) => Ok(status.code().unwrap_or(-1)),
            Err(error) => Err(error.raw_os_error().unwrap_or(-1)),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.misc, rustix::mount::UnmountFlags::DETACH);
        let _ = fs::remove_dir_all(&self.folder);
    }
}
