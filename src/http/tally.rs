//! How many requests were answered, and how: the numbers behind `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

/// Counts of answered requests. Connections count in their own threads; a lock held for one
/// addition is the only thing they share.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<(String, u16), Answered>>);

#[derive(Debug, Default)]
struct Answered {
    count: u64,
    spent: Duration,
    received: u64,
    written: u64,
}

impl Tally {
    /// Counts one answered request: the bytes of its body, and those of the answer.
    pub fn count(&self, method: &str, status: u16, spent: Duration, received: u64, written: u64) {
        let method = if METHODS.contains(&method) {
            method
        } else {
            "other"
        };
        // An addition can't leave a count half done: a poisoned lock is as good as any.
        let mut all = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let answered = all
            .entry((method.to_ascii_lowercase(), status))
            .or_default();
        answered.count += 1;
        answered.spent += spent;
        answered.received += received;
        answered.written += written;
    }

    /// The counts in Prometheus' text format, under distribution's names where it has them.
    pub fn print(&self) -> String {
        let all = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, value: &dyn Fn(&Answered) -> f64| {
            let family = name.trim_end_matches("_sum").trim_end_matches("_count");
            if !name.ends_with("_count") {
                let _ = writeln!(text, "# TYPE {family} {kind}");
            }
            for ((method, code), answered) in all.iter() {
                let value = value(answered);
                // Writing to a String can't fail.
                let _ = writeln!(
                    text,
                    "{name}{{method=\"{method}\",code=\"{code}\"}} {value}"
                );
            }
        };
        metric("registry_http_requests_total", "counter", &|all| {
            all.count as f64
        });
        let seconds = "registry_http_request_duration_seconds";
        metric(&format!("{seconds}_sum"), "summary", &|all| {
            all.spent.as_secs_f64()
        });
        metric(&format!("{seconds}_count"), "summary", &|all| {
            all.count as f64
        });
        metric("registry_http_request_bytes_total", "counter", &|all| {
            all.received as f64
        });
        metric("registry_http_response_bytes_total", "counter", &|all| {
            all.written as f64
        });
        text
    }
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
