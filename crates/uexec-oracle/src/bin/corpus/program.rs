//! Finds programs, and looks at what they are for the summary. Never runs any.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Serialize;

/// A program to be compared.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// The user it would become.
    pub(crate) set_uid: Option<u32>,
    /// The group it would become.
    pub(crate) set_gid: Option<u32>,
}

/// What a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Starts with `#!`.
    Script,
    /// `ET_DYN` with an interpreter.
    Pie,
    /// `ET_EXEC` with an interpreter.
    NonPie,
    /// `ET_EXEC` without.
    Static,
    /// `ET_DYN` without.
    StaticPie,
    /// Lies in a `jvm` folder and finds its libraries by `/proc/self/exe`.
    Jvm,
}

impl Kind {
    /// As the summary counts it.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Kind::Script => "scripts",
            Kind::Pie => "PIE",
            Kind::NonPie => "non-PIE",
            Kind::Static => "static",
            Kind::StaticPie => "static PIE",
            Kind::Jvm => "JVM tools",
        }
    }
}

/// All programs and scripts of the folders, by name; with `only`, those with one of these names
/// or paths.
///
/// # Errors
/// When a folder can't be read.
pub(crate) fn find(folders: &[PathBuf], only: &[OsString]) -> io::Result<Vec<Program>> {
    let mut found = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(folder)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", folder.display())))?;
        for entry in entries {
            let path = entry?.path();
            if only.is_empty() || only.iter().any(|o| is(&path, o)) {
                found.extend(look(path));
            }
        }
    }
    // Paths given as such need not lie in one of the folders.
    let extra = only.iter().map(PathBuf::from).filter(|p| p.is_absolute()).filter_map(look);
    found.extend(extra);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    Ok(found)
}

/// Which of the wanted names nothing was found for.
pub(crate) fn missing<'a>(
    only: &'a [OsString],
    found: &'a [Program],
) -> impl Iterator<Item = &'a OsString> {
    only.iter().filter(|o| !found.iter().any(|p| is(&p.path, o)))
}

fn is(path: &Path, name: &OsString) -> bool {
    path.as_os_str() == name || path.file_name() == Some(name)
}

/// `None` for whatever is neither an executable ELF file nor a script.
fn look(path: PathBuf) -> Option<Program> {
    let meta = fs::metadata(&path).ok()?;
    let mode = meta.mode();
    if !meta.is_file() || mode & 0o111 == 0 {
        return None;
    }
    // The header and the program headers behind it fit, wherever a linker wrote them.
    let mut head = Vec::with_capacity(4096);
    fs::File::open(&path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    let kind = if head.starts_with(b"#!") {
        Kind::Script
    } else if head.starts_with(b"\x7fELF") {
        let real = fs::canonicalize(&path).ok()?;
        if real.components().any(|c| c.as_os_str() == "jvm") { Kind::Jvm } else { elf_kind(&head) }
    } else {
        return None;
    };
    let set_uid = (mode & 0o4000 != 0).then_some(meta.uid());
    let set_gid = (mode & 0o2010 == 0o2010).then_some(meta.gid());
    Some(Program { path, kind, set_uid, set_gid })
}

/// By `e_type` and `PT_INTERP` of a 64-bit little-endian file (`elf(5)`); others count as static.
fn elf_kind(head: &[u8]) -> Kind {
    let number = |at: usize, len: usize| -> u64 {
        let bytes = head.get(at..at + len).unwrap_or_default();
        bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
    };
    let (position_independent, phoff, phnum) = (number(16, 2) == 3, number(32, 8), number(56, 2));
    let interp = (0..phnum).any(|i| number((phoff + i * 56) as usize, 4) == 3);
    match (position_independent, interp) {
        (true, true) => Kind::Pie,
        (true, false) => Kind::StaticPie,
        (false, true) => Kind::NonPie,
        (false, false) => Kind::Static,
    }
}
