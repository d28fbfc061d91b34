//! Where a child's standard streams go. Opens and makes pipes; starts nothing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};

/// What a standard stream of a child is: as [`std::process::Stdio`].
///
/// ```
/// use uexec_process::{Command, Stdio};
/// let child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
/// let output = child.wait_with_output()?;
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Inherit,
    Null,
    Piped,
    Fd(OwnedFd),
    Stdout,
    Stderr,
}

impl Stdio {
    /// A new pipe; its other end is a field of [`Child`](crate::Child).
    #[must_use]
    pub const fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }

    /// The parent's.
    #[must_use]
    pub const fn inherit() -> Stdio {
        Stdio(Kind::Inherit)
    }

    /// `/dev/null`.
    #[must_use]
    pub const fn null() -> Stdio {
        Stdio(Kind::Null)
    }

    /// Whether a pipe would be made.
    #[must_use]
    pub const fn makes_pipe(&self) -> bool {
        matches!(self.0, Kind::Piped)
    }
}

macro_rules! from_descriptor {
    ($($what:ty),*) => {$(
        impl From<$what> for Stdio {
            fn from(it: $what) -> Stdio {
                Stdio(Kind::Fd(it.into()))
            }
        }
    )*};
}

from_descriptor!(
    OwnedFd,
    File,
    ChildStdin,
    ChildStdout,
    ChildStderr,
    io::PipeReader,
    io::PipeWriter
);

impl From<io::Stdout> for Stdio {
    fn from(_: io::Stdout) -> Stdio {
        Stdio(Kind::Stdout)
    }
}

impl From<io::Stderr> for Stdio {
    fn from(_: io::Stderr) -> Stdio {
        Stdio(Kind::Stderr)
    }
}

impl FromRawFd for Stdio {
    #[allow(unsafe_code, reason = "the trait's contract is passed on")]
    unsafe fn from_raw_fd(fd: RawFd) -> Stdio {
        // SAFETY: the caller's promise is the same.
        Stdio(Kind::Fd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

/// One end stays, one goes to the child.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// What becomes the child's stream; `None` when it inherits.
    pub(crate) child: Option<Given>,
    /// The parent's end of a pipe.
    pub(crate) parent: Option<OwnedFd>,
}

/// A descriptor that the child gets a copy of: not one of its standard streams, which are replaced
/// one after the other.
#[derive(Debug)]
pub(crate) enum Given {
    Owned(OwnedFd),
    /// Of the [`Stdio`] itself, which outlives the spawn.
    Lent(RawFd),
}

impl Given {
    pub(crate) fn raw(&self) -> RawFd {
        match self {
            Given::Owned(fd) => fd.as_raw_fd(),
            Given::Lent(fd) => *fd,
        }
    }
}

impl Stream {
    /// Stream `number` (0, 1 or 2) of a child.
    pub(crate) fn open(number: i32, stdio: &Stdio) -> io::Result<Stream> {
        let child = match &stdio.0 {
            Kind::Inherit => return Ok(Stream::default()),
            Kind::Null => {
                let null =
                    File::options().read(number == 0).write(number != 0).open("/dev/null")?;
                Given::Owned(out_of_the_way(null.into())?)
            }
            Kind::Piped => {
                let (reader, writer) = io::pipe()?;
                let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
                let (child, parent) = if number == 0 { (reader, writer) } else { (writer, reader) };
                let child = Some(Given::Owned(out_of_the_way(child)?));
                return Ok(Stream { child, parent: Some(parent) });
            }
            Kind::Fd(fd) => lend(fd.as_fd())?,
            Kind::Stdout => lend(io::stdout().as_fd())?,
            Kind::Stderr => lend(io::stderr().as_fd())?,
        };
        Ok(Stream { child: Some(child), parent: None })
    }
}

fn lend(fd: BorrowedFd<'_>) -> io::Result<Given> {
    match fd.as_raw_fd() {
        0..3 => Ok(Given::Owned(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)),
        fd => Ok(Given::Lent(fd)),
    }
}

fn out_of_the_way(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}
