//! Execs that have failed so far and may be one search through PATH: they are told as one. Only
//! collects.

use std::os::fd::OwnedFd;
use uexec_core::Errno;

use uexec_core::lookup::Search;
use uexec_linux::tree::Call;

use super::text::Text;

/// An exec that has failed, with what is to be known of its caller at that moment.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) at: u64,
    pub(super) call: Call,
    pub(super) errno: Errno,
    pub(super) cwd: Option<Vec<u8>>,
    /// The caller's root directory.
    pub(super) root: Option<Vec<u8>>,
    /// Where the descriptor of `execveat` leads to.
    pub(super) dir: Option<Vec<u8>>,
    /// The environment, where its size may be why.
    pub(super) envp: Vec<Vec<u8>>,
    /// The file, where it was executed by its descriptor, and whether an exec closes that.
    pub(super) file: Option<(OwnedFd, bool)>,
}

/// Attempts that are told as one at most.
const MOST: usize = 1000;

/// Attempts of one process, one after the other.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    list: Vec<Attempt>,
    search: Search,
    over: bool,
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (path.get(..slash).unwrap_or_default(), &path[slash + 1..]),
        None => (b"", path),
    }
}

impl Attempts {
    /// Whether this call looks for the same program in another place. PATH may have a directory
    /// twice in a row, but who tries again later has another reason. A descriptor is no place in it.
    pub(super) fn goes_on_with(&self, call: &Call) -> bool {
        const SOON_NS: u64 = 10_000_000;
        !self.over
            && self.list.len() < MOST
            && self.list.last().is_some_and(|last| {
                let (dir, name) = split(&call.path);
                let (last_dir, last_name) = split(&last.call.path);
                let elsewhere = dir != last_dir || call.at.saturating_sub(last.at) < SOON_NS;
                !name.is_empty() && name == last_name && elsewhere && call.argv == last.call.argv
            })
    }

    pub(super) fn push(&mut self, attempt: Attempt) {
        self.over = !self.search.goes_on(attempt.errno);
        // All have the same arguments, which may be long: the last one keeps them.
        if let Some(last) = self.list.last_mut() {
            last.call.argv = Vec::new();
        }
        self.list.push(attempt);
    }

    /// The directories looked in.
    pub(super) fn directories(&self) -> Vec<Text> {
        let dir = |a: &Attempt| match split(&a.call.path).0 {
            b"" => Text(b".".to_vec()),
            dir => Text(dir.to_vec()),
        };
        self.list.iter().map(dir).collect()
    }

    /// The attempt that says most, and all directories if it was a search.
    pub(super) fn result(self) -> Option<(Attempt, Vec<Text>)> {
        let searched = if self.list.len() > 1 { self.directories() } else { Vec::new() };
        let wanted = self.search.errno();
        let mut list = self.list;
        let argv = list.last_mut().map(|last| std::mem::take(&mut last.call.argv));
        // A program that is there but misses its interpreter says more than one that is not there.
        let telling = list
            .iter()
            .position(|a| a.errno == wanted && (wanted != Errno::ENOENT || a.is_there()));
        let chosen = telling.or_else(|| list.iter().rposition(|a| a.errno == wanted));
        let chosen = chosen.or(list.len().checked_sub(1))?;
        let mut chosen = list.swap_remove(chosen);
        chosen.call.argv = argv.unwrap_or_default();
        Some((chosen, searched))
    }
}

impl Attempt {
    /// The path from the caller's root, or where the descriptor leads to.
    pub(super) fn full_path(&self) -> Vec<u8> {
        let mut path = self.call.path.as_slice();
        if path.starts_with(b"/") {
            return path.to_vec();
        }
        while let Some(rest) = path.strip_prefix(b"./") {
            path = rest;
        }
        let base = if self.dir.is_some() { &self.dir } else { &self.cwd };
        let Some(base) = base else { return path.to_vec() };
        // Where the caller is chrooted, links are shown from outside.
        let inside = match &self.root {
            Some(root) if root != b"/" => base.strip_prefix(root.as_slice()).unwrap_or(base),
            _ => base,
        };
        match path.is_empty() {
            true => inside.to_vec(),
            false => [inside, b"/", path].concat(),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let root = self.root.as_deref().filter(|root| *root != b"/").unwrap_or_default();
        let path = [root, &self.full_path()].concat();
        std::path::Path::new(std::ffi::OsStr::from_bytes(&path)).exists()
    }
}
