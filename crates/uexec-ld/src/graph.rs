//! The objects of one process while they are found: each once, by name and by file, in load
//! order. Decides nothing; the C libraries' rules do.

use std::collections::HashMap;
use std::rc::Rc;

use crate::elf::Flaw;
use crate::ld::Request;
use crate::map::{Broken, How, LinkMap, Missing, MissingVersion, Object};
use crate::module::Module;

/// More objects than any process has.
const MAX_OBJECTS: usize = 4096;
/// Files tried, names compared: some seconds' worth. Only hostile files need as much.
const BUDGET: usize = 1 << 20;

/// Search directories, each with a trailing slash.
pub(crate) type Dirs = Rc<Vec<Vec<u8>>>;

pub(crate) struct Node {
    pub(crate) module: Rc<Module>,
    pub(crate) name: Vec<u8>,
    pub(crate) path: Vec<u8>,
    /// Its directory, for `$ORIGIN`.
    pub(crate) origin: Vec<u8>,
    /// Who asked first.
    pub(crate) parent: Option<usize>,
    pub(crate) how: How,
    /// Its RPATH or RUNPATH, once taken apart.
    pub(crate) dirs: Option<Dirs>,
    listed: bool,
    done: bool,
}

enum Item {
    Node(usize),
    Missing(Missing),
}

pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    names: HashMap<Vec<u8>, usize>,
    files: HashMap<(u64, u64), usize>,
    list: Vec<Item>,
    broken: Vec<Broken>,
    ignored: Vec<Missing>,
    left: usize,
}

impl Graph {
    /// With the program as the first object, node 0.
    pub(crate) fn new(request: &Request<'_>) -> Graph {
        let mut graph = Graph {
            nodes: Vec::new(),
            names: HashMap::new(),
            files: HashMap::new(),
            list: Vec::new(),
            broken: Vec::new(),
            ignored: Vec::new(),
            left: BUDGET,
        };
        let module = Rc::clone(&request.program);
        graph.add(module, b"", &request.path, None, How::Absolute);
        graph.list(0, None);
        graph
    }

    /// A new object, not yet in the list.
    pub(crate) fn add(
        &mut self,
        module: Rc<Module>,
        name: &[u8],
        path: &[u8],
        parent: Option<usize>,
        how: How,
    ) -> usize {
        let nr = self.nodes.len();
        let slash = path.iter().rposition(|b| *b == b'/');
        let origin = match slash {
            Some(0) => b"/".to_vec(),
            Some(at) => path.get(..at).unwrap_or_default().to_vec(),
            None => b".".to_vec(),
        };
        self.files.entry((module.stat.dev, module.stat.ino)).or_insert(nr);
        let (name, path) = (name.to_vec(), path.to_vec());
        self.nodes.push(Node {
            module,
            name,
            path,
            origin,
            parent,
            how,
            dirs: None,
            listed: false,
            done: false,
        });
        nr
    }

    pub(crate) fn alias(&mut self, name: &[u8], node: usize) {
        if !self.names.contains_key(name) {
            self.names.insert(name.to_vec(), node);
        }
    }

    pub(crate) fn by_name(&self, name: &[u8]) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(crate) fn by_file(&self, module: &Module) -> Option<usize> {
        self.files.get(&(module.stat.dev, module.stat.ino)).copied()
    }

    /// Takes from the budget; false when there is nothing left.
    pub(crate) fn spend(&mut self, n: usize) -> bool {
        self.left = self.left.saturating_sub(n);
        self.left > 0 && self.nodes.len() < MAX_OBJECTS
    }

    /// Puts an object into the list: at its end, or before another. One that is in it stays where
    /// it is, unless it has to come before another and does not.
    pub(crate) fn list(&mut self, node: usize, before: Option<usize>) {
        let at = self.place(before);
        let Some(entry) = self.nodes.get_mut(node) else { return };
        if !entry.listed {
            entry.listed = true;
            self.list.insert(at, Item::Node(node));
        } else if before.is_some() && self.place_of(node).is_some_and(|old| old > at) {
            self.list.retain(|i| !matches!(i, Item::Node(n) if *n == node));
            self.list.insert(at, Item::Node(node));
        }
    }

    fn place_of(&self, node: usize) -> Option<usize> {
        self.list.iter().position(|i| matches!(i, Item::Node(n) if *n == node))
    }

    fn place(&self, before: Option<usize>) -> usize {
        before.and_then(|b| self.place_of(b)).unwrap_or(self.list.len())
    }

    pub(crate) fn missing(
        &mut self,
        name: &[u8],
        by: usize,
        searched: &[(How, Dirs)],
        optional: bool,
        before: Option<usize>,
    ) {
        let searched =
            searched.iter().flat_map(|(how, dirs)| dirs.iter().map(|d| (*how, d.clone())));
        let missing = Missing {
            name: name.to_vec(),
            needed_by: self.path(by),
            searched: searched.collect(),
            optional,
            position: usize::MAX,
        };
        // As much is told of, not more.
        if !self.spend(16 + missing.searched.len()) {
            return;
        }
        let at = self.place(before);
        self.list.insert(at, Item::Missing(missing));
    }

    /// A preload that is not there is not in the list.
    pub(crate) fn ignore(&mut self, name: &[u8]) {
        self.ignored.push(Missing {
            name: name.to_vec(),
            needed_by: self.path(0),
            searched: Vec::new(),
            optional: true,
            position: usize::MAX,
        });
    }

    pub(crate) fn broken(&mut self, path: &[u8], by: usize, flaw: Flaw, optional: bool) {
        let needed_by = self.path(by);
        self.broken.push(Broken { path: path.to_vec(), needed_by, flaw, optional });
    }

    fn path(&self, node: usize) -> Vec<u8> {
        self.nodes.get(node).map(|n| n.path.clone()).unwrap_or_default()
    }

    /// The next object of the list whose needs were not looked at, in order.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let nodes = &mut self.nodes;
        let nr = self.list.iter().find_map(|item| match item {
            Item::Node(n) if nodes.get(*n).is_some_and(|n| !n.done) => Some(*n),
            _ => None,
        })?;
        nodes.get_mut(nr)?.done = true;
        Some(nr)
    }

    /// Versions needed of loaded objects that these do not define.
    pub(crate) fn check_versions(&mut self) -> Vec<MissingVersion> {
        let mut found = Vec::new();
        let listed = self.list.iter().filter_map(|i| match i {
            Item::Node(n) => self.nodes.get(*n),
            Item::Missing(_) => None,
        });
        let mut left = self.left;
        for node in listed {
            for (file, versions) in &node.module.verneeds {
                let Some(of) = self.by_name(file).and_then(|n| self.nodes.get(n)) else { continue };
                // No definitions at all: only warned about.
                let Some(defs) = &of.module.verdefs else { continue };
                for version in versions.iter().filter(|v| !v.weak) {
                    left = left.saturating_sub(1 + defs.len() / 8);
                    if left > 0 && !defs.iter().any(|d| d.name == version.name) {
                        found.push(MissingVersion {
                            object: node.path.clone(),
                            needs: version.name.clone(),
                            of_library: of.path.clone(),
                        });
                    }
                }
            }
        }
        self.left = left;
        found
    }

    /// Writes everything into the answer.
    pub(crate) fn finish(self, map: &mut LinkMap) {
        map.complete = self.left > 0 && self.nodes.len() < MAX_OBJECTS;
        map.broken = self.broken;
        for item in self.list.into_iter().skip(1) {
            match item {
                Item::Missing(mut missing) => {
                    missing.position = map.objects.len();
                    map.missing.push(missing);
                }
                Item::Node(nr) => {
                    let Some(node) = self.nodes.get(nr) else { continue };
                    // glibc puts itself directly after the object before it that is there.
                    if node.how == How::Loader {
                        let here = map.objects.len();
                        let after = map.missing.iter_mut().rev();
                        after.take_while(|m| m.position == here).for_each(|m| m.position += 1);
                    }
                    let by = node.parent.and_then(|p| self.nodes.get(p));
                    map.objects.push(Object {
                        name: node.name.clone(),
                        path: node.path.clone(),
                        needed_by: by.map(|n| n.path.clone()).unwrap_or_default(),
                        how: node.how,
                        soname: node.module.soname.clone(),
                    });
                }
            }
        }
        map.missing.extend(self.ignored);
    }
}
