//! Puts the rules of this host together: those of the command line, of the running kernel, of the
//! folders. Reads files; decides nothing about programs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use uexec_core::binfmt::misc::{BadRule, Entry, Misc, parse, parse_entry};
use uexec_core::binfmt::{Binfmt, Resolver};
use uexec_core::error::{Refusal, Stage};
use uexec_core::story::Shown;
use uexec_core::{Bprm, Registry, World};

use super::debian;
use super::source::{self, Line};

/// Where the kernel shows its rules.
pub(crate) const KERNEL: &str = "/proc/sys/fs/binfmt_misc";
/// As an option: no rules but those given by the other options.
const NONE: &str = "none";

/// A rule and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) entry: Entry,
    pub(crate) from: String,
}

/// What an option got wrong.
pub(crate) enum Trouble {
    /// It cannot be read.
    Unreadable(String),
    /// One of its rules is wrong.
    Bad(Line, BadRule),
}

/// Whether the host's own rules count beside those of the options.
pub(crate) fn uses_host(options: &[OsString]) -> bool {
    options.iter().all(|o| o != NONE)
}

/// The lines that the options name, in order.
pub(crate) fn lines(options: &[OsString]) -> Result<Vec<Line>, Trouble> {
    let mut found = Vec::new();
    for option in options.iter().filter(|o| *o != NONE) {
        let said = source::named(option);
        found.extend(said.map_err(|e| {
            Trouble::Unreadable(format!("{}: {}", option.display(), crate::report::reason(&e)))
        })?);
    }
    Ok(found)
}

/// The rules that the options name, added to `misc`. With a world, interpreters that are fixed are
/// opened now (`F`); else when they are first needed. A rule replaces one of its name, as with
/// `systemd-binfmt`.
pub(crate) fn add_given(
    misc: &mut Misc,
    options: &[OsString],
    mut world: Option<&mut dyn World>,
) -> Result<(), Trouble> {
    for line in lines(options)? {
        let _ = misc.write_entry(line.name(), b"-1");
        let added = match &mut world {
            Some(world) => misc.register(&line.text, *world).map(drop),
            None => parse(&line.text).and_then(|rule| misc.add(rule).map(drop)),
        };
        added.map_err(|bad| Trouble::Bad(line, bad))?;
    }
    Ok(())
}

/// The running kernel's rules, oldest first, and whether they are switched on; `None` where there is
/// no table.
pub(crate) fn of_kernel(dir: &Path) -> Option<(Vec<Entry>, bool)> {
    let status = fs::read(dir.join("status")).ok()?;
    let mut found: Vec<Entry> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|e| e.file_name() != "status" && e.file_name() != "register")
        .filter_map(|e| parse_entry(e.file_name().as_bytes(), &fs::read(e.path()).ok()?))
        .collect();
    // The folder lists what was made last first (fs/libfs.c, Linux 6.18). Times say less: many
    // rules are made within one tick of the clock.
    found.reverse();
    Some((found, status == b"enabled\n"))
}

/// The formats, asked after these rules, if there are any.
pub(crate) fn before<'a>(mut formats: Registry<'a>, rules: &'a Misc) -> Registry<'a> {
    if !rules.is_empty() {
        formats.insert(rules);
    }
    formats
}

/// The kernel's rules as an instance.
pub(crate) fn kernel_misc(dir: &Path) -> Misc {
    let mut misc = Misc::default();
    if let Some((entries, enabled)) = of_kernel(dir) {
        for entry in entries {
            let _ = misc.enter(entry);
        }
        if !enabled {
            let _ = misc.write_status(b"0");
        }
    }
    misc
}

/// The rules of all folders, oldest first, each name once. What is wrong is left out, as the kernel
/// would refuse it; an earlier rule of its name is gone all the same, as `systemd-binfmt` has
/// deleted it by then.
pub(crate) fn of_folders() -> Vec<Origin> {
    let debian = debian::in_folder(Path::new(source::DEBIAN));
    let folders = source::in_folders(&source::FOLDERS.map(Path::new));
    let others = folders.iter().filter_map(|p| source::in_file(p).ok()).flatten();
    let mut found: Vec<Origin> = Vec::new();
    for line in debian.into_iter().chain(others) {
        found.retain(|o| o.entry.rule.name != line.name());
        // Names of the kernel's own files are taken in an empty instance, too.
        let Ok(rule) = parse(&line.text) else { continue };
        if Misc::default().add(rule.clone()).is_err() {
            continue;
        }
        let entry = Entry { rule, enabled: true, interpreter: None };
        found.push(Origin { entry, from: line.place() });
    }
    found
}

/// Names the rules of this host when nobody else knows a file, and reads them no sooner: first those
/// of the kernel, then those of the folders. Where the administrator has switched `binfmt_misc` off,
/// there are none.
pub(crate) struct Late;

impl Resolver for Late {
    fn resolve(&self, bprm: &mut Bprm<'_>) -> Result<Option<Box<dyn Binfmt + '_>>, Refusal> {
        let kernel = of_kernel(Path::new(KERNEL));
        if kernel.as_ref().is_some_and(|(_, enabled)| !enabled) {
            return Ok(None);
        }
        let mut misc = Misc::default();
        for origin in of_folders() {
            let name = origin.entry.rule.name.clone();
            if misc.enter(origin.entry).is_ok() {
                let (name, from) = (Shown(&name), origin.from);
                bprm.story.tell(Stage::Misc, "", format_args!("rule {name} from {from}"));
            }
        }
        for entry in kernel.map(|(entries, _)| entries).unwrap_or_default() {
            let _ = misc.write_entry(&entry.rule.name, b"-1");
            let _ = misc.enter(entry);
        }
        Ok(Some(Box::new(misc)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_as_the_kernel_makes_it() {
        let dir = std::env::temp_dir().join(format!("uexec-binfmt-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("status"), "enabled\n").unwrap();
        fs::write(dir.join("register"), "").unwrap();
        let text = "enabled\ninterpreter /usr/bin/run\nflags: \nextension .py\n";
        fs::write(dir.join("py"), text).unwrap();
        let (head, path) = ([0; 256], b"/a/x.py");
        assert!(kernel_misc(&dir).find(path, &head).is_some());
        fs::write(dir.join("status"), "disabled\n").unwrap();
        assert!(kernel_misc(&dir).find(path, &head).is_none());
        fs::remove_dir_all(&dir).unwrap();
        assert!(of_kernel(&dir).is_none());
    }
}
