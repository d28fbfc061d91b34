//! `uexec check`: decides about every program below some paths. Runs nothing, changes nothing,
//! opens nothing but directories and regular files, and nothing outside `--root`.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use uexec_core::binfmt::misc::Misc;

use crate::OWN_FAILURE;
use crate::args::Check;
use crate::binfmt::table;

mod cause;
mod elf;
mod finding;
mod judge;
mod pool;
mod summary;
mod tell;
mod walk;

/// Checks; returns the exit status.
pub(crate) fn check(args: &Check) -> u8 {
    let root = args.root.as_ref().map(|r| r.as_bytes());
    let mut rules = match table::uses_host(&args.rules.binfmt) {
        true => table::kernel_misc(table::KERNEL.as_ref()),
        false => Misc::default(),
    };
    if let Err(trouble) = table::add_given(&mut rules, &args.rules.binfmt, None) {
        crate::binfmt::tell(&trouble);
        return OWN_FAILURE;
    }
    let told = open(root, rules, args.libraries).and_then(|(tree, seats)| {
        let paths: Vec<Vec<u8>> = args.paths.iter().map(|p| p.as_bytes().to_vec()).collect();
        let mut teller = tell::Teller::new(args);
        let mut failed = None;
        pool::run(&tree, &paths, seats, &mut |found| {
            failed = teller.tell(found.as_ref()).err();
            failed.is_none()
        });
        match failed {
            Some(error) => Err(error.to_string()),
            None => teller.finish().map_err(|e: io::Error| e.to_string()),
        }
    });
    match told {
        Ok(all_start) => u8::from(!all_start),
        Err(message) => {
            eprintln!("uexec: {message}");
            OWN_FAILURE
        }
    }
}

/// The tree to walk, and a judge's seat for every processor.
fn open(
    root: Option<&[u8]>,
    rules: Misc,
    libraries: bool,
) -> Result<(walk::Tree, Vec<judge::Seat>), String> {
    let named = |e: &dyn std::fmt::Display| match root {
        Some(root) => format!("{}: {e}", uexec_core::story::Shown(root)),
        None => e.to_string(),
    };
    let tree = walk::Tree::new(root).map_err(|e| named(&e))?;
    let rules = Arc::new(rules);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let seat = |_| judge::Seat::new(root, rules.clone(), libraries);
    let seats: Result<_, _> = (0..count).map(seat).collect();
    Ok((tree, seats.map_err(|e| named(&e))?))
}
