//! Lists of execs against each other. Only compares.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;
use uexec_core::story::Shown;
use uexec_oracle::execs::Exec;

/// An exec, as `uexec trace` tells it.
#[derive(Debug, Deserialize)]
struct Told {
    event: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    path: Option<Word>,
    #[serde(default)]
    argv: Vec<Word>,
    #[serde(default)]
    chain: Vec<Word>,
}

/// A string, or bytes where they are none.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl Word {
    fn bytes(&self) -> &[u8] {
        match self {
            Word::Text(text) => text.as_bytes(),
            Word::Bytes(bytes) => bytes,
        }
    }
}

impl Told {
    /// What the program begins with.
    fn program_argv(&self) -> Vec<Vec<u8>> {
        let words: Vec<&Word> = match self.chain.as_slice() {
            // The kernel never starts a program without any (5.18).
            [] if self.argv.is_empty() => return vec![Vec::new()],
            [] => self.argv.iter().collect(),
            chain => chain.iter().chain(self.argv.iter().skip(1)).collect(),
        };
        words.into_iter().map(|word| word.bytes().to_vec()).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    Shown(bytes).to_string()
}

fn texts(list: &[Vec<u8>]) -> Vec<String> {
    list.iter().map(|word| text(word)).collect()
}

/// Process by process and one by one: number, path and arguments.
pub(crate) fn with_trace(kernel: &[Exec], trace: &str, wrong: &mut Vec<String>) -> io::Result<()> {
    let mut told: BTreeMap<i32, Vec<Told>> = BTreeMap::new();
    let mut count = 0;
    for line in trace.lines() {
        let record: Told = serde_json::from_str(line)?;
        if record.event == "exec" {
            count += 1;
            told.entry(record.pid).or_default().push(record);
        }
    }
    let mut theirs: BTreeMap<i32, Vec<&Exec>> = BTreeMap::new();
    for exec in kernel {
        theirs.entry(exec.pid).or_default().push(exec);
    }
    let (mut paths, mut lists) = (0, 0);
    for pid in told.keys().chain(theirs.keys().filter(|pid| !told.contains_key(pid))) {
        let ours = told.get(pid).map_or(&[][..], Vec::as_slice);
        let theirs = theirs.get(pid).map_or(&[][..], Vec::as_slice);
        if ours.len() != theirs.len() {
            let names = theirs.iter().map(|exec| text(&exec.filename)).collect::<Vec<_>>();
            wrong.push(format!(
                "{pid}: {} told, {} by the kernel: {names:?}",
                ours.len(),
                theirs.len()
            ));
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            if let Some(path) = &ours.path {
                paths += 1;
                if path.bytes() != theirs.filename {
                    let (ours, theirs) = (text(path.bytes()), text(&theirs.filename));
                    wrong.push(format!("{pid}: told {ours}, the kernel says {theirs}"));
                }
            }
            if let Some(argv) = &theirs.argv {
                lists += 1;
                let got = ours.program_argv();
                if got != *argv {
                    let (ours, theirs) = (texts(&got), texts(argv));
                    wrong.push(format!("{pid}: told {ours:?}, the kernel says {theirs:?}"));
                }
            }
        }
    }
    println!("  told     {count} execs; {paths} paths and {lists} lists of arguments compared");
    Ok(())
}

/// An exec as it would be without a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Plain {
    filename: Vec<u8>,
    argv: Vec<Vec<u8>>,
}

/// How often each is there.
#[derive(Default)]
struct Counts(BTreeMap<Plain, usize>);

impl Counts {
    fn of(execs: &[Exec]) -> Counts {
        let mut counts = Counts::default();
        for exec in execs {
            let plain = Plain { filename: exec.filename.clone(), argv: arguments(exec) };
            *counts.0.entry(plain).or_default() += 1;
        }
        counts
    }

    /// What both have.
    fn common(&self, other: &Counts) -> Counts {
        let least = |(plain, n): (&Plain, &usize)| {
            let n = *n.min(other.0.get(plain)?);
            Some((plain.clone(), n))
        };
        Counts(self.0.iter().filter_map(least).collect())
    }

    fn sum(&self) -> usize {
        self.0.values().sum()
    }

    /// One of these less; false if there is none.
    fn take(&mut self, plain: &Plain) -> bool {
        let Some(n) = self.0.get_mut(plain) else { return false };
        *n -= 1;
        self.0.retain(|_, n| *n > 0);
        true
    }

    fn find(&self, is_it: impl Fn(&Plain) -> bool) -> Option<Plain> {
        self.0.keys().find(|plain| is_it(plain)).cloned()
    }
}

/// The arguments; those that a C compiler draws the names of are made equal.
fn arguments(exec: &Exec) -> Vec<Vec<u8>> {
    const DRAWN: &[u8] = b"/tmp/cc";
    let mut argv = exec.argv.clone().unwrap_or_default();
    for word in &mut argv {
        let mut from = 0;
        while let Some(at) = word[from..].windows(DRAWN.len()).position(|part| part == DRAWN) {
            from += at + DRAWN.len();
            let drawn = word[from..].iter().take(6);
            let drawn = drawn.take_while(|byte| byte.is_ascii_alphanumeric()).count();
            word[from..from + drawn].fill(b'?');
        }
    }
    argv
}

/// By number, and by files and arguments as far as two runs without a tree have the same.
pub(crate) fn with_plain(one: &[Exec], two: &[Exec], tree: &[Exec], wrong: &mut Vec<String>) {
    let mut left = Counts::of(one).common(&Counts::of(two));
    let same = left.sum();
    let (mut served, mut calls, mut strange) = (0, Vec::new(), Vec::new());
    for exec in tree {
        let found = match Given::of(exec) {
            Given::Kernels(plain) => left.take(&plain),
            Given::Loaders(plain) => {
                served += 1;
                left.take(&plain)
            }
            Given::Files(argv) => {
                served += 1;
                match left.find(|plain| plain.argv == argv) {
                    Some(plain) => left.take(&plain),
                    None => {
                        calls.push((exec, argv));
                        true
                    }
                }
            }
        };
        if !found {
            strange.push(exec);
        }
    }
    // What is left of these are scripts: their interpreters are put in front, the name replaced.
    calls.sort_by_key(|(_, argv)| std::cmp::Reverse(argv.len()));
    for likeness in [is_whole, is_named, is_rest] {
        calls.retain(|(_, argv)| match left.find(|plain| likeness(plain, argv)) {
            Some(plain) => !left.take(&plain),
            None => true,
        });
    }
    strange.extend(calls.iter().map(|(exec, _)| *exec));
    println!("  alone    {} and {} execs, {same} the same in both", one.len(), two.len());
    println!("  served   {served}");
    let (least, most) = (one.len().min(two.len()), one.len().max(two.len()));
    if !(least..=most).contains(&tree.len()) {
        wrong.push(format!("{} execs in the tree, {least} to {most} alone", tree.len()));
    }
    wrong.extend(left.0.iter().map(|(plain, n)| {
        format!("missing {n} times: {} {:?}", text(&plain.filename), texts(&plain.argv))
    }));
    if !left.0.is_empty() {
        wrong.extend(strange.iter().take(5).map(|exec| {
            format!("instead: {} {:?}", text(&exec.filename), texts(&arguments(exec)))
        }));
    }
}

/// A script's program has all arguments of the call behind its own.
fn is_whole(plain: &Plain, call: &[Vec<u8>]) -> bool {
    plain.argv.len() > call.len() && plain.argv.ends_with(call)
}

/// Or all but the first, which was the file's name.
fn is_named(plain: &Plain, call: &[Vec<u8>]) -> bool {
    let called = call.first().map_or(&[][..], Vec::as_slice);
    is_rest(plain, call) && plain.filename.ends_with(called)
}

/// Or all but the first.
fn is_rest(plain: &Plain, call: &[Vec<u8>]) -> bool {
    plain.argv.len() > call.len() && plain.argv.ends_with(call.get(1..).unwrap_or_default())
}

/// An open file of another process, by its path in `/proc`: the tracer's.
fn is_of_another(path: &[u8]) -> bool {
    let mut parts = path.split(|b| *b == b'/');
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    parts.next() == Some(b"")
        && parts.next() == Some(b"proc")
        && parts.next().is_some_and(number)
        && parts.next() == Some(b"fd")
}

/// Whom the kernel has started.
enum Given {
    /// The program itself.
    Kernels(Plain),
    /// The loader as an interpreter: it is given its own name, the file, and the arguments.
    Loaders(Plain),
    /// The loader as an open file in the program's place: it is given the arguments of the call.
    Files(Vec<Vec<u8>>),
}

impl Given {
    fn of(exec: &Exec) -> Given {
        let argv = arguments(exec);
        if exec.filename.starts_with(b"/dev/fd/") || is_of_another(&exec.filename) {
            return Given::Files(argv);
        }
        let filename = exec.filename.clone();
        match argv.as_slice() {
            [loader, _, rest @ ..] if loader.starts_with(b"/proc/self/fd/") => {
                Given::Loaders(Plain { filename, argv: rest.to_vec() })
            }
            _ => Given::Kernels(Plain { filename, argv }),
        }
    }
}
