//! The trace as a page: that it is whole, and what its script makes of it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::common::place::{Place, uexec};
use super::common::{self, terminal::until};
use super::formats::SCRIPT;
use super::traced;

/// The rows of a page that may be cut off.
fn rows(page: &str) -> Vec<Value> {
    let data = page.split_once("id=\"data\">").unwrap().1;
    let data = data.split("</script>").next().unwrap();
    data.lines().skip(1).map(|line| serde_json::from_str(line).expect(line)).collect()
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
    let rows = rows(&page);
    assert_eq!(rows.iter().filter(|r| r[0] == 1).count(), 2);
    assert_eq!(rows.last().unwrap()[0], "end");
}

#[test]
fn a_page_can_be_opened_at_any_time() {
    let place = Place::new();
    let script = "(sleep 0.1; exec sleep 0.1) >/dev/null 2>&1 & exit 0";
    assert!(traced(&place, "html", &["sh", "-c", script]).status().unwrap().success());
    // Whoever is left goes on: until then the page ends in the middle of its data.
    let page = || fs::read_to_string(place.join("out")).unwrap();
    assert!(rows(&page()).iter().any(|r| r[0] == 3 && r[1] == 0), "{}", page());
    until("the end of the page", || page().ends_with("</script>\n</html>\n"));
    assert_eq!(rows(&page()).last().unwrap()[0], "end");
    // What cannot be cut or sought in.
    for out in ["/dev/null", "-"] {
        let mut command = Command::new(uexec());
        command.args(["trace", "--format", "html", "-o", out, "sh", "-c"]).arg(script);
        let output = command.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let page = String::from_utf8(output.stdout).unwrap();
        assert_eq!(page.matches("<script").count(), if out == "-" { 2 } else { 0 });
    }
}

/// What the page makes of its rows, asked in JavaScript.
fn model(place: &Place, page: &[u8], question: &str) -> Option<Value> {
    let script = include_str!("../../src/trace/html/model.js");
    let ask = "const page = require('fs').readFileSync('page', 'utf8');
        const data = page.split('id=\"data\">')[1].split('</script>')[0];
        const trace = read(data);";
    place.file("page", page, 0o644);
    node(place, &format!("{script}\n{ask}\nconsole.log(JSON.stringify({question}));"))
}

/// What a script prints.
fn node(place: &Place, script: &str) -> Option<Value> {
    let script = place.file("script.js", script, 0o644);
    match Command::new("node").arg(script).current_dir(&place.path).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(serde_json::from_slice(&output.stdout).expect(&said))
        }
        Err(error) => {
            common::skip("what a page computes (node)", &error.to_string());
            None
        }
    }
}

/// A page that is nowhere: whatever is asked of it can be asked, and what is told to it is kept.
const NOWHERE: &str = r#"
const page = require("fs").readFileSync("out", "utf8");
const script = page.split("<script>")[1].split("</script>")[0];
const texts = [], handlers = [], elements = new Map();
function element() {
  return new Proxy(function () {}, {
    get: (own, key) => key in own && key !== "name" ? own[key]
      : key === Symbol.toPrimitive ? () => 800 : key === Symbol.iterator ? undefined : element(),
    set: (own, key, value) => {
      if (key === "textContent") texts.push(String(value));
      if (key.startsWith("on")) handlers.push(value);
      own[key] = value;
      return true;
    },
    apply: () => element(),
  });
}
const any = element(), event = new Proxy({ key: "ArrowDown" }, { get: (o, key) => o[key] ?? any });
const document = {
  createElement: element, body: any, documentElement: any, activeElement: null, title: "",
  getElementById: id => {
    if (!elements.has(id)) elements.set(id, element());
    const found = elements.get(id);
    if (id === "data") found.textContent = page.split('id="data">')[1].split("</script>")[0];
    if (id === "find" && !("value" in found)) found.value = "";
    for (const size of ["clientWidth", "clientHeight", "scrollTop"]) found[size] = 800;
    return found;
  },
};
for (const id of ["scroll", "ticks"]) document.getElementById(id).scrollTop = 0;
const begin = [];
const addEventListener = (name, what) => name === "DOMContentLoaded" ? begin.push(what) : handlers.push(what);
const getComputedStyle = () => any, window = {}, getSelection = () => any;
eval(script);
begin.forEach(what => what());
const told = texts.length;
for (let i = 0; i < handlers.length && i < 500; i++) handlers[i](event);
console.log(JSON.stringify({ told, handlers: handlers.length, texts }));
"#;

#[test]
fn a_page_draws_and_answers() {
    let place = Place::new();
    assert!(traced(&place, "html", &["sh", "-c", SCRIPT]).status().unwrap().success());
    let Some(said) = node(&place, NOWHERE) else { return };
    assert!(said["handlers"].as_u64() > Some(20), "{said:#}");
    let texts: Vec<&str> =
        said["texts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for text in ["true", "exit 3", "waited for", "copy with its directory and files", "loaded by"] {
        assert!(texts.iter().any(|t| t.contains(text)), "{text}: {texts:#?}");
    }
}

#[test]
fn a_page_sums_up_programs_and_finds_the_critical_path() {
    let place = Place::new();
    let script = "sleep 0.02 & sleep 0.2 & wait; for i in 1 2 3; do /bin/true; done; nosuch; true";
    assert!(traced(&place, "html", &["sh", "-c", script]).status().unwrap().success());
    let page = fs::read(place.join("out")).unwrap();
    let sums = "programs(trace.all).map(s => [s.name, s.count, s.failed, s.critTime > 0])";
    let Some(sums) = model(&place, &page, sums) else { return };
    assert!(sums.as_array().unwrap().contains(&json!(["true", 3, 0, true])), "{sums}");
    let waited = "[...trace.all.values()].map(p => [p.argv.join(' '), p.critTime])";
    let waited = model(&place, &page, waited).unwrap();
    let waited: Vec<(String, f64)> = serde_json::from_value(waited).unwrap();
    let of = |command: &str| waited.iter().find(|(c, _)| c == command).unwrap().1;
    assert!(of("sleep 0.2") > 0.15 && of("sleep 0.02") == 0.0, "{waited:?}");
    // All time is somebody's.
    let all = model(&place, &page, "[trace.total, trace.all.get(0).end]").unwrap();
    let sum: f64 = waited.iter().map(|(_, time)| time).sum();
    assert!((sum - all[1].as_f64().unwrap()).abs() < 1e-4, "{sum} {all}");
    // Two sleep at a time; what comes later runs one by one.
    assert_eq!(model(&place, &page, "most(trace.all)").unwrap(), 2);
    let load = model(&place, &page, "[...load(trace.all, trace.total, 1)]").unwrap();
    let busy = load[0].as_f64().unwrap();
    assert!(busy > 0.5 && busy < 2.0, "{load}");
    // Cut off in the middle of a row, as by a tracer that was killed.
    let count = |page: &[u8]| model(&place, page, "trace.all.size").unwrap();
    let end = page.len() - "</script>\n</html>\n".len();
    assert_eq!(count(&page[..end - 30]), count(&page));
}
