//! `uexec explain`: the contract of its JSON, its exit status, what it writes, and that it stays
//! inside a root directory. That it is right is tested against the kernel elsewhere.

#[path = "common/mod.rs"]
mod common;

use std::os::unix::fs::symlink;
use std::process::Command;

use common::elf::Elf;
use common::place::{Place, uexec};
use serde_json::Value;

fn explain(p: &Place, args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(uexec())
        .arg("explain")
        .args(args)
        .current_dir(&p.path)
        .output()
        .expect("uexec runs");
    (out.status.code(), String::from_utf8(out.stdout).expect("UTF-8"))
}

fn json(p: &Place, args: &[&str]) -> Value {
    let all: Vec<&str> = ["--json", "--no-aslr"].iter().chain(args).copied().collect();
    serde_json::from_str(&explain(p, &all).1).expect("JSON")
}

/// An a.out program of one page of text and one of data: QMAGIC.
fn aout() -> Vec<u8> {
    let mut file = vec![0; 8192];
    for (at, word) in [(0, 0xccu32), (4, 4096), (8, 4096), (20, 4096 + 32)] {
        file[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    file
}

#[test]
fn what_the_kernel_refuses_is_laid_out_as_others_do() {
    let p = Place::new();
    p.elf("arm64", &Elf::exit(0).at(0).but(|e| e.machine = 183).with_interp("/lib/none.so"));
    p.script("aout", aout());
    let arm = json(&p, &["./arm64"]);
    assert_eq!(arm["error"]["errno"], "ENOEXEC");
    assert_eq!(arm["laid_out_as"]["by"], "Linux 6.18 for aarch64");
    assert_eq!(arm["maps"][0]["start"], "0xaaaaaaaaa000");
    assert!(arm["laid_out_as"]["approximate"].as_str().unwrap().contains("loader"));
    let (status, text) = explain(&p, &["./arm64"]);
    assert_eq!(status, Some(1));
    assert!(text.contains("as laid out by Linux 6.18 for aarch64"), "{text}");
    if uexec_core::World::ia32(&mut uexec_linux::Host::new()).is_ok() {
        let aout = json(&p, &["./aout"]);
        assert_eq!(aout["error"]["errno"], "ENOEXEC");
        assert_eq!(aout["error"]["hint"], "uexec run can run it");
        assert_eq!(aout["laid_out_as"]["by"], "uexec run");
        assert_eq!(aout["image"]["type"], "QMAGIC");
        assert_eq!(aout["maps"][0]["start"], "0x1000");
    }
    assert_eq!(json(&p, &["/bin/true"])["laid_out_as"], Value::Null);
}

#[test]
fn json_keeps_its_contract() {
    let schema = include_str!("../../../docs/explain.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let p = Place::new();
    p.elf("good", &Elf::echo());
    p.script("script", b"#!./good -x\n");
    p.script("bad", b"#!\n");
    p.script("text", b"hello\n");
    p.script("lost", b"#!./nowhere\n");
    p.elf("arm64", &Elf::exit(0).but(|e| e.machine = 183));
    p.script("aout", aout());
    for args in [
        &["./good"][..],
        &["./script", "a", "b"],
        &["./bad"],
        &["./text"],
        &["./lost"],
        &["./missing"],
        &["./arm64"],
        &["./aout"],
        &["."],
        &["--no-args", "./good"],
        &["/bin/true"],
        &["--bindings", "/bin/true"],
        &["--seed", "3", "./good", "--json"],
    ] {
        let all: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        let (status, text) = explain(&p, &all);
        let value: Value = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{args:?}: {errors:?}\n{value:#}");
        assert_eq!(status, Some(i32::from(value["outcome"] != "ok")), "{args:?}");
    }
}

#[test]
fn the_chain_and_its_registers() {
    let p = Place::new();
    p.elf("good", &Elf::echo());
    p.script("script", b"#!./good -x\n");
    let e = json(&p, &["./script", "a"]);
    let chain: Vec<&str> =
        e["chain"].as_array().unwrap().iter().map(|l| l["format"].as_str().unwrap()).collect();
    assert_eq!(chain, ["script", "elf"]);
    assert_eq!(e["stack"]["argc"], 4);
    assert_eq!(e["registers"]["rsp"], e["mm"]["start_stack"]);
    assert_eq!(e["auxv"].as_array().unwrap().last().unwrap()["name"], "AT_NULL");
}

#[test]
fn the_stack_file_begins_with_argc() {
    let p = Place::new();
    p.elf("good", &Elf::echo());
    let (status, _) = explain(&p, &["--no-aslr", "--stack", "stack.bin", "./good", "a", "b"]);
    assert_eq!(status, Some(0));
    let bytes = std::fs::read(p.path.join("stack.bin")).unwrap();
    assert_eq!(bytes[..8], 3u64.to_le_bytes());
    assert!(bytes.ends_with(&[0; 8]), "the hole at the end (STK-1)");
    let e = json(&p, &["./good", "a", "b"]);
    let hex = |v: &Value| u64::from_str_radix(&v.as_str().unwrap()[2..], 16).unwrap();
    assert_eq!(bytes.len() as u64, hex(&e["stack"]["end"]) - hex(&e["registers"]["rsp"]));
}

#[test]
fn batches_take_lines_or_nul_bytes() {
    use std::io::Write;
    let p = Place::new();
    p.elf("good", &Elf::echo());
    p.elf("with\nnewline", &Elf::echo());
    for (input, outcomes) in [
        (&b"./good\n./missing\n\n./good"[..], &["ok", "error", "ok"][..]),
        (b"./with\nnewline\0./good\0", &["ok", "ok"]),
    ] {
        let mut child = Command::new(uexec())
            .args(["explain", "--batch", "--json"])
            .current_dir(&p.path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        let lines = String::from_utf8(out.stdout).unwrap();
        let seen: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let seen: Vec<&str> = seen.iter().map(|v| v["outcome"].as_str().unwrap()).collect();
        assert_eq!(seen, outcomes);
        let expected = i32::from(outcomes.contains(&"error"));
        assert_eq!(out.status.code(), Some(expected));
    }
}

#[test]
fn a_root_is_not_left() {
    let p = Place::new();
    std::fs::create_dir_all(p.path.join("root/bin")).unwrap();
    p.elf("outside", &Elf::echo());
    p.elf("root/bin/prog", &Elf::echo());
    p.script("root/bin/abs", b"#!/bin/prog\n");
    p.script("root/bin/lost", b"#!/outside\n");
    symlink("/bin/prog", p.path.join("root/bin/link")).unwrap();
    symlink("../../../../outside", p.path.join("root/bin/up")).unwrap();
    symlink(p.path.join("outside"), p.path.join("root/bin/host")).unwrap();
    let ask = |prog: &str| json(&p, &["--root", "root", prog]);
    for good in ["/bin/prog", "/bin/abs", "/bin/link", "bin/prog", "/../bin/prog"] {
        assert_eq!(ask(good)["outcome"], "ok", "{good}: {}", ask(good)["error"]);
    }
    assert_eq!(ask("/bin/link")["maps"][0]["path"], "/bin/prog");
    for lost in ["/bin/up", "/bin/host", "/bin/lost", "/outside"] {
        assert_eq!(ask(lost)["error"]["errno"], "ENOENT", "{lost}");
    }
}

#[test]
fn what_must_not_be_opened_is_not() {
    let p = Place::new();
    let fifo =
        std::ffi::CString::new(p.path.join("fifo").into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: a valid C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o777) }, 0);
    symlink("loop", p.path.join("loop")).unwrap();
    let sparse = std::fs::File::create(p.path.join("sparse")).unwrap();
    sparse.set_len(4 << 30).unwrap();
    drop(sparse);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(p.path.join("sparse"), mode).unwrap();
    for (path, errno) in [
        ("./fifo", "EACCES"),
        ("./loop", "ELOOP"),
        ("./sparse", "ENOEXEC"),
        ("/dev/null", "EACCES"),
    ] {
        assert_eq!(json(&p, &[path])["error"]["errno"], errno, "{path}");
    }
}

#[test]
fn no_colours_in_a_pipe() {
    let p = Place::new();
    p.script("bad", b"#!\n");
    let (_, text) = explain(&p, &["-v", "./bad"]);
    assert!(!text.contains('\x1b'), "{text:?}");
    assert!(text.starts_with("./bad: Exec format error (ENOEXEC)\n"), "{text}");
    assert!(text.contains("story"), "{text}");
}

#[test]
fn clone_flags_are_explained() {
    let p = Place::new();
    let (status, text) = explain(&p, &["--clone", "newns|fs"]);
    assert_eq!(status, Some(1));
    assert!(text.contains("(EINVAL)") && text.contains("FORK-21"), "{text}");
    let (status, text) = explain(&p, &["--json", "--clone", "pthread_create"]);
    assert_eq!(status, Some(0));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["outcome"], "ok");
    assert_eq!(explain(&p, &["--clone", "nonsense"]).0, Some(125));
}

#[test]
fn libraries_as_the_loader_finds_them() {
    let Ok(mut bytes) = std::fs::read("/bin/true") else {
        return common::skip("libraries", "no /bin/true");
    };
    let p = Place::new();
    let libc = b"\0libc.so.6\0";
    let Some(at) = bytes.windows(libc.len()).position(|w| w == libc) else {
        return common::skip("libraries", "/bin/true does not need libc.so.6");
    };
    let found = json(&p, &["/bin/true"]);
    let named = |l: &&Value| l["name"] == "libc.so.6" && l["path"].is_string();
    assert_eq!(found["libraries"].as_array().unwrap().iter().filter(named).count(), 1);
    assert_eq!(json(&p, &["--libraries", "no", "/bin/true"])["libraries"], serde_json::json!([]));
    bytes[at + 4] = b'q';
    p.script("prog", bytes);
    let missing = json(&p, &["./prog"]);
    assert_eq!(missing["outcome"], "ok");
    assert_eq!(missing["missing"][0]["name"], "libq.so.6");
    let (status, text) = explain(&p, &["./prog"]);
    assert_eq!(status, Some(0));
    let expected = "./prog: starts, but its loader will stop\n  missing libq.so.6, needed by ";
    assert!(text.starts_with(expected), "{text}");
}
