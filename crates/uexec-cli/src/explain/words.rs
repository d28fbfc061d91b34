//! The first stack as the program finds it, word by word and string by string: decoded from its
//! bytes, so that it shows what is there and not what was meant to be there.

use std::borrow::Cow;

use uexec_core::arch::Arch;
use uexec_core::auxv::Auxv;
use uexec_core::story::Shown;
use uexec_core::{Plan, World};

/// The first stack from `rsp` to its end.
pub(crate) struct FirstStack {
    /// `argc`, pointers and auxiliary vector, lowest first.
    pub(crate) words: Vec<Word>,
    /// What is above them: random bytes, strings, and the room between.
    pub(crate) parts: Vec<Part>,
}

/// One word of the tables, or one pair of the auxiliary vector.
pub(crate) struct Word {
    pub(crate) id: String,
    pub(crate) addr: u64,
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) kind: WordKind,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordKind {
    Argc,
    Argv,
    Envp,
    Null,
    Auxv(u64),
}

/// Bytes above the tables.
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) addr: u64,
    pub(crate) len_bytes: u64,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) kind: PartKind,
}

/// What they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    Room,
    Data,
    Argument,
    Environment,
}

/// Bytes with the address of the first.
struct Memory {
    base: u64,
    bytes: Vec<u8>,
    arch: &'static Arch,
}

impl Memory {
    fn at(&self, addr: u64) -> &[u8] {
        addr.checked_sub(self.base)
            .and_then(|at| self.bytes.get(usize::try_from(at).ok()?..))
            .unwrap_or_default()
    }

    fn word(&self, addr: u64) -> Option<u64> {
        let bytes = self.at(addr).get(..self.step() as usize)?;
        let join = |sum: u64, b: &u8| sum << 8 | u64::from(*b);
        Some(match self.arch.big_endian {
            true => bytes.iter().fold(0, join),
            false => bytes.iter().rev().fold(0, join),
        })
    }

    /// Bytes of a word.
    fn step(&self) -> u64 {
        self.arch.class.word()
    }

    fn string(&self, addr: u64) -> &[u8] {
        self.at(addr).split(|b| *b == 0).next().unwrap_or_default()
    }
}

impl FirstStack {
    /// Decodes the stack of a plan that is complete.
    pub(crate) fn decode(plan: &Plan, world: &mut dyn World) -> FirstStack {
        let (base, arch) = (plan.registers.rsp, plan.image.arch);
        let memory = Memory { base, bytes: plan.stack_bytes(world), arch };
        let mut words = Vec::new();
        let end = tables(&memory, &mut words);
        let mut parts = Vec::new();
        let s = &plan.stack;
        let room = |parts: &mut Vec<Part>, id: &str, name: &str, from: u64, to: u64| {
            if from < to {
                let bytes = memory.at(from);
                let len = usize::try_from(to - from).unwrap_or(usize::MAX).min(bytes.len());
                let used = bytes.get(..len).unwrap_or_default().iter().any(|b| *b != 0);
                let text = match used {
                    true => "left over from a dropped argument",
                    false => "zeroes",
                };
                parts.push(Part {
                    id: id.into(),
                    addr: from,
                    len_bytes: to - from,
                    name: name.into(),
                    text: text.into(),
                    kind: PartKind::Room,
                });
            }
        };
        room(&mut parts, "pad", "padding", end, s.random);
        let random: Vec<String> =
            memory.at(s.random).iter().take(16).map(|b| format!("{b:02x}")).collect();
        parts.push(data("random", "random bytes", s.random, 16, random.join(" ")));
        let platform = memory.string(s.platform);
        let len = arch.platform_len();
        if len > 0 {
            parts.push(data("platform", "platform", s.platform, len, Shown(platform).to_string()));
        }
        room(&mut parts, "gap", "gap", s.platform + len, s.args);
        for word in &words {
            let (kind, id, name) = match word.kind {
                WordKind::Argv => (PartKind::Argument, "arg", "argument"),
                WordKind::Envp => (PartKind::Environment, "env", "environment"),
                _ => continue,
            };
            let index = word.id.rsplit('-').next().unwrap_or_default();
            let bytes = memory.string(word.value);
            let text = match kind {
                PartKind::Environment => Shown(&hide_secret(bytes)).to_string(),
                _ => Shown(bytes).to_string(),
            };
            parts.push(Part {
                id: format!("{id}-{index}"),
                addr: word.value,
                len_bytes: bytes.len() as u64 + 1,
                name: format!("{name} {index}"),
                text,
                kind,
            });
        }
        let name = memory.string(s.filename);
        let len = name.len() as u64 + 1;
        parts.push(data("execfn", "file name", s.filename, len, Shown(name).to_string()));
        room(&mut parts, "hole", "end", s.filename + len, s.end);
        FirstStack { words, parts }
    }
}

/// Reads `argc`, both arrays and the vector; returns where they end.
fn tables(memory: &Memory, words: &mut Vec<Word>) -> u64 {
    let (mut at, step) = (memory.base, memory.step());
    let mut put = |id: String, name: String, addr, value, kind| {
        words.push(Word { id, addr, name, value, kind });
    };
    let Some(argc) = memory.word(at) else { return at };
    put("argc".into(), "argc".into(), at, argc, WordKind::Argc);
    at += step;
    for (array, kind) in [("argv", WordKind::Argv), ("envp", WordKind::Envp)] {
        for i in 0u64.. {
            let Some(value) = memory.word(at) else { return at };
            // argv ends by its count, envp by its null pointer (they agree in every plan).
            if value == 0 {
                put(format!("{array}-end"), "NULL".into(), at, 0, WordKind::Null);
                at += step;
                break;
            }
            put(format!("{array}-{i}"), format!("{array}[{i}]"), at, value, kind);
            at += step;
        }
    }
    while let (Some(a_type), Some(value)) = (memory.word(at), memory.word(at + step)) {
        let name = match Auxv::name(a_type) {
            "AT_?" => format!("AT_{a_type}"),
            known => known.to_owned(),
        };
        put(format!("auxv-{a_type}"), name, at, value, WordKind::Auxv(a_type));
        at += 2 * step;
        if a_type == 0 {
            break;
        }
    }
    at
}

fn data(id: &str, name: &str, addr: u64, len_bytes: u64, text: String) -> Part {
    Part { id: id.into(), addr, len_bytes, name: name.into(), text, kind: PartKind::Data }
}

/// The name of a variable, of an environment string.
pub(crate) fn variable(string: &[u8]) -> &[u8] {
    string.split(|b| *b == b'=').next().unwrap_or_default()
}

/// An environment string, without its value where its name says that it is a secret: pictures are
/// made to be shown to others.
pub(crate) fn hide_secret(string: &[u8]) -> Cow<'_, [u8]> {
    const SECRET: [&str; 6] = ["TOKEN", "SECRET", "PASSW", "API_KEY", "PRIVATE_KEY", "CREDENTIAL"];
    let name = variable(string);
    let upper = name.to_ascii_uppercase();
    let upper = String::from_utf8_lossy(&upper);
    if !SECRET.iter().any(|s| upper.contains(s)) || name.len() == string.len() {
        return string.into();
    }
    let instead = format!("=••• ({} bytes, not shown)", string.len() - name.len() - 1);
    [name, instead.as_bytes()].concat().into()
}
