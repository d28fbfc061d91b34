//! The trace as one page: what has happened, as compact JSON, and the script that draws it. Only
//! writes; nothing is kept.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use serde_json::{Value, json};

use super::Teller;
use super::record::Record;
use super::tree::{command, copied, signal_name};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
const BODY: &str = include_str!("html/page.html");

pub(super) struct Html {
    out: BufWriter<File>,
    /// Where the page's end was written, if there may be more after all.
    tail: Option<u64>,
    seekable: bool,
    done: bool,
}

impl Html {
    pub(super) fn new(mut file: File) -> io::Result<Html> {
        let seekable = file.stream_position().is_ok();
        let mut out = BufWriter::new(file);
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>uexec trace</title>\n<style>\n{STYLE}</style>\n{BODY}\
             <script type=\"application/json\" id=\"data\">[\n0"
        )?;
        Ok(Html { out, tail: None, seekable, done: false })
    }

    fn put(&mut self, row: &Value) -> io::Result<()> {
        if let Some(tail) = self.tail.take() {
            self.out.seek(SeekFrom::Start(tail))?;
            self.out.get_ref().set_len(tail)?;
        }
        // Nothing that is quoted may end the element it stands in.
        let text = row.to_string().replace("</", "<\\/").replace("<!--", "<\\u0021--");
        write!(self.out, ",\n{text}")
    }
}

impl Teller for Html {
    fn tell(&mut self, record: &Record) -> io::Result<()> {
        let row = match record {
            Record::Start(r) => json!(["start", command(&r.command), r.unix_time]),
            Record::Spawn(r) => json!([
                0,
                r.who.id,
                r.who.t,
                r.who.pid,
                r.parent,
                r.how,
                r.flags,
                r.shared.join(", "),
            ]),
            Record::Exec(r) => json!([
                1,
                r.who.id,
                r.who.t,
                r.who.pid,
                r.argv.iter().map(|word| command(std::slice::from_ref(word))).collect::<Vec<_>>(),
                r.path,
                r.exe,
                r.cwd,
                r.chain,
                r.env.set,
                r.env.unset,
                r.searched.len(),
                copied(r.pages, r.faults_since_fork),
                r.parent_waited_us,
                r.interp,
            ]),
            Record::Failed(r) => {
                let because = r.because.as_ref();
                json!([
                    2,
                    r.who.id,
                    r.who.t,
                    if r.searched.is_empty() { Some(&r.path) } else { r.argv.first() },
                    uexec_core::Errno(r.number).to_string(),
                    because.filter(|b| b.agrees).map(|b| &b.why),
                    because.filter(|b| b.agrees).map(|b| &b.hint),
                    r.searched.join(":"),
                ])
            }
            Record::Exit(r) => json!([
                3,
                r.who.id,
                r.who.t,
                r.status,
                r.signal.map(signal_name),
                r.cpu,
                r.max_rss_kib,
                r.threads,
                copied(r.pages, r.faults_since_fork),
                r.parent_waited_us,
            ]),
            Record::End(r) => {
                self.done = true;
                json!(["end", r.t, r.processes, r.execs, r.failed_execs])
            }
        };
        self.put(&row)
    }

    fn pause(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.tail.is_none() && (self.seekable || self.done) {
            self.out.flush()?;
            let at = if self.seekable { self.out.stream_position()? } else { 0 };
            self.tail = Some(at);
            write!(self.out, "\n]</script>\n<script>\n{SCRIPT}</script>\n</html>\n")?;
        }
        self.out.flush()
    }
}
