//! Quotas: what a registry says about how much more it will give.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::http::HeaderMap;

/// How many more pulls a registry allows, as it says with each answer (Docker Hub, "Pull usage
/// and limits"; the draft "RateLimit header fields for HTTP" in its form with three headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Pulls that are allowed in a window.
    pub limit: Option<u64>,
    /// Pulls that are left.
    pub remaining: u64,
    /// The window, in seconds.
    pub window_secs: Option<u64>,
    /// When there will be more.
    pub reset: Option<Duration>,
}

impl Quota {
    /// Reads the headers of an answer; none if the registry does not count.
    pub fn of(headers: &HeaderMap) -> Option<Quota> {
        let (remaining, window) = counted(text(headers, "ratelimit-remaining")?)?;
        let limit = text(headers, "ratelimit-limit").and_then(counted);
        let reset = text(headers, "ratelimit-reset").and_then(|text| text.parse().ok());
        Some(Quota {
            limit: limit.map(|(limit, _)| limit),
            remaining,
            window_secs: window.or(limit.and_then(|(_, window)| window)),
            reset: reset.map(Duration::from_secs),
        })
    }
}

/// `100;w=21600`: a count, and the window it is for, in seconds.
fn counted(text: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = text.split(';').map(str::trim);
    let count = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((count, window))
}

/// How long the answer asks us to wait: `Retry-After` in seconds or as a date (RFC 9110, section
/// 10.2.3), or Docker Hub's `X-Retry-After` in seconds since 1970.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = |secs: u64| Duration::from_secs(secs).saturating_sub(since_epoch);
    if let Some(text) = text(headers, "retry-after") {
        return match text.parse() {
            Ok(secs) => Some(Duration::from_secs(secs)),
            Err(_) => {
                let date = httpdate::parse_http_date(text).ok()?;
                Some(date.duration_since(now).unwrap_or_default())
            }
        };
    }
    text(headers, "x-retry-after")?.parse().ok().map(until)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = ureq::http::HeaderName::from_static(name);
            (name, value.parse().expect("a header value"))
        });
        pairs.collect()
    }

    #[test]
    fn quotas_are_read() {
        let hub = [
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "76;w=21600"),
        ];
        let expected = Quota {
            limit: Some(100),
            remaining: 76,
            window_secs: Some(21600),
            reset: None,
        };
        assert_eq!(Quota::of(&headers(&hub)), Some(expected));
        let draft = [("ratelimit-remaining", "3"), ("ratelimit-reset", "30")];
        let quota = Quota::of(&headers(&draft)).expect("a quota");
        assert_eq!(
            (quota.remaining, quota.reset),
            (3, Some(Duration::from_secs(30)))
        );
        assert_eq!(Quota::of(&headers(&[])), None);
        assert_eq!(
            Quota::of(&headers(&[("ratelimit-remaining", "many")])),
            None
        );
    }

    #[test]
    fn waits_are_read_in_all_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (name, value, expected) in [
            ("retry-after", "120", Some(120)),
            ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            (
                "retry-after",
                "Thu, 29 Feb 1996 00:00:00 GMT",
                Some(825_552_000 - 784_111_777),
            ),
            ("retry-after", "soon", None),
            ("retry-after", "Sun, 99 Foo 1994 08:50:37 GMT", None),
            ("x-retry-after", "784111787", Some(10)),
        ] {
            let wait = retry_after(&headers(&[(name, value)]), now);
            assert_eq!(wait, expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&headers(&[]), now), None);
    }
}
