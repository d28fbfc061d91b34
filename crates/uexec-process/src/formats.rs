//! Which formats a program may have. Decides nothing.

use std::sync::OnceLock;

use uexec_core::{ALL_FORMATS, KERNEL_FORMATS, Registry};
use uexec_linux::spawn::Loader;
use uexec_linux::{Host, Known};
use uexec_loader::config::Config;

use crate::error::SpawnError;

/// The formats that are asked about a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formats {
    /// Those of the kernel: scripts and ELF.
    #[default]
    Kernel,
    /// Those that it has lost, too: a.out programs for i386.
    All,
}

impl Formats {
    pub(crate) const fn registry(self) -> Registry<'static> {
        match self {
            Formats::Kernel => KERNEL_FORMATS,
            Formats::All => ALL_FORMATS,
        }
    }

    /// The loader that knows them, as a program.
    pub(crate) fn image(self) -> &'static [u8] {
        static TOLD: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
        let lost_formats = self == Formats::All;
        TOLD[usize::from(lost_formats)].get_or_init(|| {
            let known = Known::of(&mut Host::new());
            let config = Config { known, lost_formats, ..Config::default() };
            // That little fits.
            uexec_loader::image(&config).unwrap_or_else(|| uexec_loader::IMAGE.to_vec())
        })
    }

    /// What it knows besides scripts and ELF.
    pub(crate) const fn told(self) -> &'static [&'static str] {
        match self {
            Formats::Kernel => &[],
            Formats::All => &["a.out"],
        }
    }
}

/// The loader that this process's children execute: made when it is first asked for, then kept open
/// (close-on-exec).
///
/// # Errors
/// Those of `memfd_create(2)` and `write(2)`.
pub fn loader(formats: Formats) -> Result<&'static Loader, SpawnError> {
    static MADE: [OnceLock<Loader>; 2] = [const { OnceLock::new() }; 2];
    let made = &MADE[usize::from(formats == Formats::All)];
    if let Some(loader) = made.get() {
        return Ok(loader);
    }
    let new = Loader::new(formats.image()).map_err(|e| SpawnError::call("memfd_create", e))?;
    Ok(made.get_or_init(|| new))
}
