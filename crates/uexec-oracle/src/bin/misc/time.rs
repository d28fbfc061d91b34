//! How long 1,000 rules take that a file does not match: the kernel's way and uexec's, side by side.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use uexec_core::binfmt::misc::Misc;
use uexec_core::{ALL_FORMATS, Exec, World, plan};
use uexec_linux::Host;

use crate::kernel::Mount;

const RULES: u16 = 1000;
/// Times each way is measured; the median counts.
const ROUNDS: usize = 15;
/// Execs a measurement.
const EXECS: u32 = 200;

/// A rule as of qemu-user, of which no byte before the machine tells it from another; every fourth
/// goes by an extension.
fn rule(i: u16) -> String {
    if i.is_multiple_of(4) {
        return format!(":t{i}:E::ext{i}::/none:");
    }
    let [low, high] = (0x1000 + i).to_le_bytes();
    let head = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    format!(r":t{i}:M::{head}\x{low:02x}\x{high:02x}:{mask}:/none:")
}

/// Microseconds an exec, the median of the rounds.
fn median(mut exec: impl FnMut()) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..EXECS).for_each(|_| exec());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(EXECS)
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

/// Measures, and prints it.
pub(crate) fn time(mount: &Mount) -> io::Result<()> {
    std::env::set_current_dir(mount.folder())?;
    let path = c"./foreign.elf";
    let kernel = || {
        let (argv, envp) = ([path.as_ptr(), std::ptr::null()], [std::ptr::null()]);
        // SAFETY: all of it lives until the call returns, which it does: nobody knows the file.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    };
    let mut host = Host::new();
    let mut misc = Misc::default();
    let mut uexec = |misc: &Misc| {
        let mut formats = ALL_FORMATS;
        formats.insert(misc);
        let exec = Exec { untold: true, ..Exec::new(path.to_bytes()) };
        let _ = black_box(plan(exec, &mut host, &formats));
        host.forget_files();
    };
    let none = (median(kernel), median(|| uexec(&misc)));
    for i in 0..RULES {
        let text = rule(i);
        assert_eq!(mount.write(b"register", text.as_bytes()), 0, "{text}");
        misc.register(text.as_bytes(), &mut Host::new())
            .map_err(|bad| io::Error::other(bad.to_string()))?;
    }
    let many = (median(kernel), median(|| uexec(&misc)));
    println!("µs an exec of a file that nobody knows      kernel   uexec");
    println!("  without rules                            {:7.1} {:7.1}", none.0, none.1);
    println!("  with {RULES} rules                          {:7.1} {:7.1}", many.0, many.1);
    println!(
        "  what the rules take                      {:7.1} {:7.1}",
        many.0 - none.0,
        many.1 - none.1
    );
    Ok(())
}
