//! Tells findings as they come: a line each, for a person or as JSON, and a bar on the terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use uexec_core::story::Shown;

use super::cause::{self, Cause};
use super::finding::{Finding, Line, Outcome};
use super::summary::Summary;
use crate::args::Check;
use crate::style::{BAD, GOOD, ODD};

/// Where findings are told.
pub(crate) struct Teller<'a> {
    args: &'a Check,
    out: io::BufWriter<Box<dyn Write>>,
    bar: ProgressBar,
    /// Both the lines and the bar go to a terminal and must not get in each other's way.
    shared: bool,
    summary: Summary,
    told: u64,
}

impl<'a> Teller<'a> {
    /// A teller on standard output, with a bar if standard error is a terminal.
    pub(crate) fn new(args: &'a Check) -> Teller<'a> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {human_pos} checked in {elapsed}{msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let stdout = io::stdout();
        let shared = stdout.is_terminal() && io::stderr().is_terminal();
        let out: Box<dyn Write> = match args.json {
            true => Box::new(stdout),
            false => Box::new(anstream::AutoStream::auto(stdout)),
        };
        let out = io::BufWriter::with_capacity(1 << 16, out);
        Teller { args, out, bar, shared, summary: Summary::default(), told: 0 }
    }

    /// Tells one finding, or counts a link that leads nowhere.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub(crate) fn tell(&mut self, found: Option<&Finding>) -> io::Result<()> {
        let cause = found.and_then(cause::of);
        if let Some(f) = found {
            if self.args.json {
                serde_json::to_writer(&mut self.out, &Line::new(f))?;
                self.out.write_all(b"\n")?;
            } else if let Some(line) = self.line(f, cause.as_ref()) {
                match self.shared {
                    true => {
                        let out = &mut self.out;
                        self.bar.suspend(|| {
                            out.write_all(line.as_bytes()).and_then(|()| out.flush())
                        })?;
                    }
                    false => self.out.write_all(line.as_bytes())?,
                }
                self.told += 1;
            }
        }
        let bad = self.summary.bad();
        self.summary.add(found, cause);
        self.bar.inc(u64::from(found.is_some()));
        if bad != self.summary.bad() {
            self.bar.set_message(format!(", {} do not start", self.summary.bad()));
        }
        Ok(())
    }

    /// Sums up; whether all programs start.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub(crate) fn finish(mut self) -> io::Result<bool> {
        self.bar.finish_and_clear();
        self.summary.finish();
        if self.args.json {
            writeln!(self.out, "{}", self.summary.json()?)?;
        } else {
            let gap = if self.told > 0 { "\n" } else { "" };
            write!(self.out, "{gap}{}", self.summary.text())?;
        }
        self.out.flush()?;
        Ok(self.summary.all_start())
    }

    fn line(&self, f: &Finding, cause: Option<&Cause>) -> Option<String> {
        let mut out = String::new();
        let name = Shown(&f.path);
        let line = cause.map_or("", |c| c.line.as_str());
        let _ = match f.outcome {
            Outcome::Ok | Outcome::Library if !self.args.all => return None,
            Outcome::Ok => {
                let by = match &f.rule {
                    Some((rule, with)) => format!(", run by {with} by the binfmt_misc rule {rule}"),
                    None => String::new(),
                };
                writeln!(out, "{name}: {GOOD}starts{GOOD:#}{by}")
            }
            Outcome::Library => writeln!(out, "{name}: {ODD}a library{ODD:#}, not a program"),
            Outcome::Foreign if f.rule.is_some() && !self.args.all => return None,
            Outcome::Foreign => writeln!(out, "{name}: {ODD}foreign{ODD:#}: {line}"),
            Outcome::Unreadable => writeln!(out, "{name}: {ODD}cannot be decided{ODD:#}: {line}"),
            Outcome::Error => {
                let (errno, death) = match &f.refusal {
                    Some(r) => {
                        let death = r.stage.after_point_of_no_return();
                        (r.reason.errno().name(), if death { ", SIGSEGV" } else { "" })
                    }
                    None => ("libraries", ""),
                };
                writeln!(out, "{name}: {BAD}{errno}{death}{BAD:#}: {line}")
            }
        };
        Some(out)
    }
}
