//! Which object each slot of a program's global offset table will lead to. Predicts what the
//! loader writes there; computes no address.

use std::rc::Rc;

use crate::elf::{Fields, Image, Kind};
use crate::ld::{Error, Ld, Settings};
use crate::loader::Libc;
use crate::map::LinkMap;
use crate::module::{Dynamic, tag};
use crate::symbols::{Symbol, Symbols};

/// Relocations looked at.
const MAX_RELOCATIONS: u64 = 1 << 18;
/// Name lookups: slots times objects.
const MAX_LOOKUPS: usize = 1 << 23;

const STB_LOCAL: u8 = 0;
const STB_WEAK: u8 = 2;
const STT_TLS: u8 = 6;
const SHN_ABS: u16 = 0xfff1;

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A function called through the procedure linkage table (`R_X86_64_JUMP_SLOT`).
    Plt,
    /// An address in the global offset table (`R_X86_64_GLOB_DAT`).
    Got,
}

/// One slot and what it will be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its address, where the program is not moved.
    pub address: u64,
    /// What it is for.
    pub slot: Slot,
    /// The symbol.
    pub symbol: Vec<u8>,
    /// The version asked for.
    pub version: Option<Vec<u8>>,
    /// Whether the program does without it.
    pub weak: bool,
    /// Path of the object that defines it; none if none does.
    pub defined_by: Option<Vec<u8>>,
    /// Bound at the first call, not before the program starts.
    pub lazy: bool,
}

impl Ld {
    /// The slots of a program that was resolved, in the order of its relocations.
    ///
    /// ```
    /// use uexec_ld::{Disk, Ld, Settings};
    /// let mut ld = Ld::new(Disk::host());
    /// let settings = Settings::default();
    /// let this = std::env::current_exe()?;
    /// let map = ld.resolve(this.as_os_str().as_encoded_bytes(), &settings)?;
    /// let slots = ld.bindings(&map, &settings)?;
    /// let start = slots.iter().find(|s| s.symbol == b"__libc_start_main");
    /// assert!(start.is_none_or(|s| s.defined_by.is_some()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the program cannot be opened or read any more.
    pub fn bindings(&mut self, map: &LinkMap, settings: &Settings) -> Result<Vec<Binding>, Error> {
        let file = self.files.open(&map.program).map_err(Error::Open)?;
        let image = Image::open(file).map_err(Error::Program)?;
        let flaw = || Error::Program(crate::Flaw::Dynamic);
        let dynamic = Dynamic::read(&image).ok_or_else(flaw)?;
        let relocations = relocations(&image, &dynamic);
        let highest = relocations.iter().map(|r| r.symbol).max().unwrap_or(0);
        let own = Symbols::of(&image, &dynamic, highest.saturating_add(1)).ok_or_else(flaw)?;
        let own = Rc::new(own);
        let mut scope = vec![(map.program.clone(), Rc::clone(&own))];
        for object in &map.objects {
            if let Some(symbols) = self.symbols(&object.path) {
                scope.push((object.path.clone(), symbols));
            }
        }
        let now = settings.bind_now || map.libc == Libc::Musl || dynamic.binds_now();
        let mut left = MAX_LOOKUPS;
        let mut out = Vec::new();
        for r in &relocations {
            let Some(symbol) = own.get(r.symbol).filter(|_| r.symbol != 0) else { continue };
            left = left.saturating_sub(scope.len());
            if left == 0 {
                break;
            }
            let reference = Reference {
                name: own.name(symbol),
                version: own.version(symbol).filter(|_| map.libc != Libc::Musl),
                plt: r.slot == Slot::Plt,
            };
            // Symbols that others cannot see are the program's own.
            let private = symbol.bind == STB_LOCAL || symbol.visibility != 0;
            let by = if private {
                Some(&map.program)
            } else {
                scope.iter().find(|(_, s)| reference.is_defined_in(s)).map(|(path, _)| path)
            };
            out.push(Binding {
                address: r.address,
                slot: r.slot,
                symbol: reference.name.to_vec(),
                version: own.version(symbol).map(<[u8]>::to_vec),
                weak: symbol.bind == STB_WEAK,
                defined_by: by.cloned(),
                lazy: r.slot == Slot::Plt && !now,
            });
        }
        Ok(out)
    }
}

/// What is looked up.
struct Reference<'a> {
    name: &'a [u8],
    version: Option<&'a [u8]>,
    plt: bool,
}

impl Reference<'_> {
    /// The GNU rules for versions. A reference without one takes the base definition, or the
    /// only one that is not hidden.
    fn is_defined_in(&self, object: &Symbols) -> bool {
        let mut fallback = 0;
        for symbol in object.defined(self.name).filter(|s| self.counts(s)) {
            let Some(index) = symbol.version else { return true };
            let hidden = index & 0x8000 != 0;
            match (self.version, object.version(symbol)) {
                (Some(want), Some(have)) if want == have => return true,
                // Of a library that was built without versions for this symbol.
                (Some(_), None) if !hidden && index != 0 => return true,
                (Some(_), _) => {}
                (None, _) if index & 0x7fff < 3 => return true,
                (None, _) if !hidden => fallback += 1,
                (None, _) => {}
            }
        }
        fallback == 1
    }

    /// Whether a symbol is a definition at all. An undefined one with a value is a function's
    /// address in a program: good for an address, not for a call.
    fn counts(&self, symbol: &Symbol) -> bool {
        let has_value = symbol.value != 0 || symbol.section == SHN_ABS || symbol.kind == STT_TLS;
        let undefined = symbol.section == 0;
        // Types up to TLS, and IFUNC; bindings global, weak and unique.
        matches!(symbol.kind, 0..=2 | 5 | 6 | 10)
            && matches!(symbol.bind, 1 | 2 | 10)
            && has_value
            && !(undefined && (self.plt || symbol.kind == STT_TLS))
    }
}

struct Relocation {
    address: u64,
    symbol: u32,
    slot: Slot,
}

/// Those of slots, from the table of data and that of calls.
fn relocations(image: &Image, dynamic: &Dynamic) -> Vec<Relocation> {
    let get = |t| dynamic.last(t);
    let is_rela = get(tag::PLTREL).is_none_or(|t| t == tag::RELA);
    let tables = [
        (get(tag::RELA), get(tag::RELASZ), true),
        (get(tag::REL), get(tag::RELSZ), false),
        (get(tag::JMPREL), get(tag::PLTRELSZ), is_rela),
    ];
    let mut out: Vec<Relocation> = Vec::new();
    for (at, size, rela) in tables {
        let (Some(at), Some(size)) = (at, size) else { continue };
        let entry = match (image.kind.wide, rela) {
            (true, true) => 24,
            (true, false) => 16,
            (false, true) => 12,
            (false, false) => 8,
        };
        let table = image.at_most(at, size.min(MAX_RELOCATIONS * entry)).unwrap_or_default();
        for bytes in table.chunks_exact(entry as usize) {
            out.extend(relocation(Fields::new(bytes, image.kind), image.kind));
        }
    }
    // Some linkers let the first table reach over the second.
    let mut seen = std::collections::HashSet::new();
    out.retain(|r| seen.insert((r.address, r.symbol)));
    out
}

fn relocation(f: Fields<'_>, kind: Kind) -> Option<Relocation> {
    let info = f.word(8, 4)?;
    let (symbol, code) = if kind.wide {
        ((info >> 32) as u32, info as u32)
    } else {
        ((info >> 8) as u32, info as u32 & 0xff)
    };
    // GLOB_DAT and JUMP_SLOT of each machine (`<elf.h>`).
    let (got, plt) = match kind.machine {
        3 | 62 => (6, 7),
        40 => (21, 22),
        183 => (1025, 1026),
        _ => return None,
    };
    let slot = match code {
        c if c == got => Slot::Got,
        c if c == plt => Slot::Plt,
        _ => return None,
    };
    Some(Relocation { address: f.word(0, 0)?, symbol, slot })
}
