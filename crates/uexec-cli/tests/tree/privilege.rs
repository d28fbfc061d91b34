//! No privilege is gained inside: tests that try.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::place::Place;
use crate::common::{root, skip};
use crate::{NOBODY, command, compile, output, possible, run, same_loader, unprivileged};

const WHO: &str = r#"
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void) {
    printf("%d %d secure %lu dumpable %d\n", geteuid(), getegid(), getauxval(AT_SECURE),
           prctl(PR_GET_DUMPABLE));
}
"#;

#[test]
fn set_user_id_files_give_nothing() {
    if !possible("set-user-ID files") {
        return;
    }
    if !root() {
        return skip("set-user-ID files", "only root can make one");
    }
    let place = Place::new();
    let who = compile(&place, "who", WHO, &[]);
    fs::set_permissions(&who, fs::Permissions::from_mode(0o6755)).unwrap();
    let outside = output(unprivileged(&mut command(false, [&who])));
    if !outside.starts_with("0 0 ") {
        return skip("set-user-ID files", "the temporary directory is mounted nosuid");
    }
    let expected = format!("{NOBODY} {NOBODY} secure 0 dumpable 1\n");
    assert_eq!(output(unprivileged(&mut command(true, [&who]))), expected);
    let line = format!("{}; sh -c {0}", who.display());
    let said = output(unprivileged(&mut command(true, ["sh", "-c", &line])));
    assert_eq!(said, expected.repeat(2));
    // In a tree of root's nobody else gains anything by the loader, and none is refused.
    let pair = same_loader();
    let drop =
        format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {}", who.display());
    let [ours, kernels] = [true, false].map(|tree| {
        let served = pair.iter().filter(|_| tree).flat_map(|pair| ["--interp", pair]);
        run(&mut command(tree, served.chain(["sh", "-c", &drop])))
    });
    assert_eq!(ours.stdout, kernels.stdout, "{ours:?}");
}

#[test]
fn a_tree_of_roots_grants_what_the_kernel_grants() {
    if !possible("root's set-user-ID files") {
        return;
    }
    if !root() {
        return skip("root's set-user-ID files", "only root can make one");
    }
    let place = Place::new();
    let who = compile(&place, "who", WHO, &[]);
    // Of somebody who is nobody: the kernel applies it, and says that the program is secure.
    std::os::unix::fs::chown(&who, Some(12), Some(34)).unwrap();
    fs::set_permissions(&who, fs::Permissions::from_mode(0o6755)).unwrap();
    let [ours, kernels] = [true, false].map(|tree| output(&mut command(tree, [&who])));
    assert_eq!(ours, kernels);
}

#[test]
fn what_is_forbidden_outside_is_forbidden_inside() {
    if !possible("forbidden things") {
        return;
    }
    let place = Place::new();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o755)).unwrap();
    let secret = place.file("secret", "secret", 0o600);
    let mut lines = vec![
        "echo 1 > /proc/sys/kernel/randomize_va_space".to_owned(),
        "echo 1 > /proc/sys/vm/overcommit_memory".to_owned(),
        "echo 0 > /proc/1/oom_score_adj".to_owned(),
        "kill -0 1".to_owned(),
        "umount /proc/sys/fs/binfmt_misc".to_owned(),
        "mount -t tmpfs none /mnt".to_owned(),
        "chown 0 .".to_owned(),
        "echo '0 0 1' > /proc/self/uid_map".to_owned(),
        "echo '0 0 1' > /proc/self/gid_map".to_owned(),
        "echo allow > /proc/self/setgroups".to_owned(),
        "mknod device b 8 0".to_owned(),
        "chroot / true".to_owned(),
        "nice -n -5 true 2>&1 | grep -v denied".to_owned(),
    ];
    if root() {
        lines.push(format!("cat {}", secret.display()));
        lines.push(format!("chmod 777 {}", secret.display()));
    }
    for line in lines {
        let mut command = command(true, ["/bin/sh", "-c", &line]);
        let tried = run(unprivileged(&mut command));
        assert!(!tried.status.success(), "{line}: {tried:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_run_and_not_dumpable() {
    if !possible("execute-only files") {
        return;
    }
    if !root() {
        return skip("execute-only files", "only root can make one for others");
    }
    let place = Place::new();
    let who = compile(&place, "who", WHO, &[]);
    fs::set_permissions(&who, fs::Permissions::from_mode(0o711)).unwrap();
    let [ours, kernels] =
        [true, false].map(|tree| output(unprivileged(&mut command(tree, [&who]))));
    assert_eq!(ours, kernels);
}
