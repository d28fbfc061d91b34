//! What a dynamic loader has built in: the C library it belongs to, its search directories, the
//! paths of its cache and lists. Read from the loader file itself, which holds them as strings;
//! never by running it.

use crate::elf::Kind;
use crate::files::Files;

/// Loaders are some hundred KiB; musl's is the whole C library.
const MAX_LOADER: u64 = 4 << 20;
/// `EM_X86_64` and others of `<elf.h>`.
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;

/// The C library a program's loader belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Libc {
    /// The GNU C library.
    Glibc,
    /// musl.
    Musl,
    /// Another, of which nothing is said.
    Unknown,
}

/// A loader's knowledge.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) libc: Libc,
    /// Default directories, each with a trailing slash.
    pub(crate) system: Vec<Vec<u8>>,
    pub(crate) cache: Vec<u8>,
    pub(crate) preload: Vec<u8>,
    /// What `$LIB` means.
    pub(crate) lib: Vec<u8>,
    /// Searches the subdirectories that glibc 2.37 gave up.
    pub(crate) legacy: bool,
}

impl Loader {
    /// By its name, and by what its file says where it can be read.
    pub(crate) fn read(files: &dyn Files, path: &[u8], kind: Kind) -> Loader {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        let libc = match name {
            n if n.starts_with(b"ld-musl-") => Libc::Musl,
            n if n.starts_with(b"ld-linux") || n.starts_with(b"ld64.so") => Libc::Glibc,
            n if n.starts_with(b"ld.so") || n.starts_with(b"ld-2.") => Libc::Glibc,
            _ => Libc::Unknown,
        };
        let bytes = if libc == Libc::Glibc { whole(files, path) } else { Vec::new() };
        let mut system = system_dirs(&bytes);
        if system.is_empty() {
            let words: &[&str] = match kind.machine {
                EM_X86_64 => &["/lib64/", "/usr/lib64/"],
                EM_386 => &["/lib/", "/usr/lib/"],
                _ if kind.wide => &["/lib64/", "/usr/lib64/"],
                _ => &["/lib/", "/usr/lib/"],
            };
            system = words.iter().map(|w| w.as_bytes().to_vec()).collect();
        }
        let text = |end: &str| string_ending(&bytes, end.as_bytes());
        Loader {
            libc,
            cache: text("/ld.so.cache").unwrap_or_else(|| b"/etc/ld.so.cache".into()),
            preload: text("/ld.so.preload").unwrap_or_else(|| b"/etc/ld.so.preload".into()),
            lib: system.first().map_or_else(Vec::new, |d| lib_name(d)),
            legacy: release(&bytes).is_some_and(|(major, minor)| (major, minor) < (2, 37)),
            system,
        }
    }
}

/// A whole small file, or what of it can be read.
pub(crate) fn whole(files: &dyn Files, path: &[u8]) -> Vec<u8> {
    let Ok(file) = files.open(path) else { return Vec::new() };
    let mut bytes = vec![0; file.stat().len.min(MAX_LOADER) as usize];
    let n = file.read_at(0, &mut bytes).unwrap_or(0);
    bytes.truncate(n);
    bytes
}

/// glibc keeps its default directories one after the other, each with a slash at both ends and
/// a NUL. The longest such row is it.
fn system_dirs(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut best: Vec<&[u8]> = Vec::new();
    let mut row: Vec<&[u8]> = Vec::new();
    for text in bytes.split(|b| *b == 0) {
        // Something else may stand directly before the first.
        let is_dir = text.len() > 2
            && text.starts_with(b"/")
            && text.ends_with(b"/")
            && text.iter().all(u8::is_ascii_graphic)
            && text.windows(4).any(|w| w == b"/lib");
        if is_dir {
            row.push(text);
        }
        if !is_dir || row.len() >= 16 {
            if row.len() > best.len() {
                best.clone_from(&row);
            }
            row.clear();
        }
    }
    best.into_iter().map(<[u8]>::to_vec).collect()
}

/// The path that ends like this.
fn string_ending(bytes: &[u8], end: &[u8]) -> Option<Vec<u8>> {
    let mut texts = bytes.split(|b| *b == 0);
    let is = |t: &&[u8]| t.starts_with(b"/") && t.ends_with(end) && t.len() < 4096;
    texts.find(is).map(<[u8]>::to_vec)
}

/// From its last component that begins with `lib` on: `lib/x86_64-linux-gnu`, `lib64`, `lib`.
fn lib_name(dir: &[u8]) -> Vec<u8> {
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    let at = dir.windows(4).rposition(|w| w == b"/lib").map_or(0, |at| at + 1);
    dir.get(at..).unwrap_or_default().to_vec()
}

/// `release version 2.36` somewhere among the strings.
fn release(bytes: &[u8]) -> Option<(u32, u32)> {
    let words = b"release version ";
    let at = bytes.windows(words.len()).position(|w| w == words)? + words.len();
    let rest = bytes.get(at..)?;
    let text = rest.split(|b| !b.is_ascii_digit() && *b != b'.').next()?;
    let mut numbers = std::str::from_utf8(text).ok()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_a_loader() {
        let bytes = b"junk\0/proc/\0/lib/a-b/\0/usr/lib/\0x\0/n/ld.so.cache\0\
            GNU stable release version 2.36.\nCopy\0";
        assert_eq!(system_dirs(bytes), [b"/lib/a-b/".to_vec(), b"/usr/lib/".to_vec()]);
        assert_eq!(string_ending(bytes, b"/ld.so.cache").unwrap(), b"/n/ld.so.cache");
        assert_eq!(release(bytes), Some((2, 36)));
        assert_eq!(lib_name(b"/usr/lib/x86_64-linux-gnu/"), b"lib/x86_64-linux-gnu");
        assert_eq!(lib_name(b"/nix/store/x-libfoo/lib/"), b"lib");
        assert_eq!(lib_name(b"/lib64/"), b"lib64");
    }
}
