//! What programs see is the same inside and outside.

use crate::common::place::Place;
use crate::common::root;
use crate::{command, compile, output, possible, same_loader, unprivileged};

/// Programs that tell what they were given.
const PROBES: [&str; 14] = [
    "cat /proc/self/cmdline /proc/self/environ /proc/self/comm | tr '\\0' '\\n'",
    "readlink /proc/self/exe; sh -c 'readlink /proc/$$/exe'",
    "cat /proc/self/limits /proc/self/cgroup /proc/self/personality /proc/self/oom_score_adj",
    "grep -E '^(Name|Umask|State|Tgid|TracerPid|Uid|Gid|FDSize|Threads|Sig[PBIC]|Shd|NoNewPrivs|Seccomp:)' \
     /proc/self/status | grep -v Tgid",
    "id -u; id -g; id -ru; umask; pwd",
    "ls /proc/self/fd; ls -d /proc/self/cwd/. /proc/self/root/",
    "ls -ln /proc/self/exe | cut -d' ' -f1-4",
    "sh -c 'echo $0 \"$@\"' '' a '' 'b  c'",
    "wc -c < /proc/self/auxv",
    "trap '' USR1; trap 'echo x' TERM; grep ^Sig /proc/self/status | grep -v SigQ",
    "exec 5</dev/null; grep -E 'pos|flags' /proc/self/fdinfo/5; ls /proc/self/fd",
    "ulimit -s 1024; ulimit -a; cat /proc/self/limits",
    "nice -n 3 cut -d' ' -f19 /proc/self/stat",
    "env -i /bin/sh -c env",
];

#[test]
fn what_programs_are_given() {
    if !possible("what programs are given") {
        return;
    }
    for options in served() {
        for probe in PROBES {
            // Without privilege, this is the loader whom a tracer has put in place.
            if crate::VIA != "binfmt" && !options.is_empty() && probe.contains("/exe") {
                continue;
            }
            // A traced process, and one that has a filter, can tell.
            let probe = match crate::VIA {
                "binfmt" => probe.to_owned(),
                "notify" => probe.replace("NoNewPrivs|Seccomp:", "_"),
                _ => probe.replace("TracerPid|", "").replace("NoNewPrivs|Seccomp:", "_"),
            };
            let words: Vec<&str> = ["/bin/sh", "-c", &probe].into();
            let inside: Vec<&str> = options.iter().chain(&words).copied().collect();
            let [ours, kernels] = [(true, inside), (false, words)]
                .map(|(tree, words)| output(unprivileged(&mut command(tree, words)).env("A", "1")));
            assert_eq!(ours, kernels, "{probe} {options:?}");
        }
    }
}

/// Options with which a tree serves everybody.
pub(crate) fn served() -> Vec<Vec<&'static str>> {
    let pair = (crate::VIA != "binfmt").then(same_loader).flatten();
    let more = pair.map(|pair| vec!["--interp", pair.leak()]);
    [Some(vec![]), more].into_iter().flatten().collect()
}

#[test]
fn where_everything_lies() {
    if !possible("where everything lies") {
        return;
    }
    let place = Place::new();
    const SHOW: &str = r#"
        #include <stdio.h>
        int main(void) {
            char line[4096];
            FILE *maps = fopen("/proc/self/maps", "r");
            while (fgets(line, sizeof line, maps)) fputs(line, stdout);
        }"#;
    let fixed = compile(&place, "fixed", SHOW, &["-static"]);
    let moved = compile(&place, "moved", SHOW, &["-static-pie"]);
    let linked = compile(&place, "linked", SHOW, &[]);
    for program in [&fixed, &moved, &linked] {
        let program = program.to_str().unwrap();
        // Both started by a program of the tree, and without random addresses.
        let line = format!("exec {program}");
        let ours = served().into_iter().map(|options| {
            let words = options.into_iter().chain(["--no-aslr", "/bin/sh", "-c", &line]);
            output(&mut command(true, words))
        });
        let ours: Vec<_> = ours.collect();
        let mut kernels = command(false, ["/bin/sh", "-c", &line]);
        let no_random = || {
            // SAFETY: changes where programs of this process are laid out, nothing else.
            match unsafe { libc::personality(0x004_0000) } {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // SAFETY: the closure makes one system call.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut kernels, no_random) };
        let kernels = output(&mut kernels);
        assert!(ours.iter().all(|ours| *ours == kernels), "{program}: {ours:?} {kernels}");
    }
}

#[test]
fn who_one_is() {
    if !possible("who one is") {
        return;
    }
    // Root keeps all ids: he can become anybody, and give files away.
    if root() {
        let place = Place::new();
        place.file("file", "", 0o644);
        let line = "chown 12:34 file && stat -c %u:%g file";
        let said = output(command(true, ["sh", "-c", line]).current_dir(&place.path));
        assert_eq!(said, "12:34\n");
    }
    let line = "id -u; id -g; head -c 20 /proc/self/uid_map";
    let said = output(unprivileged(&mut command(true, ["sh", "-c", line])));
    let own = output(unprivileged(&mut command(false, ["sh", "-c", "id -u; id -g"])));
    assert!(said.starts_with(&own), "{said}");
}
