//! What a picture shows: the parts of an exec, each with a name of its own, and which belong
//! together. Knows nothing of where they are drawn.

use std::collections::{BTreeMap, BTreeSet};

use uexec_core::abi::{PAGE, at, page_down, page_up};
use uexec_core::story::Shown;
use uexec_core::{Exec, Op, Plan};

use crate::explain::Explained;
use crate::explain::fault::{self, Fault};
use crate::explain::model::{Explanation, SegmentInfo};
use crate::explain::ranges::{self, Range};
use crate::explain::words::{FirstStack, WordKind};

/// Everything in the picture of one exec.
pub(crate) struct Scene {
    pub(crate) e: Explanation,
    pub(crate) files: Vec<FileCard>,
    pub(crate) maps: Vec<MapBox>,
    pub(crate) joints: Vec<Joint>,
    pub(crate) stack: Option<FirstStack>,
    pub(crate) ranges: Vec<Range>,
    pub(crate) fault: Option<Fault>,
    pub(crate) links: Links,
}

/// The program or its interpreter, with what it wants mapped.
pub(crate) struct FileCard {
    pub(crate) id: &'static str,
    pub(crate) role: &'static str,
    pub(crate) path: String,
    pub(crate) bias: u64,
    pub(crate) segments: Vec<SegmentBox>,
}

/// A `PT_LOAD` segment.
pub(crate) struct SegmentBox {
    pub(crate) id: String,
    pub(crate) flags: String,
    pub(crate) offset: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
    pub(crate) vaddr: u64,
}

/// A mapping.
pub(crate) struct MapBox {
    pub(crate) id: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) perms: String,
    pub(crate) offset: u64,
    pub(crate) path: String,
    /// Bytes that are cleared after mapping: address and length.
    pub(crate) cleared: Vec<(u64, u64)>,
    /// Who points here: name of a part, label, address.
    pub(crate) tags: Vec<(String, String, u64)>,
}

impl MapBox {
    /// What to call it in little room.
    pub(crate) fn name(&self) -> &str {
        match self.path.rsplit('/').next() {
            Some("") | None => "zero pages (bss)",
            Some(name) => name,
        }
    }

    pub(crate) fn contains(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }
}

/// A part of a segment and the part of a mapping it becomes.
pub(crate) struct Joint {
    pub(crate) segment: String,
    pub(crate) map: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Zeroes, not bytes of the file.
    pub(crate) zero: bool,
}

/// Which parts belong together, both ways.
#[derive(Default)]
pub(crate) struct Links(BTreeMap<String, BTreeSet<String>>);

impl Links {
    pub(crate) fn tie(&mut self, a: &str, b: &str) {
        if a != b {
            self.0.entry(a.into()).or_default().insert(b.into());
            self.0.entry(b.into()).or_default().insert(a.into());
        }
    }

    pub(crate) fn of(&self, id: &str) -> impl Iterator<Item = &String> {
        self.0.get(id).into_iter().flatten()
    }
}

/// Entries of the auxiliary vector that are addresses of mapped things, without those of strings.
const INTO_MAPS: [u64; 4] = [at::PHDR, at::BASE, at::ENTRY, at::SYSINFO_EHDR];

impl Scene {
    /// Gathers all of it.
    pub(crate) fn new(exec: &Exec, explained: &mut Explained) -> Scene {
        let (result, host) = (&explained.result, &mut explained.host);
        let alive = result.as_ref().ok().filter(|p| p.death.is_none());
        let stack = alive.map(|plan| FirstStack::decode(plan, host));
        let explained = &*explained;
        let alive = explained.result.as_ref().ok().filter(|p| p.death.is_none());
        let e = Explanation::new(explained);
        let error = explained.error();
        let mut scene = Scene {
            files: explained.result.as_ref().map(|p| files(p, &e)).unwrap_or_default(),
            maps: maps(&e, alive),
            joints: Vec::new(),
            stack,
            ranges: ranges::ranges(exec, explained),
            fault: error.and_then(|error| fault::fault(explained, &error)),
            links: Links::default(),
            e,
        };
        scene.join();
        scene.tie_stack();
        scene.tie_ranges();
        scene.tie_story();
        scene
    }

    pub(crate) fn map_at(&self, addr: u64) -> Option<&MapBox> {
        self.maps.iter().find(|m| m.contains(addr))
    }

    /// Segments to the mappings they become.
    fn join(&mut self) {
        for file in &self.files {
            for s in &file.segments {
                self.links.tie(&s.id, file.id);
                let start = file.bias.wrapping_add(s.vaddr);
                let bytes_end = start.wrapping_add(s.filesz);
                let first = page_down(start);
                let edge = if s.filesz > 0 { page_up(bytes_end) } else { first };
                let last = page_up(start.wrapping_add(s.memsz));
                for (from, to, zero) in [(first, edge, false), (edge, last, true)] {
                    for m in self.maps.iter().filter(|m| m.start < to && m.end > from) {
                        self.links.tie(&s.id, &m.id);
                        self.links.tie(file.id, &m.id);
                        self.joints.push(Joint {
                            segment: s.id.clone(),
                            map: m.id.clone(),
                            from: from.max(m.start),
                            to: to.min(m.end),
                            zero,
                        });
                    }
                }
            }
        }
    }

    /// The segment that an address comes from.
    fn segment_at(&self, addr: u64) -> Option<&str> {
        let inside = |f: &&FileCard, s: &&SegmentBox| {
            let start = f.bias.wrapping_add(s.vaddr);
            addr.wrapping_sub(start) < s.memsz
        };
        self.files
            .iter()
            .find_map(|f| f.segments.iter().find(|s| inside(&f, s)).map(|s| s.id.as_str()))
    }

    /// Ties a part to the mapping and segment an address is in, and puts a tag there.
    fn point(&mut self, id: &str, label: &str, addr: u64) {
        if let Some(segment) = self.segment_at(addr).map(str::to_owned) {
            self.links.tie(id, &segment);
        }
        if let Some(m) = self.maps.iter_mut().find(|m| m.contains(addr)) {
            m.tags.push((id.to_owned(), label.to_owned(), addr));
            let map = m.id.clone();
            self.links.tie(id, &map);
        }
    }

    fn tie_stack(&mut self) {
        let Some(stack) = &self.stack else { return };
        for w in &stack.words {
            let part = match w.kind {
                WordKind::Argc | WordKind::Null => continue,
                WordKind::Argv | WordKind::Envp | WordKind::Auxv(_) => {
                    stack.parts.iter().find(|p| p.addr == w.value && p.len_bytes > 0)
                }
            };
            let pointer = match w.kind {
                WordKind::Auxv(t) => [at::RANDOM, at::PLATFORM, at::EXECFN].contains(&t),
                _ => true,
            };
            if let Some(part) = part.filter(|_| pointer) {
                self.links.tie(&w.id, &part.id);
            }
        }
        let into: Vec<(String, String, u64)> = stack
            .words
            .iter()
            .filter(|w| matches!(w.kind, WordKind::Auxv(t) if INTO_MAPS.contains(&t)))
            .filter(|w| w.value != 0)
            .map(|w| (w.id.clone(), w.name.clone(), w.value))
            .collect();
        for (id, label, addr) in into {
            self.point(&id, &label, addr);
        }
        let registers = self.e.registers.as_ref().map(|r| (r.rip.0, r.rsp.0));
        if let Some((rip, rsp)) = registers {
            self.point("rip", "rip: first instruction", rip);
            self.point("rsp", "rsp", rsp);
            self.links.tie("rsp", "argc");
        }
    }

    fn tie_ranges(&mut self) {
        for r in &self.ranges {
            let id = format!("aslr-{}", r.id);
            let hit = |m: &&MapBox| match r.id {
                "pie" => self.files.first().is_some_and(|f| {
                    self.joints
                        .iter()
                        .any(|j| j.map == m.id && f.segments.iter().any(|s| s.id == j.segment))
                }),
                "mmap" => m.end <= r.now && r.now - m.end < 1 << 32 && m.path != "[stack]",
                "stack" => m.end == r.now,
                "rsp" => m.contains(r.now),
                _ => m.end == r.now || m.path == "[heap]",
            };
            for m in self.maps.iter().filter(hit) {
                self.links.tie(&id, &m.id);
            }
        }
        self.links.tie("aslr-rsp", "rsp");
    }

    /// A decision to the parts it decided on: those it names by address, path or number.
    fn tie_story(&mut self) {
        if let Some(last) = self.e.chain.len().checked_sub(1) {
            self.links.tie(&format!("chain-{last}"), "file-p");
        }
        self.links.tie("chain-loader", "file-i");
        if let Some(failure) = &self.e.error {
            self.links.tie("verdict", "fault");
            self.links.tie("verdict", &format!("stage-{}", failure.stage));
        }
        for i in 0..self.e.story.len() {
            let Some(told) = self.e.story.get(i) else { break };
            let (what, spec) = (told.what.clone(), told.spec);
            let id = format!("story-{i}");
            self.links.tie(&id, &format!("stage-{}", told.stage));
            for addr in addresses(&what) {
                let maps = self.maps.iter().filter(|m| m.contains(addr) || m.end == addr);
                let ids: Vec<String> = maps.map(|m| m.id.clone()).collect();
                ids.iter().for_each(|m| self.links.tie(&id, m));
                let words = self.stack.iter().flat_map(|s| &s.words);
                for w in words.filter(|w| w.value == addr && addr != 0) {
                    self.links.tie(&id, &w.id);
                }
            }
            for (n, link) in self.e.chain.iter().enumerate() {
                if what.contains(&link.path) {
                    self.links.tie(&id, &format!("chain-{n}"));
                }
            }
            for file in self.files.iter().filter(|f| what.contains(&f.path)) {
                self.links.tie(&id, file.id);
            }
            let named: &[&str] = match spec {
                "STK-31" => &["aslr-stack", "aslr-mmap"],
                "ELF-37" => &["aslr-pie"],
                "ELF-64" => &["rip", "rsp"],
                "PIPE-22" => &["argc"],
                "ELF-18" => &["file-i"],
                "PIPE-46" => &["auxv-11", "auxv-12", "auxv-13", "auxv-14", "auxv-23"],
                _ => &[],
            };
            named.iter().for_each(|n| self.links.tie(&id, n));
        }
    }
}

fn files(plan: &Plan, e: &Explanation) -> Vec<FileCard> {
    let Some(info) = &e.image else { return Vec::new() };
    let boxes = |prefix: &str, segments: &[SegmentInfo]| {
        let one = |(i, s): (usize, &SegmentInfo)| SegmentBox {
            id: format!("seg-{prefix}-{i}"),
            flags: s.flags.clone(),
            offset: s.offset,
            filesz: s.filesz,
            memsz: s.memsz,
            vaddr: s.vaddr.0,
        };
        segments.iter().enumerate().map(one).collect()
    };
    let program = &plan.image.program;
    let entry = plan.auxv.get(at::ENTRY).unwrap_or(program.header.e_entry);
    let mut cards = vec![FileCard {
        id: "file-p",
        role: "program",
        path: Shown(&program.file.path).to_string(),
        bias: entry.wrapping_sub(program.header.e_entry),
        segments: boxes("p", &info.segments),
    }];
    if let Some(interp) = &info.interp {
        cards.push(FileCard {
            id: "file-i",
            role: "its interpreter",
            path: interp.clone(),
            bias: plan.auxv.get(at::BASE).unwrap_or(0),
            segments: boxes("i", &info.interp_segments),
        });
    }
    cards
}

fn maps(e: &Explanation, plan: Option<&Plan>) -> Vec<MapBox> {
    let zeroed = |start, end| {
        let ops = plan.map(|p| p.ops.as_slice()).unwrap_or_default();
        ops.iter()
            .filter_map(|op| match op {
                Op::Zero { addr, len } if (start..end).contains(addr) => Some((*addr, *len)),
                _ => None,
            })
            .collect()
    };
    let one = |(i, m): (usize, &crate::explain::model::MapLine)| MapBox {
        id: format!("map-{i}"),
        start: m.start.0,
        end: m.end.0,
        perms: m.perms.clone(),
        offset: m.offset,
        path: m.path.clone(),
        cleared: zeroed(m.start.0, m.end.0),
        tags: Vec::new(),
    };
    e.maps.iter().enumerate().map(one).collect()
}

/// All hexadecimal numbers of a page or more in a text.
fn addresses(text: &str) -> Vec<u64> {
    text.split("0x")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
            u64::from_str_radix(rest.get(..end)?, 16).ok()
        })
        .filter(|a| *a >= PAGE)
        .collect()
}
