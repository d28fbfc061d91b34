//! The bytes that a failure points at, for pictures. Reads the file as the exec found it: inside
//! the root if there is one, and only if it is a regular file.

use uexec_core::World;
use uexec_core::error::{ExecError, FileKind};
use uexec_core::world::At;

use super::Explained;
use crate::report;

/// Bytes around a fault.
pub(crate) struct Fault {
    /// Where in the file they begin.
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
    /// They are the first line of a script, not binary data.
    pub(crate) line: bool,
    /// Those at fault.
    pub(crate) offset: u64,
    pub(crate) len_bytes: u64,
}

/// Reads them; `None` when the failure points at no bytes or they cannot be read.
pub(crate) fn fault(explained: &Explained, error: &ExecError) -> Option<Fault> {
    let (path, span) = report::bytes_at_fault(error)?;
    let mut host = explained.host.again();
    let file = host.open(At::Cwd, path, true).ok()?;
    if host.stat(file).ok()?.kind != FileKind::Regular {
        return None;
    }
    let mut head = [0; 256];
    let n = host.read_at(file, 0, &mut head).ok()?;
    let head = head.get(..n)?;
    if head.starts_with(b"#!") && span.offset <= 256 {
        let line = head.split(|b| *b == b'\n').next()?;
        let bytes = line.iter().take(110).copied().collect();
        return Some(Fault {
            start: 0,
            bytes,
            line: true,
            offset: span.offset,
            len_bytes: span.len,
        });
    }
    let start = span.offset & !15;
    let mut rows = vec![0; usize::try_from(span.len.clamp(1, 64) + 31).ok()? & !15];
    let n = host.read_at(file, start, &mut rows).ok()?;
    rows.truncate(n);
    let (offset, len_bytes) = (span.offset, span.len);
    (n > 0).then_some(Fault { start, bytes: rows, line: false, offset, len_bytes })
}
