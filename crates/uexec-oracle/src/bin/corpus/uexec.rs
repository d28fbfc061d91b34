//! Finds the `uexec` to be tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::run::Folder;

/// The given one, else the one next to this program, built if it is missing or on demand. It is copied to where
/// every user can execute it.
///
/// # Errors
/// When there is none and cargo can't build it, or it can't be copied.
pub(crate) fn find(
    given: Option<PathBuf>,
    always_build: bool,
    folder: &Folder,
) -> io::Result<PathBuf> {
    let from = match given {
        Some(path) => path,
        None => {
            let me = env::current_exe()?;
            let beside = me.with_file_name("uexec");
            if always_build || !beside.exists() {
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
    // TARGET/PROFILE/corpus or TARGET/TRIPLE/PROFILE/corpus; both folders above may be marked.
    let marked = |folder: &&Path| folder.join("CACHEDIR.TAG").exists();
    if let Some(target) = me.ancestors().take(4).filter(marked).last() {
        cargo.arg("--target-dir").arg(target);
    }
    match cargo.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("cargo could not build uexec")),
    }
}
