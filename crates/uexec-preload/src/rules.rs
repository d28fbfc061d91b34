//! `UEXEC_BINFMT`: rules in the syntax of the kernel's `binfmt_misc`, for programs that are started
//! from here. Each line of its value is a rule, or with a `/` in front the path of a file of rules as
//! in `binfmt.d(5)`. The newest rule that takes a file wins; what cannot be read is passed over.
//!
//! A rule is asked about the program that is named, and about its own interpreter again. Rules with
//! the flags `O` and `C` want more than an argument list can carry, and are passed over.

use core::ffi::CStr;

use uexec_capi::strings::string;
use uexec_core::abi::BINPRM_BUF_SIZE;
use uexec_core::binfmt::misc::{Flags, Misc, parse};

/// How often a program can name another one (PIPE-35).
pub(crate) const MOST: usize = 5;

/// What a rule makes of a program.
pub(crate) struct Way {
    interpreter: [u8; libc::PATH_MAX as usize],
    /// Whether the program's first argument stays, behind its path.
    pub(crate) keeps_argv0: bool,
}

impl Way {
    /// The program that is started instead.
    pub(crate) fn interpreter(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.interpreter).unwrap_or_default()
    }
}

/// The rule that takes this program, if one does. Within an [arena](crate::arena::Arena).
pub(crate) fn find(path: &CStr) -> Option<Way> {
    // SAFETY: a C string of the environment; a program that changes that meanwhile in another
    // thread has the same trouble with libc.
    let value = unsafe { libc::getenv(c"UEXEC_BINFMT".as_ptr()) };
    // SAFETY: null, or such a string.
    let rules = unsafe { string(value) }.filter(|v| !v.is_empty())?;
    let misc = read(rules.to_bytes());
    let head = head(path)?;
    let rule = &misc.find(path.to_bytes(), &head)?.rule;
    let mut way = Way {
        interpreter: [0; libc::PATH_MAX as usize],
        keeps_argv0: rule.flags.contains(Flags::PRESERVE_ARGV0),
    };
    // Its last byte stays NUL.
    let room = way.interpreter.split_last_mut()?.1.get_mut(..rule.interpreter.len())?;
    room.copy_from_slice(&rule.interpreter);
    Some(way)
}

fn read(value: &[u8]) -> Misc {
    let mut misc = Misc::default();
    for line in value.split(|b| *b == b'\n') {
        if !line.starts_with(b"/") {
            add(&mut misc, line);
            continue;
        }
        use std::os::unix::ffi::OsStrExt;
        let file = std::fs::read(std::ffi::OsStr::from_bytes(line)).unwrap_or_default();
        for line in file.split(|b| *b == b'\n') {
            if !line.starts_with(b"#") && !line.starts_with(b";") {
                add(&mut misc, line);
            }
        }
    }
    misc
}

fn add(misc: &mut Misc, line: &[u8]) {
    let line = line.trim_ascii();
    if let Ok(rule) = parse(line)
        && !rule.flags.intersects(Flags::OPEN_BINARY | Flags::CREDENTIALS)
    {
        let _ = misc.add(rule);
    }
}

/// The first bytes of a file.
fn head(path: &CStr) -> Option<[u8; BINPRM_BUF_SIZE]> {
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::OsStr::from_bytes(path.to_bytes());
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::with_capacity(BINPRM_BUF_SIZE);
    file.take(BINPRM_BUF_SIZE as u64).read_to_end(&mut bytes).ok()?;
    bytes.resize(BINPRM_BUF_SIZE, 0);
    bytes.try_into().ok()
}
