//! The loader that children execute, made once and kept open.

use std::sync::OnceLock;

use uexec_linux::spawn::Loader;
use uexec_linux::{Host, Known};
use uexec_loader::config::Config;

use crate::error::SpawnError;

/// The loader that this process's children execute: made when it is first asked for, then kept open
/// (close-on-exec).
///
/// # Errors
/// Those of `memfd_create(2)` and `write(2)`.
pub fn loader() -> Result<&'static Loader, SpawnError> {
    static MADE: OnceLock<Loader> = OnceLock::new();
    if let Some(loader) = MADE.get() {
        return Ok(loader);
    }
    let known = Known::of(&mut Host::new());
    let image = uexec_loader::image(&Config { known, ..Config::default() });
    let image = image.as_deref().unwrap_or(uexec_loader::IMAGE);
    let made = Loader::new(image).map_err(|e| SpawnError::call("memfd_create", e))?;
    Ok(MADE.get_or_init(|| made))
}
