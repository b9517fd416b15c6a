//! Settings as the operator meets them: the example file, `--help`, and what the real
//! daemon says about a mistake.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Output},
};

use clap::CommandFactory as _;
use coordinated::config::{Config, decide};

/// Runs the daemon with nothing in its environment but `variables`.
fn run(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coordinated"))
        .args(flags)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// What the daemon prints on standard error when it refuses its settings.
fn refusal(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(flags, variables);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty());
    message
}

/// A file of this text, removed when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> TempFile {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join(format!("{}-{name}", process::id()));
        fs::write(&path, text).unwrap();
        TempFile(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn an_unknown_key_in_the_file_ends_the_daemon_with_file_line_and_key() {
    let file = TempFile::new("unknown.toml", "log = 'info'\n\nmax_conections = 5\n");
    assert_eq!(
        refusal(&["--config", file.name()], &[]),
        format!(
            "error: {}:3: unknown setting \"max_conections\" (value \"5\"); did you mean max_connections\n",
            file.name()
        )
    );
}

#[test]
fn a_bad_value_in_the_file_ends_the_daemon_with_file_line_key_and_value() {
    let file = TempFile::new("bad.toml", "# comment\nmax_frame_bytes = '64 parsecs'\n");
    assert_eq!(
        refusal(&[], &[("COORDINATED_CONFIG", file.name())]),
        format!(
            "error: {}:2: invalid value \"64 parsecs\" for max_frame_bytes: \
             the unit is not one of B, KiB, MiB, GiB\n",
            file.name()
        )
    );
}

#[test]
fn a_file_that_is_missing_or_no_toml_ends_the_daemon_with_its_name() {
    let message = refusal(&["--config", "/nowhere/daemon.toml"], &[]);
    assert!(
        message.contains("/nowhere/daemon.toml: No such file"),
        "{message}"
    );
    let file = TempFile::new("broken.toml", "log = 'info'\nlisten = \n");
    let message = refusal(&["--config", file.name()], &[]);
    assert!(
        message.starts_with(&format!("error: {}:2: ", file.name())),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_bad_variable_ends_the_daemon_with_its_name_and_value() {
    assert_eq!(
        refusal(&[], &[("COORDINATED_DRAIN_SECONDS", "soon")]),
        "error: invalid value \"soon\" for COORDINATED_DRAIN_SECONDS: \
         not a number of seconds, or a time such as 90m, 12h or 7d\n"
    );
}

#[test]
fn a_bad_or_unknown_flag_ends_the_daemon_with_its_name_and_value() {
    let message = refusal(&["--cache-entries", "many"], &[]);
    let expected = "error: invalid value 'many' for '--cache-entries <COUNT>': not a whole number";
    assert!(message.starts_with(expected), "{message}");
    let message = refusal(&["--lisetn=:1"], &[]);
    assert!(
        message.contains("'--lisetn'") && message.contains("--listen"),
        "{message}"
    );
}

#[test]
fn a_global_config_that_is_no_map_ends_the_daemon_with_its_name() {
    let file = TempFile::new("global.yaml", "- a\n- b\n");
    assert_eq!(
        refusal(&["--global-config", file.name()], &[]),
        format!(
            "error: cannot use {} as global_config: there is no map at its top\n",
            file.name()
        )
    );
}

/// A place where there is no database, whatever this machine has.
const NO_DATABASE: (&str, &str) = ("PGHOST", "/nowhere");

#[test]
fn a_daemon_whose_database_does_not_answer_says_so_and_fails() {
    for arguments in [&["--log=off"][..], &["migrate", "--log=off"]] {
        let arguments = [&["--backend=postgres:"], arguments].concat();
        let output = run(&arguments, &[NO_DATABASE]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.starts_with("error: cannot connect to the database: "),
            "{message}"
        );
    }
}

#[test]
fn the_task_may_come_before_and_after_settings_and_needs_a_database() {
    for arguments in [&["migrate", "--log=off"], &["--log=off", "migrate"]] {
        let output = run(arguments, &[]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(
            message,
            "error: there is nothing to migrate without --backend postgres://…\n"
        );
    }
    assert!(refusal(&["migrat"], &[]).contains("'migrat'"));
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_allowed_and_logged_as_json() {
    let script = "ulimit -Sn 64; ulimit -Hn 100; exec \"$0\" \"$@\"";
    let output = Command::new("/bin/sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_coordinated")])
        .args(["--backend=postgres:", "--log=debug", "--log-format=json"])
        .env_clear()
        .envs([NO_DATABASE])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [raised, warned, ..] = &lines[..] else {
        panic!("{text}");
    };
    assert_eq!(
        (&raised["before"], &raised["limit"]),
        (&64.into(), &100.into()),
        "{text}"
    );
    assert_eq!(warned["level"], "WARN");
    assert_eq!(warned["wanted"], 16_384 + 64);
    assert!(warned["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn help_names_every_setting_with_its_default_and_variable_but_no_secret() {
    let backend = "postgres://me:secret@db/jobs";
    let output = run(&["--help"], &[("COORDINATED_BACKEND", backend)]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    let command = Config::command();
    let places: Vec<usize> = command
        .get_arguments()
        .map(|setting| {
            let flag = format!("      --{}", setting.get_long().unwrap());
            let ends = [' ', '['].map(|end| help.find(&format!("{flag}{end}")));
            ends.into_iter().flatten().min().unwrap()
        })
        .collect();
    for (setting, start) in command.get_arguments().zip(&places) {
        let end = places.iter().filter(|place| *place > start).min();
        // A line may break anywhere.
        let entry = &help[*start..end.copied().unwrap_or(help.len())];
        let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
        let variable = setting.get_env().unwrap().to_str().unwrap();
        assert!(entry.contains(&format!("[env: {variable}]")), "{entry}");
        for default in setting.get_default_values() {
            let default = default.to_str().unwrap();
            let shown = if default.is_empty() {
                "[default: \"\"]".to_owned()
            } else {
                format!("[default: {default}]")
            };
            assert!(entry.contains(&shown), "{entry}");
        }
    }
    assert!(!help.contains("secret"));
    assert!(help.contains("coordinated --listen 0.0.0.0:5932 --log debug"));
    let widest = help.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}");
}

#[test]
fn version_is_the_one_of_the_package() {
    let output = run(&["--version"], &[]);
    let expected = format!("coordinated {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

fn example() -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(directory.join("config.example.toml")).unwrap()
}

#[test]
fn the_example_file_sets_every_setting_to_its_default() {
    let example = example();
    let config = decide(
        &[],
        |_| None,
        Some((Path::new("config.example.toml"), &example)),
    );
    assert_eq!(config.unwrap(), Config::default());

    let command = Config::command();
    for setting in command
        .get_arguments()
        .filter(|setting| setting.get_id() != "config")
    {
        let name = setting.get_id().as_str();
        let off = if setting.get_default_values().is_empty() {
            "#"
        } else {
            ""
        };
        let line = format!("{off}{name} = ");
        let times = example
            .lines()
            .filter(|given| given.starts_with(&line))
            .count();
        assert_eq!(times, 1, "lines that begin with {line:?}");
    }
}

#[test]
fn what_the_example_file_leaves_off_can_be_turned_on_as_it_stands() {
    let example = example();
    let is_setting = |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase());
    let turned_on: String = example
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| is_setting(rest))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = decide(&[], |_| None, Some((Path::new("all.toml"), &turned_on))).unwrap();
    assert!(config.limit_completed_count.is_some() && config.limit_completed_age.is_some());
    assert!(config.global_config_file.is_some() && config.worker_threads.is_some());
}
