//! What is said of each part when it is chosen: a title, some facts, and what it belongs to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::meaning;
use super::panels::STAGES;
use super::scene::Scene;
use super::size::human;
use super::svg::visible;
use crate::explain::words::WordKind;

/// One part.
#[derive(Serialize)]
pub(crate) struct Item {
    title: String,
    facts: Vec<(&'static str, String)>,
    links: Vec<String>,
}

/// All parts by name.
pub(crate) fn items(scene: &Scene) -> BTreeMap<String, Item> {
    let mut all = BTreeMap::new();
    let mut put = |id: &str, title: String, facts: Vec<(&'static str, String)>| {
        let links = scene.links.of(id).cloned().collect();
        let facts = facts.into_iter().map(|(k, v)| (k, visible(&v))).collect();
        all.insert(id.to_owned(), Item { title: visible(&title), facts, links });
    };
    let range = |a: u64, b: u64| format!("{a:#x} – {b:#x}");
    for f in &scene.files {
        let facts = vec![("path", f.path.clone()), ("moved by", format!("{:#x}", f.bias))];
        put(f.id, format!("{}: {}", f.role, f.path), facts);
        for s in &f.segments {
            let mut facts = vec![
                ("file", f.path.clone()),
                ("permissions", s.flags.clone()),
                ("offset", format!("{:#x}", s.offset)),
                ("in the file", format!("{:#x} bytes ({})", s.filesz, human(s.filesz))),
                ("in memory", format!("{:#x} bytes ({})", s.memsz, human(s.memsz))),
                ("address asked", format!("{:#x}", s.vaddr)),
                ("address got", format!("{:#x}", f.bias.wrapping_add(s.vaddr))),
            ];
            if s.memsz > s.filesz {
                facts.push(("zeroes", format!("{} bytes after the file's", s.memsz - s.filesz)));
            }
            put(&s.id, format!("segment {} of the {}", s.flags, f.role), facts);
        }
    }
    for m in &scene.maps {
        let mut facts = vec![
            ("range", range(m.start, m.end)),
            ("size", human(m.end - m.start)),
            ("permissions", m.perms.clone()),
        ];
        match m.path.as_str() {
            "" => facts.push(("contents", "zero pages".into())),
            path => facts.push(("what", path.into())),
        }
        if m.path.starts_with('/') {
            facts.push(("file offset", format!("{:#x}", m.offset)));
        }
        for (addr, len) in &m.cleared {
            facts.push(("cleared", format!("{len} bytes from {addr:#x}")));
        }
        put(&m.id, format!("mapping {}", m.name()), facts);
    }
    stack(scene, &mut put);
    for r in &scene.ranges {
        let facts = vec![
            ("now", format!("{:#x}", r.now)),
            ("lowest", format!("{:#x}", r.low)),
            ("highest", format!("{:#x}", r.high)),
            ("randomness", format!("{} bits", r.bits())),
            ("fact", r.spec.to_owned()),
        ];
        put(&format!("aslr-{}", r.id), format!("randomisation: {}", r.what), facts);
    }
    for (i, l) in scene.e.chain.iter().enumerate() {
        let facts = vec![("path", l.path.clone()), ("format", l.format.clone())];
        put(&format!("chain-{i}"), l.path.clone(), facts);
    }
    for (i, t) in scene.e.story.iter().enumerate() {
        let mut facts = vec![("stage", t.stage.to_owned()), ("what", t.what.clone())];
        if !t.spec.is_empty() {
            facts.push(("fact", t.spec.to_owned()));
        }
        put(&format!("story-{i}"), format!("decision {}", i + 1), facts);
    }
    for stage in STAGES {
        let told = scene.e.story.iter().filter(|t| t.stage == stage);
        let facts = told.map(|t| ("decided", t.what.clone())).collect();
        put(&format!("stage-{stage}"), format!("stage {stage}"), facts);
    }
    rest(scene, &mut put);
    all
}

type Put<'a> = dyn FnMut(&str, String, Vec<(&'static str, String)>) + 'a;

fn stack(scene: &Scene, put: &mut Put<'_>) {
    let Some(stack) = &scene.stack else { return };
    for w in &stack.words {
        let mut facts =
            vec![("at", format!("{:#x}", w.addr)), ("value", format!("{:#x}", w.value))];
        if let WordKind::Auxv(a_type) = w.kind {
            facts.push(("type", a_type.to_string()));
            if !meaning::is_address(a_type) {
                facts.push(("that is", meaning::value(a_type, w.value)));
            }
            facts.push(("what for", meaning::about(a_type).to_owned()));
        }
        put(&w.id, w.name.clone(), facts);
    }
    for p in &stack.parts {
        let facts = vec![
            ("at", format!("{:#x}", p.addr)),
            ("length", format!("{} bytes", p.len_bytes)),
            ("bytes", p.text.clone()),
        ];
        put(&p.id, p.name.clone(), facts);
    }
}

fn rest(scene: &Scene, put: &mut Put<'_>) {
    if let Some(r) = &scene.e.registers {
        put("rip", "rip: the first instruction".into(), vec![("value", r.rip.to_string())]);
        put("rsp", "rsp: the stack pointer".into(), vec![("value", r.rsp.to_string())]);
    }
    if let Some(loader) = scene.e.image.as_ref().and_then(|i| i.interp.as_ref()) {
        put("chain-loader", format!("loader {loader}"), vec![("path", loader.clone())]);
    }
    let mut facts = vec![("program", scene.e.program.clone())];
    if let Some(f) = &scene.e.error {
        facts.push(("errno", format!("{} ({})", f.errno, f.number)));
        facts.push(("stage", f.stage.to_owned()));
        facts.push(("why", f.why.clone()));
        facts.push(("hint", f.hint.clone()));
        if let Some(at) = &f.at {
            let bytes = format!("{} from offset {:#x}", at.len, at.offset);
            let facts = vec![("file", at.file.clone()), ("bytes", bytes), ("why", f.why.clone())];
            put("fault", "the bytes at fault".into(), facts);
        }
    }
    let verdict = if scene.e.error.is_none() { "it starts" } else { "it does not start" };
    put("verdict", verdict.into(), facts);
}
