//! Lets the command start at its own first instruction instead of the C library's: see
//! `src/start.rs`.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,--entry=uexec_start");
    println!("cargo::rerun-if-changed=build.rs");
}
