//! Real programs to start from: those of the machine, and some built by its C compiler.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use uexec_oracle::elf::{ET_EXEC, Elf, code, code32};
use uexec_oracle::skip;

use crate::rng::Rng;

/// Programs that run as they are.
pub(crate) struct Bases {
    /// Their names and contents.
    pub(crate) all: Vec<(String, Vec<u8>)>,
    /// The smallest one, static.
    tiny: Vec<u8>,
    tiny_path: PathBuf,
    /// The dynamic loader of the C library.
    pub(crate) loader: &'static str,
    /// All of it is for i386.
    i386: bool,
}

const START: &str = "int x = 1; int y[5000]; void _start(void) { for (;;) x += y[7]; }\n";
const MAIN: &str = "int main(void) { return 0; }\n";

impl Bases {
    /// Gathers them; compiles into `dir`.
    pub(crate) fn gather(dir: &Path, i386: bool) -> io::Result<Bases> {
        std::fs::create_dir_all(dir)?;
        let mut all = Vec::new();
        let loader = if i386 { LOADER_I386 } else { LOADER };
        let installed = if i386 { vec![loader] } else { vec!["/bin/true", "/bin/cat", loader] };
        for path in installed {
            match std::fs::read(path) {
                Ok(bytes) => all.push((path.to_owned(), bytes)),
                Err(e) => skip(path, &e.to_string()),
            }
        }
        let builds: [(&str, &str, &[&str]); 6] = [
            ("static", START, &["-static", "-no-pie", "-nostdlib"]),
            ("static-pie", START, &["-static-pie", "-fPIE", "-nostdlib"]),
            (
                "aligned",
                START,
                &["-static-pie", "-fPIE", "-nostdlib", "-Wl,-z,max-page-size=0x200000"],
            ),
            ("no-pie", MAIN, &["-no-pie"]),
            ("pie", MAIN, &["-pie", "-fPIE"]),
            ("static-libc", MAIN, &["-static"]),
        ];
        let machine: &[&str] = if i386 { &["-m32"] } else { &[] };
        for (name, source, options) in builds {
            match compile(&dir.join(name), source, &[options, machine].concat()) {
                Ok(bytes) => all.push((name.to_owned(), bytes)),
                Err(why) => skip(name, &format!("not compiled: {why}")),
            }
        }
        let tiny = match i386 {
            false => Elf::program(ET_EXEC, 0x40_0000, &code::pause()),
            true => Elf::program(ET_EXEC, 0x804_8000, &code32::pause()).i386(),
        };
        let tiny = tiny.to_bytes();
        let tiny_path = dir.join("tiny");
        uexec_oracle::elf::write_program(&tiny_path, &tiny)?;
        all.push(("tiny".to_owned(), tiny.clone()));
        Ok(Bases { all, tiny, tiny_path, loader, i386 })
    }

    /// A base with its name, small ones more often.
    pub(crate) fn draw(&self, rng: &mut Rng) -> (&str, &[u8]) {
        let mut drawn = rng.pick(&self.all);
        if drawn.1.len() > 400_000 && rng.percent(70) {
            drawn = rng.pick(&self.all);
        }
        (&drawn.0, &drawn.1)
    }

    /// The contents of the smallest one.
    pub(crate) fn tiny(&self) -> &[u8] {
        &self.tiny
    }

    /// The path of a program that runs.
    pub(crate) fn small(&self, rng: &mut Rng) -> PathBuf {
        match if self.i386 { 2 } else { rng.below(3) } {
            0 => PathBuf::from("/bin/true"),
            1 => PathBuf::from("/bin/cat"),
            _ => self.tiny_path.clone(),
        }
    }
}

/// The dynamic loader of glibc.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// That for i386.
const LOADER_I386: &str = "/lib/ld-linux.so.2";

fn compile(to: &Path, source: &str, options: &[&str]) -> Result<Vec<u8>, String> {
    let from = to.with_extension("c");
    std::fs::write(&from, source).map_err(|e| e.to_string())?;
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let out = Command::new(cc).arg(&from).arg("-o").arg(to).args(options).output();
    match out.map_err(|e| e.to_string())? {
        out if out.status.success() => std::fs::read(to).map_err(|e| e.to_string()),
        out => Err(String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or("").to_owned()),
    }
}
