//! Which formats a program may have. Decides nothing.

use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use uexec_core::{ALL_FORMATS, Errno, KERNEL_FORMATS, Registry};
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
/// (close-on-exec); made again when somebody has closed it.
///
/// # Errors
/// Those of `memfd_create(2)` and `write(2)`.
pub fn loader(formats: Formats) -> Result<&'static Loader, SpawnError> {
    static MADE: [AtomicPtr<Loader>; 2] = [const { AtomicPtr::new(null_mut()) }; 2];
    let made = &MADE[usize::from(formats == Formats::All)];
    let old = made.load(Acquire);
    if let Some(loader) = leaked(old).filter(|loader| loader.is_intact()) {
        return Ok(loader);
    }
    let new = Loader::new(formats.image()).map_err(|e| SpawnError::call("memfd_create", e))?;
    let new = Box::into_raw(Box::new(new));
    match made.compare_exchange(old, new, AcqRel, Acquire) {
        // The old one is not closed: its number is somebody else's by now.
        Ok(_) => leaked(new),
        Err(others) => {
            drop_loader(new);
            leaked(others)
        }
    }
    .ok_or_else(|| SpawnError::call("memfd_create", Errno::ENOMEM))
}

#[allow(unsafe_code, reason = "what is stored is never freed")]
fn leaked(at: *mut Loader) -> Option<&'static Loader> {
    // SAFETY: null, or from a box that `loader` has given away for good.
    unsafe { at.as_ref() }
}

#[allow(unsafe_code, reason = "nobody else has seen it")]
fn drop_loader(new: *mut Loader) {
    // SAFETY: from a box, and not stored.
    drop(unsafe { Box::from_raw(new) });
}
