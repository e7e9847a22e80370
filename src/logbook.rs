//! What is written to standard error: one line for each record, in the forms of logrus, which
//! distribution uses and its users' collectors know.
//!
//! Whoever has something to say uses the macros of `log`, with fields:
//! `log::info!(repository = name; "manifest stored")`. Records under the target [`ACCESS`] are
//! the access log; those under [`FATAL`] are the last words of a program that gives up.

mod outlet;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Record};
use serde_json::json;

use crate::config::{Formatter, Log};
use outlet::Outlet;

/// The target of access log records.
pub const ACCESS: &str = "access";

/// The target of an error after which the program ends; it is written as `FATA` and `fatal`.
pub const FATAL: &str = "registry::fatal";

/// Starts the log of this process. Lines go to standard error, each in one write, or are lost and
/// counted where nobody reads them: a log stops nobody. The first call wins; later ones change
/// nothing.
pub fn start(log: &Log) {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let form = Arc::new(Form {
        formatter: log.formatter,
        fields: log
            .fields
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect(),
        color: std::io::stderr().is_terminal() && !no_color,
    });
    let began = Instant::now();
    let outlet = Outlet::new(Arc::clone(&form), began);
    // Libraries have their say when something is wrong, or when somebody looks closely.
    let others = if log.level < LevelFilter::Debug {
        LevelFilter::Warn
    } else {
        log.level
    };
    let access = if log.access_log {
        log.level
    } else {
        LevelFilter::Off
    };
    let started = env_logger::Builder::new()
        .filter_level(others.min(log.level))
        .filter_module("lighthouse", log.level)
        .filter_module("registry", log.level)
        .filter_module(ACCESS, access)
        .target(env_logger::Target::Pipe(Box::new(outlet)))
        .format(move |out, record| {
            let line = form.line(record, began.elapsed(), SystemTime::now());
            out.write_all(line.as_bytes())
        })
        .try_init();
    // It fails only if this process has a log already, which then goes on.
    drop(started);
}

/// How lines look.
struct Form {
    formatter: Formatter,
    /// `log.fields`.
    fields: BTreeMap<String, serde_json::Value>,
    color: bool,
}

impl Form {
    /// The line for a record that came so long after the start, at this time.
    fn line(&self, record: &Record, elapsed: Duration, now: SystemTime) -> String {
        let mut fields = Fields(self.fields.clone());
        // The visitor never fails.
        let _ = record.key_values().visit(&mut fields);
        let fields = fields.0;
        let message = record.args().to_string();
        let name = level_name(record);
        let mut line = match self.formatter {
            Formatter::Text => {
                let color = self.color.then(|| level_color(record.level()));
                text_line(
                    name,
                    color,
                    elapsed,
                    message.trim_end_matches('\n'),
                    &fields,
                )
            }
            Formatter::Json => json_line(
                [
                    ("level", json!(name)),
                    ("msg", json!(message)),
                    ("time", json!(rfc3339(now))),
                ],
                fields,
            ),
            Formatter::Logstash => json_line(
                [
                    ("@timestamp", json!(rfc3339(now))),
                    ("@version", json!("1")),
                    ("level", json!(name)),
                    ("message", json!(message)),
                ],
                fields,
            ),
        };
        line.push('\n');
        line
    }
}

/// Gathers the fields of a record.
struct Fields(BTreeMap<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let number = || {
            value
                .to_u64()
                .map(|n| json!(n))
                .or(value.to_i64().map(|n| json!(n)))
        };
        let scalar = number().or_else(|| value.to_bool().map(|flag| json!(flag)));
        let field = scalar.unwrap_or_else(|| json!(value.to_string()));
        self.0.insert(key.as_str().to_owned(), field);
        Ok(())
    }
}

fn level_name(record: &Record) -> &'static str {
    match record.level() {
        Level::Error if record.target() == FATAL => "fatal",
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// The terminal's number for a level's colour: red, yellow, cyan, grey.
fn level_color(level: Level) -> u8 {
    match level {
        Level::Error => 31,
        Level::Warn => 33,
        Level::Info => 36,
        Level::Debug | Level::Trace => 37,
    }
}

/// `WARN[0012] message, filled up to 44 letters       key=value`
fn text_line(
    level: &str,
    color: Option<u8>,
    elapsed: Duration,
    message: &str,
    fields: &BTreeMap<String, serde_json::Value>,
) -> String {
    let paint = |text: &str| match color {
        Some(color) => format!("\x1b[{color}m{text}\x1b[0m"),
        None => text.to_owned(),
    };
    let level = paint(&level[..4].to_uppercase());
    let mut line = format!(
        "{level}[{:04}] {:<44} ",
        elapsed.as_secs(),
        escaped(message, false)
    );
    for (key, value) in fields {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
        let value = if value.chars().all(plain) {
            value
        } else {
            format!("\"{}\"", escaped(&value, true))
        };
        // Writing to a String never fails.
        let _ = write!(line, " {}={value}", paint(&escaped(key, false)));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Text in which nothing can begin a line of its own or steer a terminal. In quotes, quotes and
/// backslashes are escaped too.
fn escaped(text: &str, quoted: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_steering(c) || (quoted && matches!(c, '"' | '\\')) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Whether a letter steers a terminal or an editor instead of being shown: control characters,
/// line and paragraph separators, and changes of the writing direction.
fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One JSON object with the line's own keys; a field of the same name becomes `fields.NAME`.
fn json_line<const N: usize>(
    own: [(&str, serde_json::Value); N],
    mut fields: BTreeMap<String, serde_json::Value>,
) -> String {
    for (key, value) in own {
        if let Some(field) = fields.insert(key.to_owned(), value) {
            fields.insert(format!("fields.{key}"), field);
        }
    }
    let line = json!(fields).to_string();
    let mut safe = String::with_capacity(line.len());
    for c in line.chars() {
        // Outside of strings JSON is plain ASCII, so whatever steers stands in one.
        if is_steering(c) {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A time as RFC 3339 writes it, in UTC with microseconds: `2026-01-31T23:59:59.000000Z`.
pub fn rfc3339(time: SystemTime) -> String {
    // A clock before 1970 is not set; it reads as 1970.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (day, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days are counted from 1 March of the year 0, so that a leap day ends its year; 400 years
    // have 146,097 days (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod test {
    use super::*;

    fn line(form: &Form, level: Level, message: &str, fields: &[(&str, &str)]) -> String {
        let time = UNIX_EPOCH + Duration::from_micros(1_709_210_096_000_789);
        let line = form.line(
            &Record::builder()
                .level(level)
                .target("lighthouse")
                .key_values(&fields)
                .args(format_args!("{message}"))
                .build(),
            Duration::from_millis(7_900),
            time,
        );
        assert_eq!(line.matches('\n').count(), 1, "one line each: {line:?}");
        line.trim_end_matches('\n').to_owned()
    }

    fn form(formatter: Formatter) -> Form {
        let fields = BTreeMap::from([("service".to_owned(), json!("registry"))]);
        Form {
            formatter,
            fields,
            color: false,
        }
    }

    #[test]
    fn text_is_as_logrus_writes_it_to_a_terminal() {
        let form = form(Formatter::Text);
        for (level, message, fields, expected) in [
            (
                Level::Warn,
                "short",
                &[("go.version", "1"), ("a", "")][..],
                "WARN[0007] short                                         a= go.version=1 \
                 service=registry",
            ),
            (
                Level::Info,
                "a message that is longer than forty-four letters",
                &[("addr", "[::]:5005"), ("service", "other")],
                "INFO[0007] a message that is longer than forty-four letters  \
                 addr=\"[::]:5005\" service=other",
            ),
            (
                Level::Error,
                "evil\r\nINFO[0000] forged\x1b[2J \u{202e}\u{9b}",
                &[("a", "quote\" slash\\ line\n")],
                "ERRO[0007] evil\\r\\nINFO[0000] forged\\u{1b}[2J \\u{202e}\\u{9b}  \
                 a=\"quote\\\" slash\\\\ line\\n\" service=registry",
            ),
        ] {
            assert_eq!(line(&form, level, message, fields), expected);
        }
    }

    #[test]
    fn text_without_fields_has_no_trailing_spaces() {
        let form = Form {
            fields: BTreeMap::new(),
            ..form(Formatter::Text)
        };
        assert_eq!(line(&form, Level::Debug, "told", &[]), "DEBU[0007] told");
    }

    #[test]
    fn color_marks_level_and_keys_only() {
        let form = Form {
            color: true,
            ..form(Formatter::Text)
        };
        let line = line(&form, Level::Warn, "x", &[]);
        assert!(line.starts_with("\x1b[33mWARN\x1b[0m[0007] x "), "{line:?}");
        assert!(
            line.ends_with(" \x1b[33mservice\x1b[0m=registry"),
            "{line:?}"
        );
    }

    #[test]
    fn json_is_sorted_and_keeps_clashing_fields() {
        assert_eq!(
            line(
                &form(Formatter::Json),
                Level::Warn,
                "a\nb\u{85}",
                &[("msg", "mine")]
            ),
            r#"{"fields.msg":"mine","level":"warning","msg":"a\nb\u0085","service":"registry","#
                .to_owned()
                + r#""time":"2024-02-29T12:34:56.000789Z"}"#
        );
    }

    #[test]
    fn logstash_has_its_own_names() {
        assert_eq!(
            line(&form(Formatter::Logstash), Level::Info, "told", &[]),
            r#"{"@timestamp":"2024-02-29T12:34:56.000789Z","@version":"1","level":"info","#
                .to_owned()
                + r#""message":"told","service":"registry"}"#
        );
    }

    #[test]
    fn fields_keep_their_types_in_json() {
        let fields = [("size", Value::from(-3)), ("ok", Value::from(true))];
        let record = Record::builder().key_values(&fields).build();
        let line = form(Formatter::Json).line(&record, Duration::ZERO, UNIX_EPOCH);
        assert!(
            line.contains(r#""ok":true,"service":"registry","size":-3,"#),
            "{line}"
        );
    }

    #[test]
    fn a_fatal_error_is_named_so() {
        let record = Record::builder().level(Level::Error).target(FATAL).build();
        let line = form(Formatter::Text).line(&record, Duration::ZERO, UNIX_EPOCH);
        assert!(line.starts_with("FATA[0000] "), "{line}");
    }

    #[test]
    fn times_at_the_edges_of_the_calendar() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(secs)), expected);
        }
    }

    /// Runs this test again as a process of its own, since a log is started once in a process,
    /// and gives what it wrote to standard error. `RUST_LOG` asks for all and is not heard.
    fn lines_of_a_process(level: LevelFilter, access_log: bool) -> Vec<String> {
        if std::env::var_os("LOGBOOK_OF_A_PROCESS").is_some() {
            let fields = BTreeMap::new();
            start(&Log {
                level,
                formatter: Formatter::Text,
                fields,
                access_log,
            });
            log::info!(target: "ureq", "chatter");
            log::debug!(target: "ureq", "gossip");
            log::warn!(target: "ureq", "trouble");
            log::debug!("detail");
            log::info!(size = 7; "told");
            log::info!(target: ACCESS, "GET /v2/");
            log::error!(target: FATAL, "gave up");
            std::process::exit(0);
        }
        let name = std::thread::current()
            .name()
            .expect("a test's thread has its name")
            .to_owned();
        let output = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", &name, "--nocapture", "--test-threads=1"])
            .env("LOGBOOK_OF_A_PROCESS", "1")
            .env("RUST_LOG", "trace")
            .output()
            .expect("the test runs again");
        let lines = String::from_utf8(output.stderr).expect("text");
        lines
            .lines()
            .map(|line| line.replacen("[0000]", "", 1))
            .collect()
    }

    #[test]
    fn libraries_are_heard_when_something_is_wrong() {
        let told = format!("INFO {:<44}  size=7", "told");
        assert_eq!(
            lines_of_a_process(LevelFilter::Info, true),
            ["WARN trouble", &told, "INFO GET /v2/", "FATA gave up"]
        );
    }

    #[test]
    fn libraries_are_heard_when_somebody_looks_closely() {
        let lines = lines_of_a_process(LevelFilter::Debug, true);
        assert_eq!(
            &lines[..4],
            ["INFO chatter", "DEBU gossip", "WARN trouble", "DEBU detail"]
        );
    }

    #[test]
    fn the_access_log_can_be_off() {
        let told = format!("INFO {:<44}  size=7", "told");
        assert_eq!(
            lines_of_a_process(LevelFilter::Info, false),
            ["WARN trouble", &told, "FATA gave up"]
        );
    }

    #[test]
    fn only_errors() {
        assert_eq!(
            lines_of_a_process(LevelFilter::Error, true),
            ["FATA gave up"]
        );
    }
}
