//! Makes files to be run, interpreters for them, and the texts of rules: most of them right, many
//! odd, some broken. Decides nothing about them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use uexec_oracle::elf::{Elf, code, write_program};

use crate::rng::Rng;

/// Interpreters that end with a status of their own: the number of one is its status less this.
pub(crate) const FIRST_STATUS: i32 = 100;
/// How many there are.
pub(crate) const INTERPRETERS: u64 = 12;

/// What there is to be run.
pub(crate) struct Files {
    folder: PathBuf,
    /// Paths relative to the folder, and their contents.
    pub(crate) all: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    pub(crate) fn new(folder: &Path) -> io::Result<Files> {
        for i in 0..INTERPRETERS {
            let code = code::exit(FIRST_STATUS as u8 + i as u8);
            Elf::program(2, 0x40_0000, &code).write(&folder.join(format!("i{i}")))?;
        }
        let script = |name: &str, text: &str| write_program(&folder.join(name), text.as_bytes());
        script("script", "#!./i3 arg\n")?;
        script("via.jar", "#!./a.jar\n")?;
        fs::write(folder.join("plain"), "no program")?;
        fs::create_dir_all(folder.join("d.jar"))?;
        fs::set_permissions(folder.join("plain"), fs::Permissions::from_mode(0o644))?;
        let mut foreign = Elf::program(2, 0x40_0000, &code::exit(1)).to_bytes();
        foreign[18..20].copy_from_slice(&183u16.to_le_bytes());
        let contents: Vec<(&str, Vec<u8>)> = vec![
            ("a.jar", b"PK\x03\x04\n\0\0\x08".to_vec()),
            ("b.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
            ("c", b"\0asm\x01\0\0\0".to_vec()),
            ("d.jar/noext", b"x\\x41yz : a:b\n".to_vec()),
            ("e.", (0..=255).collect()),
            ("f.PY", b"#!./i2 x\n".to_vec()),
            ("g.script", b"#!./via.jar\n".to_vec()),
            ("foreign.elf", foreign),
            ("native", Elf::program(2, 0x40_0000, &code::exit(7)).to_bytes()),
            ("empty.jar", Vec::new()),
        ];
        let mut all = Vec::new();
        for (name, bytes) in contents {
            write_program(&folder.join(name), &bytes)?;
            all.push((PathBuf::from("./").join(name), bytes));
        }
        Ok(Files { folder: folder.to_owned(), all })
    }
}

/// One of the usual delimiters, or any byte.
fn delimiter(rng: &mut Rng) -> u8 {
    match rng.below(20) {
        0..=14 => b':',
        15 => *rng.pick(b",;|^ \t"),
        16 => *rng.pick(b"\0\n\\x/.0"),
        17 => *rng.pick(b"POCFEM"),
        _ => rng.below(256) as u8,
    }
}

fn name(rng: &mut Rng, number: u64) -> Vec<u8> {
    match rng.below(30) {
        0 => rng
            .pick(&[&b""[..], b".", b"..", b"...", b"a/b", b"status", b"register", b" ", b"a\nb"])
            .to_vec(),
        1 => b"n".repeat(rng.between(250, 260) as usize),
        2 => vec![rng.below(256) as u8, b'r'],
        // Perhaps one that is taken.
        3 => format!("r{}", rng.below(number + 1)).into_bytes(),
        _ => format!("r{number}").into_bytes(),
    }
}

fn offset(rng: &mut Rng, at: usize) -> Vec<u8> {
    const ODD: [&str; 22] = [
        "+1",
        "-1",
        "-0",
        "+",
        "-",
        "0x1",
        " 1",
        "1 ",
        "1\n",
        "1\n\n",
        "\n",
        "007",
        "1a",
        "256",
        "255",
        "2147483647",
        "2147483648",
        "-2147483648",
        "99999999999999999999",
        "+-1",
        "--1",
        "1_0",
    ];
    match rng.below(10) {
        0 => rng.pick(&ODD).as_bytes().to_vec(),
        _ if at == 0 && rng.percent(70) => Vec::new(),
        _ => at.to_string().into_bytes(),
    }
}

/// Bytes as text: escaped, plain, or some of each.
fn escape(rng: &mut Rng, bytes: &[u8], delimiter: u8) -> Vec<u8> {
    let style = rng.below(3);
    let mut out = Vec::new();
    for b in bytes {
        let plain = *b != delimiter && *b != 0 && *b != b'\\' || rng.percent(3);
        if plain && (style == 0 || style == 1 && rng.percent(50)) {
            out.push(*b);
        } else {
            let text = match rng.percent(20) {
                true => format!("\\x{b:02X}"),
                false => format!("\\x{b:02x}"),
            };
            out.extend(text.bytes());
        }
    }
    if rng.percent(6) {
        let odd: [&[u8]; 10] = [
            b"\\", b"\\\\", b"\\x", b"\\x4", b"\\xg0", b"\\n", b"\0", b"\\\\x41", b"\\x00", b"x41",
        ];
        let at = rng.below(out.len() as u64 + 1) as usize;
        let odd = rng.pick(&odd).to_vec();
        out.splice(at..at, odd);
    }
    out
}

fn magic(rng: &mut Rng, files: &Files, delimiter: u8) -> [Vec<u8>; 3] {
    let (_, bytes) = rng.pick(&files.all);
    let mut head = [0; 256];
    let n = bytes.len().min(256);
    head[..n].copy_from_slice(&bytes[..n]);
    let at = match rng.below(10) {
        0..=6 => 0,
        7 | 8 => rng.below(n.max(1) as u64) as usize,
        _ => rng.below(256) as usize,
    };
    let most = if rng.percent(5) { 260 } else { 24 };
    let len = if rng.percent(5) { 0 } else { rng.between(2, most) as usize };
    let mut magic: Vec<u8> = head[at..].iter().copied().chain([0; 300]).take(len).collect();
    let mask: Vec<u8> = match rng.below(4) {
        0 => magic.iter().map(|_| *rng.pick(&[0xff, 0xff, 0xff, 0xfe, 0xf0])).collect(),
        1 if rng.percent(15) => magic.iter().map(|_| *rng.pick(&[0xff, 0])).collect(),
        1 if rng.percent(10) => vec![0xff; rng.below(30) as usize],
        _ => Vec::new(),
    };
    if rng.percent(15) && !magic.is_empty() {
        let i = rng.below(magic.len() as u64) as usize;
        magic[i] ^= 1 << rng.below(8);
    }
    let (magic, mask) = (escape(rng, &magic, delimiter), escape(rng, &mask, delimiter));
    [offset(rng, at), magic, mask]
}

fn extension(rng: &mut Rng) -> [Vec<u8>; 3] {
    let usual: [&[u8]; 8] = [b"jar", b"gz", b"PY", b"script", b"elf", b"zip", b"py", b"c"];
    let odd: [&[u8]; 8] =
        [b"", b"tar.gz", b".jar", b"a/b", b"j\\x61r", b"jar/noext", b" ", b"\0jar"];
    let text = if rng.percent(85) { rng.pick(&usual) } else { rng.pick(&odd) };
    let mut junk = || match rng.percent(10) {
        true => b"\\xzz1".to_vec(),
        false => Vec::new(),
    };
    [junk(), text.to_vec(), junk()]
}

fn interpreter(rng: &mut Rng, files: &Files, number: u64) -> Vec<u8> {
    let odd: [&str; 10] = [
        "",
        "script",
        "none",
        "plain",
        "d.jar",
        "a.jar",
        "i1 -x",
        "./i2",
        "via.jar",
        "no/such/file",
    ];
    let name = match rng.percent(88) {
        true => format!("i{}", number % INTERPRETERS),
        false => (*rng.pick(&odd)).to_owned(),
    };
    if name.is_empty() || rng.percent(10) {
        return name.into_bytes();
    }
    files.folder.join(name).into_os_string().into_encoded_bytes()
}

fn flags(rng: &mut Rng) -> Vec<u8> {
    let odd: [&[u8]; 12] = [
        b"p", b"PX", b"\n", b"P\n", b"P\n\n", b" ", b"OO", b"\nP", b"POCF\n", b"\0", b"P\0",
        b"PCOF:",
    ];
    match rng.below(10) {
        0..=4 => Vec::new(),
        5..=7 => (0..rng.between(1, 3)).map(|_| *rng.pick(b"POCF")).collect(),
        8 => rng.pick(&odd).to_vec(),
        _ => b"\n".to_vec(),
    }
}

/// The text of a rule.
pub(crate) fn rule(rng: &mut Rng, files: &Files, number: u64) -> Vec<u8> {
    let d = delimiter(rng);
    let is_magic = rng.percent(65);
    let [a, b, c] = if is_magic { magic(rng, files, d) } else { extension(rng) };
    let odd_kinds: [&[u8]; 5] = [b"", b"X", b"ME", b"m", b"M\n"];
    let kind = match (rng.percent(4), is_magic) {
        (true, _) => *rng.pick(&odd_kinds),
        (false, true) => b"M",
        (false, false) => b"E",
    };
    let interpreter = interpreter(rng, files, number);
    let fields = [name(rng, number), kind.to_vec(), a, b, c, interpreter, flags(rng)];
    let mut text: Vec<u8> = fields.iter().flat_map(|f| [&[d][..], f].concat()).collect();
    let at = |rng: &mut Rng, text: &[u8]| rng.below(text.len() as u64) as usize;
    match rng.below(40) {
        0 => text.truncate(rng.below(text.len() as u64 + 1) as usize),
        1 => {
            let i = at(rng, &text);
            text.remove(i);
        }
        2 => {
            let i = at(rng, &text);
            text.insert(i, rng.below(256) as u8);
        }
        3 => {
            let i = at(rng, &text);
            text[i] = rng.below(256) as u8;
        }
        4 => {
            let i = at(rng, &text);
            text[i] = d;
        }
        5 => {
            // A long interpreter.
            let i = text.iter().rposition(|b| *b == d).unwrap_or(0);
            let want = rng.between(1915, 1925) as usize;
            let more = want.saturating_sub(text.len());
            text.splice(i..i, std::iter::repeat_n(b'/', more));
        }
        _ => {}
    }
    text
}

/// Something to be written to `status` or to an entry.
pub(crate) fn command(rng: &mut Rng) -> Vec<u8> {
    let all: [&[u8]; 14] = [
        b"0", b"1", b"-1", b"0\n", b"1\n", b"-1\n", b"", b"\n", b"2", b"00", b"-1\n\n", b" 1",
        b"-", b"10",
    ];
    rng.pick(&all).to_vec()
}
