//! One set of rules, registered with both; then every file run by the kernel and planned by uexec.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use uexec_core::binfmt::misc::Misc;
use uexec_core::{ALL_FORMATS, Exec, Privileges, World, plan};
use uexec_linux::Host;

use crate::Report;
use crate::kernel::Mount;
use crate::make::{self, FIRST_STATUS, Files, INTERPRETERS};
use crate::rng::Rng;

/// Rules of one set.
const RULES: u64 = 10;

/// The kernel's and uexec's instance, side by side.
struct Both<'a> {
    mount: &'a Mount,
    misc: Misc,
    host: Host,
    /// How to have this set again.
    again: &'a str,
}

/// Compares one set.
pub(crate) fn set(
    mount: &Mount,
    files: &Files,
    mut rng: Rng,
    again: &str,
    report: &mut Report,
) -> io::Result<()> {
    std::env::set_current_dir(mount.folder())?;
    let mut both = Both { mount, misc: Misc::default(), host: Host::new(), again };
    let mut names = Vec::new();
    for number in 0..RULES {
        let text = make::rule(&mut rng, files, number);
        names.extend(both.register(&text, report)?);
    }
    for _ in 0..rng.below(4) {
        let name = if rng.percent(30) || names.is_empty() {
            b"status".to_vec()
        } else {
            rng.pick(&names).clone()
        };
        both.command(&name, &make::command(&mut rng), report)?;
    }
    for (path, _) in &files.all {
        both.run(path, report);
    }
    // Both start anew.
    for command in [&b"-1"[..], b"1"] {
        mount.write(b"status", command);
    }
    Ok(())
}

impl Both<'_> {
    fn differ(&self, report: &mut Report, what: &str, kernel: &str, uexec: &str) {
        let again = self.again;
        report.differences.push(format!("{again}: {what}\n  kernel {kernel}\n  uexec  {uexec}"));
    }

    /// Registers a rule with both; its name if it is registered.
    fn register(&mut self, text: &[u8], report: &mut Report) -> io::Result<Option<Vec<u8>>> {
        let kernel = self.mount.write(b"register", text);
        let result = self.misc.register(text, &mut self.host);
        let (uexec, entry) = match &result {
            Ok(entry) => (0, Some((entry.rule.name.clone(), entry.text()))),
            Err(bad) => (i32::from(bad.fault.errno().0), None),
        };
        let named = |errno: i32| match errno {
            0 => "registered".to_owned(),
            _ => uexec_core::Errno(errno as u16).name().to_owned(),
        };
        *report.registered.entry(named(kernel)).or_default() += 1;
        let shown = text.escape_ascii().to_string();
        if kernel != uexec {
            let why = result.err().map(|bad| bad.to_string()).unwrap_or_default();
            self.differ(report, &shown, &named(kernel), &format!("{} {why}", named(uexec)));
            return Ok(None);
        }
        let Some((name, said)) = entry else { return Ok(None) };
        let told = self.mount.read(&name)?;
        if told != said {
            let text = |b: &[u8]| b.escape_ascii().to_string();
            self.differ(report, &shown, &text(&told), &text(&said));
        }
        Ok(Some(name))
    }

    /// Writes to `status` or an entry of both.
    fn command(&mut self, name: &[u8], text: &[u8], report: &mut Report) -> io::Result<()> {
        let kernel = self.mount.write(name, text);
        let status = name == b"status";
        let result = match status {
            true => self.misc.write_status(text),
            false => self.misc.write_entry(name, text),
        };
        let uexec = result.map_or_else(|errno| i32::from(errno.0), |()| 0);
        report.commands += 1;
        let what = format!("{:?} to {}", text.escape_ascii().to_string(), name.escape_ascii());
        if kernel != uexec {
            self.differ(report, &what, &kernel.to_string(), &uexec.to_string());
        }
        let told = self.mount.read(name).ok();
        let said = match status {
            true => Some(self.misc.status().as_bytes().to_vec()),
            false => self.misc.entry(name).map(uexec_core::binfmt::misc::Entry::text),
        };
        if told != said {
            self.differ(report, &what, &format!("{told:?}"), &format!("{said:?}"));
        }
        Ok(())
    }

    /// Which rule takes a file, told by the interpreter that runs in the end.
    fn run(&mut self, path: &Path, report: &mut Report) {
        let kernel = self.mount.run(path);
        let mut formats = ALL_FORMATS;
        formats.insert(&self.misc);
        let privileges = Privileges::AsKernel;
        let exec = Exec { privileges, untold: true, ..Exec::new(path.as_os_str().as_bytes()) };
        let uexec = match plan(exec, &mut self.host, &formats) {
            Ok(plan) => Ok(plan.image.program.file.path),
            Err(error) => Err(i32::from(error.errno().0)),
        };
        self.host.forget_files();
        let last = |path: &[u8]| path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
        let uexec = uexec.map(|path| last(&path));
        let told = kernel.map(|status| match status - FIRST_STATUS {
            i if (0..INTERPRETERS as i32).contains(&i) => format!("i{i}").into_bytes(),
            _ => last(path.as_os_str().as_bytes()),
        });
        let what = match &told {
            Ok(name) if name.starts_with(b"i") => "run by an interpreter".to_owned(),
            Ok(_) => "run as they are".to_owned(),
            Err(errno) => uexec_core::Errno(*errno as u16).name().to_owned(),
        };
        *report.run.entry(what).or_default() += 1;
        if told != uexec {
            let text = |r: &Result<Vec<u8>, i32>| match r {
                Ok(name) => name.escape_ascii().to_string(),
                Err(errno) => uexec_core::Errno(*errno as u16).name().to_owned(),
            };
            self.differ(report, &path.display().to_string(), &text(&told), &text(&uexec));
        }
    }
}
