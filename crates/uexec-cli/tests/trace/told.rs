//! What is told of each event.

use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use serde_json::json;

use super::common::place::Place;
use super::{of, records, shell, traced};

#[test]
fn every_line_is_of_the_schema() {
    let place = Place::new();
    place.script("bad", "#!/nonexist -x\n");
    shell(&place, "./bad; nosuch; (exit 3); X=1 /bin/true; sh -c 'kill $$'; cd / && /bin/true");
    let schema = include_str!("../../../../docs/trace.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let records = records(&place);
    for record in &records {
        let errors: Vec<_> = schema.iter_errors(record).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{record:#}: {errors:?}");
    }
    assert_eq!(records.first().unwrap()["event"], "start");
    let end = records.last().unwrap();
    assert_eq!(end["event"], "end");
    assert_eq!(end["execs"], of(&records, "exec").len());
    assert_eq!(end["processes"], of(&records, "exit").len());
    assert_eq!(of(&records, "spawn").len() + 1, of(&records, "exit").len());
}

#[test]
fn a_failure_has_the_kernels_errno_and_the_reason() {
    let place = Place::new();
    place.script("bad", "#!/nonexist -x\n");
    place.file("data", "text", 0o644);
    let records = shell(&place, "./bad; ./data; true");
    let failed = of(&records, "failed");
    let [bad, data] = failed.as_slice() else { panic!("{failed:#?}") };
    assert_eq!((&bad["errno"], &bad["path"]), (&"ENOENT".into(), &"./bad".into()));
    assert_eq!(bad["because"]["agrees"], true, "{bad:#}");
    assert_eq!(bad["because"]["file"], "/nonexist");
    assert_eq!(bad["because"]["stage"], "script.interp");
    assert_eq!((&data["errno"], &data["because"]["agrees"]), (&"EACCES".into(), &true.into()));
}

#[test]
fn a_search_in_path_is_one() {
    let place = Place::new();
    let command = ["env", "PATH=/nonexist:/proc/self:/bin:/usr/bin", "env", "true"];
    assert!(traced(&place, "json", &command).status().unwrap().success());
    let records = records(&place);
    let of_true: Vec<_> = of(&records, "exec");
    let of_true = of_true.last().unwrap();
    assert_eq!(of_true["argv"][0], "true");
    assert_eq!(of_true["searched"].as_array().unwrap()[..2], ["/nonexist", "/proc/self"]);
    assert!(of(&records, "failed").is_empty(), "{records:#?}");

    let command = ["env", "PATH=/nonexist:/proc/self", "/bin/env", "nosuch"];
    assert_eq!(traced(&place, "json", &command).status().unwrap().code(), Some(127));
    let records = super::records(&place);
    let failed = of(&records, "failed");
    let last = failed.last().unwrap();
    assert_eq!(last["argv"][0], "nosuch");
    assert_eq!(last["searched"], serde_json::json!(["/nonexist", "/proc/self"]));
    assert_eq!(last["because"]["why"], "no directory in PATH has it");
}

#[test]
fn interpreters_environment_and_directory() {
    let place = Place::new();
    place.script("inner", "#!/bin/sh -e\ntrue\n");
    place.script("outer", format!("#!{}\n", place.join("inner").display()));
    let records = shell(&place, "A=1 ./outer x; cd / && exec env -u HOME true");
    let exec = |word: &str| {
        let all = of(&records, "exec");
        let found = all.into_iter().find(|e| e["argv"][0] == word);
        found.unwrap_or_else(|| panic!("{word}: {records:#?}")).clone()
    };
    let outer = exec("./outer");
    let inner = place.join("inner").display().to_string();
    assert_eq!(outer["chain"], serde_json::json!(["/bin/sh", "-e", inner, "./outer"]));
    assert_eq!(outer["argv"], serde_json::json!(["./outer", "x"]));
    // What the shell's own file says.
    let shell = std::fs::read("/bin/sh").unwrap();
    let named = |path: &str| shell.windows(path.len()).any(|w| w == path.as_bytes());
    assert!(outer["interp"].as_str().is_none_or(named), "{outer:#}");
    assert_eq!(outer["interp"].is_null(), !named("/ld-"), "{outer:#}");
    assert!(outer["env"]["set"].as_array().unwrap().contains(&"A=1".into()), "{outer:#}");
    assert_eq!(outer["cwd"], place.path.canonicalize().unwrap().display().to_string());
    let last = exec("true");
    assert_eq!(last["cwd"], "/");
    let had_home = std::env::var_os("HOME").is_some();
    assert_eq!(last["env"]["unset"].as_array().unwrap().contains(&"HOME".into()), had_home);
}

#[test]
fn processes_have_parents_ends_and_costs() {
    let place = Place::new();
    let records = shell(&place, "(exit 3); sh -c 'kill -9 $$'; (/bin/true; /bin/true); true");
    let exits = of(&records, "exit");
    assert!(exits.iter().any(|e| e["status"] == 3 && e["faults_since_fork"].as_u64() > Some(0)));
    let killed = exits.iter().find(|e| e["signal"] == 9).unwrap();
    assert!(killed["status"].is_null());
    assert!(exits.iter().all(|e| e["lived"].as_f64() >= Some(0.0)));
    for spawn in of(&records, "spawn") {
        let parent = spawn["parent"].as_u64().unwrap();
        assert!(parent < spawn["id"].as_u64().unwrap());
        let shares = spawn["shared"].as_array().unwrap().contains(&"memory".into());
        assert_eq!(shares, spawn["how"] != "fork", "{spawn:#}");
    }
}

#[test]
fn arguments_are_told_exactly() {
    let place = Place::new();
    let words: [&[u8]; 4] = [b"a\nb", b"a\\nb", b"\xff\\xff", "日\u{202e}".as_bytes()];
    let words = words.map(std::ffi::OsStr::from_bytes);
    let command = |format: &str| {
        let mut command = traced(&place, format, &["/bin/true"]);
        assert!(command.args(words).status().unwrap().success());
    };
    command("json");
    let records = records(&place);
    let argv = json!(["/bin/true", "a\nb", "a\\nb", [255, 92, 120, 102, 102], "日\u{202e}"]);
    assert_eq!(of(&records, "exec")[0]["argv"], argv);
    assert_eq!(records[0]["command"], argv);
    // A terminal shows no line ends of others, and nothing that changes what it shows.
    command("tree");
    let tree = std::fs::read_to_string(place.join("out")).unwrap();
    assert!(tree.contains(r"/bin/true $'a\nb' 'a\nb' $'\377\\xff' $'日\342\200\256'"), "{tree}");
}

#[test]
fn a_program_is_not_charged_for_its_parents_memory() {
    let place = Place::new();
    let source = "
        #include <stdlib.h>
        #include <string.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            memset(malloc(64 << 20), 1, 64 << 20);
            for (int i = 0; i < 2; i++) {
                if (!(i ? fork() : vfork())) { execl(\"/bin/true\", \"true\", (char *)0); _exit(1); }
                wait(0);
            }
            if (!fork()) { memset(malloc(96 << 20), 1, 96 << 20); _exit(0); }
            wait(0);
            return 0;
        }";
    let source = place.file("large.c", source, 0o644);
    let built = Command::new("cc").arg("-o").arg(place.join("large")).arg(source).status();
    assert!(built.unwrap().success());
    assert!(traced(&place, "json", &["./large"]).status().unwrap().success());
    let records = records(&place);
    let exits = of(&records, "exit");
    let [vforked, forked, alone, large] = exits.as_slice() else { panic!("{exits:#?}") };
    let mib = |exit: &serde_json::Value| exit["max_rss_kib"].as_u64().map(|kib| kib >> 10);
    assert_eq!((mib(vforked), mib(forked)), (None, None), "{exits:#?}");
    assert!(mib(alone) >= Some(96), "{exits:#?}");
    // One of its children had more.
    assert_eq!(mib(large), None, "{exits:#?}");
}

#[test]
fn what_is_executed_by_its_descriptor_is_named() {
    let place = Place::new();
    let source = r##"
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            char *args[] = {"other", 0}, *none[] = {0};
            int script = memfd_create("script", MFD_CLOEXEC);
            write(script, "#!/bin/sh\n", 10);
            execveat(script, "", args, none, AT_EMPTY_PATH);
            execveat(open(argv[1], O_RDONLY), "", args, none, AT_EMPTY_PATH);
            return 1;
        }"##;
    let source = place.file("by_fd.c", source, 0o644);
    let built =
        Command::new("cc").arg("-w").arg("-o").arg(place.join("by_fd")).arg(source).status();
    assert!(built.unwrap().success());
    assert!(traced(&place, "json", &["./by_fd", "/bin/true"]).status().unwrap().success());
    let records = records(&place);
    let failed = of(&records, "failed")[0];
    assert_eq!((&failed["errno"], &failed["path"]), (&"ENOENT".into(), &"/dev/fd/3".into()));
    assert_eq!(failed["because"]["agrees"], true, "{failed:#}");
    let why = failed["because"]["why"].as_str().unwrap();
    assert!(why.contains("close-on-exec"), "{failed:#}");
    assert!(!failed["because"]["file"].as_str().unwrap().starts_with("/dev/fd"), "{failed:#}");
    let mut tree = traced(&place, "tree", &["./by_fd", "/bin/true"]);
    assert!(tree.status().unwrap().success());
    let tree = std::fs::read_to_string(place.join("out")).unwrap();
    let file = std::fs::canonicalize("/bin/true").unwrap();
    assert!(tree.contains(&format!("other  in its place · runs {}", file.display())), "{tree}");
}

#[test]
fn a_file_in_anothers_place_is_looked_at() {
    let place = Place::new();
    let source = "void _start(void) { __asm__(\"mov $60, %eax; xor %edi, %edi; syscall\"); }";
    let source = place.file("alone.c", source, 0o644);
    let built = Command::new("cc")
        .args(["-nostdlib", "-static", "-o"])
        .arg(place.join("alone"))
        .arg(source)
        .status();
    assert!(built.unwrap().success());
    let records = shell(&place, "cp /bin/true x; ./x; cp alone x; ./x; cp /bin/true x; ./x");
    let of_x = of(&records, "exec").into_iter().filter(|e| e["argv"][0] == "./x");
    let interps: Vec<bool> = of_x.map(|e| e["interp"].is_string()).collect();
    assert_eq!(interps, [true, false, true], "{records:#?}");
}

#[test]
fn what_standard_descriptors_lead_to() {
    let place = Place::new();
    let from = place.file("from", "", 0o644).canonicalize().unwrap().display().to_string();
    let script = "/bin/true <from >to 2>&1; /bin/true >&-; /bin/true | cat";
    let records = shell(&place, script);
    let of_true: Vec<_> = of(&records, "exec").into_iter().skip(1).collect();
    let to = place.path.canonicalize().unwrap().join("to").display().to_string();
    assert_eq!(of_true[0]["stdin"], json!(from));
    assert_eq!((&of_true[0]["stdout"], &of_true[0]["stderr"]), (&json!(to), &json!(to)));
    assert_eq!(of_true[1]["stdout"], json!(null));
    // The pipe's two ends are the same.
    let ends: Vec<_> = of_true[2..].iter().flat_map(|e| [&e["stdin"], &e["stdout"]]).collect();
    let pipe = ends.iter().find(|end| end.as_str().unwrap().starts_with("pipe:"));
    assert!(
        pipe.is_some_and(|pipe| ends.iter().filter(|end| *end == pipe).count() == 2),
        "{ends:?}"
    );
    let mut tree = traced(&place, "tree", &["sh", "-c", script]);
    assert!(tree.status().unwrap().success());
    let tree = std::fs::read_to_string(place.join("out")).unwrap();
    assert_eq!(tree.matches(&format!("<{from} · >{to} · 2>{to}")).count(), 1, "{tree}");
}

#[test]
fn in_a_tree_the_same_is_told_as_outside() {
    let place = Place::new();
    place.script("run", "#!/bin/sh -e\n/bin/true x\n");
    let line = ["sh", "-c", "./run y; cd / && exec env true"];
    let told = |tree: bool| {
        let plain = traced(&place, "json", &line);
        let mut command = Command::new(plain.get_program());
        if tree {
            command.args(["run", "--tree", "--via", "binfmt"]).arg(plain.get_program());
        }
        let output = command.args(plain.get_args()).current_dir(&place.path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("no tree: ") {
            return Err(said);
        }
        assert!(output.status.success(), "{output:?}");
        let records = records(&place);
        let what = ["path", "argv", "exe", "interp", "chain", "cwd", "searched"];
        let execs = of(&records, "exec");
        Ok(execs.iter().map(|e| what.map(|key| e[key].clone())).collect::<Vec<_>>())
    };
    match told(true) {
        Ok(inside) => assert_eq!(Ok(inside), told(false)),
        Err(why) => super::common::skip("a trace in a tree", why.trim_end()),
    }
}
