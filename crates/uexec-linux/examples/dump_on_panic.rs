//! Dumps the whole process when it panics: a child, which is a process of its own, dumps its parent
//! and leaves; the parent then dies of its panic as always.

use std::process::exit;

use uexec_core::clone::{CloneArgs, decide};
use uexec_linux::dump::Sparse;
use uexec_linux::{Created, Start, clone_facts, core_dump, create};

fn dump_parent(pid: u32) -> Result<(), Box<dyn std::error::Error>> {
    let dump = core_dump(pid.try_into()?, None)?;
    let file = std::fs::File::create(format!("core.{pid}"))?;
    dump.write(&mut Sparse::new(file.into()), &mut |_| {})?;
    Ok(())
}

fn main() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        let pid = std::process::id();
        let args = CloneArgs::fork();
        let Ok(plan) = decide(&args, CloneArgs::SIZE, &clone_facts()) else { return };
        // SAFETY: this program has one thread, so no lock is held in the child.
        match unsafe { create(&args, &plan, Start::Return) } {
            Ok(Created::Child) => exit(match dump_parent(pid) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("no core: {error}");
                    1
                }
            }),
            Ok(Created::Parent(child)) => {
                let child = rustix::process::Pid::from_raw(child);
                let _ = rustix::process::waitpid(child, rustix::process::WaitOptions::empty());
            }
            Err(error) => eprintln!("no core: {error}"),
        }
    }));
    let numbers = [1, 2, 3];
    let index = std::env::args().count() + 5;
    println!("{}", numbers[index]);
}
