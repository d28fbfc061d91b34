//! Where `execvp(3)` looks for a program, when it looks on, and what it does with a text file.
//! Only says so: opens and tries nothing.
//!
//! ```
//! use uexec_core::Errno;
//! use uexec_core::lookup::{Search, candidates};
//!
//! let tried = candidates(b"ls", Some(b"/opt/bin::/bin")).unwrap();
//! assert_eq!(tried, [&b"/opt/bin/ls"[..], b"ls", b"/bin/ls"]);
//!
//! let mut search = Search::default();
//! assert!(search.goes_on(Errno::EACCES));
//! assert!(search.goes_on(Errno::ENOENT));
//! assert_eq!(search.errno(), Errno::EACCES);
//! ```

use alloc::vec::Vec;

use crate::abi::PATH_MAX;
use crate::error::Errno;

/// Where programs are looked for when PATH is not set: glibc's `_CS_PATH` (`confstr(3)`).
pub const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// What runs a file that is no program (ERR-70).
pub const SHELL: &[u8] = b"/bin/sh";

/// Longest name of a directory entry (`NAME_MAX`, `pathname(7)`).
const NAME_MAX: usize = 255;

/// The paths that are tried for `file`, in order: itself if it has a slash, else one for each
/// directory of `path`, of which an empty one is the working directory.
///
/// # Errors
/// `ENOENT` for an empty name. One that no directory can have is tried all the same, as far as that
/// shows: what is in the way of it is told first (glibc 2.36).
pub fn candidates(file: &[u8], path: Option<&[u8]>) -> Result<Vec<Vec<u8>>, Errno> {
    if file.is_empty() {
        return Err(Errno::ENOENT);
    }
    if file.contains(&b'/') {
        return Ok(alloc::vec![file.to_vec()]);
    }
    let file = file.get(..=NAME_MAX).unwrap_or(file);
    let dirs = path.unwrap_or(DEFAULT_PATH).split(|b| *b == b':');
    // A directory whose path no call would take is left out (glibc 2.36 looks in the working
    // directory instead, which nobody has asked for).
    let dirs = dirs.filter(|dir| dir.len() < PATH_MAX);
    Ok(dirs
        .map(|dir| match dir {
            [] => file.to_vec(),
            dir => [dir, b"/", file].concat(),
        })
        .collect())
}

/// A search that has failed so far (ERR-71).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Search {
    denied: bool,
    last: Option<Errno>,
}

impl Search {
    /// Takes note of a candidate's failure; says whether the next one is tried.
    pub fn goes_on(&mut self, errno: Errno) -> bool {
        const ETIMEDOUT: Errno = Errno(110);
        self.last = Some(errno);
        match errno {
            Errno::EACCES => self.denied = true,
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | ETIMEDOUT => {}
            _ => {
                self.denied = false;
                return false;
            }
        }
        true
    }

    /// What the search as a whole fails with: `EACCES` if a candidate may not be executed, else
    /// the last failure.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self.denied {
            true => Errno::EACCES,
            false => self.last.unwrap_or(Errno::ENOENT),
        }
    }
}

/// The arguments with which [`SHELL`] runs a file that is no program.
///
/// ```
/// let argv = uexec_core::lookup::shell_argv(b"./list", &[b"list".to_vec(), b"-l".to_vec()]);
/// assert_eq!(argv, [&b"/bin/sh"[..], b"./list", b"-l"]);
/// ```
#[must_use]
pub fn shell_argv(file: &[u8], argv: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words = alloc::vec![SHELL.to_vec(), file.to_vec()];
    words.extend(argv.iter().skip(1).cloned());
    words
}
