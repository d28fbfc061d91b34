//! Finds the `uexec` to be tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::run::Folder;

/// The given one, else the one next to this program, else one built now. It is copied to where
/// every user can execute it.
///
/// # Errors
/// When there is none and cargo can't build it, or it can't be copied.
pub(crate) fn find(given: Option<PathBuf>, folder: &Folder) -> io::Result<PathBuf> {
    let from = match given {
        Some(path) => path,
        None => {
            let me = env::current_exe()?;
            let beside = me.with_file_name("uexec");
            if !beside.exists() {
                build(&me)?;
            }
            beside
        }
    };
    let to = folder.path().join("uexec");
    fs::copy(&from, &to)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", from.display())))?;
    Ok(to)
}

/// Has cargo build it in the target folder and the profile that this program was built in.
fn build(me: &Path) -> io::Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--package", "uexec"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if me.parent().is_some_and(|p| p.ends_with("release")) {
        cargo.arg("--release");
    }
    if let Some(target) = me.ancestors().find(|a| a.join("CACHEDIR.TAG").exists()) {
        cargo.arg("--target-dir").arg(target);
    }
    match cargo.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("cargo could not build uexec")),
    }
}
