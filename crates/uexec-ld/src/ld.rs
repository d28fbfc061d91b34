//! The door: keeps what was read of libraries between programs, and sends each program to the
//! rules of its C library.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use crate::cache::Cache;
use crate::cpu::Cpu;
use crate::elf::{Flaw, Kind};
use crate::files::Files;
use crate::loader::{self, Libc, Loader};
use crate::map::LinkMap;
use crate::module::Module;
use crate::symbols::Symbols;
use crate::{glibc, musl};

/// Memory for what is kept between programs, in bytes, roughly.
const MAX_KEPT: usize = 64 << 20;

/// What of its environment a program's loader listens to.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<Vec<u8>>,
    /// `LD_PRELOAD`.
    pub preload: Option<Vec<u8>>,
    /// `LD_BIND_NOW` is set and not empty.
    pub bind_now: bool,
    /// `AT_SECURE`: the exec changes privileges, so the loader trusts its environment less.
    pub secure: bool,
    /// The processor.
    pub cpu: Cpu,
    /// The kernel gives no vdso.
    pub no_vdso: bool,
}

impl Settings {
    /// As a child of this process would have it.
    #[must_use]
    pub fn from_env() -> Settings {
        use std::os::unix::ffi::OsStringExt;
        let var = |name| std::env::var_os(name).map(OsStringExt::into_vec);
        Settings {
            library_path: var("LD_LIBRARY_PATH"),
            preload: var("LD_PRELOAD"),
            bind_now: var("LD_BIND_NOW").is_some_and(|v: Vec<u8>| !v.is_empty()),
            ..Settings::default()
        }
    }
}

/// Why nothing can be said of a program.
#[derive(Debug)]
pub enum Error {
    /// It cannot be opened.
    Open(io::Error),
    /// It is no ELF program, or not one that can be read.
    Program(Flaw),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Open(e) => e.fmt(f),
            Error::Program(flaw) => flaw.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Open(e) => Some(e),
            Error::Program(flaw) => Some(flaw),
        }
    }
}

/// What a path holds.
#[derive(Clone)]
pub(crate) enum Probe {
    Absent,
    Broken(Flaw),
    Found(Rc<Module>),
}

/// One program and all it is resolved with.
pub(crate) struct Request<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) program: Rc<Module>,
    /// Its real path.
    pub(crate) path: Vec<u8>,
    /// Its interpreter, as it names it.
    pub(crate) interp: Vec<u8>,
    pub(crate) loader: Rc<Loader>,
}

/// Resolves programs. Files it has looked at are not looked at again, so that many programs share
/// their libraries; make a new one to see changes.
///
/// ```
/// let mut ld = uexec_ld::Ld::new(uexec_ld::Disk::host());
/// let this = std::env::current_exe()?;
/// let map = ld.resolve(this.as_os_str().as_encoded_bytes(), &uexec_ld::Settings::default())?;
/// assert!(map.starts(), "{:?}", map.failure());
/// for object in &map.objects {
///     println!("{} ({})", String::from_utf8_lossy(&object.path), object.how.name());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ld {
    pub(crate) files: Box<dyn Files>,
    paths: HashMap<Vec<u8>, Probe>,
    modules: HashMap<(u64, u64), Rc<Module>>,
    loaders: HashMap<Vec<u8>, Rc<Loader>>,
    caches: HashMap<Vec<u8>, Rc<Cache>>,
    texts: HashMap<Vec<u8>, Rc<Vec<u8>>>,
    symbols: HashMap<(u64, u64), Rc<Symbols>>,
    kept: usize,
}

impl std::fmt::Debug for Ld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ld").field("paths", &self.paths.len()).finish_non_exhaustive()
    }
}

impl Ld {
    /// Over a file system, having read nothing yet.
    #[must_use]
    pub fn new(files: impl Files + 'static) -> Ld {
        Ld {
            files: Box::new(files),
            paths: HashMap::new(),
            modules: HashMap::new(),
            loaders: HashMap::new(),
            caches: HashMap::new(),
            texts: HashMap::new(),
            symbols: HashMap::new(),
            kept: 0,
        }
    }

    /// What the loader will do with a program.
    ///
    /// # Errors
    /// When the program cannot be opened, or is not an ELF program.
    pub fn resolve(&mut self, program: &[u8], settings: &Settings) -> Result<LinkMap, Error> {
        let path = self.files.real_path(program).map_err(Error::Open)?;
        let file = self.files.open(&path).map_err(Error::Open)?;
        let module = Rc::new(Module::read(file).map_err(Error::Program)?);
        let kind = module.kind;
        let mut map = LinkMap {
            program: path.clone(),
            loader: module.interp.clone().filter(|_| module.dynamic),
            loader_missing: false,
            libc: Libc::Unknown,
            vdso: None,
            objects: Vec::new(),
            missing: Vec::new(),
            broken: Vec::new(),
            missing_versions: Vec::new(),
            complete: true,
            no_needs: module.asks.is_empty(),
        };
        let Some(interp) = map.loader.clone() else { return Ok(map) };
        map.loader_missing = !matches!(self.probe(&interp), Probe::Found(_));
        let loader = self.loader(&interp, kind);
        map.libc = loader.libc;
        let request = Request { settings, program: module, path, interp, loader };
        match map.libc {
            Libc::Glibc => {
                map.vdso = vdso(kind).filter(|_| !settings.no_vdso);
                glibc::resolve(self, &request, &mut map);
            }
            Libc::Musl => musl::resolve(self, &request, &mut map),
            Libc::Unknown => {}
        }
        Ok(map)
    }

    /// Drops everything that was read.
    pub fn forget(&mut self) {
        self.paths.clear();
        self.modules.clear();
        self.loaders.clear();
        self.caches.clear();
        self.texts.clear();
        self.symbols.clear();
        self.kept = 0;
    }

    /// What a path holds.
    pub(crate) fn probe(&mut self, path: &[u8]) -> Probe {
        if let Some(known) = self.paths.get(path) {
            return known.clone();
        }
        if self.kept > MAX_KEPT {
            self.forget();
        }
        let probe = self.read(path);
        self.kept += path.len() + 96;
        self.paths.insert(path.to_vec(), probe.clone());
        probe
    }

    fn read(&mut self, path: &[u8]) -> Probe {
        let file = match self.files.open(path) {
            Ok(file) => file,
            // A directory opens, and then cannot be read.
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => {
                return Probe::Broken(Flaw::Unreadable);
            }
            Err(_) => return Probe::Absent,
        };
        let key = (file.stat().dev, file.stat().ino);
        if let Some(module) = self.modules.get(&key) {
            return Probe::Found(Rc::clone(module));
        }
        match Module::read(file) {
            Ok(module) => {
                self.kept += module.weight();
                let module = Rc::new(module);
                self.modules.insert(key, Rc::clone(&module));
                Probe::Found(module)
            }
            Err(flaw) => Probe::Broken(flaw),
        }
    }

    fn loader(&mut self, path: &[u8], kind: Kind) -> Rc<Loader> {
        if let Some(known) = self.loaders.get(path) {
            return Rc::clone(known);
        }
        let loader = Rc::new(Loader::read(&*self.files, path, kind));
        self.kept += 1024;
        self.loaders.insert(path.to_vec(), Rc::clone(&loader));
        loader
    }

    pub(crate) fn cache(&mut self, path: &[u8]) -> Rc<Cache> {
        if let Some(known) = self.caches.get(path) {
            return Rc::clone(known);
        }
        let bytes = loader::whole(&*self.files, path);
        let cache = Rc::new(Cache::read(&bytes));
        self.kept += 4 * bytes.len();
        self.caches.insert(path.to_vec(), Rc::clone(&cache));
        cache
    }

    /// A small text file; empty where there is none.
    pub(crate) fn text(&mut self, path: &[u8]) -> Rc<Vec<u8>> {
        if let Some(known) = self.texts.get(path) {
            return Rc::clone(known);
        }
        let text = Rc::new(loader::whole(&*self.files, path));
        self.kept += text.len() + 96;
        self.texts.insert(path.to_vec(), Rc::clone(&text));
        text
    }

    /// The symbols of a library; kept.
    pub(crate) fn symbols(&mut self, path: &[u8]) -> Option<Rc<Symbols>> {
        let file = self.files.open(path).ok()?;
        let key = (file.stat().dev, file.stat().ino);
        if let Some(known) = self.symbols.get(&key) {
            return Some(Rc::clone(known));
        }
        let symbols = Rc::new(Symbols::read(file).ok()?);
        self.kept += symbols.weight();
        self.symbols.insert(key, Rc::clone(&symbols));
        Some(symbols)
    }
}

/// Name of the kernel's object in programs for a machine (`vdso(7)`).
fn vdso(kind: Kind) -> Option<&'static str> {
    match (kind.machine, kind.wide) {
        (3, _) => Some("linux-gate.so.1"),
        (62 | 183 | 243 | 258 | 40, _) => Some("linux-vdso.so.1"),
        (21, true) | (22, true) => Some("linux-vdso64.so.1"),
        (20, _) | (22, false) => Some("linux-vdso32.so.1"),
        _ => None,
    }
}
