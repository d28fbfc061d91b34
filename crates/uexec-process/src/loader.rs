//! The loader that children execute, made once and kept open.

use std::sync::OnceLock;

use uexec_linux::spawn::Loader;

use crate::error::SpawnError;

/// The loader that this process's children execute: made when it is first asked for, then kept open
/// (close-on-exec).
///
/// # Errors
/// Those of `memfd_create(2)` and `write(2)`.
pub fn loader() -> Result<&'static Loader, SpawnError> {
    static LOADER: OnceLock<Loader> = OnceLock::new();
    if let Some(loader) = LOADER.get() {
        return Ok(loader);
    }
    let made = Loader::new(&image()).map_err(|e| SpawnError::call("memfd_create", e))?;
    Ok(LOADER.get_or_init(|| made))
}

fn image() -> Vec<u8> {
    std::fs::read(std::env::var_os("UEXEC_INTERIM").unwrap()).unwrap()
}
