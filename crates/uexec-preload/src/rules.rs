//! What the environment says of formats, for programs that are started from here. `UEXEC_BINFMT` holds
//! rules in the syntax of the kernel's `binfmt_misc`: each line of its value is a rule, or with a `/`
//! in front the path of a file of rules as in `binfmt.d(5)`. The newest rule that takes a file wins;
//! what cannot be read is passed over. `UEXEC_FORMATS=all` adds what the kernel has lost.
//!
//! Decides nothing: the loader is told, and asks the rules itself.

use core::ffi::CStr;
use std::borrow::Cow;

use uexec_capi::strings::string;
use uexec_core::binfmt::misc::parse;
use uexec_loader::config::Config;

/// What it says. Within an [arena](crate::arena::Arena).
pub(crate) fn config() -> Config {
    let mut config =
        Config { lost_formats: variable(c"UEXEC_FORMATS") == Some(b"all"), ..Config::default() };
    for line in variable(c"UEXEC_BINFMT").unwrap_or_default().split(|b| *b == b'\n') {
        if !line.starts_with(b"/") {
            add(&mut config, line);
            continue;
        }
        use std::os::unix::ffi::OsStrExt;
        let file = std::fs::read(std::ffi::OsStr::from_bytes(line)).unwrap_or_default();
        for line in file.split(|b| *b == b'\n') {
            if !line.starts_with(b"#") && !line.starts_with(b";") {
                add(&mut config, line);
            }
        }
    }
    // The loader has room for so many.
    while config.encode().is_none() && !config.rules.is_empty() {
        config.rules.remove(0);
    }
    config
}

/// The loader, told that. Within an arena.
pub(crate) fn image() -> Cow<'static, [u8]> {
    let config = config();
    if config == Config::default() {
        return Cow::Borrowed(uexec_loader::IMAGE);
    }
    uexec_loader::image(&config).map_or(Cow::Borrowed(uexec_loader::IMAGE), Cow::Owned)
}

fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: a C string of the environment; a program that changes that meanwhile in another
    // thread has the same trouble with libc.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: null, or such a string.
    unsafe { string(value) }.map(CStr::to_bytes)
}

fn add(config: &mut Config, line: &[u8]) {
    let line = line.trim_ascii();
    if parse(line).is_ok() {
        config.rules.push(line.to_vec());
    }
}
