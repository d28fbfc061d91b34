//! The answer: which objects will be loaded, from where, in which order, and what is missing.

use crate::elf::Flaw;
use crate::loader::Libc;

/// By which rule an object was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// It is the loader itself, mapped by the kernel.
    Loader,
    /// Named by `LD_PRELOAD` or `/etc/ld.so.preload`.
    Preload,
    /// The name has a slash, so nothing was searched.
    Absolute,
    /// `DT_RPATH` of the object that needs it or of one that led there.
    Rpath,
    /// `LD_LIBRARY_PATH`.
    LdLibraryPath,
    /// `DT_RUNPATH` of the object that needs it.
    Runpath,
    /// `/etc/ld.so.cache`.
    Cache,
    /// The loader's own directories; musl's path file too.
    Default,
}

impl How {
    /// In the words of `ld.so(8)`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            How::Loader => "loader",
            How::Preload => "LD_PRELOAD",
            How::Absolute => "path",
            How::Rpath => "RPATH",
            How::LdLibraryPath => "LD_LIBRARY_PATH",
            How::Runpath => "RUNPATH",
            How::Cache => "ld.so.cache",
            How::Default => "default path",
        }
    }
}

/// A shared library, or the loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The name it was asked for by, first.
    pub name: Vec<u8>,
    /// Where it is, as the loader spells it: symbolic links are not resolved.
    pub path: Vec<u8>,
    /// Path of the object that asked first.
    pub needed_by: Vec<u8>,
    /// The rule that found it.
    pub how: How,
    /// Its own name for itself, `DT_SONAME`.
    pub soname: Option<Vec<u8>>,
}

/// A library that is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The name it was asked for by.
    pub name: Vec<u8>,
    /// Path of the object that asks.
    pub needed_by: Vec<u8>,
    /// Directories searched, in order, with the rule each comes from; for [`How::Cache`] the
    /// cache. Their subdirectories for better processors were searched too.
    pub searched: Vec<(How, Vec<u8>)>,
    /// The program starts without it: a preload or an auxiliary filter.
    pub optional: bool,
    /// It would stand before this object of the list.
    pub(crate) position: usize,
}

/// A library that was found and cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where it is.
    pub path: Vec<u8>,
    /// Path of the object that asks.
    pub needed_by: Vec<u8>,
    /// What is wrong.
    pub flaw: Flaw,
    /// The program starts without it.
    pub optional: bool,
}

/// A version of symbols that a library does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingVersion {
    /// Path of the object that needs it.
    pub object: Vec<u8>,
    /// The version, as `GLIBC_2.38`.
    pub needs: Vec<u8>,
    /// Path of the library that should define it.
    pub of_library: Vec<u8>,
}

/// What the dynamic loader will do with a program.
#[derive(Clone, Debug)]
pub struct LinkMap {
    /// The program's real path.
    pub program: Vec<u8>,
    /// Its program interpreter; none for a static program, with which no loader does anything.
    pub loader: Option<Vec<u8>>,
    /// The interpreter is not there: the kernel refuses the program with ENOENT.
    pub loader_missing: bool,
    /// The C library the loader belongs to.
    pub libc: Libc,
    /// Name of the kernel's own object, which comes before all others.
    pub vdso: Option<&'static str>,
    /// Everything loaded beside the program, in load order. The loader is among them where
    /// something depends on it.
    pub objects: Vec<Object>,
    /// Libraries that are nowhere.
    pub missing: Vec<Missing>,
    /// Libraries that cannot be loaded.
    pub broken: Vec<Broken>,
    /// Versions that libraries lack.
    pub missing_versions: Vec<MissingVersion>,
    /// False where the work was given up because there was too much of it, as only files made
    /// for that purpose do.
    pub complete: bool,
    pub(crate) no_needs: bool,
}

impl LinkMap {
    /// Whether the loader will hand over to the program.
    #[must_use]
    pub fn starts(&self) -> bool {
        !self.loader_missing
            && self.missing.iter().all(|m| m.optional)
            && self.broken.iter().all(|b| b.optional)
            && self.missing_versions.is_empty()
    }

    /// The lines of `LD_TRACE_LOADED_OBJECTS=1`, without tabs and addresses.
    #[must_use]
    pub fn trace(&self) -> Vec<Vec<u8>> {
        if self.loader.is_none() || self.no_needs {
            return vec![b"statically linked".to_vec()];
        }
        let mut lines: Vec<Vec<u8>> = Vec::new();
        lines.extend(self.vdso.map(|v| v.as_bytes().to_vec()));
        let mut missing = self.missing.iter().filter(|m| m.position != usize::MAX).peekable();
        for at in 0..=self.objects.len() {
            while let Some(m) = missing.next_if(|m| m.position <= at) {
                lines.push([m.name.as_slice(), b" => not found"].concat());
            }
            let Some(o) = self.objects.get(at) else { break };
            lines.push(if o.name == o.path {
                o.path.clone()
            } else {
                [o.name.as_slice(), b" => ", &o.path].concat()
            });
        }
        lines
    }

    /// Why the program does not start, as its loader would say it: the first reason.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        if self.loader_missing {
            let name = self.loader.as_deref().unwrap_or_default();
            return Some(format!("{}: program interpreter not found", text(name)));
        }
        if let Some(m) = self.missing.iter().find(|m| !m.optional) {
            let (name, by) = (text(&m.name), text(&m.needed_by));
            return Some(format!("{name}: cannot open shared object file (needed by {by})"));
        }
        if let Some(b) = self.broken.iter().find(|b| !b.optional) {
            return Some(format!(
                "{}: {} (needed by {})",
                text(&b.path),
                b.flaw,
                text(&b.needed_by)
            ));
        }
        let v = self.missing_versions.first()?;
        let (of, needs, by) = (text(&v.of_library), text(&v.needs), text(&v.object));
        Some(format!("{of}: version `{needs}' not found (required by {by})"))
    }
}
