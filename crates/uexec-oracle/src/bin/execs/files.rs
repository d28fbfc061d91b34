//! Places to run in, and what is left there. Only copies and reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A name that is nobody else's.
pub(crate) fn scratch(what: &str) -> PathBuf {
    std::env::temp_dir().join(format!("uexec-execs-{}-{what}", std::process::id()))
}

/// A copy of a directory, gone again at the end: always by the same path, which builds remember.
pub(crate) struct Place(Option<PathBuf>);

impl Place {
    pub(crate) fn new(of: Option<&Path>) -> io::Result<Place> {
        let Some(of) = of else { return Ok(Place(None)) };
        let work = scratch("work");
        let _ = fs::remove_dir_all(&work);
        let copied = Command::new("cp").arg("-a").arg("--").arg(of).arg(&work).status()?;
        match copied.success() {
            true => Ok(Place(Some(work))),
            false => Err(io::Error::other(format!("cannot copy {}", of.display()))),
        }
    }

    pub(crate) fn work(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    pub(crate) fn files(&self) -> io::Result<Files> {
        let mut files = Files::default();
        if let Some(work) = self.work() {
            files.add(work, work)?;
        }
        Ok(files)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(work) = &self.0 {
            let _ = fs::remove_dir_all(work);
        }
    }
}

/// Files by their path: their mode, and what they hold or where they lead to.
#[derive(Debug, Default)]
pub(crate) struct Files(BTreeMap<PathBuf, (u32, Vec<u8>)>);

impl Files {
    fn add(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        use std::os::unix::ffi::OsStringExt;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            let kind = about.file_type();
            let holds = match () {
                () if kind.is_dir() => {
                    self.add(root, &path)?;
                    Vec::new()
                }
                () if kind.is_symlink() => fs::read_link(&path)?.into_os_string().into_vec(),
                () if kind.is_file() => fs::read(&path)?,
                () => Vec::new(),
            };
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            self.0.insert(name, (about.permissions().mode(), holds));
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that are not the same in both, or only in one.
    pub(crate) fn differ(&self, other: &Files) -> BTreeSet<PathBuf> {
        let names = self.0.keys().chain(other.0.keys());
        names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect()
    }
}
