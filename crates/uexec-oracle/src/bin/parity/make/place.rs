//! Where a program lies and who may run it: permissions, owners, kinds of files, paths.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use uexec_oracle::launch::Exec;
use uexec_oracle::state::State;

use super::Maker;
use crate::rng::Rng;

/// `nobody`, and the group of that number.
const NOBODY: u32 = 65_534;

/// One of all that.
pub(crate) fn place(m: &mut Maker<'_>) -> io::Result<Exec> {
    let tiny = m.bases.tiny().to_vec();
    let prog = m.write("prog", &tiny)?;
    let path = match m.rng.below(16) {
        0..=4 => return permissions(m),
        5 => chain(m)?,
        6 => long(m, &prog),
        7 => {
            m.tell("open for writing");
            let file = {
                let _lock = uexec_oracle::file_lock();
                std::fs::File::options().append(true).open(&prog)?
            };
            m.held.push(file);
            if m.rng.percent(50) {
                m.write("script", &[b"#!", super::bytes_of(&prog), b"\n"].concat())?
            } else {
                prog
            }
        }
        8 => {
            let fifo = m.dir.join("fifo");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &fifo,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o777),
                0,
            )?;
            fifo
        }
        9 => {
            let socket = m.dir.join("socket");
            drop(std::os::unix::net::UnixListener::bind(&socket)?);
            std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o777))?;
            socket
        }
        10 => {
            let ends = ["/", "/.", "/..", "/x", "//", ""];
            let mut path = prog.into_os_string();
            path.push(ends[m.rng.below(6) as usize]);
            path.into()
        }
        _ => {
            let odd: [&str; 16] = [
                "",
                ".",
                "..",
                "/",
                "//",
                "./",
                "/dev/null",
                "/dev/zero",
                "/proc/version",
                "/proc/self/fd",
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "/nowhere",
                "/nowhere/at/all",
                "/bin/true/",
                "/etc/passwd",
                "/bin/../bin/true",
            ];
            (*m.rng.pick(&odd)).into()
        }
    };
    m.tell(format!("path {:.80}", path.display()));
    Ok(Exec::new(path))
}

/// A chain of symbolic links, perhaps too long or closed.
fn chain(m: &mut Maker<'_>) -> io::Result<PathBuf> {
    let count = *m.rng.pick(&[1, 2, 39, 40, 41, 42]);
    let first = *m.rng.pick(&["prog", "prog", "prog", "nowhere", "link0", "."]);
    let mut to = first.to_owned();
    for i in 0..count {
        let name = format!("link{i}");
        symlink(&to, m.dir.join(&name))?;
        to = name;
    }
    m.tell(format!("{count} links to {first}"));
    Ok(m.path(&to))
}

/// A long path or a long component.
fn long(m: &mut Maker<'_>, prog: &Path) -> PathBuf {
    let name = |len: u64| "n".repeat(len as usize);
    if m.rng.percent(30) {
        let len = m.rng.between(253, 257);
        return m.dir.join(name(len));
    }
    let len = m.rng.between(4090, 4098) as usize;
    let prog = prog.to_string_lossy().into_owned();
    let (dir, file) = prog.rsplit_once('/').unwrap_or((".", &prog));
    format!("{dir}{}{file}", "/".repeat(len.saturating_sub(dir.len() + file.len()))).into()
}

/// Modes, owners and capabilities of the program, by root or by nobody.
fn permissions(m: &mut Maker<'_>) -> io::Result<Exec> {
    m.plain = true;
    let rng = &mut m.rng;
    let mut mode = (rng.word() & 0o777) as u32;
    if rng.percent(40) {
        mode |= (rng.below(8) as u32) << 9;
    }
    let nobody = m.root && rng.percent(50);
    let ids = [0, NOBODY, 1000];
    let (owner, group) = (*rng.pick(&ids), *rng.pick(&ids));
    let file = m.dir.join("prog");
    if nobody || !m.root {
        // What may be run but not read, only the kernel can look into.
        mode |= 0o444;
    }
    if m.root {
        chown(&file, Some(owner), Some(group))?;
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(mode))?;
    m.tell(format!("mode {mode:04o}, owner {owner}, group {group}, by nobody: {nobody}"));
    if m.root && m.rng.percent(20) {
        let caps = capabilities(&mut m.rng);
        m.tell(format!("capabilities {caps:x?}"));
        let flags = rustix::fs::XattrFlags::empty();
        // Not every file system has them, and the kernel takes no revision but 2 and 3.
        let _ = rustix::fs::setxattr(&file, "security.capability", &caps, flags);
    }
    if m.rng.percent(10) {
        let mode = (m.rng.word() & 0o777) as u32;
        let mode = if m.root { mode } else { mode | 0o700 };
        std::fs::set_permissions(&m.dir, PermissionsExt::from_mode(mode))?;
        m.tell(format!("folder {mode:04o}"));
    }
    let mut exec = Exec::new(m.path("prog"));
    if m.rng.percent(15) && m.dir.join("prog").exists() {
        let line = [b"#!", super::bytes_of(&m.path("prog")), b" x\n"].concat();
        if let Ok(script) = m.write("script", &line) {
            exec = Exec::new(script);
        }
    }
    Ok(if nobody { exec.state(State::Ids(NOBODY)) } else { exec })
}

/// A `security.capability` attribute (`capabilities(7)`), mostly of revision 2.
fn capabilities(rng: &mut Rng) -> Vec<u8> {
    let revision = if rng.percent(90) { 0x0200_0000u32 } else { 0x0100_0000 };
    let mut bytes = (revision | rng.below(2) as u32).to_le_bytes().to_vec();
    let words = if revision == 0x0200_0000 { 2 } else { 1 };
    for _ in 0..words {
        let high = bytes.len() > 4;
        for _ in 0..2 {
            let mask = if high { 0x1ff } else { u32::MAX };
            let set = if rng.percent(50) { 0 } else { rng.word() as u32 & mask };
            bytes.extend(set.to_le_bytes());
        }
    }
    bytes
}
