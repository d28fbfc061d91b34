//! The kernel as the oracle of process creation: random calls, decided and made.
//!
//! Each batch has a fresh process in the state of one kind of caller; it makes the children, looks
//! at them and ends them. Errno, sharing, namespaces, identity and exit signal are compared.
//!
//! Left out, because the caller would not survive: children whose end sends SIGKILL or SIGSTOP.

#[path = "clone/cases.rs"]
mod cases;
#[path = "clone/helper.rs"]
mod helper;
#[path = "clone/kernel.rs"]
mod kernel;

use std::collections::BTreeMap;

use cases::{Caller, Case, Rng};
use helper::{CAN_LOOK, DONE, SETUP_FAILED, See, WORDS};
use uexec_core::clone::{CloneFlags as F, ClonePlan, Gets, Item, Parent, decide};

/// Cases a process makes before a fresh one takes over.
const BATCH: usize = 100;
/// How many batches of which caller: 5,000 cases.
const BATCHES: [(Caller, usize); 8] = [
    (Caller::Plain, 24),
    (Caller::User, 9),
    (Caller::Init, 5),
    (Caller::Unshared, 5),
    (Caller::UserFull, 2),
    (Caller::NoFd, 2),
    (Caller::Chrooted, 2),
    (Caller::Deadline, 1),
];

#[test]
fn decides_as_the_kernel_does() {
    if kernel::sys(435, [0; 6]) == -38 || kernel::sys(libc::SYS_kcmp, [0; 6]) == -38 {
        eprintln!("skipped: this kernel has no clone3(2) or no kcmp(2)");
        return;
    }
    if kernel::sys(libc::SYS_geteuid, [0; 6]) != 0 {
        eprintln!("skipped: needs root, for namespaces and chosen pids");
        return;
    }
    let world = cases::Host::ask();
    let seed = std::env::var("UEXEC_CLONE_SEED").ok().and_then(|s| s.parse().ok());
    let mut rng = Rng::new(seed.unwrap_or(0x5eed_c10e));
    let mut wrong = Vec::new();
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    for (caller, count) in BATCHES {
        for _ in 0..count {
            batch(caller, &world, &mut rng, &mut wrong, &mut tally);
        }
    }
    eprintln!("outcomes: {tally:?}");
    assert!(
        wrong.is_empty(),
        "{} disagreements, e.g.\n{}",
        wrong.len(),
        wrong[..wrong.len().min(12)].join("\n")
    );
}

fn batch(
    caller: Caller,
    world: &cases::Host,
    rng: &mut Rng,
    wrong: &mut Vec<String>,
    tally: &mut BTreeMap<String, usize>,
) {
    let cells = kernel::shared(WORDS * BATCH + 4096);
    let (seen, slots) = cells.split_at(WORDS * BATCH);
    let cases: Vec<Case> = (0..BATCH).map(|_| Case::draw(rng, caller, world, slots)).collect();
    let pid = kernel::fork(|| helper::run(caller, &cases, seen, slots));
    let status = kernel::reap(pid);
    for (case, words) in cases.iter().zip(seen.chunks_exact(WORDS)) {
        let see = See::read(words);
        if see.0[DONE] == SETUP_FAILED {
            *tally.entry(format!("skipped: {caller:?} cannot be set up")).or_default() += 1;
            continue;
        }
        let decided = decide(&case.args, case.size, &case.facts(world, see.0[helper::OWN_PID]));
        let expected = decided.as_ref().map_or_else(|e| -i64::from(e.errno().0), |_| 0);
        let got = see.0[helper::RET].min(0);
        let name = decided
            .as_ref()
            .map_or_else(|e| format!("{} {}", e.errno().name(), e.spec()), |_| "ok".into());
        *tally.entry(name.clone()).or_default() += 1;
        if got > 0 || see.0[DONE] == 0 {
            wrong.push(format!("{caller:?} {case:?}: the helper ended, status {status:#x}"));
        } else if got != expected {
            // Another process may have taken the number in between.
            if !(got == -17 && expected == 0 && case.args.set_tid_size > 0) {
                wrong.push(format!("{caller:?} {case:?}: the kernel says {got}, decided {name}"));
            }
        } else if let Ok(plan) = &decided {
            if plan.parent == Parent::CallersParent && see.0[DONE] != 0 {
                kernel::reap(see.0[helper::RET]);
            }
            for difference in differences(plan, &see, case) {
                wrong.push(format!("{caller:?} {case:?}: {difference}"));
            }
        }
    }
}

fn differences(plan: &ClonePlan, see: &See, case: &Case) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, kernel: i64, decided: i64| {
        if kernel != decided {
            found.push(format!("{what}: kernel {kernel}, decided {decided}"));
        }
    };
    if see.0[CAN_LOOK] == 0 {
        return found;
    }
    compare("the caller waited", see.0[helper::WAITED], plan.parent_waits.into());
    let thread = plan.parent == Parent::SameProcess;
    // A thread that has ended leaves nothing to look at.
    if plan.parent_waits && thread {
        return found;
    }
    // Its end makes the caller ignore SIGCHLD, and so it goes by itself, perhaps before the look.
    let init = plan.flags.contains(F::CLONE_NEWPID | F::CLONE_SIGHAND);
    if plan.parent_waits && init && plan.exit_signal == 17 && plan.parent == Parent::Caller {
        return found;
    }
    compare("exit signal", see.0[helper::EXIT_SIGNAL], plan.exit_signal.into());
    let parent = if plan.parent == Parent::Caller { helper::OWN_PID } else { helper::OWN_PPID };
    compare("parent", see.0[helper::PPID], see.0[parent]);
    let tgid = if thread { see.0[helper::OWN_PID] } else { see.0[helper::RET] };
    compare("tgid", see.0[helper::TGID], tgid);
    if plan.flags.contains(F::CLONE_PARENT_SETTID) && case.args.parent_tid > 8 {
        compare("parent_tid", see.0[helper::PARENT_TID], see.0[helper::RET]);
    }
    // A child that has ended shares nothing any more.
    if plan.parent_waits {
        return found;
    }
    let shared = |item| plan.item(item).is_some_and(|row| row.gets == Gets::Shared);
    for (i, item) in helper::KCMP.into_iter().enumerate() {
        compare(item.as_str(), see.0[helper::SAME + i], shared(item).into());
    }
    for (i, (item, _)) in helper::NAMESPACES.into_iter().enumerate() {
        compare(item.as_str(), see.0[helper::SAME_NS + i], shared(item).into());
    }
    let cleared = plan.item(Item::SignalActions).is_some_and(|row| row.gets == Gets::Cleared);
    compare("handlers kept", see.0[helper::HANDLERS], (!cleared).into());
    if plan.flags.contains(F::CLONE_CHILD_SETTID) && case.args.child_tid > 8 {
        compare("child_tid stored", (see.0[helper::CHILD_TID] != 0).into(), 1);
    }
    found
}
