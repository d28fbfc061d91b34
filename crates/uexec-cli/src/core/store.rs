//! A folder of cores: what the kernel pipes in is kept, within a quota, with what is told of it
//! beside it. A core has no name there before it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uexec_core::coredump::Core;
use uexec_linux::dump::{Sink, Sparse};

use super::Failure;
use super::info::OnDisk;
use super::model::Told;
use super::output::{Output, write_to};
use crate::args::core::{Dump, List, Rm};

/// What is kept beside a core.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The file's name.
    pub(crate) core: String,
    pub(crate) pid: i32,
    pub(crate) signal: i32,
    pub(crate) signal_name: String,
    /// Seconds since 1970.
    pub(crate) time: u64,
    pub(crate) program: String,
    pub(crate) argv: Vec<String>,
    pub(crate) uid: u32,
    /// Size of the core, not compressed, holes included.
    pub(crate) bytes: u64,
    /// Whether it was cut, to stay below the limit.
    pub(crate) cut: bool,
    pub(crate) fault: Option<String>,
    pub(crate) story: String,
    /// Threads that did not stop, and are not in it.
    #[serde(default)]
    pub(crate) missing_threads: Vec<i32>,
}

/// Who died, as far as `/proc` still says.
pub(crate) struct Dead {
    pub(crate) pid: i32,
    pub(crate) signal: i32,
    pub(crate) time: u64,
    program: OsString,
    name: OsString,
    argv: Vec<OsString>,
    uid: u32,
    pub(crate) missing: Vec<i32>,
}

impl Dead {
    /// Asks now: what is not reaped can be asked still.
    pub(crate) fn ask(pid: i32, signal: i32, time: Option<u64>) -> Dead {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let cmdline = fs::read(proc.join("cmdline")).unwrap_or_default();
        let words = cmdline.strip_suffix(b"\0").unwrap_or(&cmdline);
        let argv = words.split(|b| *b == 0).map(|w| OsStr::from_bytes(w).to_owned()).collect();
        let comm = fs::read(proc.join("comm")).unwrap_or_default();
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Dead {
            pid,
            signal,
            time: time.unwrap_or_else(|| now().map_or(0, |d| d.as_secs())),
            program: fs::read_link(proc.join("exe")).unwrap_or_default().into_os_string(),
            name: OsString::from_vec(comm.trim_ascii_end().to_vec()),
            argv,
            uid: fs::metadata(&proc).map_or(0, |m| m.uid()),
            missing: Vec::new(),
        }
    }

    /// A name by a template, in which no name leads out of the folder.
    fn name(&self, template: &OsStr) -> OsString {
        let mut out = Vec::new();
        let mut bytes = template.as_bytes().iter();
        while let Some(b) = bytes.next() {
            if *b != b'%' {
                out.push(*b);
                continue;
            }
            match bytes.next() {
                Some(b'%') => out.push(b'%'),
                Some(b'p') => out.extend(self.pid.to_string().bytes()),
                Some(b's') => out.extend(self.signal.to_string().bytes()),
                Some(b't') => out.extend(self.time.to_string().bytes()),
                Some(b'u') => out.extend(self.uid.to_string().bytes()),
                Some(b'e') => out.extend(self.name.as_bytes()),
                Some(b'h') => out.extend(rustix::system::uname().nodename().to_bytes()),
                _ => {}
            }
        }
        for b in &mut out {
            if *b == b'/' || b.is_ascii_control() {
                *b = b'!';
            }
        }
        if out.first().is_none_or(|b| *b == b'.') {
            out.insert(0, b'!');
        }
        OsString::from_vec(out)
    }
}

/// Where and how cores are kept.
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) quota: u64,
    pub(crate) template: OsString,
    pub(crate) zstd: bool,
}

impl Store {
    /// A folder, made if there is none.
    pub(crate) fn open(dir: &Path) -> io::Result<Store> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let template = OsString::from("core.%e.%p.%t");
        Ok(Store { dir: dir.to_owned(), quota: u64::MAX, template, zstd: false })
    }

    /// Keeps a core that `write` writes; it says whether it was cut.
    pub(crate) fn keep(
        &self,
        dead: &Dead,
        write: impl FnOnce(&mut dyn Sink) -> Result<bool, Failure>,
    ) -> Result<(PathBuf, Kept), Failure> {
        let mut name = dead.name(&self.template);
        if self.zstd {
            name.push(".zst");
        }
        let path = self.dir.join(&name);
        let failed = |e: io::Error| Failure::new(format_args!("{}: {e}", path.display()));
        let plain = Output::create(&path).map_err(failed)?;
        let cut = write(&mut Sparse::new(plain.file().as_fd().try_clone_to_owned()?))?;
        let mut source = OnDisk::new(plain.file().try_clone()?)?;
        let bytes = plain.file().metadata()?.len();
        let told = Core::read(&mut source);
        let told = told.map(|core| Told::new(path.display().to_string(), bytes, &core)).ok();
        let text = |s: &OsStr| s.to_string_lossy().into_owned();
        let kept = Kept {
            core: text(&name),
            pid: dead.pid,
            signal: dead.signal,
            signal_name: crate::signal::known(dead.signal).unwrap_or("a signal").to_owned(),
            time: dead.time,
            program: text(&dead.program),
            argv: dead.argv.iter().map(|a| text(a)).collect(),
            uid: dead.uid,
            bytes,
            cut,
            fault: told.as_ref().and_then(|t| t.fault.as_ref()).map(|f| f.kind.to_owned()),
            story: told.map_or_else(String::new, |t| match t.fault {
                Some(f) => f.story,
                None => t.headline(),
            }) + &without(&dead.missing),
            missing_threads: dead.missing.clone(),
        };
        let whole = if self.zstd { pack(&path, plain.file())? } else { plain };
        let room = whole.file().metadata()?.blocks() * 512;
        self.make_room(room);
        let beside = Output::create(&told_path(&path)).map_err(failed)?;
        let mut text = serde_json::to_string_pretty(&kept).map_err(io::Error::from)?;
        text.push('\n');
        beside.file().write_all(text.as_bytes()).map_err(failed)?;
        // What is told comes first: a core of which nothing is told would never make room.
        beside.finish().map_err(failed)?;
        whole.finish().map_err(failed)?;
        Ok((path, kept))
    }

    /// Removes the oldest cores until `bytes` more fit the quota.
    fn make_room(&self, bytes: u64) {
        let mut all: Vec<(PathBuf, u64, i64)> = entries(&self.dir)
            .into_iter()
            .filter_map(|(path, _)| {
                let meta = fs::symlink_metadata(&path).ok()?;
                Some((path, meta.blocks() * 512, meta.mtime()))
            })
            .collect();
        all.sort_by_key(|(.., time)| *time);
        let mut used: u64 = all.iter().map(|(_, size, _)| size).sum();
        for (path, size, _) in all {
            if used.saturating_add(bytes) <= self.quota {
                break;
            }
            let _ = remove(&path);
            used -= size;
        }
    }
}

/// The end of a story of which some threads are missing.
fn without(missing: &[i32]) -> String {
    let ids: Vec<String> = missing.iter().map(i32::to_string).collect();
    match ids.is_empty() {
        true => String::new(),
        false => format!("; without thread {}, which did not stop", ids.join(", ")),
    }
}

/// Compresses what has no name yet.
fn pack(path: &Path, plain: &File) -> Result<Output, Failure> {
    use std::io::Seek;
    let packed = Output::create(path)?;
    let mut from = plain.try_clone()?;
    from.rewind()?;
    write_to(packed.file().as_fd().try_clone_to_owned()?, true, true, |sink| {
        let mut buf = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let n = from.read(&mut buf)?;
            if n == 0 {
                return Ok(());
            }
            sink.write(at, &buf[..n]).map_err(Failure::new)?;
            at += n as u64;
        }
    })?;
    Ok(packed)
}

fn told_path(core: &Path) -> PathBuf {
    let mut name = core.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// The cores of a folder, with what is told of them. Other files are not ours.
fn entries(dir: &Path) -> Vec<(PathBuf, Kept)> {
    let Ok(read) = fs::read_dir(dir) else { return Vec::new() };
    let told = read.filter_map(Result::ok).map(|e| e.path());
    let told = told.filter(|p| p.extension() == Some(OsStr::new("json")));
    told.filter_map(|path| {
        let kept: Kept = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        Some((path.with_extension(""), kept))
    })
    .filter(|(core, _)| core.exists())
    .collect()
}

fn remove(core: &Path) -> io::Result<()> {
    fs::remove_file(core)?;
    match fs::remove_file(told_path(core)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// `uexec core --handler`: keeps the core on standard input.
pub(crate) fn handle(args: &Dump) -> Result<(), Failure> {
    let word = |i: usize| args.words.get(i).and_then(|w| w.to_str());
    let number = |i: usize| word(i).and_then(|w| w.parse::<i32>().ok());
    let pid = number(0).ok_or_else(|| Failure::new("--handler needs %P as the process"))?;
    let dead = Dead::ask(pid, number(1).unwrap_or(0), word(2).and_then(|w| w.parse().ok()));
    let mut store = Store::open(args.handler.as_deref().unwrap_or(Path::new(".")))?;
    store.quota = args.quota.unwrap_or(u64::MAX);
    store.template.clone_from(&args.name);
    store.zstd = args.zstd;
    let limit = args.limit.unwrap_or(u64::MAX).min(store.quota);
    store.keep(&dead, |sink| copy(&mut io::stdin().lock(), sink, limit))?;
    Ok(())
}

/// Copies up to `limit` bytes, zeros as holes; whether there were more.
fn copy(from: &mut dyn Read, sink: &mut dyn Sink, limit: u64) -> Result<bool, Failure> {
    const PAGE: usize = 4096;
    let mut buf = vec![0; 1 << 20];
    let mut at = 0u64;
    let write = |e| Failure::new(format_args!("cannot write the core: {e}"));
    loop {
        let mut filled = 0;
        while filled < buf.len() {
            match from.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        let take = (filled as u64).min(limit - at) as usize;
        for (i, page) in buf[..take].chunks(PAGE).enumerate() {
            if page.iter().any(|b| *b != 0) {
                sink.write(at + (i * PAGE) as u64, page).map_err(write)?;
            }
        }
        at += take as u64;
        if filled < buf.len() || take < filled {
            sink.finish(at).map_err(write)?;
            return Ok(take < filled);
        }
    }
}

/// `uexec core list`.
pub(crate) fn list(args: &List) -> Result<(), Failure> {
    fs::read_dir(&args.dir)
        .map_err(|e| Failure::new(format_args!("{}: {e}", args.dir.display())))?;
    let mut all = entries(&args.dir);
    all.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.time));
    let mut out = io::stdout().lock();
    for (path, kept) in all {
        if args.json {
            let line = serde_json::to_string(&kept).map_err(io::Error::from)?;
            writeln!(out, "{line}")?;
            continue;
        }
        let shown = |s: &[u8]| uexec_core::story::Shown(s).to_string();
        writeln!(
            out,
            "{}  {} {} ({}), {} bytes: {}",
            shown(path.as_os_str().as_bytes()),
            shown(kept.signal_name.as_bytes()),
            shown(kept.program.as_bytes()),
            kept.pid,
            kept.bytes,
            shown(kept.story.as_bytes())
        )?;
    }
    Ok(())
}

/// `uexec core rm`.
pub(crate) fn rm(args: &Rm) -> Result<(), Failure> {
    for file in &args.files {
        remove(file).map_err(|e| Failure::new(format_args!("{}: {e}", file.display())))?;
    }
    Ok(())
}
