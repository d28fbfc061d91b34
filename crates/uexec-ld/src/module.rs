//! What of an ELF file a dynamic loader decides by: its dynamic section and its version tables.
//! Decodes; searches for nothing.

use crate::elf::{Fields, Flaw, Image, Kind};
use crate::files::{FileStat, ReadAt};

/// Entries of a dynamic section that are looked at.
const MAX_DYNAMIC: u64 = 1 << 14;
/// Version definitions and needs that are looked at.
const MAX_VERSIONS: usize = 1 << 14;

/// Tags of `elf(5)` and of `<elf.h>`.
pub(crate) mod tag {
    pub(crate) const NEEDED: u64 = 1;
    pub(crate) const PLTRELSZ: u64 = 2;
    pub(crate) const HASH: u64 = 4;
    pub(crate) const STRTAB: u64 = 5;
    pub(crate) const SYMTAB: u64 = 6;
    pub(crate) const RELA: u64 = 7;
    pub(crate) const RELASZ: u64 = 8;
    pub(crate) const STRSZ: u64 = 10;
    pub(crate) const SONAME: u64 = 14;
    pub(crate) const RPATH: u64 = 15;
    pub(crate) const REL: u64 = 17;
    pub(crate) const RELSZ: u64 = 18;
    pub(crate) const PLTREL: u64 = 20;
    pub(crate) const JMPREL: u64 = 23;
    pub(crate) const BIND_NOW: u64 = 24;
    pub(crate) const RUNPATH: u64 = 29;
    pub(crate) const FLAGS: u64 = 30;
    pub(crate) const GNU_HASH: u64 = 0x6fff_fef5;
    pub(crate) const VERSYM: u64 = 0x6fff_fff0;
    pub(crate) const FLAGS_1: u64 = 0x6fff_fffb;
    pub(crate) const VERDEF: u64 = 0x6fff_fffc;
    pub(crate) const VERDEFNUM: u64 = 0x6fff_fffd;
    pub(crate) const VERNEED: u64 = 0x6fff_fffe;
    pub(crate) const VERNEEDNUM: u64 = 0x6fff_ffff;
    pub(crate) const AUXILIARY: u64 = 0x7fff_fffd;
    pub(crate) const FILTER: u64 = 0x7fff_ffff;
}

const DF_BIND_NOW: u64 = 8;
const DF_1_NOW: u64 = 1;
const DF_1_NODEFLIB: u64 = 0x800;
const DF_1_PIE: u64 = 0x0800_0000;

/// How an object asks for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Needed,
    Auxiliary,
    Filter,
}

/// A version and the index that symbols refer to it by.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) name: Vec<u8>,
    pub(crate) index: u16,
    pub(crate) weak: bool,
}

/// One object, decoded.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) stat: FileStat,
    pub(crate) kind: Kind,
    pub(crate) e_type: u16,
    pub(crate) interp: Option<Vec<u8>>,
    /// Whether there is a dynamic section at all.
    pub(crate) dynamic: bool,
    pub(crate) soname: Option<Vec<u8>>,
    /// Ignored where there is a RUNPATH.
    pub(crate) rpath: Option<Vec<u8>>,
    pub(crate) runpath: Option<Vec<u8>>,
    /// What it asks for, in order.
    pub(crate) asks: Vec<(Ask, Vec<u8>)>,
    pub(crate) nodeflib: bool,
    pub(crate) pie: bool,
    pub(crate) verdefs: Option<Vec<Version>>,
    pub(crate) verneeds: Vec<(Vec<u8>, Vec<Version>)>,
}

impl Module {
    pub(crate) fn read(file: Box<dyn ReadAt>) -> Result<Module, Flaw> {
        let image = Image::open(file)?;
        let dynamic = Dynamic::read(&image).ok_or(Flaw::Dynamic)?;
        let text = |t: u64| dynamic.last(t).and_then(|at| dynamic.string(&image, at));
        let flags_1 = dynamic.last(tag::FLAGS_1).unwrap_or(0);
        let runpath = text(tag::RUNPATH);
        Ok(Module {
            stat: image.stat(),
            kind: image.kind,
            e_type: image.e_type,
            dynamic: image.dynamic.is_some(),
            soname: text(tag::SONAME),
            rpath: text(tag::RPATH).filter(|_| runpath.is_none()),
            runpath,
            asks: dynamic.asks(&image).ok_or(Flaw::Dynamic)?,
            nodeflib: flags_1 & DF_1_NODEFLIB != 0,
            pie: flags_1 & DF_1_PIE != 0,
            verdefs: dynamic.verdefs(&image),
            verneeds: dynamic.verneeds(&image).unwrap_or_default(),
            interp: image.interp,
        })
    }

    /// About how much memory keeping it takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let versions = |v: &[Version]| v.iter().map(|v| v.name.len() + 48).sum::<usize>();
        512 + self.asks.iter().map(|a| a.1.len() + 40).sum::<usize>()
            + self.rpath.as_ref().or(self.runpath.as_ref()).map_or(0, Vec::len)
            + self.verdefs.as_deref().map_or(0, versions)
            + self.verneeds.iter().map(|n| 48 + versions(&n.1)).sum::<usize>()
    }
}

/// The entries of a dynamic section.
pub(crate) struct Dynamic {
    entries: Vec<(u64, u64)>,
    strtab: Option<u64>,
}

impl Dynamic {
    /// Up to the first null entry; empty where there is no section.
    pub(crate) fn read(image: &Image) -> Option<Dynamic> {
        let mut entries = Vec::new();
        if let Some((at, len)) = image.dynamic {
            let size = if image.kind.wide { 16 } else { 8 };
            let table = image.at_most(at, len.min(MAX_DYNAMIC * size))?;
            for entry in table.chunks_exact(size as usize) {
                let f = Fields::new(entry, image.kind);
                match (f.word(0, 0)?, f.word(8, 4)?) {
                    (0, _) => break,
                    found => entries.push(found),
                }
            }
        }
        let strtab = entries.iter().rev().find(|e| e.0 == tag::STRTAB).map(|e| e.1);
        Some(Dynamic { entries, strtab })
    }

    /// The value of a tag; loaders keep the last.
    pub(crate) fn last(&self, tag: u64) -> Option<u64> {
        self.entries.iter().rev().find(|e| e.0 == tag).map(|e| e.1)
    }

    /// Whether the object asks to be bound before it starts.
    pub(crate) fn binds_now(&self) -> bool {
        self.last(tag::BIND_NOW).is_some()
            || self.last(tag::FLAGS).unwrap_or(0) & DF_BIND_NOW != 0
            || self.last(tag::FLAGS_1).unwrap_or(0) & DF_1_NOW != 0
    }

    /// A string of the string table.
    pub(crate) fn string(&self, image: &Image, at: u64) -> Option<Vec<u8>> {
        image.string(self.strtab?.checked_add(at)?)
    }

    fn asks(&self, image: &Image) -> Option<Vec<(Ask, Vec<u8>)>> {
        let ask = |tag| match tag {
            tag::NEEDED => Some(Ask::Needed),
            tag::AUXILIARY => Some(Ask::Auxiliary),
            tag::FILTER => Some(Ask::Filter),
            _ => None,
        };
        let asks = self.entries.iter().filter_map(|(tag, at)| Some((ask(*tag)?, *at)));
        asks.map(|(ask, at)| Some((ask, self.string(image, at)?))).collect()
    }

    /// The versions this object defines.
    pub(crate) fn verdefs(&self, image: &Image) -> Option<Vec<Version>> {
        let mut at = self.last(tag::VERDEF)?;
        let count = self.last(tag::VERDEFNUM).unwrap_or(0);
        let mut all = Vec::new();
        for _ in 0..count.min(MAX_VERSIONS as u64) {
            let entry = image.at(at, 20)?;
            let f = Fields::new(&entry, image.kind);
            let aux = image.at(at.checked_add(f.u32(12)?.into())?, 8)?;
            let name = Fields::new(&aux, image.kind).u32(0)?;
            let name = self.string(image, name.into())?;
            all.push(Version { name, index: f.u16(4)? & 0x7fff, weak: false });
            match f.u32(16)? {
                0 => break,
                next => at = at.checked_add(next.into())?,
            }
        }
        Some(all)
    }

    /// The versions this object needs, by the name of the library they are needed of.
    pub(crate) fn verneeds(&self, image: &Image) -> Option<Vec<(Vec<u8>, Vec<Version>)>> {
        let mut at = self.last(tag::VERNEED)?;
        let count = self.last(tag::VERNEEDNUM).unwrap_or(0);
        let mut all = Vec::new();
        let mut left = MAX_VERSIONS;
        for _ in 0..count.min(MAX_VERSIONS as u64) {
            let entry = image.at(at, 16)?;
            let f = Fields::new(&entry, image.kind);
            let file = self.string(image, f.u32(4)?.into())?;
            let mut versions = Vec::new();
            let mut aux_at = at.checked_add(f.u32(8)?.into())?;
            for _ in 0..f.u16(2)? {
                left = left.checked_sub(1)?;
                let entry = image.at(aux_at, 16)?;
                let aux = Fields::new(&entry, image.kind);
                versions.push(Version {
                    name: self.string(image, aux.u32(8)?.into())?,
                    index: aux.u16(6)?,
                    weak: aux.u16(4)? & 2 != 0,
                });
                match aux.u32(12)? {
                    0 => break,
                    next => aux_at = aux_at.checked_add(next.into())?,
                }
            }
            all.push((file, versions));
            match f.u32(12)? {
                0 => break,
                next => at = at.checked_add(next.into())?,
            }
        }
        Some(all)
    }
}
