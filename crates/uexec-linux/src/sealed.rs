//! Whether this process has sealed memory (`mseal(2)`, from Linux 6.10 on), which nobody can unmap.
//! Changes nothing, and allocates nothing: it is asked while others may hold the allocator's locks.

use crate::ffi;
use crate::procfs::each_line;

/// Whether there is some, besides what the kernel has put there itself. No other thread may run that
/// could change a mapping meanwhile.
pub(crate) fn any() -> bool {
    // With it, asking for what a mapping has already could give it more.
    const READ_IMPLIES_EXEC: u32 = 0x40_0000;
    if ffi::personality() & READ_IMPLIES_EXEC != 0 {
        return false;
    }
    let mut found = false;
    let _ = each_line(c"/proc/self/maps", &mut |line| {
        found = parse(line).is_some_and(|(start, prot)| ffi::is_sealed(start, prot));
        !found
    });
    found
}

/// Start and protection of a mapping; `None` for those of the kernel.
fn parse(line: &[u8]) -> Option<(u64, u64)> {
    let line = core::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let start = u64::from_str_radix(words.next()?.split('-').next()?, 16).ok()?;
    let prot = words.next()?.bytes().zip([(b'r', 1), (b'w', 2), (b'x', 4)]);
    let prot = prot.filter(|(have, (letter, _))| have == letter).map(|(_, (_, bit))| bit).sum();
    let of_kernel = words.nth(3).is_some_and(|name| name.starts_with("[v") || name == "[uprobes]");
    (!of_kernel).then_some((start, prot))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn mappings_are_read() {
        let stack = b"7ffc4ec17000-7ffc4ec38000 rw-p 00000000 00:00 0          [stack]";
        assert_eq!(parse(stack), Some((0x7ffc_4ec1_7000, 3)));
        assert_eq!(parse(b"401000-402000 r-xp 00001000 fe:00 24 /a b"), Some((0x40_1000, 5)));
        assert_eq!(parse(b"401000-402000 ---p 00000000 00:00 0 "), Some((0x40_1000, 0)));
        assert_eq!(parse(b"7ffd1000-7ffd3000 r-xp 00000000 00:00 0 [vdso]"), None);
    }
}
