//! musl's rules: `LD_LIBRARY_PATH`, the RPATH or RUNPATH of every object up to the program, then
//! the path file. The loader is the C library itself.

use std::rc::Rc;

use crate::elf::Flaw;
use crate::graph::{Dirs, Graph};
use crate::ld::{Ld, Probe, Request};
use crate::map::{How, LinkMap};
use crate::token::Tokens;

/// Parts of the C library that have had libraries of their own elsewhere.
const OWN: [&[u8]; 7] = [b"c.", b"pthread.", b"rt.", b"m.", b"dl.", b"util.", b"xnet."];

struct Walk<'a> {
    ld: &'a mut Ld,
    request: &'a Request<'a>,
    graph: Graph,
    loader: Option<usize>,
    library_path: Dirs,
    system: Dirs,
}

pub(crate) fn resolve(ld: &mut Ld, request: &Request<'_>, map: &mut LinkMap) {
    let mut graph = Graph::new(request);
    let loader = match ld.probe(&request.interp) {
        Probe::Found(m) => Some(graph.add(m, &request.interp, &request.interp, None, How::Loader)),
        _ => None,
    };
    let text = ld.text(&path_file(&request.interp));
    let system = match text.as_slice() {
        b"" => directories(b"/lib:/usr/local/lib:/usr/lib"),
        text => directories(text),
    };
    let paths = request.settings.library_path.as_deref().filter(|_| !request.settings.secure);
    let library_path = directories(paths.unwrap_or_default());
    let mut walk = Walk { ld, request, graph, loader, library_path, system };
    walk.preloads();
    while let Some(nr) = walk.graph.next() {
        let Some(module) = walk.graph.nodes.get(nr).map(|n| Rc::clone(&n.module)) else { break };
        for (_, name) in module.asks.iter().filter(|a| a.0 == crate::module::Ask::Needed) {
            if !walk.graph.spend(1) {
                break;
            }
            walk.load(name, nr, How::Absolute);
        }
    }
    walk.graph.finish(map);
}

impl Walk<'_> {
    fn preloads(&mut self) {
        let settings = self.request.settings;
        let names = settings.preload.as_deref().filter(|_| !settings.secure).unwrap_or_default();
        for name in names.split(|b| b.is_ascii_whitespace() || *b == b':') {
            if !name.is_empty() {
                self.load(name, 0, How::Preload);
            }
        }
    }

    fn load(&mut self, name: &[u8], by: usize, how: How) {
        let optional = how == How::Preload;
        let own = name.strip_prefix(b"lib").is_some_and(|n| OWN.iter().any(|o| n.starts_with(o)));
        if own && let Some(loader) = self.loader {
            if let Some(node) = self.graph.nodes.get_mut(loader)
                && node.parent.is_none()
            {
                node.parent = Some(by);
                node.name = name.to_vec();
            }
            self.graph.list(loader, None);
            return;
        }
        let plain = !name.contains(&b'/');
        if plain && self.graph.by_name(name).is_some() {
            return;
        }
        let mut searched = Vec::new();
        let found = if plain {
            self.search(name, by, &mut searched)
        } else {
            self.take(name, How::Absolute)
        };
        let Some((path, probe, found_how)) = found else {
            if optional {
                self.graph.ignore(name);
            } else {
                self.graph.missing(name, by, &searched, false, None);
            }
            return;
        };
        let module = match probe {
            Probe::Found(module) if module.kind == self.request.program.kind => module,
            Probe::Found(_) => return self.graph.broken(&path, by, Flaw::Header, optional),
            Probe::Broken(flaw) => return self.graph.broken(&path, by, flaw, optional),
            Probe::Absent => return,
        };
        let node = match self.graph.by_file(&module) {
            Some(node) => node,
            None => {
                let how = if optional { how } else { found_how };
                self.graph.add(module, name, &path, Some(by), how)
            }
        };
        if plain {
            self.graph.alias(name, node);
        }
        self.graph.list(node, None);
    }

    fn search(
        &mut self,
        name: &[u8],
        by: usize,
        searched: &mut Vec<(How, Dirs)>,
    ) -> Option<(Vec<u8>, Probe, How)> {
        searched.push((How::LdLibraryPath, Rc::clone(&self.library_path)));
        let mut at = Some(by);
        while let Some(nr) = at {
            let dirs = self.own_dirs(nr);
            if !dirs.is_empty() {
                let runpath = self.graph.nodes.get(nr).is_some_and(|n| n.module.runpath.is_some());
                searched.push((if runpath { How::Runpath } else { How::Rpath }, dirs));
            }
            at = self.graph.nodes.get(nr).and_then(|n| n.parent);
        }
        searched.push((How::Default, Rc::clone(&self.system)));
        for (how, dirs) in searched.iter() {
            for dir in dirs.iter() {
                let found = self.take(&[dir.as_slice(), name].concat(), *how);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// The first file that opens is taken, whatever it is.
    fn take(&mut self, path: &[u8], how: How) -> Option<(Vec<u8>, Probe, How)> {
        if !self.graph.spend(1) {
            return None;
        }
        match self.ld.probe(path) {
            Probe::Absent => None,
            probe => Some((path.to_vec(), probe, how)),
        }
    }

    fn own_dirs(&mut self, nr: usize) -> Dirs {
        let Some(node) = self.graph.nodes.get_mut(nr) else { return Dirs::default() };
        if node.dirs.is_none() {
            let paths = node.module.runpath.as_ref().or(node.module.rpath.as_ref());
            // Only $ORIGIN is known: with another token the whole path is left out.
            let tokens = Tokens { origin: Some(&node.origin), lib: b"$", platform: b"$" };
            let paths = paths.and_then(|p| tokens.expand(p)).filter(|p| !p.contains(&b'$'));
            node.dirs = Some(directories(&paths.unwrap_or_default()));
        }
        node.dirs.clone().unwrap_or_default()
    }
}

/// Elements between colons or line ends; empty ones are nothing.
fn directories(paths: &[u8]) -> Dirs {
    let pieces = paths.split(|b| b":\n".contains(b)).filter(|p| !p.is_empty());
    Rc::new(pieces.take(4096).map(|p| [p, b"/"].concat()).collect())
}

/// `PREFIX/lib/ld-musl-ARCH.so.1` has `PREFIX/etc/ld-musl-ARCH.path`.
fn path_file(interp: &[u8]) -> Vec<u8> {
    let (dir, name) = match interp.iter().rposition(|b| *b == b'/') {
        Some(at) => interp.split_at(at),
        None => (b"".as_slice(), interp),
    };
    let prefix = dir.iter().rposition(|b| *b == b'/').and_then(|at| dir.get(..at));
    let name = name.strip_prefix(b"/").unwrap_or(name);
    let end = name.windows(3).position(|w| w == b".so").unwrap_or(name.len());
    [prefix.unwrap_or_default(), b"/etc/", name.get(..end).unwrap_or(name), b".path"].concat()
}
