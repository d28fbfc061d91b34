//! The trace as one JSON object a line. Only writes.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::Teller;
use super::record::Record;

pub(super) struct Json(BufWriter<File>);

impl Json {
    pub(super) const fn new(out: BufWriter<File>) -> Json {
        Json(out)
    }
}

impl Teller for Json {
    fn tell(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, record)?;
        self.0.write_all(b"\n")
    }

    fn pause(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
