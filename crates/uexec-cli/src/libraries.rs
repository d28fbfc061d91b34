//! What a program's dynamic loader will do after a successful exec, in the words of the command.

use serde::Serialize;
use uexec_core::Plan;
use uexec_core::story::Shown;
use uexec_ld::{Ld, LinkMap, Settings};

/// Something a program's loader looks for in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    /// The library.
    pub(crate) name: String,
    /// The version that the library is there without.
    pub(crate) version: Option<String>,
    /// What is wrong with the library that is there.
    pub(crate) flaw: Option<String>,
    /// The object that needs it.
    pub(crate) needed_by: String,
}

/// What of an environment the loader listens to.
pub(crate) fn settings(envp: &[Vec<u8>]) -> Settings {
    let var = |name: &[u8]| envp.iter().find_map(|e| e.strip_prefix(name)).map(<[u8]>::to_vec);
    Settings {
        library_path: var(b"LD_LIBRARY_PATH="),
        preload: var(b"LD_PRELOAD="),
        bind_now: var(b"LD_BIND_NOW=").is_some_and(|v| !v.is_empty()),
        ..Settings::default()
    }
}

/// What the loader does with the program of a plan; `None` where there is no loader, or the
/// program dies before it runs.
pub(crate) fn resolve(ld: &mut Ld, plan: &Plan, settings: &Settings) -> Option<LinkMap> {
    plan.image.interp.as_ref().filter(|_| plan.death.is_none())?;
    let path = &plan.image.program.file.path;
    match settings.secure == plan.creds.secureexec {
        true => ld.resolve(path, settings).ok(),
        false => {
            let settings = Settings { secure: plan.creds.secureexec, ..settings.clone() };
            ld.resolve(path, &settings).ok()
        }
    }
}

/// What stops the loader.
pub(crate) fn missing(map: &LinkMap) -> Vec<Missing> {
    let text = |b: &[u8]| Shown(b).to_string();
    let mut found = Vec::new();
    for m in map.missing.iter().filter(|m| !m.optional) {
        let (name, needed_by) = (text(&m.name), text(&m.needed_by));
        found.push(Missing { name, version: None, flaw: None, needed_by });
    }
    for b in map.broken.iter().filter(|b| !b.optional) {
        let (name, needed_by) = (text(&b.path), text(&b.needed_by));
        found.push(Missing { name, version: None, flaw: Some(b.flaw.to_string()), needed_by });
    }
    for v in &map.missing_versions {
        let (name, needed_by) = (text(&v.of_library), text(&v.object));
        found.push(Missing { name, version: Some(text(&v.needs)), flaw: None, needed_by });
    }
    found
}

/// What to do about it.
pub(crate) const fn hint(missing: &Missing) -> &'static str {
    match (&missing.version, &missing.flaw) {
        (Some(_), _) => "built for a newer library: update it, or use an older build",
        (None, Some(_)) => "install the library's package again",
        (None, None) => "install the package it comes in, or add its directory to LD_LIBRARY_PATH",
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.version, &self.flaw) {
            (Some(version), _) => write!(f, "version {version} of {}", self.name),
            (None, Some(flaw)) => write!(f, "a usable {} ({flaw})", self.name),
            (None, None) => f.write_str(&self.name),
        }
    }
}
