//! Builds the program: for this machine's kernel alone, without any C library, at an address of its
//! own. What the rest of the workspace is linked with does not suit it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The last byte of `e_ident`: padding, which tells the loader from what it loads.
const PADDING: usize = 15;
const MARK: u8 = b'u';

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    for part in [
        "src",
        "program.ld",
        "build.rs",
        "../uexec-core/src",
        "../uexec-linux/src",
        "../uexec-early/src",
    ] {
        println!("cargo::rerun-if-changed={}", here.join(part).display());
    }
    if env::var_os("CARGO_FEATURE_IMAGE").is_none()
        || env::var_os("CARGO_FEATURE_PROGRAM").is_some()
    {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let mut image = fs::read(build(&here, &out.join("program"))).unwrap();
    image[PADDING] = MARK;
    fs::write(out.join("uexec-loader"), image).unwrap();
}

/// Has cargo build it into a directory of its own; returns where it is.
fn build(here: &Path, target_dir: &Path) -> PathBuf {
    let script = format!("-Clink-arg=-Wl,-T,{}", here.join("program.ld").display());
    let flags = [
        // Addresses do not fit into 32 bits.
        "-Crelocation-model=pic",
        "-Ctarget-feature=+crt-static",
        "-Cforce-unwind-tables=no",
        "-Clink-arg=-nostartfiles",
        "-Clink-arg=-nostdlib",
        "-Clink-arg=-static",
        "-Clink-arg=-no-pie",
        "-Clink-arg=-Wl,--build-id=none,-z,norelro,--gc-sections",
        &script,
    ];
    let mut cargo = Command::new(env::var_os("CARGO").unwrap());
    cargo
        .current_dir(here)
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .args(["--no-default-features", "--features", "program", "--bin", "uexec-loader"])
        .arg("--target-dir")
        .arg(target_dir)
        .args(["--config", "profile.release.opt-level=2", "--config", "profile.release.strip=true"])
        // Neither the caller's flags nor its wrappers (clippy's driver is one) are meant for it.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .env_remove("CARGO_TARGET_DIR");
    let done = cargo.status().expect("cargo can be started");
    assert!(done.success(), "building the loader failed: {cargo:?}");
    target_dir.join(TARGET).join("release/uexec-loader")
}
