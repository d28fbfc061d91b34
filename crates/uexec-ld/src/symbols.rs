//! The dynamic symbols of an object, what it defines and with which version. Decodes; binds
//! nothing.

use std::collections::HashMap;

use crate::elf::{Fields, Flaw, Image, Kind};
use crate::files::ReadAt;
use crate::module::{Dynamic, tag};

/// Symbols of the largest libraries are some hundred thousand.
const MAX_SYMBOLS: u32 = 1 << 19;
/// Size of the largest string table looked at.
const MAX_STRTAB: u64 = 32 << 20;

/// A dynamic symbol (`elf(5)`).
#[derive(Clone, Debug)]
pub(crate) struct Symbol {
    name: (u32, u32),
    pub(crate) bind: u8,
    pub(crate) kind: u8,
    pub(crate) visibility: u8,
    pub(crate) section: u16,
    pub(crate) value: u64,
    /// Index of its version, and the bit that hides it from references without one.
    pub(crate) version: Option<u16>,
}

/// All dynamic symbols of an object.
#[derive(Debug)]
pub(crate) struct Symbols {
    all: Vec<Symbol>,
    strings: Vec<u8>,
    defined: HashMap<Vec<u8>, Vec<u32>>,
    /// Version names by index: those defined here, then those needed of others.
    pub(crate) versions: HashMap<u16, Vec<u8>>,
}

impl Symbols {
    pub(crate) fn read(file: Box<dyn ReadAt>) -> Result<Symbols, Flaw> {
        let image = Image::open(file)?;
        let dynamic = Dynamic::read(&image).ok_or(Flaw::Dynamic)?;
        Symbols::of(&image, &dynamic, 0).ok_or(Flaw::Dynamic)
    }

    /// At least so many symbols, if there are as many, whatever the hash table says.
    pub(crate) fn of(image: &Image, dynamic: &Dynamic, at_least: u32) -> Option<Symbols> {
        let size = if image.kind.wide { 24u64 } else { 16 };
        let count = count(image, dynamic).max(at_least).min(MAX_SYMBOLS);
        let table =
            dynamic.last(tag::SYMTAB).and_then(|at| image.at_most(at, u64::from(count) * size));
        let table = table.unwrap_or_default();
        let strings = dynamic.last(tag::STRTAB).and_then(|at| {
            // Its size is not needed: strings end in it or are none.
            image.at_most(at, dynamic.last(tag::STRSZ).unwrap_or(MAX_STRTAB).min(MAX_STRTAB))
        });
        let versym = dynamic.last(tag::VERSYM);
        let versym = versym.and_then(|at| image.at_most(at, u64::from(count) * 2));
        let mut versions = HashMap::new();
        for (_, list) in dynamic.verneeds(image).unwrap_or_default() {
            versions.extend(list.into_iter().map(|v| (v.index & 0x7fff, v.name)));
        }
        for def in dynamic.verdefs(image).unwrap_or_default() {
            versions.insert(def.index, def.name);
        }
        let mut symbols = Symbols {
            all: Vec::new(),
            strings: strings.unwrap_or_default(),
            defined: HashMap::new(),
            versions,
        };
        let mut names = 0;
        for (nr, entry) in table.chunks_exact(size as usize).enumerate() {
            let version = versym.as_ref().and_then(|v| Fields::new(v, image.kind).u16(nr * 2));
            let mut symbol = symbol(entry, image.kind, version)?;
            symbol.name.1 = symbols.string_len(symbol.name.0);
            if symbol.section != 0 || symbol.value != 0 {
                // The same long name again and again is not kept.
                names += symbol.name.1 as usize;
                if names > 2 * MAX_STRTAB as usize {
                    return None;
                }
                let name = symbols.text(symbol.name).to_vec();
                symbols.defined.entry(name).or_default().push(nr as u32);
            }
            symbols.all.push(symbol);
        }
        Some(symbols)
    }

    pub(crate) fn get(&self, nr: u32) -> Option<&Symbol> {
        self.all.get(nr as usize)
    }

    pub(crate) fn name(&self, symbol: &Symbol) -> &[u8] {
        self.text(symbol.name)
    }

    /// Name of the version of one of these symbols, where it has one of its own.
    pub(crate) fn version(&self, symbol: &Symbol) -> Option<&[u8]> {
        let index = symbol.version? & 0x7fff;
        if index < 2 { None } else { self.versions.get(&index).map(Vec::as_slice) }
    }

    /// Symbols of a name that stand for something in this object.
    pub(crate) fn defined(&self, name: &[u8]) -> impl Iterator<Item = &Symbol> {
        let found = self.defined.get(name).map(Vec::as_slice).unwrap_or_default();
        found.iter().filter_map(|nr| self.get(*nr))
    }

    pub(crate) fn weight(&self) -> usize {
        self.all.len() * 48 + 2 * self.strings.len() + self.defined.len() * 80
    }

    fn text(&self, (at, len): (u32, u32)) -> &[u8] {
        self.strings.get(at as usize..at as usize + len as usize).unwrap_or_default()
    }

    fn string_len(&self, at: u32) -> u32 {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        // C++ names are long, but not longer than this.
        let rest = rest.get(..rest.len().min(1 << 16)).unwrap_or_default();
        rest.iter().position(|b| *b == 0).unwrap_or(0) as u32
    }
}

fn symbol(entry: &[u8], kind: Kind, version: Option<u16>) -> Option<Symbol> {
    let f = Fields::new(entry, kind);
    let (info, other, section) = if kind.wide { (4, 5, 6) } else { (12, 13, 14) };
    Some(Symbol {
        name: (f.u32(0)?, 0),
        bind: f.u8(info)? >> 4,
        kind: f.u8(info)? & 15,
        visibility: f.u8(other)? & 3,
        section: f.u16(section)?,
        value: f.word(8, 4)?,
        version,
    })
}

/// How many symbols there are: only the hash tables say so.
fn count(image: &Image, dynamic: &Dynamic) -> u32 {
    let old = dynamic.last(tag::HASH).and_then(|at| {
        let head = image.at(at, 8)?;
        Fields::new(&head, image.kind).u32(4)
    });
    old.or_else(|| gnu_count(image, dynamic.last(tag::GNU_HASH)?)).unwrap_or(0)
}

/// The GNU hash table: header, bloom filter, first symbol of each bucket, and for each symbol a
/// word whose last bit ends its bucket. The last symbol is the end of the highest bucket.
fn gnu_count(image: &Image, at: u64) -> Option<u32> {
    let head = image.at(at, 16)?;
    let f = Fields::new(&head, image.kind);
    let (buckets, first, bloom) = (f.u32(0)?, f.u32(4)?, f.u32(8)?);
    let word = if image.kind.wide { 8 } else { 4 };
    let at = at.checked_add(16 + u64::from(bloom) * word)?;
    let len = u64::from(buckets) * 4;
    let table = image.at_most(at, len.min(u64::from(MAX_SYMBOLS) * 4))?;
    let words = table.chunks_exact(4).filter_map(|b| Fields::new(b, image.kind).u32(0));
    let mut last = words.max()?;
    if last < first {
        return Some(first);
    }
    let chains = at.checked_add(len)?.checked_add(u64::from(last - first) * 4)?;
    let chain = image.at_most(chains, u64::from(MAX_SYMBOLS) * 4)?;
    for word in chain.chunks_exact(4) {
        last = last.checked_add(1)?;
        if Fields::new(word, image.kind).u32(0)? & 1 == 1 {
            break;
        }
    }
    Some(last)
}
