//! What an exec has changed: its arguments, the environment. Only compares.

use std::collections::BTreeSet;

use super::record::Environment;
use super::text::Text;
use crate::explain::words::{hide_secret, variable};

/// What an exec has put in front of the arguments, the path included that the last interpreter
/// reads; nothing where it took them as they were.
pub(super) fn in_front<'a>(asked: &[Vec<u8>], got: &'a [Vec<u8>]) -> &'a [Vec<u8>] {
    let rest = asked.get(1..).unwrap_or_default();
    match got.len().checked_sub(rest.len()) {
        Some(front @ 2..) if got.get(front..) == Some(rest) => &got[..front],
        _ => &[],
    }
}

/// What differs between two environments. Values of variables named like secrets are left out.
pub(super) fn changes(old: &[Vec<u8>], new: &[Vec<u8>]) -> Environment {
    if old == new {
        return Environment::default();
    }
    let before: BTreeSet<&Vec<u8>> = old.iter().collect();
    let names: BTreeSet<&[u8]> = new.iter().map(|pair| variable(pair)).collect();
    let gone: BTreeSet<&[u8]> = old.iter().map(|pair| variable(pair)).collect();
    Environment {
        set: new
            .iter()
            .filter(|pair| !before.contains(pair))
            .map(|pair| Text(hide_secret(pair).into_owned()))
            .collect(),
        unset: gone.difference(&names).map(|name| Text(name.to_vec())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::texts;
    use super::*;

    fn list(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|w| w.as_bytes().to_vec()).collect()
    }

    #[test]
    fn interpreters_are_what_was_put_in_front() {
        let asked = list(&["run", "a", "b"]);
        assert_eq!(in_front(&asked, &list(&["run", "a", "b"])), &list(&[])[..]);
        let got = list(&["/bin/sh", "-e", "./run", "a", "b"]);
        assert_eq!(in_front(&asked, &got), &list(&["/bin/sh", "-e", "./run"])[..]);
        // No arguments at all: the kernel gives an empty one.
        assert_eq!(in_front(&[], &list(&[""])), &list(&[])[..]);
        // Something else that uexec does not understand.
        assert_eq!(in_front(&asked, &list(&["x", "y", "z", "w"])), &list(&[])[..]);
    }

    #[test]
    fn changes_of_the_environment_hide_secrets() {
        let old = list(&["A=1", "B=2", "GONE=x"]);
        let new = list(&["A=1", "B=3", "MY_TOKEN=abc"]);
        let found = changes(&old, &new);
        assert_eq!(found.set, texts(&list(&["B=3", "MY_TOKEN=••• (3 bytes, not shown)"])));
        assert_eq!(found.unset, texts(&list(&["GONE"])));
    }
}
