//! `docs/errors.md` shows a message for every condition, as the command itself prints it.

use std::fmt::Write as _;
use std::path::Path;

/// Sections of the document: the beginning of a snapshot's name, and what the section is about.
const SECTIONS: [(&str, &str); 7] = [
    ("err_0", "On the way to the file"),
    ("err_1", "Permission, kind of file, mount"),
    ("err_2", "Limits, and what nobody recognises"),
    ("scr_", "`#!` lines"),
    ("misc_", "Rules of `binfmt_misc`"),
    ("err_3", "ELF headers and interpreters"),
    ("err_5", "After the point of no return: the process dies by SIGSEGV"),
];

fn document(snapshots: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(snapshots)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter_map(|n| n.strip_suffix(".snap").map(str::to_owned))
        .collect();
    names.sort();
    let mut out = String::from(
        "# Why an exec fails\n\nOne example for every condition, as `uexec explain` and `uexec run` print \
         it. Made by the tests,\nwhich also ask the kernel: `UEXEC_UPDATE_DOCS=1 cargo test -p uexec --test \
         errors docs`.\n",
    );
    for (prefix, title) in SECTIONS {
        let _ = write!(out, "\n## {title}\n");
        for name in names.iter().filter(|n| n.starts_with(prefix)) {
            let text = std::fs::read_to_string(snapshots.join(format!("{name}.snap"))).unwrap();
            let body = text.splitn(3, "---\n").nth(2).unwrap_or_default();
            let mut words = name.split('_');
            let id = format!(
                "{}-{}",
                words.next().unwrap(),
                words.next().unwrap().trim_start_matches('0')
            );
            let what: Vec<&str> = words.collect();
            let _ = write!(out, "\n**{}**: {}\n\n```text\n", id.to_uppercase(), what.join(" "));
            out.push_str(body.strip_prefix("uexec: ").unwrap_or(body));
            out.push_str("```\n");
        }
    }
    out
}

#[test]
fn docs_show_every_error() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = document(&here.join("tests/errors/snapshots"));
    let path = here.join("../../docs/errors.md");
    if std::env::var_os("UEXEC_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "docs/errors.md is not what the snapshots say; see its first lines");
}
