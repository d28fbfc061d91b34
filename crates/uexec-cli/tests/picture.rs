//! Pictures of execs: what is in them, that hostile names stay text, and how they look and act in
//! a real browser.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("uexec-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: impl AsRef<OsStr>, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name.as_ref());
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn explain(args: &[&OsStr], env: &[(&str, &OsStr)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uexec"));
    command.arg("explain").args(["--seed", "7"]).args(args).env_clear().envs(env.iter().copied());
    command.output().unwrap()
}

fn os(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// One form of the picture, from standard output.
fn picture(form: &str, program: &OsStr, args: &[&OsStr], env: &[(&str, &OsStr)]) -> String {
    // Without this host's rules, the decisions are the same everywhere.
    let begin = [os("--binfmt"), os("none"), os(form), os("-"), program];
    let all: Vec<&OsStr> = begin.into_iter().chain(args.to_vec()).collect();
    let output = explain(&all, env);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const ENV: [(&str, &str); 3] = [("HOME", "/root"), ("API_TOKEN", "swordfish"), ("LANG", "C")];

fn some_env() -> Vec<(&'static str, &'static OsStr)> {
    ENV.iter().map(|(k, v)| (*k, OsStr::new(*v))).collect()
}

fn ids(svg: &str) -> HashSet<String> {
    let xml = roxmltree::Document::parse(svg).expect("well-formed");
    let all: Vec<String> =
        xml.descendants().filter_map(|n| n.attribute("id")).map(str::to_owned).collect();
    let set: HashSet<String> = all.iter().cloned().collect();
    assert_eq!(all.len(), set.len(), "every id is there once");
    set
}

/// Least room that a text takes, by the class of its typeface.
fn least_width(node: &roxmltree::Node<'_, '_>) -> f64 {
    let class = node.attribute("class").unwrap_or_default();
    let size = match class.split(' ').next() {
        Some("t1") => 26.0,
        Some("t2") => 17.0,
        Some("t4") => 16.0,
        Some("m3") => 14.0,
        Some("t3") => 13.0,
        Some("m1") => 12.0,
        _ => 11.0,
    };
    size * 0.5 * node.text().unwrap_or_default().chars().count() as f64
}

fn all_inside(svg: &str) {
    let xml = roxmltree::Document::parse(svg).expect("well-formed");
    let root = xml.root_element();
    let number = |n: &roxmltree::Node<'_, '_>, a: &str| -> f64 {
        n.attribute(a).and_then(|v| v.parse().ok()).unwrap_or(f64::NAN)
    };
    let height = number(&root, "height");
    assert!(number(&root, "width") <= 1200.0);
    for text in xml.descendants().filter(|n| n.has_tag_name("text")) {
        let (x, y, w) = (number(&text, "x"), number(&text, "y"), least_width(&text));
        let class = text.attribute("class").unwrap_or_default();
        let (from, to) = match (class.contains("end"), class.contains("mid")) {
            (true, _) => (x - w, x),
            (_, true) => (x - w / 2.0, x + w / 2.0),
            _ => (x, x + w),
        };
        let ok = from >= 0.0 && to <= 1200.0 && y > 0.0 && y < height;
        assert!(ok, "outside: {:?} at {x} {y}", text.text());
    }
}

#[test]
fn every_mapping_segment_and_word_has_a_shape() {
    let folder = Folder::new("shapes");
    let svg = folder.0.join("a.svg");
    let args = [os("--json"), os("--svg"), svg.as_os_str(), os("/bin/sh"), os("-c"), os("x")];
    let output = explain(&args, &some_env());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let svg = std::fs::read_to_string(svg).unwrap();
    let ids = ids(&svg);
    all_inside(&svg);
    let has = |id: String| assert!(ids.contains(&id), "no {id}");
    for i in 0..json["maps"].as_array().unwrap().len() {
        has(format!("map-{i}"));
    }
    for i in 0..json["image"]["segments"].as_array().unwrap().len() {
        has(format!("seg-p-{i}"));
    }
    for a in json["auxv"].as_array().unwrap() {
        has(format!("auxv-{}", a["type"]));
    }
    for i in 0..json["story"].as_array().unwrap().len() {
        has(format!("story-{i}"));
    }
    for id in ["argc", "argv-0", "argv-2", "argv-end", "envp-2", "arg-2", "env-2", "execfn"] {
        has(id.into());
    }
    for id in ["random", "platform", "hole", "aslr-pie", "aslr-stack", "aslr-mmap", "aslr-brk"] {
        has(id.into());
    }
    for m in json["maps"].as_array().unwrap() {
        let start = m["start"].as_str().unwrap().trim_start_matches("0x");
        assert!(svg.contains(start), "{start} is not named");
    }
}

#[test]
fn ranges_are_as_wide_as_the_kernel_draws() {
    let svg = picture("--svg", os("/bin/sh"), &[], &[]);
    let setting = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").unwrap();
    if setting.trim() != "2" {
        return;
    }
    let bits = std::fs::read_to_string("/proc/sys/vm/mmap_rnd_bits").unwrap_or("28".into());
    assert!(svg.contains(">22 bits, 16 G<"), "the stack: STK-4");
    assert!(svg.contains(">18 bits, 1 G<"), "the break: ELF-61");
    assert_eq!(svg.matches(&format!(">{} bits, ", bits.trim())).count(), 2, "STK-32, STK-33");
    let fixed = explain(&[os("--svg"), os("-"), os("/bin/sh")], &[]);
    assert_eq!(String::from_utf8(fixed.stdout).unwrap(), svg, "the same seed, the same picture");
}

#[test]
fn secrets_are_left_out_and_long_lists_folded() {
    let svg = picture("--svg", os("/bin/sh"), &[], &some_env());
    assert!(svg.contains("API_TOKEN=•••") && !svg.contains("swordfish"));
    let html = picture("--html", os("/bin/sh"), &[], &some_env());
    assert!(html.contains("API_TOKEN=•••") && !html.contains("swordfish"));
    let names: Vec<String> = (0..200).map(|i| format!("V{i:03}")).collect();
    let env: Vec<(&str, &OsStr)> = names.iter().map(|n| (n.as_str(), os("x"))).collect();
    let svg = picture("--svg", os("/bin/sh"), &[], &env);
    all_inside(&svg);
    assert_eq!(svg.matches("… 194 more").count(), 2);
    assert!(ids(&svg).contains("env-199") && !ids(&svg).contains("env-100"));
    assert!(picture("--html", os("/bin/sh"), &[], &env).contains("data-id=\"env-100\""));
}

/// A name with everything that could break out of the text it belongs to.
fn hostile() -> OsString {
    let mut name = "</script><script>alert(1)<!-- ]]> \"'& \u{202e}\u{ffff}".as_bytes().to_vec();
    name.extend_from_slice(b"\x01\x1b[31m\n\xff\xc3");
    OsString::from_vec(name.iter().copied().filter(|b| *b != b'/').collect())
}

#[test]
fn hostile_names_stay_text() {
    let folder = Folder::new("hostile");
    let name = hostile();
    let program = folder.file(&name, &std::fs::read("/bin/true").unwrap());
    let script = [b"#!".as_slice(), name.as_bytes().get(..9).unwrap(), b"\x02\xfe\n"].concat();
    let broken = folder.file("s", &script);
    let text = [name.as_bytes(), b"/</script>"].concat();
    let text = OsStr::from_bytes(&text);
    for program in [program.as_path(), broken.as_path(), Path::new("/no<such>\u{1}")] {
        let env = [("A", text)];
        let svg = picture("--svg", program.as_os_str(), &[text], &env);
        all_inside(&svg);
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}'));
        let html = picture("--html", program.as_os_str(), &[text], &env);
        assert_eq!(html.matches("<script").count(), 2, "those of the page");
        assert_eq!(html.matches("</script").count(), 2);
        assert!(!html.contains("<!--") && !html.contains('\x1b'));
    }
}

#[test]
fn nothing_is_loaded() {
    let html = picture("--html", os("/bin/sh"), &[], &[]);
    for word in ["http://", "https://", " src=", " href=", "@import", "fetch(", "XMLHttp"] {
        assert!(!html.contains(word), "{word}");
    }
    assert!(html.contains("default-src 'none'"));
    let svg = picture("--svg", os("/bin/sh"), &[], &[]);
    assert_eq!(svg.matches("http").count(), 1, "the name space");
}

#[test]
fn a_failing_exec_shows_the_bytes_at_fault() {
    let folder = Folder::new("failing");
    let mut bytes = std::fs::read("/bin/true").unwrap();
    bytes[18] = 183;
    let program = folder.file("foreign", &bytes);
    let output = explain(&[os("--svg"), os("-"), program.as_os_str()], &[]);
    assert_eq!(output.status.code(), Some(1));
    let svg = String::from_utf8(output.stdout).unwrap();
    all_inside(&svg);
    let ids = ids(&svg);
    assert!(ids.contains("fault") && ids.contains("verdict") && !ids.contains("map-0"));
    for text in ["ENOEXEC", "aarch64", ">b7</text>", "00000010", "class=\"mark\""] {
        assert!(svg.contains(text), "{text}");
    }
    let script = folder.file("script", b"#!   \n");
    let svg = picture("--svg", script.as_os_str(), &[], &[]);
    assert!(svg.contains("names no interpreter") && svg.contains("class=\"mark\""));
    let missing = picture("--html", os("/no/such/file"), &[], &[]);
    assert!(missing.contains("ENOENT") && !missing.contains("data-id=\"fault\""));
}

/// Opens a page in a headless browser and returns the document as it is then; `None`, said aloud,
/// where there is no browser.
fn browse(folder: &Folder, page: &str, hash: &str) -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .find_map(|dir| names.map(|n| dir.join(n)).into_iter().find(|p| p.is_file()));
    let Some(browser) = found else {
        // Past the capture of the test harness.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no chromium here to look at pictures with");
        return None;
    };
    let file = folder.file("page.html", page.as_bytes());
    let url = format!("file://{}{hash}", file.display());
    let output = Command::new("timeout")
        .arg("90")
        .arg(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", folder.0.join("profile").display()))
        .args(["--window-size=1600,1000", "--dump-dom", &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Names of the parts that have a class.
fn with_class(dom: &str, class: &str) -> HashSet<String> {
    dom.split("<g ")
        .skip(1)
        .filter_map(|tag| {
            let tag = tag.split('>').next()?;
            let attribute = |name: &str| tag.split(name).nth(1)?.split('"').next();
            let classes = attribute(" class=\"")?;
            let id = tag.split("data-id=\"").nth(1)?.split('"').next()?;
            classes.split(' ').any(|c| c == class).then(|| id.to_owned())
        })
        .collect()
}

#[test]
fn choosing_a_part_lights_up_what_belongs_to_it() {
    let folder = Folder::new("choosing");
    let html = picture("--html", os("/bin/sh"), &[os("one")], &some_env());
    // Chosen part, and some that have to light up with it.
    let cases: [(&str, &[&str]); 5] = [
        ("auxv-3", &["map-0", "seg-p-0"]),
        ("auxv-31", &["execfn"]),
        ("argv-1", &["arg-1"]),
        ("seg-p-1", &["map-1", "auxv-9"]),
        ("aslr-stack", &["story-10"]),
    ];
    for (id, wanted) in cases {
        let Some(dom) = browse(&folder, &html, &format!("#select={id}")) else { return };
        assert!(with_class(&dom, "chosen").contains(id), "{id} is not chosen");
        let lit = with_class(&dom, "lit");
        for other in wanted {
            assert!(lit.contains(*other), "{id} does not light up {other}, but {lit:?}");
        }
        assert!(!lit.contains("envp-0"), "{id} lights up what is not its own");
    }
}

#[test]
fn choosing_a_folded_string_unfolds() {
    let folder = Folder::new("unfolding");
    let names: Vec<String> = (0..60).map(|i| format!("V{i:03}")).collect();
    let env: Vec<(&str, &OsStr)> = names.iter().map(|n| (n.as_str(), os("x"))).collect();
    let html = picture("--html", os("/bin/sh"), &[], &env);
    let Some(dom) = browse(&folder, &html, "#select=env-30") else { return };
    let body = dom.split("<body").nth(1).and_then(|b| b.split('>').next()).unwrap();
    assert!(body.contains("unfolded"), "{body}");
    assert!(with_class(&dom, "lit").contains("envp-30"));
}

#[test]
fn no_text_lies_over_another_or_outside() {
    const MEASURE: &str = "<script>
        const root = document.querySelector('svg.sheet').viewBox.baseVal;
        const all = [...document.querySelectorAll('text')].map(t => [t.textContent, t.getBBox()]);
        const bad = [];
        all.forEach(([t, a], i) => {
          if (a.x < 0 || a.y < 0 || a.x + a.width > root.width || a.y + a.height > root.height)
            bad.push('outside: ' + t);
          for (const [u, b] of all.slice(i + 1)) {
            const w = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
            const h = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
            if (w > 1 && h > 3) bad.push(t + ' / ' + u);
          }
        });
        document.body.textContent = 'RESULT ' + all.length + ' texts, bad: [' + bad.join('; ') + ']';
        </script>";
    let folder = Folder::new("measuring");
    let long = "W".repeat(300);
    let wide = "長い名前".repeat(40);
    let mut foreign = std::fs::read("/bin/true").unwrap();
    foreign[18] = 183;
    let foreign = folder.file(format!("{}.elf", "M".repeat(200)), &foreign);
    let script = folder.file("run.sh", b"#!/bin/sh -eu\n");
    let env = [("LONG", os(&long)), ("WIDE", os(&wide)), ("HOME", os("/root"))];
    for program in [os("/bin/sh"), script.as_os_str(), foreign.as_os_str(), os("/no/such")] {
        let svg = picture("--svg", program, &[os(&long), os(&wide)], &env);
        all_inside(&svg);
        let page = format!("<!DOCTYPE html><meta charset=utf-8><body>{svg}{MEASURE}</body>");
        let Some(dom) = browse(&folder, &page, "") else { return };
        assert!(dom.contains("RESULT"), "{dom}");
        assert!(dom.contains("bad: []"), "{program:?}: {dom}");
    }
}
