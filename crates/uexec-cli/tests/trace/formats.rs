//! The formats besides JSON lines.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::common::place::{Place, uexec};
use super::traced;

const SCRIPT: &str = "/bin/true; (exit 3); nosuch; sh -c '/bin/true </dev/null; :'; true";

#[test]
fn a_tree_with_levels_and_failures() {
    let place = Place::new();
    let tree = |options: &[&str]| {
        let mut command = Command::new(uexec());
        command.arg("trace").args(options).arg("-o").arg(place.join("out"));
        assert!(command.args(["/bin/sh", "-c", SCRIPT]).status().unwrap().success());
        fs::read_to_string(place.join("out")).unwrap()
    };
    let all = tree(&[]);
    assert!(!all.contains('\x1b'), "{all}");
    for part in ["/bin/sh -c", " │ /bin/true  ", "└ exit 3", "no directory in PATH has it"] {
        let single = part == "no directory in PATH has it";
        // A shell may look into its PATH itself.
        assert!(all.contains(part) || single, "{part}: {all}");
    }
    assert!(all.contains("│ │ /bin/true"), "{all}");
    let shallow = tree(&["--depth", "1"]);
    assert!(!shallow.contains("│ │ "), "{shallow}");
    assert!(shallow.contains("+ 1 below"), "{shallow}");
    let failed = tree(&["--failed"]);
    assert!(failed.contains("└ exit 3") && !failed.contains("└ 0"), "{failed}");
    assert!(!failed.contains("/bin/true  "), "{failed}");
}

#[test]
fn perfetto_has_a_slice_for_every_program() {
    let place = Place::new();
    assert!(traced(&place, "perfetto", &["sh", "-c", SCRIPT]).status().unwrap().success());
    let events: Vec<Value> = serde_json::from_slice(&fs::read(place.join("out")).unwrap()).unwrap();
    let slices: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    assert_eq!(slices.iter().filter(|s| s["name"] == "true").count(), 2, "{slices:#?}");
    assert!(slices.iter().all(|s| s["dur"].as_f64() >= Some(0.0) && s["tid"].is_u64()));
    // Slices of one lane do not overlap.
    for a in &slices {
        for b in
            slices.iter().filter(|b| b["tid"] == a["tid"] && b["ts"].as_f64() > a["ts"].as_f64())
        {
            let end = a["ts"].as_f64().unwrap() + a["dur"].as_f64().unwrap();
            assert!(b["ts"].as_f64().unwrap() >= end - 1e-3, "{a:#} {b:#}");
        }
    }
}

#[test]
fn a_page_holds_everything_and_loads_nothing() {
    let place = Place::new();
    // Text that would end the element it is quoted in.
    let hostile = "/bin/true '</script><script>alert(1)</script><!--'";
    assert!(traced(&place, "html", &["sh", "-c", hostile]).status().unwrap().success());
    let page = fs::read_to_string(place.join("out")).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
    assert_eq!(page.matches("</script>").count(), 2);
    let start = page.find("id=\"data\">").unwrap() + 10;
    let data = &page[start..start + page[start..].find("</script>").unwrap()];
    let rows: Vec<Value> = serde_json::from_str(data).unwrap();
    assert_eq!(rows.iter().filter(|r| r[0] == 1).count(), 2);
    assert_eq!(rows.last().unwrap()[0], "end");
}

#[test]
fn a_page_is_whole_again_after_the_last_process() {
    let place = Place::new();
    let script = "(sleep 0.1; exec sleep 0.1) >/dev/null 2>&1 & exit 0";
    assert!(traced(&place, "html", &["sh", "-c", script]).status().unwrap().success());
    let begun = std::time::Instant::now();
    loop {
        let page = fs::read_to_string(place.join("out")).unwrap();
        if page.contains("[\"end\"") && page.ends_with("</html>\n") {
            assert_eq!(page.matches("</html>").count(), 1);
            break;
        }
        assert!(begun.elapsed().as_secs() < 30, "{page}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
