//! Changes fields of ELF files, by place and size; knows nothing of what they mean beyond values
//! that are likely to hurt.

use std::io;

use uexec_oracle::launch::Exec;

use super::Maker;
use crate::rng::Rng;

/// A real program with one to three fields changed.
pub(crate) fn program(m: &mut Maker<'_>) -> io::Result<Exec> {
    let (name, bytes) = m.bases.draw(&mut m.rng);
    let (name, mut bytes) = (name.to_owned(), bytes.to_vec());
    m.tell(name);
    let told = fields(&mut m.rng, &mut bytes);
    m.tell(told);
    Ok(Exec::new(m.write("prog", &bytes)?))
}

/// A real program cut off somewhere, likely where something begins or ends.
pub(crate) fn short(m: &mut Maker<'_>) -> io::Result<Exec> {
    let (name, bytes) = m.bases.draw(&mut m.rng);
    let (name, mut bytes) = (name.to_owned(), bytes.to_vec());
    let near = numbers(&bytes);
    let len = bytes.len() as u64;
    let cut = match m.rng.below(4) {
        0 => m.rng.below(70),
        1 => {
            let form = Form::of(&bytes);
            form.ehdr as u64 + m.rng.below(13) * form.phdr as u64 + m.rng.below(3)
        }
        2 => m.rng.odd(&near),
        _ => m.rng.below(len),
    };
    bytes.truncate(cut.min(len) as usize);
    m.tell(format!("{name}, cut to {} bytes", bytes.len()));
    if m.rng.percent(20) {
        let told = fields(&mut m.rng, &mut bytes);
        m.tell(told);
    }
    Ok(Exec::new(m.write("prog", &bytes)?))
}

/// Where things stand in a file, by its class.
struct Form {
    ehdr: usize,
    phdr: usize,
    word: usize,
    phnum: usize,
    /// Offsets of the fields of a program header, in the order of [`NAMES`].
    fields: [usize; 8],
}

const WIDE: Form =
    Form { ehdr: 64, phdr: 56, word: 8, phnum: 56, fields: [0, 4, 8, 16, 24, 32, 40, 48] };
const NARROW: Form =
    Form { ehdr: 52, phdr: 32, word: 4, phnum: 44, fields: [0, 24, 4, 8, 12, 16, 20, 28] };

const NAMES: [&str; 8] =
    ["p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align"];

impl Form {
    fn of(bytes: &[u8]) -> &'static Form {
        if bytes.get(4) == Some(&1) { &NARROW } else { &WIDE }
    }

    fn word(&self, bytes: &[u8], at: usize) -> u64 {
        number(bytes, at, self.word)
    }
}

/// The addresses, offsets and sizes of header and program headers.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let form = Form::of(bytes);
    let count = number(bytes, form.phnum, 2).min(16) as usize;
    let places = (0..count)
        .flat_map(|i| form.fields[2..].iter().map(move |f| form.ehdr + i * form.phdr + f));
    let heads = [24, 24 + form.word, 24 + 2 * form.word];
    let mut all: Vec<u64> =
        heads.into_iter().chain(places).map(|at| form.word(bytes, at)).collect();
    all.push(bytes.len() as u64);
    // Sums matter as much as the numbers: ends of segments.
    let ends: Vec<u64> =
        all.chunks(6).filter(|c| c.len() > 4).map(|c| c[1].wrapping_add(c[4])).collect();
    all.extend(ends);
    all
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let part = bytes.get(at..at + len).unwrap_or_default();
    part.iter().rev().fold(0, |w, b| w << 8 | u64::from(*b))
}

/// Changes one to three fields; says which.
pub(crate) fn fields(rng: &mut Rng, bytes: &mut [u8]) -> String {
    let mut told = Vec::new();
    for _ in 0..rng.between(1, 3) {
        told.push(if rng.percent(20) { header(rng, bytes) } else { phdr(rng, bytes) });
    }
    told.join("; ")
}

fn put(bytes: &mut [u8], at: usize, size: usize, value: u64) {
    if let Some(to) = bytes.get_mut(at..at + size) {
        to.copy_from_slice(&value.to_le_bytes()[..size]);
    }
}

fn header(rng: &mut Rng, bytes: &mut [u8]) -> String {
    const FIELDS: [(&str, usize, usize); 17] = [
        ("e_type", 16, 2),
        ("e_type", 16, 2),
        ("e_machine", 18, 2),
        ("e_version", 20, 4),
        ("e_entry", 24, 8),
        ("e_entry", 24, 8),
        ("e_entry", 24, 8),
        ("e_phoff", 32, 8),
        ("e_phoff", 32, 8),
        ("e_shoff", 40, 8),
        ("e_flags", 48, 4),
        ("e_ehsize", 52, 2),
        ("e_phentsize", 54, 2),
        ("e_phnum", 56, 2),
        ("e_phnum", 56, 2),
        ("e_shnum", 60, 2),
        ("e_ident", 0, 1),
    ];
    let (name, mut at, mut size) = *rng.pick(&FIELDS);
    if Form::of(bytes).word == 4 && at > 24 {
        // Three words are half as long.
        (at, size) = match at {
            32 => (28, 4),
            40 => (32, 4),
            at => (at - 12, size),
        };
    } else if Form::of(bytes).word == 4 {
        size = size.min(4);
    }
    let value = match name {
        "e_type" => *rng.pick(&[0, 1, 2, 2, 3, 3, 3, 4, 0xfe00, 0xffff]),
        "e_machine" => *rng.pick(&[0, 3, 6, 40, 62, 183, 243, 0xffff]),
        "e_phentsize" => *rng.pick(&[0, 32, 55, 56, 57, 64, 0xffff]),
        "e_phnum" => match rng.below(3) {
            0 => *rng.pick(&[0, 1, 73, 74, 1170, 1171, 0xffff]),
            _ => rng.below(16),
        },
        _ => rng.odd(&numbers(bytes)),
    };
    if name == "e_ident" {
        at = rng.below(16) as usize;
    }
    put(bytes, at, size, value);
    format!("{name}@{at} = {value:#x}")
}

fn phdr(rng: &mut Rng, bytes: &mut [u8]) -> String {
    let form = Form::of(bytes);
    let count = number(bytes, form.phnum, 2).clamp(1, 20);
    // Most headers are of no interest to the kernel; half the time one that is.
    let kind = |i: &u64| number(bytes, form.ehdr + *i as usize * form.phdr, 4) as u32;
    let useful: Vec<u64> = (0..count).filter(|i| [1, 3, 0x6474_e551].contains(&kind(i))).collect();
    let i = match rng.percent(85) && !useful.is_empty() {
        true => *rng.pick(&useful),
        false => rng.below(count),
    };
    let field = *rng.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7]);
    let at = form.ehdr + i as usize * form.phdr + form.fields[field];
    let near = numbers(bytes);
    let (value, size) = match field {
        0 => (*rng.pick(&[0, 1, 1, 1, 2, 3, 3, 4, 6, 7, 0x6474_e551, 0x6474_e553, 0x7000_0000]), 4),
        1 => (if rng.percent(90) { rng.below(8) } else { rng.odd(&near) }, 4),
        7 if rng.percent(60) => (1u64 << rng.below(64), form.word),
        _ => (rng.odd(&near), form.word),
    };
    put(bytes, at, size, value);
    format!("phdr[{i}].{} = {value:#x}", NAMES[field])
}
