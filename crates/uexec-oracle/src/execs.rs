//! Every exec of a command and of all its descendants, as the kernel's own tracepoint
//! `sched:sched_process_exec` reports it, with the arguments that lie on the new program's stack at
//! that moment. Changes nothing of them.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use crate::perf::{Rings, Sample};

/// An exec that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub at: u64,
    /// The process, and which of its threads has made the call.
    pub pid: i32,
    /// The thread that has made the call, whose id the process's is no more.
    pub old_pid: i32,
    /// The path, as the kernel has it (`AT_EXECFN`).
    pub filename: Vec<u8>,
    /// The program's arguments, interpreters that were put in front included; `None` where the kernel
    /// could not copy them. It copies 60 KiB, and stops at a page that does not exist: where addresses
    /// are random there may be one between the list and its strings.
    pub argv: Option<Vec<Vec<u8>>>,
}

/// What a command and its descendants have done.
#[derive(Debug)]
pub struct Recorded {
    /// How the command has ended.
    pub status: ExitStatus,
    /// The command's process.
    pub pid: i32,
    /// The execs, in the order of time.
    pub execs: Vec<Exec>,
    /// Reports that the kernel had no room for.
    pub lost: u64,
}

/// Runs a command, and waits until it and all that it has left behind have ended. Takes in whoever
/// has lost its parent, so no other children may be waited for in this process.
///
/// # Errors
/// Those of `perf_event_open(2)`: `EACCES` for who is not root, mostly; and those of the start.
pub fn record(command: &mut Command) -> io::Result<Recorded> {
    let mut rings = Rings::new("sched/sched_process_exec")?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    let root = command.spawn()?.id() as i32;
    let (mut samples, mut lost, mut status) = (Vec::new(), 0, None);
    loop {
        lost += rings.take(&mut samples);
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(None) => rings.wait(),
            Ok(Some((pid, how))) if pid.as_raw_nonzero().get() == root => {
                status = Some(ExitStatus::from_raw(how.as_raw()));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    lost += rings.take(&mut samples);
    samples.sort_by_key(|sample| sample.at);
    let execs = samples.iter().map(exec).collect();
    let status = status.ok_or_else(|| io::Error::other("somebody else has waited for it"))?;
    Ok(Recorded { status, pid: root, execs, lost })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn until_nul(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|b| *b == 0).map(|end| &bytes[..end])
}

/// The fields, as `events/sched/sched_process_exec/format` has them: after the common ones a place
/// (offset and length, 16 bits each) and two numbers.
fn exec(sample: &Sample) -> Exec {
    let field = |at: usize, len: usize| number(sample.fields.get(at..at + len).unwrap_or_default());
    let name = sample.fields.get(field(8, 2) as usize..).and_then(until_nul);
    Exec {
        at: sample.at,
        pid: field(12, 4) as i32,
        old_pid: field(16, 4) as i32,
        filename: name.unwrap_or_default().to_vec(),
        argv: argv(sample),
    }
}

/// `argc`, then as many pointers.
fn argv(sample: &Sample) -> Option<Vec<Vec<u8>>> {
    let word = if sample.i386 { 4 } else { 8 };
    let mut words = sample.stack.chunks_exact(word).map(number);
    let argc = words.next()?;
    let text = |pointer: u64| {
        let offset = usize::try_from(pointer.checked_sub(sample.stack_pointer)?).ok()?;
        until_nul(sample.stack.get(offset..)?).map(<[u8]>::to_vec)
    };
    (0..argc).map(|_| text(words.next()?)).collect()
}
