//! Where log lines go and how they look; panics are log lines too.
//!
//! Everything goes to standard error. Text is for people, JSON for collectors: one flat
//! object per line with `timestamp` (RFC 3339, UTC), `level`, `target`, `message`, the
//! event's own fields, and the enclosing spans under `spans`.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _},
    panic::{self, PanicHookInfo},
    thread,
};

use tracing::{Level, Subscriber, error};
use tracing_subscriber::{
    filter::EnvFilter,
    fmt::{self, MakeWriter},
    layer::{Layer, SubscriberExt as _},
    registry::Registry,
};

use crate::config::{Config, LogFormat};

/// Turns logging on for the whole process, as `config.log` and `config.log_format` say,
/// and has panics logged. To be called once, before anything is logged.
pub fn init(config: &Config) {
    let colour = match config.log_format {
        LogFormat::Auto => Colour::if_welcome(),
        LogFormat::Text | LogFormat::Json => Colour::Never,
    };
    let subscriber = subscriber(config, colour, io::stderr);
    tracing::subscriber::set_global_default(subscriber)
        .expect("logging is turned on once, at the start of main");
    log_panics();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    Always,
    Never,
}

impl Colour {
    /// Colour on a terminal, unless its user asked all programs for none.
    fn if_welcome() -> Colour {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stderr().is_terminal() && !refused {
            Colour::Always
        } else {
            Colour::Never
        }
    }
}

fn subscriber<W>(
    config: &Config,
    colour: Colour,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A log that cannot be written is not reported: the report would go to standard
    // error too, and a failed write there is a panic.
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(colour == Colour::Always)
        .log_internal_errors(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match config.log_format {
        LogFormat::Auto | LogFormat::Text => Box::new(lines),
        LogFormat::Json => {
            let json = lines.json().flatten_event(true);
            // The list of spans has the innermost one already.
            Box::new(json.with_current_span(false).with_span_list(true))
        }
    };
    Registry::default()
        .with(EnvFilter::new(&config.log))
        .with(lines)
}

/// Logs every panic as an error with its place, instead of printing it. Printed, it
/// would be lost on whoever collects JSON lines.
fn log_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if tracing::enabled!(Level::ERROR) {
            log_panic(panic);
        } else {
            print(panic);
        }
    }));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let cause = panic.payload_as_str().unwrap_or("not text");
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let backtrace = Backtrace::capture();
    // Captured only if the operator asked for it (RUST_BACKTRACE=1).
    let captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = captured.then(|| tracing::field::display(backtrace));
    error!(location, cause, thread, backtrace, "panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, info_span};

    use super::*;

    /// What was logged while `events` ran on this thread.
    fn logged(config: &Config, colour: Colour, events: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = subscriber(config, colour, Shared(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, events);
        let lines = lines.lock().unwrap().clone();
        String::from_utf8(lines).unwrap()
    }

    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Shared {
        type Writer = Shared;

        fn make_writer(&'a self) -> Shared {
            self.clone()
        }
    }

    fn json() -> Config {
        Config {
            log_format: LogFormat::Json,
            ..Config::default()
        }
    }

    fn greet() {
        let span = info_span!("connection", peer = "127.0.0.1:9");
        let _entered = span.enter();
        info!(units = 3, "claimed");
        debug!("not at the default level");
    }

    #[test]
    fn a_json_line_has_flat_fields_and_its_spans() {
        let line: serde_json::Value =
            serde_json::from_str(&logged(&json(), Colour::Never, greet)).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "claimed");
        assert_eq!(line["units"], 3);
        assert_eq!(line["spans"][0]["name"], "connection");
        assert_eq!(line["spans"][0]["peer"], "127.0.0.1:9");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(
            timestamp.ends_with('Z') && timestamp.as_bytes()[10] == b'T',
            "{timestamp}"
        );
    }

    #[test]
    fn text_is_coloured_only_where_colour_is_welcome() {
        let plain = logged(&Config::default(), Colour::Never, greet);
        assert!(
            plain.contains(" INFO connection{peer=\"127.0.0.1:9\"}"),
            "{plain}"
        );
        assert!(plain.ends_with("claimed units=3\n"), "{plain}");
        assert!(!plain.contains('\u{1b}'));
        assert!(logged(&Config::default(), Colour::Always, greet).contains("\u{1b}["));
    }

    #[test]
    fn the_filter_decides_which_lines_are_written() {
        let config = Config {
            log: "warn,coordinated::daemon::observe=debug".to_owned(),
            ..Config::default()
        };
        assert!(logged(&config, Colour::Never, greet).contains("not at the default level"));
        let config = Config {
            log: "warn".to_owned(),
            ..Config::default()
        };
        assert_eq!(logged(&config, Colour::Never, greet), "");
    }

    #[test]
    fn a_panic_is_one_log_line_with_its_place() {
        log_panics();
        let text = logged(&json(), Colour::Never, || {
            let outcome = panic::catch_unwind(|| panic!("unit {} was not in its index", 7));
            assert!(outcome.is_err());
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["cause"], "unit 7 was not in its index");
        let location = line["location"].as_str().unwrap();
        assert!(location.starts_with("src/daemon/observe.rs:"), "{location}");
    }
}
