//! What a parent learns of its children is the same inside and outside: signals, stops, orphans,
//! groups, sessions, a terminal.

use super::equal::served;
use crate::common::place::{Place, uexec};
use crate::{command, compile, output, possible};

#[test]
fn parents_and_children() {
    if !possible("parents and children") {
        return;
    }
    let place = Place::new();
    let flags = ["-pthread", "-lutil"];
    let program = compile(&place, "children", include_str!("children.c"), &flags);
    let program = program.to_str().unwrap();
    let expected = output(&mut command(false, [program]));
    assert!(expected.ends_with("over\n"), "{expected}");
    for options in served() {
        let words = options.iter().copied().chain([program]);
        assert_eq!(output(&mut command(true, words)), expected, "{options:?}");
    }
    if crate::VIA == "ptrace" {
        let traced = [&uexec().display().to_string(), "trace", "-o", "/dev/null", program];
        assert_eq!(output(&mut command(false, traced)), expected, "traced");
    }
}
