//! Files of `/proc` and `/sys`, read whole, by the line or from an offset. Understands none of them.

use alloc::vec::Vec;
use core::ffi::CStr;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Opens a file for reading.
pub(crate) fn open_read(path: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// All of a small file; what could be read of it when something fails.
pub(crate) fn read_file(path: &CStr) -> Vec<u8> {
    let mut all = Vec::new();
    let Ok(fd) = open_read(path) else { return all };
    let mut buf = [0; 4096];
    while let Ok(n @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buf)) {
        all.extend_from_slice(&buf[..n]);
    }
    all
}

/// Reads at an offset until the buffer is full or nothing more comes.
pub(crate) fn pread_all(fd: &OwnedFd, buf: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while done < buf.len() {
        let rest = buf.get_mut(done..).unwrap_or_default();
        match rustix::io::pread(fd, rest, offset + done as u64) {
            Ok(n @ 1..) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            _ => break,
        }
    }
    done
}

/// The number that is all of a file.
pub(crate) fn read_number(path: &CStr) -> Option<u64> {
    let fd = open_read(path).ok()?;
    let mut buf = [0u8; 24];
    let n = rustix::io::read(&fd, &mut buf).ok()?;
    core::str::from_utf8(&buf[..n]).ok()?.trim().parse().ok()
}

/// The hexadecimal number that is all of a file.
pub(crate) fn read_hex(path: &CStr) -> Option<u64> {
    let mut number = None;
    let _ = each_line(path, &mut |line| {
        let text = core::str::from_utf8(line).unwrap_or("").trim();
        number = u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        false
    });
    number
}

/// Calls `each` for every line of a file until it says no. Allocates nothing: of a line longer than
/// the buffer only the beginning is seen.
pub(crate) fn each_line(
    path: &CStr,
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> rustix::io::Result<()> {
    let fd = open_read(path)?;
    let mut buf = [0u8; 2048];
    let (mut filled, mut skipping) = (0, false);
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buf[filled..]))?;
        let end = filled + n;
        let mut start = 0;
        while let Some(len) = buf[start..end].iter().position(|b| *b == b'\n') {
            let line = start..start + len;
            start += len + 1;
            if !core::mem::take(&mut skipping) && !each(&buf[line]) {
                return Ok(());
            }
        }
        if n == 0 || (start == 0 && end == buf.len()) {
            // The last line without an end, or a long one.
            let told = skipping || start == end || each(&buf[start..end]);
            if n == 0 || !told {
                return Ok(());
            }
            (filled, skipping) = (0, true);
            continue;
        }
        buf.copy_within(start..end, 0);
        filled = end - start;
    }
}

/// A short text ended by a NUL, put together without allocating; too long ones are cut.
pub(crate) struct Text([u8; 64]);

impl Text {
    pub(crate) fn new(text: core::fmt::Arguments<'_>) -> Text {
        use core::fmt::Write as _;
        let mut this = Text([0; 64]);
        let _ = Writer { to: &mut this.0[..63], at: 0 }.write_fmt(text);
        this
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

struct Writer<'a> {
    to: &'a mut [u8],
    at: usize,
}

impl core::fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let to = self.to.get_mut(self.at..self.at + text.len()).ok_or(core::fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.at += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn lines_are_those_of_the_file() {
        for path in [c"/proc/self/status", c"/proc/self/limits", c"/proc/cpuinfo"] {
            let whole = read_file(path);
            let names = |line: &[u8]| line.iter().take_while(|b| **b != b':').copied().collect();
            let expected: Vec<Vec<u8>> =
                whole.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(names).collect();
            let mut got: Vec<Vec<u8>> = vec![];
            each_line(path, &mut |line| {
                if !line.is_empty() {
                    got.push(names(line));
                }
                true
            })
            .unwrap();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn text_is_put_together() {
        let text = Text::new(format_args!("/proc/self/task/{}/status", 17));
        assert_eq!(text.as_c_str(), c"/proc/self/task/17/status");
    }
}
