//! The GNU C library's rules (`ld.so(8)`): what is searched, in which order, and what counts as
//! already loaded.

use std::rc::Rc;

use crate::cache;
use crate::elf::{Flaw, Kind};
use crate::graph::{Dirs, Graph};
use crate::ld::{Ld, Probe, Request};
use crate::loader::Loader;
use crate::map::{How, LinkMap};
use crate::module::{Ask, Module};
use crate::token::Tokens;

struct Walk<'a> {
    ld: &'a mut Ld,
    request: &'a Request<'a>,
    loader: &'a Loader,
    kind: Kind,
    graph: Graph,
    subdirs: Vec<Vec<u8>>,
    library_path: Dirs,
    system: Dirs,
    /// A path being put together.
    buf: Vec<u8>,
}

enum Found {
    At(Vec<u8>, Rc<Module>, How),
    Broken(Vec<u8>, Flaw),
    Nowhere(Vec<(How, Dirs)>),
}

pub(crate) fn resolve(ld: &mut Ld, request: &Request<'_>, map: &mut LinkMap) {
    let mut walk = Walk {
        ld,
        request,
        loader: &request.loader,
        kind: request.program.kind,
        graph: Graph::new(request),
        subdirs: request.settings.cpu.subdirs(request.loader.legacy),
        library_path: Dirs::default(),
        system: Rc::new(request.loader.system.clone()),
        buf: Vec::new(),
    };
    walk.start();
    walk.preloads();
    walk.run();
    map.missing_versions = walk.graph.check_versions();
    walk.graph.finish(map);
}

impl Walk<'_> {
    /// What is there before anything is searched: the program, the loader, `LD_LIBRARY_PATH`.
    fn start(&mut self) {
        if let Some(soname) = self.request.program.soname.clone() {
            self.graph.alias(&soname, 0);
        }
        let interp = self.request.interp.clone();
        if let Probe::Found(module) = self.ld.probe(&interp) {
            let soname = module.soname.clone();
            let nr = self.graph.add(module, &interp, &interp, None, How::Loader);
            self.graph.alias(&interp, nr);
            self.graph.alias(&soname.unwrap_or_default(), nr);
        }
        let settings = self.request.settings;
        if let Some(paths) = settings.library_path.as_ref().filter(|p| !p.is_empty())
            && !settings.secure
        {
            self.library_path = self.directories(paths, b":;", 0);
        }
    }

    /// `LD_PRELOAD`, then `/etc/ld.so.preload`.
    fn preloads(&mut self) {
        let settings = self.request.settings;
        let text = self.ld.text(&self.loader.preload);
        let listed = text.split(|b| *b == b'\n').filter_map(|l| l.split(|b| *b == b'#').next());
        let listed = listed.flat_map(|l| l.split(|b| b" \t:".contains(b)));
        let asked = settings.preload.as_deref().unwrap_or_default();
        let asked = asked.split(|b| b" :".contains(b));
        // In secure mode only plain names, of libraries marked for it.
        let asked = asked.filter(|n| !settings.secure || !n.contains(&b'/')).map(|n| (n, true));
        for (name, guarded) in asked.chain(listed.map(|n| (n, false))) {
            if name.is_empty() {
                continue;
            }
            let guarded = guarded && settings.secure;
            match self.load(name, 0, How::Preload, guarded) {
                Loaded::Node(node) => self.graph.list(node, None),
                Loaded::Broken(path, flaw) => self.graph.broken(&path, 0, flaw, true),
                Loaded::Nowhere(_) => self.graph.ignore(name),
            }
        }
    }

    /// Breadth first: every object's needs, in the order of the list they are added to.
    fn run(&mut self) {
        while let Some(nr) = self.graph.next() {
            let Some(node) = self.graph.nodes.get(nr) else { break };
            let module = Rc::clone(&node.module);
            for (ask, name) in &module.asks {
                if !self.graph.spend(1) {
                    return;
                }
                // A filter's library comes before it.
                let before = (*ask != Ask::Needed).then_some(nr);
                let optional = *ask == Ask::Auxiliary;
                let Some(name) = self.tokens(nr).expand(name) else { continue };
                match self.load(&name, nr, How::Absolute, false) {
                    Loaded::Node(node) => self.graph.list(node, before),
                    Loaded::Broken(path, flaw) => self.graph.broken(&path, nr, flaw, optional),
                    Loaded::Nowhere(searched) => {
                        self.graph.missing(&name, nr, &searched, optional, before);
                    }
                }
            }
        }
    }

    /// An object by name: one that is there already, or a new one.
    fn load(&mut self, name: &[u8], by: usize, how: How, guarded: bool) -> Loaded {
        if let Some(node) = self.graph.by_name(name) {
            return Loaded::Node(node);
        }
        let (path, module, found_how) = match self.locate(name, by) {
            Found::At(path, module, found_how) => (path, module, found_how),
            Found::Broken(path, flaw) => return Loaded::Broken(path, flaw),
            Found::Nowhere(searched) => return Loaded::Nowhere(searched),
        };
        if let Some(node) = self.graph.by_file(&module) {
            self.graph.alias(name, node);
            return Loaded::Node(node);
        }
        if guarded && module.stat.mode & 0o4000 == 0 {
            return Loaded::Nowhere(Vec::new());
        }
        if module.e_type == 2 || module.pie {
            return Loaded::Broken(path, Flaw::Program);
        }
        let how = if how == How::Preload { how } else { found_how };
        let soname = module.soname.clone();
        let node = self.graph.add(module, name, &path, Some(by), how);
        self.graph.alias(name, node);
        self.graph.alias(&path, node);
        if let Some(soname) = soname {
            self.graph.alias(&soname, node);
        }
        Loaded::Node(node)
    }

    fn locate(&mut self, name: &[u8], by: usize) -> Found {
        if name.contains(&b'/') {
            let found = self.take(name, How::Absolute);
            return found.unwrap_or_else(|| Found::Nowhere(Vec::new()));
        }
        let mut searched: Vec<(How, Dirs)> = Vec::new();
        let has_runpath = self.module(by).is_some_and(|m| m.runpath.is_some());
        if !has_runpath {
            let mut at = Some(by);
            while let Some(nr) = at {
                if self.module(nr).is_some_and(|m| m.rpath.is_some()) {
                    searched.push((How::Rpath, self.own_dirs(nr)));
                }
                at = self.graph.nodes.get(nr).and_then(|n| n.parent);
            }
        }
        searched.push((How::LdLibraryPath, Rc::clone(&self.library_path)));
        if has_runpath {
            searched.push((How::Runpath, self.own_dirs(by)));
        }
        for (how, dirs) in &searched {
            if let Some(found) = self.search(dirs, name, *how) {
                return found;
            }
        }
        let nodeflib = self.module(by).is_some_and(|m| m.nodeflib);
        if let Some(found) = self.cached(name, nodeflib) {
            return found;
        }
        searched.push((How::Cache, Rc::new(vec![self.loader.cache.clone()])));
        if !nodeflib {
            let system = Rc::clone(&self.system);
            if let Some(found) = self.search(&system, name, How::Default) {
                return found;
            }
            searched.push((How::Default, system));
        }
        Found::Nowhere(searched)
    }

    fn cached(&mut self, name: &[u8], nodeflib: bool) -> Option<Found> {
        let cache = self.ld.cache(&self.loader.cache);
        let flags = cache::flags(self.kind);
        let path = cache.lookup(name, flags, &self.request.settings.cpu.levels)?;
        let is_system = || self.loader.system.iter().any(|d| path.starts_with(d));
        if nodeflib && is_system() { None } else { self.take(path, How::Cache) }
    }

    fn search(&mut self, dirs: &Dirs, name: &[u8], how: How) -> Option<Found> {
        for dir in dirs.iter() {
            for nr in 0..self.subdirs.len() {
                let mut buf = std::mem::take(&mut self.buf);
                buf.clear();
                buf.extend_from_slice(dir);
                buf.extend_from_slice(self.subdirs.get(nr).map_or(b"", Vec::as_slice));
                buf.extend_from_slice(name);
                let found = self.take(&buf, how);
                self.buf = buf;
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// What a path holds, if the search ends there. Files for other machines are passed over.
    fn take(&mut self, path: &[u8], how: How) -> Option<Found> {
        if !self.graph.spend(1) {
            return None;
        }
        match self.ld.probe(path) {
            Probe::Absent => None,
            Probe::Broken(flaw) => Some(Found::Broken(path.to_vec(), flaw)),
            Probe::Found(m) if m.kind.wide != self.kind.wide => None,
            Probe::Found(m) if m.kind.big != self.kind.big => {
                Some(Found::Broken(path.to_vec(), Flaw::Header))
            }
            Probe::Found(m) if m.kind.machine != self.kind.machine => None,
            Probe::Found(module) => Some(Found::At(path.to_vec(), module, how)),
        }
    }

    fn module(&self, nr: usize) -> Option<&Module> {
        self.graph.nodes.get(nr).map(|n| &*n.module)
    }

    /// Directories of an object's RPATH or RUNPATH.
    fn own_dirs(&mut self, nr: usize) -> Dirs {
        let Some(node) = self.graph.nodes.get(nr) else { return Dirs::default() };
        if let Some(dirs) = &node.dirs {
            return Rc::clone(dirs);
        }
        let module = Rc::clone(&node.module);
        let paths = module.runpath.as_ref().or(module.rpath.as_ref());
        let dirs = match paths.filter(|p| !p.is_empty()) {
            Some(paths) => self.directories(paths, b":", nr),
            None => Dirs::default(),
        };
        if let Some(node) = self.graph.nodes.get_mut(nr) {
            node.dirs = Some(Rc::clone(&dirs));
        }
        dirs
    }

    /// Takes a search path apart. An empty element is the working directory.
    fn directories(&self, paths: &[u8], separators: &[u8], nr: usize) -> Dirs {
        let tokens = self.tokens(nr);
        let mut dirs: Vec<Vec<u8>> = Vec::new();
        for piece in paths.split(|b| separators.contains(b)) {
            let Some(mut dir) = tokens.expand(piece) else { continue };
            if dir.is_empty() && !piece.is_empty() {
                continue;
            }
            if dir.is_empty() {
                dir.push(b'.');
            }
            while dir.ends_with(b"/") {
                dir.pop();
            }
            dir.push(b'/');
            if self.request.settings.secure && piece.contains(&b'$') && !self.trusts(&dir) {
                continue;
            }
            if dirs.len() < 4096 && !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        Rc::new(dirs)
    }

    /// In secure mode tokens may only lead below the loader's own directories.
    fn trusts(&self, dir: &[u8]) -> bool {
        let climbs = dir.split(|b| *b == b'/').any(|c| c == b"..");
        !climbs && self.loader.system.iter().any(|s| dir.starts_with(s))
    }

    fn tokens(&self, nr: usize) -> Tokens<'_> {
        Tokens {
            origin: self.graph.nodes.get(nr).map(|n| n.origin.as_slice()),
            lib: &self.loader.lib,
            platform: &self.request.settings.cpu.platform,
        }
    }
}

enum Loaded {
    Node(usize),
    Broken(Vec<u8>, Flaw),
    Nowhere(Vec<(How, Dirs)>),
}
