//! What a tracepoint of the kernel reports of this thread's descendants, by `perf_event_open(2)`:
//! the event's own fields, and a copy of the user's stack at that moment. Understands neither.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that was reported.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) at: u64,
    /// The event's fields, as tracefs describes them.
    pub(crate) fields: Vec<u8>,
    /// Stack pointer of the user.
    pub(crate) stack_pointer: u64,
    /// The program is one of 32 bits.
    pub(crate) i386: bool,
    /// What lies there, as much as could be copied.
    pub(crate) stack: Vec<u8>,
}

/// One event, of this thread and of whatever it starts from now on.
#[derive(Debug)]
pub(crate) struct Rings(Vec<Ring>);

/// What one processor reports.
#[derive(Debug)]
struct Ring {
    fd: OwnedFd,
    start: *mut u8,
}

const PAGE: usize = 4096;
/// Bytes of data of one ring: a power of two.
const DATA: usize = 16 << 20;
/// The most that a report may copy of a stack: its whole record has a length of 16 bits.
const STACK: u32 = 60 << 10;

/// `struct perf_event_attr`, as of Linux 4.1 (`PERF_ATTR_SIZE_VER5`).
#[derive(Default)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint: u32,
    config_more: [u64; 2],
    branches: u64,
    user_registers: u64,
    user_stack: u32,
    clock: i32,
    registers: u64,
    aux_watermark: u32,
    max_stack: u16,
    reserved: u16,
}

impl Rings {
    /// Begins to record a tracepoint, named as below tracefs's `events`.
    ///
    /// # Errors
    /// Where there is no such tracepoint, or the kernel does not let this user record it.
    pub(crate) fn new(event: &str) -> io::Result<Rings> {
        let folder = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
            .map(|root| format!("{root}/events/{event}/id"));
        let id = folder.iter().find_map(|path| fs::read_to_string(path).ok());
        let id = id.ok_or_else(|| io::Error::other("no tracefs, or no such tracepoint"))?;
        let id = id.trim().parse().map_err(io::Error::other)?;
        let online = fs::read_to_string("/sys/devices/system/cpu/online")?;
        let mut rings = Vec::new();
        for range in online.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<i32>().map_err(io::Error::other);
            for cpu in number(first)?..=number(last)? {
                rings.push(Ring::new(id, cpu)?);
            }
        }
        Ok(Rings(rings))
    }

    /// Waits until there is something, but not long.
    pub(crate) fn wait(&self) {
        let poll = |ring: &Ring| libc::pollfd {
            fd: ring.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds: Vec<_> = self.0.iter().map(poll).collect();
        // SAFETY: the list is as long as is said.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, 20) };
    }

    /// What has been reported since the last time, in the order of each processor; and how many
    /// reports were lost.
    pub(crate) fn take(&mut self, samples: &mut Vec<Sample>) -> u64 {
        self.0.iter_mut().map(|ring| ring.take(samples)).sum()
    }
}

impl Ring {
    fn new(id: u64, cpu: i32) -> io::Result<Ring> {
        const TRACEPOINT: u32 = 2;
        /// `PERF_SAMPLE_TIME`, `_RAW`, `_REGS_USER`, `_STACK_USER`.
        const WHAT: u64 = 1 << 2 | 1 << 10 | 1 << 12 | 1 << 13;
        /// Inherited by children; time by a clock that is named.
        const FLAGS: u64 = 1 << 1 | 1 << 25;
        const STACK_POINTER: u64 = 1 << 7;
        let attributes = Attributes {
            kind: TRACEPOINT,
            size: size_of::<Attributes>() as u32,
            config: id,
            period: 1,
            sample_type: WHAT,
            flags: FLAGS,
            wakeup_events: 1,
            user_registers: STACK_POINTER,
            user_stack: STACK,
            clock: libc::CLOCK_MONOTONIC,
            ..Attributes::default()
        };
        let cloexec = 8u64;
        let (attributes, of_self, no_group) = (&raw const attributes, 0, -1);
        // SAFETY: reads a structure whose size it is told.
        let fd = unsafe {
            libc::syscall(libc::SYS_perf_event_open, attributes, of_self, cpu, no_group, cloexec)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let (len, raw) = (PAGE + DATA, fd.as_raw_fd());
        // SAFETY: a new mapping, where there is room.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, rights, libc::MAP_SHARED, raw, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Ring { fd, start: start.cast() })
    }

    /// A counter of the first page (`struct perf_event_mmap_page`).
    fn counter(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the page, which is mapped as long as `self` lives.
        let at = unsafe { self.start.add(offset) };
        // SAFETY: aligned, and shared with the kernel as an atomic.
        unsafe { &*at.cast::<AtomicU64>() }
    }

    /// Bytes of the data, whose end is followed by its beginning.
    fn copy(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let from = at as usize % DATA;
        let first = len.min(DATA - from);
        let (one, two) = bytes.split_at_mut(first);
        for (offset, part) in [(from, one), (0, two)] {
            // SAFETY: the mapping has a page and the data.
            let source = unsafe { self.start.add(PAGE + offset) };
            // SAFETY: within the data; the kernel does not write to what has not been given back.
            unsafe { ptr::copy_nonoverlapping(source, part.as_mut_ptr(), part.len()) };
        }
        bytes
    }

    fn take(&mut self, samples: &mut Vec<Sample>) -> u64 {
        const HEAD: usize = 1024;
        const TAIL: usize = 1032;
        const LOST: u32 = 2;
        const SAMPLE: u32 = 9;
        let head = self.counter(HEAD).load(Ordering::Acquire);
        let mut tail = self.counter(TAIL).load(Ordering::Relaxed);
        let mut lost = 0;
        while tail < head {
            let header = self.copy(tail, 8);
            let mut header = Words(&header);
            let (kind, sizes) = (header.u32(), header.u32());
            let size = (sizes >> 16) as usize;
            let record = self.copy(tail, size);
            let mut words = Words(record.get(8..).unwrap_or_default());
            match kind {
                SAMPLE => samples.push(Sample::decode(&mut words)),
                LOST => {
                    words.u64();
                    lost += words.u64();
                }
                _ => {}
            }
            tail += size.max(8) as u64;
        }
        self.counter(TAIL).store(tail, Ordering::Release);
        lost
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and not used any more.
        unsafe { libc::munmap(self.start.cast(), PAGE + DATA) };
    }
}

impl Sample {
    fn decode(words: &mut Words<'_>) -> Sample {
        let at = words.u64();
        let len = words.u32() as usize;
        let fields = words.bytes(len).to_vec();
        let abi = words.u64();
        let stack_pointer = if abi == 0 { 0 } else { words.u64() };
        let size = words.u64() as usize;
        let stack = words.bytes(size);
        let filled = if size == 0 { 0 } else { words.u64() as usize };
        let stack = stack.get(..filled).unwrap_or_default().to_vec();
        Sample { at, fields, stack_pointer, i386: abi == 1, stack }
    }
}

/// Numbers one after the other; zeros behind the end.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        first
    }

    fn u32(&mut self) -> u32 {
        self.bytes(4).try_into().map_or(0, u32::from_ne_bytes)
    }

    fn u64(&mut self) -> u64 {
        self.bytes(8).try_into().map_or(0, u64::from_ne_bytes)
    }
}
