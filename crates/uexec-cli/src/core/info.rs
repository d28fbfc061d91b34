//! `uexec core info`: reads a core and tells. Believes nothing the file says.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use uexec_core::coredump::{Core, Source};
use uexec_core::story::Shown;

use super::Failure;
use super::model::Told;
use crate::args::core::Info;
use crate::style::{BAD, LABEL, ODD};

/// A core on disk.
pub(crate) struct OnDisk {
    file: File,
    len: u64,
}

impl Source for OnDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(n @ 1..) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        done
    }
}

impl OnDisk {
    /// An open core.
    pub(crate) fn new(file: File) -> io::Result<OnDisk> {
        let len = file.metadata()?.len();
        Ok(OnDisk { file, len })
    }

    /// Opens a core; a compressed one is first unpacked to a file without a name.
    fn open(path: &Path) -> io::Result<OnDisk> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut magic = [0; 4];
        if file.read_at(&mut magic, 0)? == 4 && magic == [0x28, 0xb5, 0x2f, 0xfd] {
            file = unpack(file)?;
        }
        OnDisk::new(file)
    }
}

/// Unpacks to a file without a name; zeros become holes.
fn unpack(packed: File) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR)?;
    let file = File::from(file);
    let mut decoder = zstd::Decoder::new(packed)?;
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let n = decoder.read(&mut buf)?;
        if n == 0 {
            break;
        }
        if buf[..n].iter().any(|b| *b != 0) {
            file.write_all_at(&buf[..n], at)?;
        }
        at += n as u64;
    }
    file.set_len(at)?;
    Ok(file)
}

/// Reads a core and tells what is in it.
pub(crate) fn info(args: &Info) -> Result<(), Failure> {
    let failed =
        |e: &dyn std::fmt::Display| Failure::new(format_args!("{}: {e}", args.file.display()));
    let mut source = OnDisk::open(&args.file).map_err(|e| failed(&e))?;
    let core = Core::read(&mut source).map_err(|e| failed(&e))?;
    let told = Told::new(args.file.to_string_lossy().into_owned(), source.len(), &core);
    crate::picture::core::write(&told, args.svg.as_deref(), args.html.as_deref())?;
    if args.json {
        let text = serde_json::to_string(&told).map_err(io::Error::from)?;
        writeln!(io::stdout(), "{text}")?;
    } else if args.svg.is_none() && args.html.is_none() {
        anstream::stdout().write_all(human(&told, args.verbose).as_bytes())?;
    }
    Ok(())
}

/// As a person reads it. What the file says is shown with its control characters spelled out.
fn human(told: &Told, verbose: bool) -> String {
    let mut out = String::new();
    let shown = |s: &str| Shown(s.as_bytes()).to_string();
    let _ = writeln!(out, "{BAD}{}{BAD:#}", shown(&told.headline()));
    let mut row = |label: &str, what: String| {
        let _ = writeln!(out, "  {LABEL}{label:<8}{LABEL:#} {what}");
    };
    if let Some(p) = &told.process {
        row("command", shown(&p.args));
        row("ids", format!("pid {}, parent {}, user {}, group {}", p.pid, p.ppid, p.uid, p.gid));
    }
    if let Some(f) = &told.fault {
        row("fault", f.story.clone());
    }
    let in_file: u64 = told.mappings.iter().fold(0, |sum, m| sum.saturating_add(m.present));
    row("machine", format!("{}, {} bits", told.machine, told.class));
    row("threads", told.threads.len().to_string());
    row("memory", format!("{} mappings, {in_file} bytes of them here", told.mappings.len()));
    row("files", told.files.len().to_string());
    if told.missing > 0 {
        row("missing", format!("{} bytes: the file was cut", told.missing));
    }
    for complaint in &told.complaints {
        let _ = writeln!(out, "  {ODD}{complaint}{ODD:#}");
    }
    let wanted = if verbose { told.threads.len() } else { 1 };
    for thread in told.threads.iter().take(wanted) {
        let _ = writeln!(out, "\nthread {}", thread.tid);
        for line in thread.registers.chunks(4) {
            for r in line {
                let _ = write!(out, "  {LABEL}{:<8}{LABEL:#} {:<18}", r.name, r.value);
            }
            out.push('\n');
        }
    }
    if verbose {
        out.push('\n');
        for m in &told.mappings {
            let (start, end) = (m.range.0, m.range.1);
            let name = shown(&m.name);
            let _ = writeln!(out, "{start:x}-{end:x} {} {:>10}  {name}", m.perms, m.present);
        }
        out.push('\n');
        for a in &told.auxv {
            let _ = writeln!(out, "{:<18} {}", a.name, a.value);
        }
    }
    out
}
