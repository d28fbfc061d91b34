//! Inputs that fuzzing has found, minimised: `regressions/TARGET/NAME`.
mod common;
use common::{Mem, feed};
use std::fs;
use std::path::Path;

fn each(target: &str, feed: fn(&[u8], &mut Mem)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions").join(target);
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        feed(&fs::read(path).unwrap(), &mut Mem::default());
    }
}

#[test]
fn elf() {
    each("elf", feed::elf);
}

#[test]
fn script() {
    each("script", feed::script);
}

#[test]
fn plan() {
    each("plan", feed::plan);
}

#[test]
fn formats() {
    each("formats", feed::formats);
}

#[test]
fn misc() {
    each("misc", feed::misc);
}
