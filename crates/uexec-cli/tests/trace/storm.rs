//! Many processes at once: none is missed, none is told twice, and each is its parent's.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::common::place::Place;
use super::{of, records, traced};

/// Every process is told of as created once, by a call that was seen, and as ended once.
#[track_caller]
fn all_accounted_for(records: &[Value], processes: usize) {
    let ids = |event| -> Vec<u64> {
        of(records, event).iter().map(|r| r["id"].as_u64().unwrap()).collect()
    };
    let (made, ended) = (of(records, "spawn"), ids("exit"));
    let unseen: Vec<_> =
        made.iter().filter(|r| r["flags"].as_array().unwrap().is_empty()).collect();
    // A process whose creator has not said how.
    assert!(unseen.is_empty(), "{} of {}: {unseen:#?}", unseen.len(), made.len());
    assert_eq!((made.len() + 1, ended.len()), (processes, processes));
    assert_eq!(ended.iter().collect::<BTreeSet<_>>().len(), processes);
    assert_eq!(records.last().unwrap()["processes"], processes);
}

#[test]
fn children_that_are_killed_at_any_moment() {
    let place = Place::new();
    let source = place.file("storm.c", include_str!("storm.c"), 0o644);
    let mut build = Command::new("cc");
    build.args(["-O1", "-pthread", "-w", "-o"]).arg(place.join("storm")).arg(source);
    assert!(build.status().unwrap().success());
    for _ in 0..3 {
        assert!(traced(&place, "json", &["./storm", "300"]).status().unwrap().success());
        all_accounted_for(&records(&place), 301);
    }
}

#[test]
fn a_parent_whose_other_children_end_meanwhile() {
    let place = Place::new();
    let script = "four() { for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do /bin/true; done; }\n\
                  outer() { four & four & four & four & wait; }\n\
                  outer & outer & wait";
    assert!(traced(&place, "json", &["sh", "-c", script]).status().unwrap().success());
    let records = records(&place);
    all_accounted_for(&records, 1 + 2 + 8 + 8 * 15);
    // As deep as it was written.
    let parent = |id: &Value| {
        let spawns = of(&records, "spawn");
        spawns.iter().find(|r| r["id"] == *id).map(|r| r["parent"].clone())
    };
    for exec in of(&records, "exec").iter().filter(|e| e["argv"][0] == "/bin/true") {
        let mut levels = 0;
        let mut at = exec["id"].clone();
        while let Some(up) = parent(&at) {
            (at, levels) = (up, levels + 1);
        }
        assert_eq!(levels, 3, "{exec:#}");
    }
}
