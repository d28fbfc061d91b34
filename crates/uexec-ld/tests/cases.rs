//! Small programs built for one rule each, asked of the machine's own loader and of this crate.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use support::{Dir, asked, compiler, texts};
use uexec_ld::{Disk, How, Ld, LinkMap, Settings};

/// Runs the compiler in the directory: `args` and a source of one line.
fn cc(dir: &Dir, source: &str, args: &str) {
    std::fs::write(dir.path("x.c"), source).unwrap();
    let mut command = Command::new("cc");
    command.current_dir(&dir.0).args(["x.c", "-Wl,--no-as-needed", "-Wl,-rpath-link,."]);
    let out = command.args(args.split_whitespace()).output().unwrap();
    assert!(out.status.success(), "cc {args}: {}", String::from_utf8_lossy(&out.stderr));
}

fn library(dir: &Dir, at: &str, args: &str) {
    if let Some(parent) = dir.path(at).parent() {
        std::fs::create_dir_all(parent).unwrap();
    }
    let name: String = at.chars().filter(char::is_ascii_alphanumeric).collect();
    cc(
        dir,
        &format!("int f_{name}(void) {{ return 0; }}"),
        &format!("-shared -fPIC -o {at} {args}"),
    );
}

const MAIN: &str = "int main(void) { return 0; }";

fn settings(library_path: Option<&str>, preload: Option<&str>) -> Settings {
    Settings {
        library_path: library_path.map(Into::into),
        preload: preload.map(Into::into),
        ..Settings::default()
    }
}

fn resolve(program: &Path, settings: &Settings) -> LinkMap {
    Ld::new(Disk::host()).resolve(program.as_os_str().as_bytes(), settings).unwrap()
}

/// Both say the same; returns what this crate says.
fn same(program: &Path, library_path: Option<&str>, preload: Option<&str>) -> LinkMap {
    let map = resolve(program, &settings(library_path, preload));
    let mut env: Vec<(&str, &OsStr)> = Vec::new();
    env.extend(library_path.map(|p| ("LD_LIBRARY_PATH", OsStr::new(p))));
    env.extend(preload.map(|p| ("LD_PRELOAD", OsStr::new(p))));
    let (theirs, errors) = asked(program, &env);
    assert_eq!(texts(map.trace()), theirs, "{errors}");
    map
}

fn how(map: &LinkMap, name: &str) -> How {
    map.objects.iter().find(|o| o.name == name.as_bytes()).unwrap().how
}

/// Whether there is a compiler and a loader to compare with.
fn can() -> bool {
    if support::glibc_loader().is_none() {
        eprintln!("SKIPPED: no glibc loader here");
        return false;
    }
    compiler("cc")
}

#[test]
fn rpath_then_ld_library_path_then_runpath() {
    if !can() {
        return;
    }
    let dir = Dir::new("order");
    for sub in ["a", "b"] {
        library(&dir, &format!("{sub}/libx.so"), "");
    }
    let b = dir.path("b");
    let b = b.to_str().unwrap();
    cc(&dir, MAIN, "-o rpath -La -lx -Wl,--disable-new-dtags,-rpath,$ORIGIN/a");
    cc(&dir, MAIN, "-o runpath -La -lx -Wl,--enable-new-dtags,-rpath,${ORIGIN}/a");
    assert_eq!(how(&same(&dir.path("rpath"), Some(b), None), "libx.so"), How::Rpath);
    assert_eq!(how(&same(&dir.path("runpath"), Some(b), None), "libx.so"), How::LdLibraryPath);
    assert_eq!(how(&same(&dir.path("runpath"), None, None), "libx.so"), How::Runpath);
    // Dollars, empty elements, slashes and what is not there.
    same(&dir.path("runpath"), Some(&format!("/nowhere:;{b}///:$LIB:$x")), None);
    same(&dir.path("runpath"), Some(""), None);

    // The exec changes privileges: the environment is not asked.
    let secure = Settings { secure: true, ..settings(Some(b), Some("libm.so.6")) };
    let map = resolve(&dir.path("runpath"), &secure);
    assert_eq!(texts(map.trace())[1], "libx.so => not found");
}

#[test]
fn rpath_reaches_down_and_runpath_does_not() {
    if !can() {
        return;
    }
    let dir = Dir::new("reach");
    library(&dir, "sub/libdeep.so", "");
    library(&dir, "libtop.so", "-Lsub -ldeep");
    library(&dir, "libown.so", "-Lsub -ldeep -Wl,--enable-new-dtags,-rpath,$ORIGIN/none");
    let link = "-L. -Wl,-rpath-link,sub";
    let path = "-rpath,$ORIGIN:$ORIGIN/sub";
    cc(&dir, MAIN, &format!("-o rpath {link} -ltop -Wl,--disable-new-dtags,{path}"));
    cc(&dir, MAIN, &format!("-o runpath {link} -ltop -Wl,--enable-new-dtags,{path}"));
    cc(&dir, MAIN, &format!("-o own {link} -lown -Wl,--disable-new-dtags,{path}"));
    assert!(same(&dir.path("rpath"), None, None).starts());
    for name in ["runpath", "own"] {
        let map = same(&dir.path(name), None, None);
        let missing = &map.missing[0];
        assert_eq!(missing.name, b"libdeep.so");
        assert!(missing.needed_by.starts_with(dir.0.as_os_str().as_bytes()));
        assert!(!map.starts());
    }
    let map = same(&dir.path("own"), None, None);
    let hows: Vec<How> = map.missing[0].searched.iter().map(|s| s.0).collect();
    assert_eq!(hows[..2], [How::Runpath, How::Cache]);
}

#[test]
fn missing_libraries_and_versions() {
    if !can() {
        return;
    }
    let dir = Dir::new("missing");
    std::fs::write(dir.path("v"), "V_1 { *; };").unwrap();
    library(&dir, "libgone.so", "");
    cc(&dir, "int v(void) { return 1; }", "-shared -fPIC -o libv.so -Wl,--version-script,v");
    library(&dir, "libuser.so", "-L. -lgone");
    let main = "int v(void); int main(void) { return v(); }";
    cc(&dir, main, "-o p -L. -lgone -luser -lv -Wl,-rpath,$ORIGIN");
    assert!(same(&dir.path("p"), None, None).starts());

    std::fs::write(dir.path("v"), "V_2 { *; };").unwrap();
    cc(&dir, "int v(void) { return 1; }", "-shared -fPIC -o libv.so -Wl,--version-script,v");
    let map = resolve(&dir.path("p"), &Settings::default());
    let out = Command::new(dir.path("p")).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains(&map.failure().unwrap()), "{said} {:?}", map.failure());
    assert_eq!(map.missing_versions[0].needs, b"V_1");

    std::fs::remove_file(dir.path("libgone.so")).unwrap();
    let map = same(&dir.path("p"), None, None);
    assert_eq!(map.missing.len(), 2, "asked for twice, said twice");
}

#[test]
fn one_file_is_one_object() {
    if !can() {
        return;
    }
    let dir = Dir::new("same");
    library(&dir, "libx.so.1", "-Wl,-soname,libx.so.1");
    library(&dir, "liby.so", "");
    std::os::unix::fs::symlink("liby.so", dir.path("libz.so")).unwrap();
    std::os::unix::fs::symlink("libx.so.1", dir.path("libx.so")).unwrap();
    library(&dir, "libuser.so", "-L. -lx -l:libz.so -Wl,-rpath,$ORIGIN");
    cc(&dir, MAIN, "-o p -L. -lx -ly -luser -Wl,-rpath,$ORIGIN");
    let map = same(&dir.path("p"), None, None);
    assert_eq!(map.objects.iter().filter(|o| o.path.ends_with(b"/liby.so")).count(), 1);
    // By a path with a slash, through a link, and then by name.
    let link = dir.path("libx.so");
    same(&dir.path("p"), None, link.to_str());
    same(&dir.path("p"), None, Some("libm.so.6:libnowhere.so libuser.so"));
}

#[test]
fn files_that_are_no_libraries() {
    if !can() {
        return;
    }
    let dir = Dir::new("wrong");
    library(&dir, "good/libx.so", "");
    cc(&dir, MAIN, "-o p -Lgood -lx -Wl,-rpath,$ORIGIN/bad:$ORIGIN/good");
    std::fs::create_dir(dir.path("bad")).unwrap();
    let bad = dir.path("bad/libx.so");
    // Another machine's, another class: passed over.
    let mut bytes = std::fs::read(dir.path("good/libx.so")).unwrap();
    bytes[18] = 8;
    std::fs::write(&bad, &bytes).unwrap();
    assert!(same(&dir.path("p"), None, None).starts());
    bytes[4] = 1;
    std::fs::write(&bad, &bytes).unwrap();
    // A text, a directory, a program, an empty file: the end.
    for content in ["", "INPUT(libx.so)", &"x".repeat(100)] {
        std::fs::write(&bad, content).unwrap();
        broken(&dir.path("p"));
    }
    std::fs::copy(dir.path("p"), &bad).unwrap();
    broken(&dir.path("p"));
    std::fs::remove_file(&bad).unwrap();
    std::fs::create_dir(&bad).unwrap();
    broken(&dir.path("p"));
}

fn broken(program: &Path) {
    let map = resolve(program, &Settings::default());
    let out = Command::new(program).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(127), "{said}");
    let flaw = map.broken.first().expect("something broken");
    if flaw.flaw != uexec_ld::Flaw::Program {
        assert!(said.contains(&flaw.flaw.to_string()), "{said} {flaw:?}");
    }
}

#[test]
fn filters_come_before_what_they_filter() {
    if !can() {
        return;
    }
    let dir = Dir::new("filter");
    library(&dir, "libdeep.so", "");
    library(&dir, "libflt.so", "-L. -ldeep");
    library(&dir, "liba.so", "");
    library(&dir, "libpre.so", "");
    library(&dir, "libaux.so", "-L. -la -Wl,-f,libflt.so");
    library(&dir, "libfil.so", "-L. -la -Wl,-F,libflt.so");
    for (name, libs) in [("p", "-laux -lpre"), ("q", "-lpre -lfil"), ("r", "-lfil -laux -lflt")] {
        cc(&dir, MAIN, &format!("-o {name} -L. {libs}"));
        let here = dir.0.to_str();
        assert!(same(&dir.path(name), here, None).starts());
        let flt = dir.path("libflt.so");
        std::fs::rename(&flt, dir.path("away")).unwrap();
        assert_eq!(same(&dir.path(name), here, None).starts(), name == "p");
        std::fs::rename(dir.path("away"), flt).unwrap();
    }
}

#[test]
fn better_processors_have_their_own_directories() {
    if !can() {
        return;
    }
    let dir = Dir::new("hwcaps");
    library(&dir, "libx.so", "");
    cc(&dir, MAIN, "-o p -L. -lx");
    let here = dir.0.to_str();
    for sub in ["x86_64", "tls/x86_64", "glibc-hwcaps/x86-64-v2", "glibc-hwcaps/x86-64-v3"] {
        library(&dir, &format!("{sub}/libx.so"), "");
        same(&dir.path("p"), here, None);
    }
}

#[test]
fn static_programs_load_nothing() {
    if !compiler("cc") {
        return;
    }
    let dir = Dir::new("static");
    cc(&dir, "void _start(void) { for (;;) {} }", "-o p -static -nostdlib");
    let map = resolve(&dir.path("p"), &Settings::default());
    assert_eq!((map.loader.as_ref(), map.objects.len()), (None, 0));
    assert!(map.starts());
    cc(&dir, MAIN, "-o q -Wl,-dynamic-linker,/nowhere/ld-linux-x86-64.so.2");
    let map = resolve(&dir.path("q"), &Settings::default());
    assert!(map.loader_missing && !map.starts());
}

#[test]
fn musl() {
    if !compiler("musl-gcc") {
        return;
    }
    let dir = Dir::new("musl");
    let build = |source: &str, args: &str| {
        std::fs::write(dir.path("x.c"), source).unwrap();
        let mut command = Command::new("musl-gcc");
        command.current_dir(&dir.0).arg("x.c").args(args.split_whitespace());
        assert!(command.status().unwrap().success());
    };
    std::fs::create_dir(dir.path("sub")).unwrap();
    build("int deep;", "-shared -fPIC -o sub/libdeep.so");
    build("int top;", "-shared -fPIC -o libtop.so -Wl,--no-as-needed -Lsub -ldeep");
    let path = "-Wl,--enable-new-dtags,-rpath,$ORIGIN:$ORIGIN/sub -Wl,-rpath-link,sub";
    build(MAIN, &format!("-o p -L. -Wl,--no-as-needed -ltop {path}"));
    let map = resolve(&dir.path("p"), &Settings::default());
    let loader = String::from_utf8(map.loader.clone().unwrap()).unwrap();
    let out = Command::new(&loader).arg("--list").arg(dir.path("p")).output().unwrap();
    let mut theirs = support::lines(&out.stdout);
    let mut ours = texts(map.trace());
    // It names itself first of all, and then where it is needed.
    theirs.retain(|l| *l != loader);
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
    assert!(map.starts());
    std::fs::remove_file(dir.path("sub/libdeep.so")).unwrap();
    assert_eq!(resolve(&dir.path("p"), &Settings::default()).missing[0].name, b"libdeep.so");
}

#[test]
fn nothing_outside_a_root_is_found() {
    if !can() {
        return;
    }
    let dir = Dir::new("root");
    for sub in ["usr/lib64", "opt/lib", "bin"] {
        std::fs::create_dir_all(dir.path(sub)).unwrap();
    }
    // Both links mean the root that is given, not the one of this machine.
    std::os::unix::fs::symlink("/usr/lib64", dir.path("lib64")).unwrap();
    std::os::unix::fs::symlink("../../../../../opt/lib/liby.so", dir.path("opt/lib/libx.so"))
        .unwrap();
    library(&dir, "opt/lib/liby.so", "-nostdlib -Wl,-soname,libx.so");
    cc(
        &dir,
        MAIN,
        "-o bin/p -Lopt/lib -l:liby.so -Wl,-rpath,/opt/lib -Wl,-dynamic-linker,/lib64/ld-linux.so",
    );
    let loader = support::glibc_loader().unwrap();
    std::fs::copy(loader, dir.path("usr/lib64/ld-linux.so")).unwrap();
    let mut ld = Ld::new(Disk::inside(&dir.0).unwrap());
    let map = ld.resolve(b"/bin/p", &Settings::default()).unwrap();
    assert_eq!(map.program, b"/bin/p");
    assert!(!map.loader_missing);
    assert_eq!(texts(map.trace())[1..], ["libx.so => /opt/lib/libx.so", "libc.so.6 => not found"]);
    assert!(ld.resolve(dir.path("bin/p").as_os_str().as_bytes(), &Settings::default()).is_err());
}
