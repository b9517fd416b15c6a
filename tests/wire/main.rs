//! Request bytes in, reply bytes out: protocol.md, exchange by exchange.
//!
//! Runs every `tests/wire/*.hex`, and the fenced blocks tagged `exchange` of every
//! `proto-notes/*.md` (the blocks of one document are one scenario, in order). Each
//! file is one scenario on a job server of its own: memory backend, seed 1, and a
//! clock that stands at [`ManualClock::START`](coordinated::clock::ManualClock::START)
//! (1700000000) until it is moved. Its first line is a comment that says what it shows.
//! Replies are compared byte for byte; a difference is shown as hex and in notation.
//!
//! # Lines
//!
//! Lines that begin with `#` are comments. A line that begins with a blank continues
//! the one before it.
//!
//! | line | meaning |
//! | --- | --- |
//! | `> d8 18 …` | the client sends these bytes, which are whole frames |
//! | `> payload a3 …` | it sends a frame with this payload; the runner adds tag 24 and the length |
//! | `> {"id": 1, …}` | the same, in the notation of `tests/support/notation` |
//! | `> bare {…}` | it sends the item without a frame |
//! | `> text 7 now()` | it sends a frame with `{"id": 7, "method": "now", "params": []}` |
//! | `> bytes 7 now()` | as the Python 2 client writes it: `{b'params': [], b'id': 7, b'method': b'now'}` |
//! | `> text 7 get_work_spec(work_spec_name="s")` | parameters by name |
//! | `< d8 18 …`, `< payload …`, `< {…}` | the server must answer with exactly this, in the same forms |
//! | `< 7 = nil` | with a frame of `{"id": 7, "result": nil}` |
//! | `< 7 ! "why"` | with a frame of `{"id": 7, "error": {"message": "why"}}` |
//! | `< waiting` | it must not have answered yet |
//! | `< closed` | it must have dropped the connection after what it answered |
//! | `@ connection b` | what follows happens on this connection, made when it is first named; the first is `main` |
//! | `@ advance 61.5` | the clock moves by so many seconds, and what has come due is done |
//! | `@ config {…}` | before anything else: what `get_config` answers |
//! | `@ enforce_min_gb` | before anything else: workers get only what fits their memory |
//! | `@ keep 2` | before anything else: archive all but so many finished and failed units |
//!
//! Several `<` lines after one another are several replies. In hex, two blanks and
//! something that is not hex begin a comment, and so does `#`; in notation only `#`.
//! `$version` is the version of this crate.
//!
//! A request must be followed by what becomes of it, and a scenario does not end while
//! a request is unanswered, so none can pass by saying nothing.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code"
)]

mod coverage;
mod run;
mod script;

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/notation/mod.rs"]
mod notation;

use std::{
    fs,
    path::{Path, PathBuf},
};

use run::Outcome;
use script::Script;

/// The files of this folder of the checkout that end so, by name.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

/// The name that failures show, and the content.
fn read(path: &Path) -> (String, String) {
    let name = path
        .strip_prefix(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .display()
        .to_string();
    (name, fs::read_to_string(path).unwrap())
}

/// Runs all scenarios of a kind, and fails with everything that is wrong with any.
async fn run_all(scripts: Vec<Script>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for script in scripts {
        outcomes.push(run::run(&script).await);
    }
    let failures: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.failures)
        .map(String::as_str)
        .collect();
    assert!(
        failures.is_empty(),
        "{} failures\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
    outcomes
}

#[tokio::test]
async fn every_exchange_in_the_files_is_answered_byte_for_byte() {
    let scripts = files("tests/wire", "hex").into_iter().map(|path| {
        let (name, text) = read(&path);
        assert!(
            text.starts_with("# "),
            "{name}: the first line says what the file shows"
        );
        Script::read(&name, &text).unwrap_or_else(|error| panic!("{error}"))
    });
    let outcomes = run_all(scripts.collect()).await;
    let gaps = coverage::gaps(outcomes.iter().flat_map(|outcome| &outcome.exchanges));
    assert!(gaps.is_empty(), "no exchange shows\n{}", gaps.join("\n"));
}

#[tokio::test]
async fn every_exchange_in_the_documents_is_answered_byte_for_byte() {
    let scripts = files("proto-notes", "md").into_iter().map(|path| {
        let (name, text) = read(&path);
        Script::read(&name, &script::blocks(&text)).unwrap_or_else(|error| panic!("{error}"))
    });
    let outcomes = run_all(scripts.collect()).await;
    let exchanges: usize = outcomes.iter().map(|outcome| outcome.exchanges.len()).sum();
    assert!(exchanges >= 9, "the documents show {exchanges} exchanges");
}

#[test]
fn the_protocol_document_names_every_method() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-notes/wire.md");
    let (name, text) = read(&path);
    for method in &coordinated::wire::METHODS {
        let named = format!("`{}(", method.name);
        assert!(text.contains(&named), "{name} does not show {named}…)`");
        for parameter in method.parameters {
            assert!(
                text.contains(parameter),
                "{name} says nothing of {parameter}, which {method} takes"
            );
        }
    }
}
