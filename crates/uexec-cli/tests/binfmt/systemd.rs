//! The folders of `binfmt.d(5)` as `systemd-binfmt` itself reads them: what it registers with a
//! `binfmt_misc` of its own is what uexec finds in the same folders, in the same order.

use std::path::Path;
use std::process::Command;

use crate::common::ask::{End, finish};
use crate::common::place::{Place, uexec};
use crate::common::{kernel_since, skip};

const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd-binfmt", "/lib/systemd/systemd-binfmt"];

/// Lists the rules before and after the program has registered them; the folders are filled from the
/// working directory. Arguments: uexec, systemd-binfmt.
const SCRIPT: &str = r#"
for d in /etc /run /usr/local/lib /usr/lib/binfmt.d; do mount -t tmpfs none $d || exit 99; done
[ ! -d /usr/share/binfmts ] || mount -t tmpfs none /usr/share/binfmts || exit 99
mkdir /etc/binfmt.d /run/binfmt.d /usr/local/lib/binfmt.d || exit 99
for d in etc run usr/local/lib usr/lib; do
    [ ! -d $d ] || cp -a $d/. /$d/binfmt.d/ || exit 99
done
"$1" binfmt list --json > before || exit 98
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 99
"$2" 2> said
"$1" binfmt list --json > after || exit 98
"#;

/// Every rule, first asked first, and where it is from.
fn rules(p: &Place, file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(p.join(file)).unwrap();
    let told = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let string = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    told.map(|v| (string(&v["rule"]), string(&v["from"]))).collect()
}

#[test]
fn folders_are_read_as_by_systemd_binfmt() {
    let what = "binfmt.d by systemd-binfmt";
    let Some(systemd) = SYSTEMD.into_iter().find(|p| Path::new(p).exists()) else {
        return skip(what, "systemd-binfmt is not installed");
    };
    if !kernel_since(6, 7) || !Path::new("/usr/lib/binfmt.d").is_dir() {
        return skip(what, "no binfmt_misc of one's own, or no /usr/lib/binfmt.d");
    }
    let p = Place::new();
    let file = |path: &str, text: &[u8]| {
        let folder = Path::new(path).parent().unwrap();
        std::fs::create_dir_all(p.join(&folder.display().to_string())).unwrap();
        p.file(path, text, 0o644);
    };
    file(
        "usr/lib/20-b.conf",
        b":b:E::b::/old:\n:twice:E::t1::/i:\n:z:M:1:\\x00A:\\xff\\x0f:/i:PO\n",
    );
    file("usr/lib/masked.conf", b":masked:E::m::/i:\n");
    file("usr/lib/hidden.conf", b":hidden:E::h::/old:\n");
    file("usr/lib/no-rules", b":other:E::o::/i:\n");
    file("etc/hidden.conf", b":hidden:E::h::/new:\n");
    std::os::unix::fs::symlink("/dev/null", p.join("etc/masked.conf")).unwrap();
    // The same name again: the later one counts, and if that is wrong, none.
    file("run/10-a.conf", b":a:E::a::/i:\n:twice:E::t0::/i:\n:gone:E::g::/i:\n");
    file("usr/local/lib/30-c.conf", b":twice:E::t2::/i:C\n:gone:X::g::/i:\n:c:E::c::/i:");
    // Lines of every kind.
    let odd = b"# :n1:E::x::/i:\n;:n2:E::x::/i:\n\n \t:o1:E::o1::/i: \t\r\n:o2:E::o2::/i:\r:o3:E::o3::/i:\0\
        :o4:E::o4::/i:\n\xef\xbb\xbf:bom:E::x::/i:\n:\xc3\xa9:E::x\xff::/i j:P\n:o5:E::x::/i:\\\n\
        :o6:E::x::/i\n,o7,M,,a:b,,/i,\n:a/b:E::x::/i:\n:o8:E::a.b::/i:\n:o9:E::x::/i:\x0c\n:register:E::x::/i:";
    file("etc/40-odd.conf", odd);
    let long =
        [b":long:E::l::/".to_vec(), b"i".repeat(1920), b":\n:last:E::l::/i:".to_vec()].concat();
    file("etc/50-long.conf", &long);
    let many: String = (0..300).map(|i| format!(":m{i}:E::m{i}::/i:\n")).collect();
    file("usr/lib/60-many.conf", many.as_bytes());

    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", SCRIPT, "sh"]).arg(uexec()).arg(systemd);
    let seen = finish(command.current_dir(&p.path));
    if matches!(seen.end, End::Exit(99) | End::Errno(_)) || seen.stderr.starts_with("unshare:") {
        return skip(what, seen.stderr.lines().next().unwrap_or("no unshare(1)"));
    }
    assert_eq!(seen.end, End::Exit(0), "{}", seen.stderr);
    let (before, after) = (rules(&p, "before"), rules(&p, "after"));
    let texts = |rules: &[(String, String)]| rules.iter().map(|r| r.0.clone()).collect::<Vec<_>>();
    let said = String::from_utf8_lossy(&std::fs::read(p.join("said")).unwrap()).into_owned();
    assert_eq!(texts(&before), texts(&after), "{said}");
    assert!(after.iter().all(|(_, from)| from == "the kernel"), "{after:?}");
    assert!(before.len() > 310, "{before:?}");
}
