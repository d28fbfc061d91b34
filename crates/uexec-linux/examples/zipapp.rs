//! A format of one's own: ZIP applications, as `python3 -m zipapp` makes them, run without a `#!`
//! line and without anybody's privilege.
//!
//! ```sh
//! cargo run -p uexec-linux --example zipapp -- /usr/bin/python3 ./app.pyz one two
//! ```

use std::borrow::Cow;

use uexec_core::binfmt::{Binfmt, Rewrite, Verdict};
use uexec_core::error::{Reason, Refusal, Stage};
use uexec_core::{Bprm, KERNEL_FORMATS};
use uexec_linux::exec::Exec;

struct Zipapp {
    runtime: String,
}

impl Binfmt for Zipapp {
    fn name(&self) -> Cow<'static, str> {
        "zipapp".into()
    }

    fn load_binary(&self, bprm: &mut Bprm<'_>) -> Result<Verdict, Refusal> {
        if !bprm.head.starts_with(b"PK\x03\x04") {
            let (head, len) = (bprm.head[..4].to_vec(), bprm.file.stat.size);
            let reason = Reason::NoFormat { head, len };
            return Ok(Verdict::NotMine(Refusal::new(Stage::Search, reason)));
        }
        // The runtime opens the file again, by its name.
        bprm.check_accessible(Stage::Search)?;
        let (runtime, path) = (self.runtime.as_bytes(), bprm.interp.clone());
        let file = bprm.open_interp(runtime, Stage::Search)?;
        Ok(Verdict::Again(Rewrite::new(runtime, file, &path)))
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(runtime), Some(app)) = (args.next(), args.next()) else {
        eprintln!("usage: zipapp RUNTIME APP ARGS…");
        std::process::exit(125);
    };
    let zipapp = Zipapp { runtime };
    let mut formats = KERNEL_FORMATS;
    formats.register(&zipapp);
    let exec = Exec::new(app).args(args).envs(std::env::vars()).formats(formats);
    // Returns only on failure, and nothing has changed then.
    eprintln!("{}", exec.exec());
    std::process::exit(126);
}
