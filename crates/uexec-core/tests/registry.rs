//! The registry: order, and the resolver that is asked when nobody knows a file (PIPE-32 to 34).

mod common;

use std::cell::Cell;

use common::{Mem, alive};
use uexec_core::binfmt::misc::{Misc, parse};
use uexec_core::binfmt::{Binfmt, Resolver};
use uexec_core::error::Refusal;
use uexec_core::{Bprm, Errno, Exec, KERNEL_FORMATS, plan};

/// Names rules when it is asked, and counts that.
struct Late {
    rules: &'static [&'static str],
    asked: Cell<u32>,
}

impl Resolver for Late {
    fn resolve(&self, _: &mut Bprm<'_>) -> Result<Option<Box<dyn Binfmt + '_>>, Refusal> {
        self.asked.set(self.asked.get() + 1);
        let mut misc = Misc::default();
        for rule in self.rules {
            misc.add(parse(rule.as_bytes()).unwrap()).unwrap();
        }
        Ok((!misc.is_empty()).then(|| Box::new(misc) as Box<dyn Binfmt>))
    }
}

fn world() -> Mem {
    Mem::default()
        .with("/i", common::elf::Elf::fixed().build())
        .with("/a.one", "x")
        .with("/b.two", "y")
        .with("/script.one", "#!/i\n")
        .with("/c.none", "z")
}

fn run(rules: &'static [&'static str], path: &str) -> (Result<Vec<String>, Errno>, u32) {
    let late = Late { rules, asked: Cell::new(0) };
    let formats = KERNEL_FORMATS.with_resolver(&late);
    let planned = plan(Exec::new(path), &mut world(), &formats);
    let chain = match planned {
        Err(error) => Err(error.errno()),
        planned => Ok(alive(planned).chain.iter().map(|l| l.format.to_string()).collect()),
    };
    (chain, late.asked.get())
}

#[test]
fn pipe_34_the_resolver_is_asked_once_and_only_when_nobody_knows_the_file() {
    let rules = &[":one:E::one::/b.two:", ":two:E::two::/i:"];
    let list = |names: &[&str]| Ok(names.iter().map(|n| (*n).to_owned()).collect());
    assert_eq!(run(rules, "/a.one"), (list(&["misc:one", "misc:two", "elf"]), 1));
    assert_eq!(run(rules, "/script.one"), (list(&["script", "elf"]), 0));
    assert_eq!(run(rules, "/c.none"), (Err(Errno::ENOEXEC), 1));
    assert_eq!(run(&[], "/a.one"), (Err(Errno::ENOEXEC), 1));
    // A loop by late rules is a loop as any other.
    assert_eq!(run(&[":one:E::one::/a.one:"], "/a.one"), (Err(Errno::ELOOP), 1));
}

#[test]
fn pipe_32_order() {
    let names = |r: &uexec_core::Registry<'_>| r.names().map(String::from).collect::<Vec<_>>();
    let kernel = names(&KERNEL_FORMATS);
    assert_eq!(kernel[..2], ["script", "elf"]);
    let misc = Misc::default();
    let mut formats = KERNEL_FORMATS;
    formats.insert(&misc);
    assert_eq!(names(&formats)[0], "misc");
    assert_eq!(names(&formats)[1..], kernel);
    assert!(formats.unregister("misc"));
    formats.register(&misc);
    assert_eq!(names(&formats).last().unwrap(), "misc");
    assert!(!formats.unregister("nobody"));
}
