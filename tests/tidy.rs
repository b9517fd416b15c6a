//! What the compiler and the lints do not see to: the size of files, and tests that
//! would pass without testing.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest source file; one that grows past it is split by subject.
const LINES_MAX: usize = 500;

fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    assert!(!files.is_empty(), "no Rust files in {folder}");
    files
}

fn sources() -> Vec<(PathBuf, String)> {
    [rust_files("src"), rust_files("tests")].concat()
}

#[test]
fn files_have_one_subject() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (path, text) in sources() {
        let has_header = text.starts_with("//!") || text.starts_with("#![doc = ");
        assert!(has_header, "{} has no header", path.display());
    }
}

#[test]
fn no_test_is_skipped_or_expects_a_panic_or_waits_for_time_to_pass() {
    // Put together from halves, or this file would find itself.
    let banned = [
        ("#[ign", "ore"),
        ("should_", "panic"),
        ("thread::sle", "ep"),
        ("time::sle", "ep("),
        ("todo", "!("),
    ];
    let is_test = |path: &Path| path.components().any(|part| part.as_os_str() == "tests");
    for (path, text) in sources() {
        if !is_test(&path) {
            continue; // the daemon itself may wait, as listeners do that cannot accept
        }
        for (number, line) in text.lines().enumerate() {
            for (one, other) in banned {
                let found = line.contains(&format!("{one}{other}"));
                let has_reason = line.contains("reason:");
                assert!(
                    !found || has_reason,
                    "{}:{}: {one}{other} without a `reason:` on its line",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}
