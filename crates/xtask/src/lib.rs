//! Builds the libraries for C. The workspace links statically and to fixed addresses, which suits
//! a command and no shared object; so they are built by a cargo of their own, with the compiler's
//! usual flags and in a directory of their own.

pub mod scratch;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that the workspace names in `.cargo/config.toml`.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// How much the compiler works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For tests.
    Dev,
    /// For use.
    Release,
}

/// The workspace's folder.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Builds `libuexec.so`, `libuexec.a` and `libuexec_preload.so`, and puts them below `prefix` with
/// header and pkg-config file.
///
/// # Errors
/// When cargo fails, or the files cannot be written.
pub fn libs(profile: Profile, prefix: &Path) -> io::Result<()> {
    let root = root();
    let own = root.join("target/libs");
    let out = own.join(TARGET).join(if profile == Profile::Dev { "debug" } else { "release" });
    build(profile, &own, "uexec-capi", "cdylib,staticlib", "libuexec.so.0")?;
    build(profile, &own, "uexec-preload", "cdylib", "libuexec_preload.so")?;
    let (lib, include) = (prefix.join("lib"), prefix.join("include"));
    let pkgconfig = lib.join("pkgconfig");
    fs::create_dir_all(&pkgconfig)?;
    fs::create_dir_all(&include)?;
    replace(&out.join("libuexec_capi.so"), &lib.join("libuexec.so.0"))?;
    let link = lib.join("libuexec.so");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink("libuexec.so.0", link)?;
    replace(&out.join("libuexec_capi.a"), &lib.join("libuexec.a"))?;
    replace(&out.join("libuexec_preload.so"), &lib.join("libuexec_preload.so"))?;
    replace(&root.join("crates/uexec-capi/include/uexec.h"), &include.join("uexec.h"))?;
    fs::write(pkgconfig.join("uexec.pc"), pkg_config(&fs::canonicalize(prefix)?))
}

/// Copies a file to a place that may be in use: what uses it keeps the old one.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let _ = fs::remove_file(to);
    fs::copy(from, to).map(drop)
}

fn build(
    profile: Profile,
    target_dir: &Path,
    package: &str,
    crate_types: &str,
    soname: &str,
) -> io::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root())
        .args(["rustc", "--quiet", "--locked", "--lib", "-p", package])
        .args(["--target", TARGET, "--crate-type", crate_types])
        .arg("--target-dir")
        .arg(target_dir)
        // Takes the place of the flags in .cargo/config.toml.
        .env("CARGO_ENCODED_RUSTFLAGS", "")
        .env_remove("RUSTFLAGS");
    if profile == Profile::Release {
        command.arg("--release");
    }
    command.arg("--").arg(format!("-Clink-arg=-Wl,-soname,{soname}"));
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{package}: {status}"))) }
}

fn pkg_config(prefix: &Path) -> String {
    format!(
        "prefix={}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n\n\
         Name: uexec\nDescription: Program execution in user space\nVersion: {}\n\
         Libs: -L${{libdir}} -luexec\nLibs.private: -lgcc_s -lpthread -ldl\n\
         Cflags: -I${{includedir}}\n",
        prefix.display(),
        env!("CARGO_PKG_VERSION")
    )
}
