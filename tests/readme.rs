//! The documents say what the code does: what README.md and proto-notes list is compared
//! with the code, and what they show is run.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::CommandFactory as _;
use coordinated::{
    config::Config,
    model::{
        Ask, AskedStatus, Decision, Effect, NewSpec, Outcome, Phase, Share, SpecOptions, choose,
        decide,
    },
};

/// Longest time that the daemon takes to start, and the tour to end.
const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The rows of the table whose first column has this heading, cell by cell, without
/// marks of code.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let row = line.trim().trim_matches('|');
        row.split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    let is_table = |line: &&str| line.starts_with('|');
    let mut lines = document.lines();
    let found = lines.find(|line| is_table(line) && cells(line)[0] == heading);
    assert!(found.is_some(), "there is no table of {heading}");
    lines.skip(1).take_while(is_table).map(cells).collect()
}

/// The code blocks of this language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let blocks = document.split(&start).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_readme_lists_every_setting_with_its_variable_and_default() {
    let command = Config::command();
    let settings = command.get_arguments().map(|setting| {
        let defaults = setting.get_default_values();
        let default = match defaults.first().map(|value| value.to_str().unwrap()) {
            None => "none",
            Some("") => "empty",
            Some(default) => default,
        };
        vec![
            format!("--{}", setting.get_long().unwrap()),
            setting.get_env().unwrap().to_str().unwrap().to_owned(),
            default.to_owned(),
        ]
    });
    let settings: Vec<_> = settings.collect();
    let mut listed = table(&document("README.md"), "flag");
    for row in &mut listed {
        assert!(row.len() == 4 && !row[3].is_empty(), "{row:?}");
        row.truncate(3);
    }
    assert_eq!(listed, settings);
}

#[test]
fn architecture_explains_every_dependency() {
    let manifest: toml::Table = document("Cargo.toml").parse().unwrap();
    let names = |section: &str| -> BTreeSet<String> {
        let section = manifest[section].as_table().unwrap();
        section.keys().cloned().collect()
    };
    let architecture = document("proto-notes/architecture.md");
    let rows = table(&architecture, "crate");
    assert!(rows.iter().all(|row| !row[1].is_empty()), "{rows:?}");
    let listed: BTreeSet<String> = rows.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed, names("dependencies"));
    let for_tests = architecture.split("For tests only:").nth(1).unwrap();
    for name in names("dev-dependencies").difference(&listed) {
        assert!(for_tests.contains(&format!("`{name}`")), "{name}");
    }
}

/// Every source file below `folder`, as a path from `src`; not tests, nor the `mod.rs`
/// that every folder has.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.file_stem().unwrap().to_str().unwrap() {
            "tests" | "mod" => {}
            _ if path.is_dir() => sources(&path, found),
            // SQL lies beside the file that sends it.
            _ if path.extension().is_some_and(|extension| extension == "sql") => {}
            _ => {
                let path = path.strip_prefix(root().join("src")).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
}

#[test]
fn architecture_shows_every_module_and_no_other() {
    let architecture = document("proto-notes/architecture.md");
    let tree = architecture
        .split("## Layers and modules")
        .nth(1)
        .and_then(|rest| blocks(rest, "text").into_iter().next())
        .unwrap();
    // Files by the folder at the start of a line, the top one for what is there.
    let mut shown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut folder = "";
    for line in tree.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.is_empty() {
            folder = if first.ends_with('/') { first } else { "" };
        }
        let files = line.split(' ').filter(|word| word.ends_with(".rs"));
        shown.entry(folder).or_default().extend(files);
    }
    let mut exist = Vec::new();
    sources(&root().join("src"), &mut exist);
    let mut missing = Vec::new();
    for path in &exist {
        let home = shown
            .keys()
            .filter(|folder| path.starts_with(**folder))
            .max_by_key(|folder| folder.len());
        let name = path.rsplit('/').next().unwrap();
        if !home.is_some_and(|home| shown[home].contains(name)) {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "not in the module tree: {missing:?}");
    for (folder, files) in shown {
        for file in files {
            let exists = |path: &String| path.starts_with(folder) && path.ends_with(file);
            assert!(exist.iter().any(exists), "there is no {folder} … {file}");
        }
    }
}

#[test]
fn architecture_shows_limits_as_they_are() {
    let limits = document("src/limits.rs");
    let rows = table(&document("proto-notes/architecture.md"), "limit");
    assert!(rows.len() > 5);
    for row in rows {
        let (name, value) = (&row[0], &row[1]);
        let line = format!("pub const {name}: ");
        let found = limits.lines().find(|found| found.starts_with(&line));
        let found = found.and_then(|found| found.split_once(" = "));
        assert_eq!(found.unwrap().1, format!("{value};"), "{name}");
    }
}

#[test]
fn semantics_lists_the_keys_of_a_work_spec_with_their_defaults() {
    let SpecOptions {
        paused,
        priority,
        weight,
        continuous,
        can_be_continuous: _, // follows from `continuous`
        interval,
        max_running,
        max_getwork,
        max_retries,
        then,
        runtime,
        min_gb,
    } = SpecOptions::default();
    let expected = [
        ("name", "required".to_owned()),
        ("disabled", paused.to_string()),
        ("priority", priority.to_string()),
        ("weight", weight.to_string()),
        ("nice", "0".to_owned()),
        ("continuous", continuous.to_string()),
        ("interval", interval.as_secs_f64().to_string()),
        ("max_running", max_running.to_string()),
        ("max_getwork", max_getwork.to_string()),
        ("max_retries", max_retries.to_string()),
        ("then", then.map_or("none".to_owned(), |_| String::new())),
        ("runtime", format!("{runtime:?}")),
        ("min_gb", min_gb.to_string()),
    ];
    let rows = table(&document("proto-notes/semantics.md"), "key");
    let listed: Vec<_> = rows
        .iter()
        .map(|row| (row[0].as_str(), row[2].clone()))
        .collect();
    assert_eq!(listed, expected);

    let definition = |key: &str, value: serde_json::Value| {
        let map = serde_json::json!({"name": "s", key: value});
        NewSpec::read(&serde_cbor::to_vec(&map).unwrap())
    };
    for (key, _) in listed {
        let refused = definition(key, serde_json::json!([])).unwrap_err();
        assert!(refused.to_string().contains(key), "{refused}");
    }
    assert!(definition("other", serde_json::json!([])).is_ok());
    assert_eq!(
        definition("nice", 0.into()).unwrap().options,
        SpecOptions::default()
    );
}

#[test]
fn semantics_shows_the_table_of_updates_as_it_is() {
    let phases = [
        ("none", Phase::Idle),
        ("open", Phase::Open),
        ("finished", Phase::Finished),
        ("failed", Phase::Failed),
    ];
    let status = |status| Ask {
        status: Some(status),
        ..Ask::default()
    };
    let lease = |seconds| Ask {
        lease: Some(Duration::from_secs(seconds)),
        ..Ask::default()
    };
    let data = Ask {
        has_data: true,
        ..Ask::default()
    };
    let asks = [
        Ask::default(),
        data,
        lease(1),
        lease(0),
        status(AskedStatus::Available),
        status(AskedStatus::Pending),
        status(AskedStatus::Finished),
        status(AskedStatus::Failed),
    ];
    let word = |decision| match decision {
        Decision::Accept => "true",
        Decision::Refuse(_) => "false",
        Decision::Impossible(_) => "error",
        Decision::Change(Effect::Prepare { .. }) => "stored",
        Decision::Change(Effect::Start(Outcome::Pending(_))) => "started",
        Decision::Change(Effect::Renew { .. }) => "renewed",
        Decision::Change(Effect::Clear { .. }) => "released",
        Decision::Change(Effect::Finish | Effect::Start(Outcome::Finished)) => "finished",
        Decision::Change(Effect::Fail | Effect::Start(Outcome::Failed)) => "failed",
    };
    let expected: Vec<Vec<&str>> = phases
        .iter()
        .map(|(name, phase)| {
            let words = asks.iter().map(|ask| word(decide(*phase, ask)));
            std::iter::once(*name).chain(words).collect()
        })
        .collect();
    let semantics = document("proto-notes/semantics.md");
    assert_eq!(table(&semantics, "current attempt"), expected);
}

#[test]
fn semantics_reckons_the_example_of_scheduling_right() {
    let rows = table(&document("proto-notes/semantics.md"), "spec");
    let specs: Vec<Share> = rows
        .iter()
        .map(|row| Share {
            priority: 0,
            weight: row[1].parse().unwrap(),
            pending: row[2].parse().unwrap(),
        })
        .collect();
    let draw = |lot: u128| {
        let mut total = 0;
        let chosen = choose(
            &specs,
            |&spec| spec,
            |below| {
                total = below;
                lot.min(below - 1)
            },
        );
        (chosen.unwrap(), total)
    };
    let (_, total) = draw(0);
    let mut scores = vec![0; specs.len()];
    for lot in 0..total {
        scores[draw(lot).0] += 1;
    }
    for (row, score) in rows.iter().zip(scores) {
        let chance = (score as f64 * 100.0 / total as f64).round();
        assert_eq!(row[3..], [score.to_string(), format!("{chance} %")]);
    }
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let notes = fs::read_dir(root().join("proto-notes")).unwrap();
    let notes = notes.map(|entry| entry.unwrap().path());
    for path in notes.chain([root().join("README.md")]) {
        let text = fs::read_to_string(&path).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                let target = path.parent().unwrap().join(target);
                assert!(target.exists(), "{} → {}", path.display(), target.display());
            }
        }
    }
}

/// A running daemon, ended when dropped.
struct Daemon {
    process: Child,
    /// Host and port.
    address: (String, String),
}

impl Daemon {
    fn start() -> Daemon {
        let mut process = Command::new(env!("CARGO_BIN_EXE_coordinated"))
            .args(["--listen=127.0.0.1:0", "--log-format=json", "--log=info"])
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        thread::spawn(move || {
            // To the end, so that the daemon never waits for its log to be read.
            for line in log.lines().map_while(Result::ok) {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = line["listen"].as_str() {
                    let _ = found.send(address.to_owned());
                }
            }
        });
        let mut daemon = Daemon {
            process,
            address: (String::new(), String::new()),
        };
        let address = address.recv_timeout(PATIENCE).unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        daemon.address = (host.to_owned(), port.to_owned());
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Python 3 that has cbor2; made if it is not there yet.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let script = root().join("tests/clients/python3/environment.sh");
    let made = Command::new("bash").arg(script).arg(target).output();
    let made = made.unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let environment = String::from_utf8(made.stdout).unwrap();
    Path::new(environment.trim()).join("bin/python")
}

#[test]
fn the_tour_in_the_readme_prints_what_the_readme_says() {
    let readme = document("README.md");
    let [tour] = &blocks(&readme, "python")[..] else {
        panic!("README.md has one block of Python");
    };
    let after = readme.split(tour).nth(1).unwrap();
    let expected = blocks(after, "text").into_iter().next().unwrap();
    let python = python();
    let daemon = Daemon::start();
    let (host, port) = daemon.address.clone();
    // Again on the same daemon, as a newcomer will.
    for _ in 0..2 {
        let mut command = Command::new(&python);
        command.args(["-c", tour, &host, &port]);
        let (done, output) = mpsc::channel();
        thread::spawn(move || done.send(command.output().unwrap()));
        // If time runs out, the daemon ends, and with it the script.
        let output: Output = output.recv_timeout(PATIENCE).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
