//! Reads calls and first stacks out of stopped threads. Only reads.

use alloc::format;
use alloc::vec::Vec;

use uexec_core::clone::{CloneArgs, CloneFlags};
use uexec_core::world::At;
use uexec_core::{Errno, Exec};

use super::event::{Call, Image, Usage};
use crate::ffi::thread;
use crate::ffi::tracer::{CallInfo, call_info, read_memory};
use crate::procfs;

/// `AUDIT_ARCH_I386` (`include/uapi/linux/audit.h`).
pub(super) const ARCH_I386: u32 = 0x4000_0003;
/// Bit of the calls of x32 (`arch/x86/include/uapi/asm/unistd.h`).
pub(super) const X32: u64 = 0x4000_0000;

/// How much of one exec's strings is read: more is told as cut.
const STRINGS: usize = 1 << 20;

/// The exec that a thread is entering.
pub(super) fn exec_call(at: u64, tid: i32, info: &CallInfo) -> Option<Call> {
    let raw = RawCall::of(info)?;
    let path = string(tid, raw.path, &mut Vec::new());
    let argv = strings(tid, raw.argv, raw.word);
    Some(Call { at, dir: raw.dir, flags: raw.flags, path, argv, envp: raw.envp, word: raw.word })
}

/// The arguments of an exec, as addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawCall {
    pub(super) dir: Option<i32>,
    pub(super) path: u64,
    pub(super) argv: u64,
    pub(super) envp: u64,
    pub(super) flags: u32,
    word: usize,
}

impl RawCall {
    pub(super) fn of(info: &CallInfo) -> Option<RawCall> {
        let (number, [a, b, c, d, e, _]) = info.entered()?;
        let i386 = info.arch == ARCH_I386;
        let word = if i386 || number & X32 != 0 { 4 } else { 8 };
        let is_at = matches!((i386, number & !X32), (true, 358) | (false, 322 | 545));
        Some(match is_at {
            true => {
                let dir = Some(a as i32);
                RawCall { dir, path: b, argv: c, envp: d, flags: e as u32, word }
            }
            false => RawCall { dir: None, path: a, argv: b, envp: c, flags: 0, word },
        })
    }

    /// The path and where it ends; `None` where it cannot be read.
    pub(super) fn path(&self, tid: i32) -> Option<(Vec<u8>, u64)> {
        const PATH_MAX: usize = 4096;
        let mut bytes = [0; PATH_MAX];
        let first = bytes.get_mut(..256)?;
        let mut n = read_memory(tid, self.path, first);
        if until_nul(&bytes[..n]).is_none() {
            n = read_memory(tid, self.path, &mut bytes);
        }
        let path = until_nul(&bytes[..n])?;
        Some((path.to_vec(), self.path + path.len() as u64))
    }
}

impl Call {
    /// The name that the exec goes by, which the program finds as `AT_EXECFN`.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let at = match self.dir {
            Some(fd) if fd >= 0 => At::Fd(fd),
            _ => At::Cwd,
        };
        Exec { at, path: self.path.clone(), ..Exec::default() }.filename().into_owned()
    }

    /// The environment that is passed, while the call is going on or has just failed.
    #[must_use]
    pub fn envp(&self, tid: i32) -> Vec<Vec<u8>> {
        strings(tid, self.envp, self.word)
    }
}

/// A C string at an address, as far as it can be read. The buffer keeps what was read last.
fn string(tid: i32, mut addr: u64, out: &mut Vec<u8>) -> Vec<u8> {
    const CHUNK: usize = 512;
    out.clear();
    while out.len() < STRINGS {
        let mut chunk = [0u8; CHUNK];
        let n = read_memory(tid, addr, &mut chunk);
        let read = chunk.get(..n).unwrap_or_default();
        let end = read.iter().position(|b| *b == 0);
        out.extend_from_slice(&read[..end.unwrap_or(n)]);
        if end.is_some() || n < CHUNK {
            break;
        }
        addr = addr.wrapping_add(n as u64);
    }
    core::mem::take(out)
}

/// A list of C strings that ends with a null pointer.
///
/// They mostly lie close to each other, so that what was read for one is kept for the next.
fn strings(tid: i32, mut addr: u64, word: usize) -> Vec<Vec<u8>> {
    const POINTERS: usize = 64;
    const WINDOW: usize = 4096;
    let mut found = Vec::new();
    let mut window = Window { start: 0, bytes: alloc::vec![0; WINDOW], len: 0 };
    let mut total = 0;
    while addr != 0 && total < STRINGS {
        let mut bytes = [0u8; POINTERS * 8];
        let wanted = POINTERS * word;
        let n = read_memory(tid, addr, &mut bytes[..wanted]);
        for pointer in bytes[..n].chunks_exact(word).map(number) {
            if pointer == 0 || total >= STRINGS {
                return found;
            }
            let text = window.string(tid, pointer);
            total += text.len() + word;
            found.push(text);
        }
        if n < wanted {
            break;
        }
        addr = addr.wrapping_add(n as u64);
    }
    found
}

/// A piece of a process's memory.
struct Window {
    start: u64,
    bytes: Vec<u8>,
    len: usize,
}

impl Window {
    fn string(&mut self, tid: i32, addr: u64) -> Vec<u8> {
        if let Some(text) = self.find(addr) {
            return text.to_vec();
        }
        self.start = addr;
        self.len = read_memory(tid, addr, &mut self.bytes);
        match self.find(addr) {
            Some(text) => text.to_vec(),
            None => string(tid, addr, &mut Vec::new()),
        }
    }

    /// The string, if all of it is in here.
    fn find(&self, addr: u64) -> Option<&[u8]> {
        let offset = usize::try_from(addr.checked_sub(self.start)?).ok()?;
        until_nul(self.bytes.get(offset..self.len)?)
    }
}

fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|b| *b == 0).map(|end| &bytes[..end])
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The first stack of a thread that has just executed a program.
pub(super) fn image(tid: i32, info: &CallInfo) -> Image {
    const FIRST: usize = 16 << 10;
    let word = if info.arch == ARCH_I386 { 4 } else { 8 };
    let mut stack = alloc::vec![0u8; FIRST];
    let mut len = read_memory(tid, info.stack, &mut stack);
    loop {
        if let Some(image) = decode(&stack[..len], info.stack, word) {
            return image;
        }
        if len < stack.len() || stack.len() >= STRINGS {
            return Image { truncated: true, ..Image::default() };
        }
        stack.resize(stack.len() * 2, 0);
        while len < stack.len() {
            let n = read_memory(tid, info.stack + len as u64, &mut stack[len..]);
            if n == 0 {
                break;
            }
            len += n;
        }
    }
}

/// `None` when some of it is missing.
fn decode(stack: &[u8], start: u64, word: usize) -> Option<Image> {
    let mut words = stack.chunks_exact(word).map(number);
    let text = |pointer: u64| {
        let offset = usize::try_from(pointer.checked_sub(start)?).ok()?;
        until_nul(stack.get(offset..)?).map(<[u8]>::to_vec)
    };
    let argc = words.next()?;
    let mut argv = Vec::new();
    for _ in 0..argc {
        argv.push(text(words.next()?)?);
    }
    words.next()?;
    let mut envp = Vec::new();
    loop {
        match words.next()? {
            0 => return Some(Image { argv, envp, truncated: false }),
            pointer => envp.push(text(pointer)?),
        }
    }
}

/// The call by which a thread, now stopped for it, has made another. `ESRCH` where it stands
/// somewhere else: another thread has executed something and has its number.
pub(super) fn clone_args(tid: i32) -> Result<CloneArgs, Errno> {
    let regs = thread::registers(tid)?;
    let i386 = call_info(tid)?.arch == ARCH_I386;
    let (number, [a, b, c, d, e, _]) = regs.system_call(i386);
    Ok(match (i386, number & !X32) {
        (false, 57) | (true, 2) => CloneArgs::fork(),
        (false, 58) | (true, 190) => CloneArgs::vfork(),
        (false, 56) => CloneArgs::legacy(a, b, c, d, e),
        // Thread-local storage comes before the child's tid.
        (true, 120) => CloneArgs::legacy(a, b, c, e, d),
        (_, 435) => clone3_args(tid, a, b),
        _ => return Err(Errno::ESRCH),
    })
}

fn clone3_args(tid: i32, addr: u64, size: u64) -> CloneArgs {
    let mut bytes = [0u8; CloneArgs::SIZE as usize];
    let wanted = bytes.len().min(usize::try_from(size).unwrap_or(usize::MAX));
    read_memory(tid, addr, &mut bytes[..wanted]);
    let mut words = bytes.chunks_exact(8).map(number);
    let mut next = || words.next().unwrap_or(0);
    CloneArgs {
        flags: CloneFlags::from_bits_retain(next()),
        pidfd: next(),
        child_tid: next(),
        parent_tid: next(),
        exit_signal: next(),
        stack: next(),
        stack_size: next(),
        tls: next(),
        set_tid: next(),
        set_tid_size: next(),
        cgroup: next(),
        ..CloneArgs::default()
    }
}

/// What stands behind a name in `/proc/TID/status`.
pub(super) fn status_line(tid: i32, name: &str) -> Option<Vec<u8>> {
    let file = alloc::ffi::CString::new(format!("/proc/{tid}/status")).ok()?;
    let text = procfs::read_file(&file);
    let lines = text.split(|b| *b == b'\n');
    let line = lines.filter_map(|l| l.strip_prefix(name.as_bytes())).find(|l| l.starts_with(b":"));
    line.map(|l| l.get(1..).unwrap_or_default().trim_ascii().to_vec())
}

/// What a living process and the children it has waited for have used so far (`proc_pid_stat(5)`);
/// the largest resident set is its own. Times are in hundredths of a second.
pub(super) fn usage(pid: i32) -> Usage {
    const TICK_US: u64 = 10_000;
    let stat = procfs::read_file(procfs::Text::new(format_args!("/proc/{pid}/stat")).as_c_str());
    let after_name = stat.iter().rposition(|b| *b == b')').map_or(0, |at| at + 2);
    // The third field is the first of these.
    let fields = stat.get(after_name..).unwrap_or_default().split(|b| *b == b' ');
    let fields: Vec<u64> = fields.map(|field| decimal(field).unwrap_or(0)).collect();
    let sum =
        |one: usize, two: usize| [one, two].iter().filter_map(|n| fields.get(n - 3)).sum::<u64>();
    let peak = status_line(pid, "VmHWM");
    let peak = peak.as_deref().and_then(|line| line.split(|b| *b == b' ').next());
    Usage {
        user_us: sum(14, 16) * TICK_US,
        system_us: sum(15, 17) * TICK_US,
        max_rss_kib: peak.and_then(decimal).unwrap_or(0),
        minor_faults: sum(10, 11),
    }
}

fn decimal<N: core::str::FromStr>(text: &[u8]) -> Option<N> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// The parent of a process.
#[must_use]
pub fn parent_of(pid: i32) -> Option<i32> {
    decimal(&status_line(pid, "PPid")?)
}

/// The process that a thread belongs to.
pub(super) fn process_of(tid: i32) -> Option<i32> {
    decimal(&status_line(tid, "Tgid")?)
}
