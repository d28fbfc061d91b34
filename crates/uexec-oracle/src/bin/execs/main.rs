//! Runs a command in a tree of uexec's, and has the kernel's own tracepoint report every exec in the
//! same run: are as many seen or served, by the same processes, of the same files, with the same
//! arguments? And does the command leave the same files as without uexec?

mod compare;
mod files;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use uexec_oracle::execs::{Exec, Recorded, record};
use uexec_oracle::uexec::uexec_binary;

use crate::files::{Files, Place};

/// Compare what uexec sees of a command's execs with what the kernel reports
#[derive(Debug, Parser)]
#[command(name = "execs", max_term_width = 100)]
#[command(after_help = "\
Exit status: 0 if all is equal, or if the kernel cannot be asked; 1 if not, 2 if the comparison itself fails.

Examples:
  execs --copy zlib make                            traced
  execs --copy zlib --via binfmt make               in a tree, beside two runs without")]
struct Args {
    /// How the command is followed
    #[arg(long, value_enum, default_value = "trace")]
    via: Via,

    /// Another dynamic loader for a whole tree: whoever names OLD is served
    #[arg(long, value_name = "OLD=NEW")]
    interp: Option<OsString>,

    /// Run the command in a new copy of this directory each time, and compare what it leaves there
    #[arg(long, value_name = "DIR")]
    copy: Option<PathBuf>,

    /// Let addresses be random, as they usually are: the kernel then copies most lists of arguments
    /// only, as there is a gap in some stacks
    #[arg(long)]
    aslr: bool,

    /// Execs that there must be, at least
    #[arg(long, value_name = "N", default_value_t = 1)]
    least: usize,

    /// Another `uexec` than the one beside this program
    #[arg(long, value_name = "FILE")]
    uexec: Option<PathBuf>,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD [ARGS]")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    /// `uexec trace`, compared record by record
    Trace,
    /// `uexec run --tree --via binfmt`, compared with runs without
    Binfmt,
    /// `uexec run --tree --via notify`, likewise
    Notify,
    /// `uexec run --tree --via ptrace`, likewise
    Ptrace,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.aslr {
        uexec_oracle::no_aslr_from_now_on();
    }
    match check(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_refusal(&error) => {
            uexec_oracle::skip("execs by the kernel's own tracepoint", &error.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("execs: {error}");
            ExitCode::from(2)
        }
    }
}

/// The kernel does not report here.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, Unsupported};
    matches!(error.kind(), NotFound | PermissionDenied | Unsupported)
}

/// What one run was.
struct Run {
    recorded: Recorded,
    files: Files,
}

impl Args {
    /// Runs the command, or uexec with it.
    fn run(&self, uexec: Option<(&Path, &[&OsStr])>) -> io::Result<Run> {
        let place = Place::new(self.copy.as_deref())?;
        let (first, rest) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = match uexec {
            None => Command::new(first),
            Some((uexec, words)) => {
                let mut command = Command::new(uexec);
                command.args(words).arg(first);
                command
            }
        };
        command.args(rest);
        if let Some(work) = place.work() {
            command.current_dir(work);
        }
        let recorded = record(&mut command)?;
        let files = place.files()?;
        Ok(Run { recorded, files })
    }
}

/// Runs everything and tells; true if all is equal.
fn check(args: &Args) -> io::Result<bool> {
    let uexec = match &args.uexec {
        Some(path) => path.clone(),
        None => uexec_binary().to_owned(),
    };
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    println!("{}", words.join(" "));
    let plain = args.run(None)?;
    // What is not the same twice is so by itself.
    let again = args.run(None)?;
    let trace = files::scratch("trace");
    let interp: Vec<&OsStr> =
        args.interp.iter().flat_map(|pair| ["--interp".as_ref(), pair.as_os_str()]).collect();
    let own: Vec<&OsStr> = match args.via {
        Via::Trace => ["trace", "--format", "json", "-o"]
            .map(OsStr::new)
            .into_iter()
            .chain([trace.as_os_str()])
            .collect(),
        Via::Binfmt | Via::Notify | Via::Ptrace => {
            let way = match args.via {
                Via::Binfmt => "binfmt",
                Via::Notify => "notify",
                _ => "ptrace",
            };
            ["run", "--tree", "--via", way].map(OsStr::new).into_iter().chain(interp).collect()
        }
    };
    let mut ours = args.run(Some((&uexec, &own)))?;
    let before = take_own(&mut ours.recorded.execs, &uexec);
    let kernel = &ours.recorded;
    let mut wrong = Vec::new();
    println!("  kernel   {} execs, {} reports lost", kernel.execs.len(), kernel.lost);
    if before == 0 || kernel.execs.len() < args.least || kernel.lost > 0 {
        wrong.push(format!("the kernel has reported {} execs", kernel.execs.len()));
    }
    match args.via {
        Via::Trace => {
            let text = std::fs::read_to_string(&trace)?;
            let _ = std::fs::remove_file(&trace);
            compare::with_trace(&kernel.execs, &text, &mut wrong)?;
        }
        _ => {
            let [one, two] = [&plain, &again].map(|run| run.recorded.execs.as_slice());
            compare::with_plain(one, two, &kernel.execs, &mut wrong);
        }
    }
    if plain.recorded.status != kernel.status {
        wrong.push(format!("ended with {}, alone with {}", kernel.status, plain.recorded.status));
    }
    if args.copy.is_some() {
        let differ = plain.files.differ(&again.files);
        let more: Vec<_> =
            plain.files.differ(&ours.files).into_iter().filter(|f| !differ.contains(f)).collect();
        let equal = plain.files.len() - differ.len().min(plain.files.len());
        println!("  files    {equal} compared, {} are never the same twice", differ.len());
        wrong.extend(more.iter().map(|file| format!("{} differs", file.display())));
    }
    for line in wrong.iter().take(20) {
        println!("  WRONG    {line}");
    }
    println!("  {}", if wrong.is_empty() { "equal" } else { "NOT EQUAL" });
    Ok(wrong.is_empty())
}

/// Takes out the execs by which uexec itself starts, and says how many there were.
fn take_own(execs: &mut Vec<Exec>, uexec: &Path) -> usize {
    let own = [uexec.as_os_str().as_bytes(), b"/proc/self/exe"];
    let is_own = |exec: &&Exec| own.contains(&exec.filename.as_slice());
    let count = execs.iter().take_while(is_own).count();
    execs.drain(..count).count()
}
