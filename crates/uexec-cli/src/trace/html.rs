//! The trace as one page: what has happened, as compact JSON, and the script that draws it. Only
//! writes; keeps nothing of who has ended.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

use serde_json::{Value, json};

use super::record::{Record, Spawn};
use super::text::{Text, command, word};
use super::tree::copied;
use super::{Now, Teller};
use crate::signal;

const STYLE: &str = include_str!("html/page.css");
const MODEL: &str = include_str!("html/model.js");
const SCRIPT: &str = include_str!("html/page.js");
const BODY: &str = include_str!("html/page.html");

/// A page that can be opened at any time: the script comes first, and reads as far as there is data.
pub(super) struct Html {
    out: BufWriter<File>,
    now: Now,
    /// What new processes share with their creators, and have a copy of.
    given: Vec<(Vec<&'static str>, Vec<&'static str>)>,
}

impl Html {
    pub(super) fn new(out: BufWriter<File>) -> Html {
        Html { out, now: Now(Instant::now()), given: Vec::new() }
    }

    fn begin(&mut self) -> io::Result<()> {
        write!(
            self.out,
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>uexec trace</title>\n<style>\n{STYLE}</style>\n{BODY}\
             <script>\n{MODEL}addEventListener(\"DOMContentLoaded\", () => {{\n{SCRIPT}}});\n</script>\n\
             <script type=\"application/json\" id=\"data\">"
        )
    }

    /// What is shared and what is copied, as words the first time, then as their number.
    fn given(&mut self, r: &Spawn) -> Value {
        match self
            .given
            .iter()
            .position(|(shared, copied)| *shared == r.shared && *copied == r.copied)
        {
            Some(number) => json!(number),
            None => {
                self.given.push((r.shared.clone(), r.copied.clone()));
                json!([r.shared.join(", "), r.copied.join(", ")])
            }
        }
    }

    /// One row, a line.
    fn put(&mut self, row: &Value) -> io::Result<()> {
        // Nothing that is quoted may end the element it stands in.
        let text = row.to_string().replace("</", "<\\/").replace("<!--", "<\\u0021--");
        write!(self.out, "\n{text}")
    }
}

/// As people read them.
fn shown<'a>(texts: impl IntoIterator<Item = &'a Text>) -> Vec<String> {
    texts.into_iter().map(Text::to_string).collect()
}

impl Teller for Html {
    fn tell(&mut self, record: &Record) -> io::Result<()> {
        if let Record::Start(_) = record {
            self.begin()?;
        }
        let row = match record {
            Record::Start(r) => json!(["start", command(&r.command), r.unix_time]),
            Record::Spawn(r) => {
                json!([0, r.who.id, r.who.t, r.who.pid, r.parent, r.how, r.flags, self.given(r),])
            }
            Record::Exec(r) => json!([
                1,
                r.who.id,
                r.who.t,
                r.who.pid,
                r.argv.iter().map(word).collect::<Vec<_>>(),
                r.path.as_ref().map(Text::to_string),
                r.exe.as_ref().map(Text::to_string),
                r.cwd.as_ref().map(Text::to_string),
                shown(&r.chain),
                shown(&r.env.set),
                shown(&r.env.unset),
                r.searched.len(),
                copied(r.pages, r.faults_since_fork),
                r.parent_waited_us,
                r.interp.as_ref().map(Text::to_string),
                r.name().base().to_string(),
                r.withheld,
                r.stdio.named().map(|(_, to)| to.as_ref().map(Text::to_string)),
            ]),
            Record::Failed(r) => {
                let because = r.because.as_ref();
                json!([
                    2,
                    r.who.id,
                    r.who.t,
                    word(r.name()),
                    uexec_core::Errno(r.number).to_string(),
                    because.filter(|b| b.agrees).map(|b| b.text()),
                    because.filter(|b| b.agrees).map(|b| &b.hint),
                    shown(&r.searched).join(":"),
                ])
            }
            Record::Exit(r) => json!([
                3,
                r.who.id,
                r.who.t,
                r.status,
                r.signal.map(signal::name),
                r.cpu,
                r.max_rss_kib,
                r.threads,
                copied(r.pages, r.faults_since_fork),
                r.parent_waited_us,
            ]),
            Record::End(r) => json!(["end", r.t, r.processes, r.execs, r.failed_execs]),
        };
        self.put(&row)?;
        match record {
            Record::End(_) => self.out.write_all(b"\n</script>\n</html>\n"),
            _ => Ok(()),
        }
    }

    fn pause(&mut self) -> io::Result<()> {
        if self.now.is_due() { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
