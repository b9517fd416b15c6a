//! What the four sources of settings amount to, and how a bad one is refused.

use super::*;

fn flags(flags: &[&str]) -> Vec<OsString> {
    flags.iter().map(OsString::from).collect()
}

fn decided(given: &[&str], environment: &[(&str, &str)], file: &str) -> anyhow::Result<Config> {
    let lookup = |name: &str| {
        let found = environment.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    decide(
        &flags(given),
        lookup,
        Some((Path::new("daemon.toml"), file)),
    )
}

fn refusal(given: &[&str], environment: &[(&str, &str)], file: &str) -> String {
    let error = decided(given, environment, file).unwrap_err();
    format!("{error:#}")
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let file = "max_connections = 1\ncache_entries = 1\nattempt_history = 1";
    let environment = [
        ("COORDINATED_MAX_CONNECTIONS", "2"),
        ("COORDINATED_CACHE_ENTRIES", "2"),
    ];
    let config = decided(&["--max-connections", "3"], &environment, file).unwrap();
    let expected = Config {
        max_connections: 3,
        cache_entries: 2,
        attempt_history: 1,
        ..Config::default()
    };
    assert_eq!(config, expected);
    assert_eq!(config.listen, ([127, 0, 0, 1], 5932).into());
}

#[test]
fn every_setting_can_be_given_in_every_way() {
    let values = [
        ("listen", "[::1]:0"),
        ("max_connections", "1"),
        ("max_frame_bytes", "1MiB"),
        ("drain_seconds", "0.5"),
        ("backend", "postgres://localhost/jobs"),
        ("namespace", "tenant"),
        ("cache_entries", "0"),
        ("attempt_history", "0"),
        ("limit_completed_count", "1000"),
        ("limit_completed_age", "7d"),
        ("enforce_min_gb", "true"),
        ("global_config", "site.yaml"),
        ("postgres_schema", "jobs_2"),
        ("postgres_connections", "3"),
        ("postgres_statements", "unnamed"),
        ("postgres_direct", "postgres://db/jobs"),
        ("log", "warn,coordinated::daemon=trace"),
        ("log_format", "json"),
        ("worker_threads", "2"),
        ("random_seed", "7"),
    ];
    let file: String = values
        .map(|(key, value)| format!("{key} = \"{value}\"\n"))
        .concat();
    let variables =
        values.map(|(key, value)| (format!("COORDINATED_{}", key.to_uppercase()), value));
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (&name[..], *value))
        .collect();
    let arguments = values.map(|(key, value)| format!("--{}={value}", key.replace('_', "-")));
    let arguments: Vec<&str> = arguments.iter().map(|argument| &argument[..]).collect();

    let by_file = decided(&[], &[], &file).unwrap();
    assert_eq!(decided(&[], &variables, "").unwrap(), by_file);
    assert_eq!(decided(&arguments, &[], "").unwrap(), by_file);
    assert_eq!(by_file.max_frame_bytes, 1 << 20);
    assert_eq!(
        by_file.limit_completed_age,
        Some(Duration::from_secs(7 * 86_400))
    );
    assert_eq!(by_file.drain_seconds, Duration::from_millis(500));
    assert!(by_file.enforce_min_gb);

    let settings = Config::command();
    let all = settings
        .get_arguments()
        .filter(|setting| setting.get_id() != "config");
    let mut names: Vec<&str> = all.map(|setting| setting.get_id().as_str()).collect();
    names.retain(|name| !values.iter().any(|(key, _)| key == name));
    assert!(names.is_empty(), "this test forgets {names:?}");
}

#[test]
fn the_file_has_types_and_a_switch_needs_no_value() {
    let file = "max_connections = 0x10\ndrain_seconds = 1.5\nenforce_min_gb = true";
    let config = decided(&[], &[], file).unwrap();
    assert_eq!(config.max_connections, 16);
    assert_eq!(config.drain_seconds, Duration::from_millis(1500));
    assert!(config.enforce_min_gb);
    assert!(
        decided(&["--enforce-min-gb"], &[], "")
            .unwrap()
            .enforce_min_gb
    );
    assert!(
        !decided(&["--enforce-min-gb=no"], &[], file)
            .unwrap()
            .enforce_min_gb
    );
}

#[test]
fn a_setting_in_the_file_that_is_not_valid_is_named_with_its_line_and_value() {
    assert_eq!(
        refusal(&[], &[], "\nlisten = 'localhost:5932'"),
        "daemon.toml:2: invalid value \"localhost:5932\" for listen: \
         not an IP address and a port, as in 127.0.0.1:5932 or [::1]:5932"
    );
    assert_eq!(
        refusal(&[], &[], "log = 'info'\n\nlog_format = 'xml'"),
        "daemon.toml:3: invalid value \"xml\" for log_format: not one of auto, text, json"
    );
    assert_eq!(
        refusal(&[], &[], "max_connections = 0"),
        "daemon.toml:1: invalid value \"0\" for max_connections: not between 1 and 1048576"
    );
    assert_eq!(
        refusal(&[], &[], "listen = ['127.0.0.1:1']"),
        "daemon.toml:1: invalid value \"['127.0.0.1:1']\" for listen: \
         an array, not text, a number or true or false"
    );
}

#[test]
fn an_unknown_key_in_the_file_is_named_with_its_line_and_the_likely_one() {
    assert_eq!(
        refusal(&[], &[], "log = 'info'\nlisetn = '0.0.0.0:2'"),
        "daemon.toml:2: unknown setting \"lisetn\" (value \"0.0.0.0:2\"); did you mean listen"
    );
    assert_eq!(
        refusal(&[], &[], "cache-entries = 7"),
        "daemon.toml:1: unknown setting \"cache-entries\" (value \"7\"); did you mean cache_entries"
    );
    let of_the_command_line_only = refusal(&[], &[], "config = 'other.toml'");
    assert!(of_the_command_line_only.contains("unknown setting \"config\""));
    assert!(refusal(&[], &[], "help = true").contains("unknown setting \"help\""));
    assert!(
        refusal(&[], &[], "log = 'info'\nlog = 'warn'").starts_with("daemon.toml:2: duplicate key")
    );
}

#[test]
fn a_variable_that_is_not_valid_is_named_even_if_a_flag_hides_it() {
    let environment = [("COORDINATED_CACHE_ENTRIES", "lots")];
    assert_eq!(
        refusal(&["--cache-entries=5"], &environment, ""),
        "invalid value \"lots\" for COORDINATED_CACHE_ENTRIES: not a whole number"
    );
}

#[test]
fn rust_log_is_heeded_between_the_file_and_our_own_variable() {
    let shared = ("RUST_LOG", "warn");
    assert_eq!(
        decided(&[], &[shared], "log = 'debug'").unwrap().log,
        "warn"
    );
    let own = ("COORDINATED_LOG", "trace");
    assert_eq!(decided(&[], &[shared, own], "").unwrap().log, "trace");
    assert!(refusal(&[], &[("RUST_LOG", "inof")], "").contains("\"inof\" for RUST_LOG"));
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let environment = [("COORDINATED_LISTEN", ""), ("COORDINATED_BACKEND", "")];
    assert_eq!(decided(&[], &environment, "").unwrap(), Config::default());
}

#[test]
fn a_refused_backend_does_not_put_its_password_in_the_log() {
    let message = refusal(
        &[],
        &[("COORDINATED_BACKEND", "postgre://me:secret@db/jobs")],
        "",
    );
    assert!(message.contains("COORDINATED_BACKEND"), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn the_default_frame_limit_is_the_one_in_limits() {
    assert_eq!(Config::default().max_frame_bytes, limits::FRAME_BYTES_MAX);
}

#[test]
fn flags_variables_and_keys_are_named_alike() {
    Config::command().debug_assert();
    for setting in Config::command().get_arguments() {
        let key = setting.get_id().as_str();
        let variable = format!("COORDINATED_{}", key.to_uppercase());
        assert_eq!(setting.get_env(), Some(OsStr::new(&variable)), "{key}");
        assert_eq!(setting.get_long(), Some(&key.replace('_', "-")[..]));
    }
}
