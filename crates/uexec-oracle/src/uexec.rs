//! Finds the command `uexec` that belongs to the running test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `uexec` built from this workspace with the profile of the running test: found beside the
/// test's own directory, brought up to date by cargo first (unless `UEXEC_ORACLE_NO_BUILD` is set).
///
/// # Panics
/// When cargo cannot build it; the message holds what cargo said.
#[must_use]
pub fn uexec_binary() -> &'static Path {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        if std::env::var_os("UEXEC_ORACLE_NO_BUILD").is_none() {
            build()?;
        }
        let path = beside_this_test().join("uexec");
        match path.exists() {
            true => Ok(path),
            false => Err(format!("there is no {}: cargo build -p uexec", path.display())),
        }
    });
    match found {
        Ok(path) => path,
        Err(why) => panic!("{why}"),
    }
}

/// `target/…/debug` when this is `target/…/debug/deps/oracle-0123`.
fn beside_this_test() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let dir = test.parent().unwrap_or(Path::new("."));
    if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_owned() } else { dir.to_owned() }
}

/// Cargo only looks at times of files when everything is built already.
fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace is named so that the same features are chosen as by the tests' build,
    // and nothing is compiled a second time.
    command.args(["build", "--quiet", "--workspace", "--bin", "uexec"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    match command.output() {
        Ok(out) if out.status.success() => {}
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(format!("cargo cannot build uexec:\n{said}"));
        }
        Err(error) => crate::skip("building uexec anew", &format!("no cargo: {error}")),
    }
    Ok(())
}
