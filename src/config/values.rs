//! The forms that values take: pure functions from text to a type, or to what is wrong with it.
//!
//! A cause never repeats the text, since it may come from the environment.

use std::path::PathBuf;
use std::time::Duration;

/// Reads a duration as Go's `time.ParseDuration` does: `10s`, `1h30m`, `1.5h`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str =
        "not a duration; write a number with a unit (ns, us, ms, s, m, h), as in 1h30m";
    const TOO_LONG: &str = "too long a duration";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(WRONG);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(WRONG)?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let nanos: f64 = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(WRONG),
        };
        let number: f64 = number.parse().map_err(|_| WRONG)?;
        let part = Duration::try_from_secs_f64(number * nanos / 1e9).map_err(|_| TOO_LONG)?;
        total = total.checked_add(part).ok_or(TOO_LONG)?;
        rest = tail;
    }
    // Go holds a duration in 63 bits of nanoseconds, about 292 years.
    if total.as_nanos() > i64::MAX as u128 {
        Err(TOO_LONG)
    } else {
        Ok(total)
    }
}

/// Reads a size in bytes: `4096`, `10GB` (powers of 1000) or `512MiB` (powers of 1024).
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "not a size; write bytes or a number with a unit, as in 10GB or 512MiB";
    let number_len = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number_len);
    let bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000_u64.pow(2),
        "gb" => 1000_u64.pow(3),
        "tb" => 1000_u64.pow(4),
        "kib" => 1024,
        "mib" => 1024_u64.pow(2),
        "gib" => 1024_u64.pow(3),
        "tib" => 1024_u64.pow(4),
        _ => return Err(WRONG),
    };
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(bytes).ok_or("too large a size");
    }
    let number: f64 = number.parse().map_err(|_| WRONG)?;
    let total = number * bytes as f64;
    // Above 2^53 a fraction is lost in the number itself, and no disk is that large.
    if total < 2_f64.powi(53) {
        Ok(total as u64)
    } else {
        Err("too large a size")
    }
}

/// Checks an http or https URL as a base for paths: without user, query or fragment. Takes off
/// a trailing slash.
pub(super) fn url(text: &str) -> Result<String, &'static str> {
    if text.contains(['?', '#']) {
        return Err("a query or a fragment has no place in this URL");
    }
    whole_url(text)?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// Checks an http or https URL that is used as it is.
pub(super) fn whole_url(text: &str) -> Result<(), &'static str> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or("not a URL; it must begin with https:// or http://")?;
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL cannot contain spaces or control characters");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user or password has no place in a URL, since URLs are logged");
    }
    host_port(authority, false)
}

/// Checks the URL of a gateway, which may hold `{cid}`.
pub(super) fn gateway(text: &str) -> Result<String, &'static str> {
    let example = text.replace("{cid}", "cid");
    if example.contains(['{', '}', '%']) {
        return Err("the only placeholder that a gateway's URL can hold is {cid}");
    }
    url(&example)?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// Checks `HOST:PORT` as Go's `net.Listen` and `net.Dial` take it: `:5005`, `127.0.0.1:0`,
/// `[::1]:5005`, `localhost:5005`.
pub(super) fn addr(text: &str) -> Result<(), &'static str> {
    host_port(text, true)
}

/// Checks a host and its port; the port can only be left out where it is not `required`, and
/// the host only where the port is.
fn host_port(text: &str, required: bool) -> Result<(), &'static str> {
    const WRONG: &str = "not an address; write HOST:PORT or :PORT, with an IPv6 host in brackets";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or(WRONG)?;
            host.split('%')
                .next()
                .unwrap_or(host)
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| WRONG)?;
            (
                host,
                if tail.is_empty() {
                    None
                } else {
                    Some(tail.strip_prefix(':').ok_or(WRONG)?)
                },
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    match port {
        Some(port) => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            port.parse::<u16>()
                .ok()
                .filter(|_| digits)
                .ok_or("not a port; it is 0 to 65535")?;
        }
        None if required => return Err(WRONG),
        None => {}
    }
    let strange = |c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
    if host.contains(strange) || (host.is_empty() && !required) {
        Err(WRONG)
    } else {
        Ok(())
    }
}

/// Brings a path prefix into the form with a leading and no trailing slash; `/` becomes empty.
pub(super) fn prefix(text: &str) -> Result<String, &'static str> {
    let trimmed = text.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c);
    for segment in trimmed.split('/') {
        if segment.is_empty() || segment == "." || segment == ".." || !segment.chars().all(fits) {
            return Err("not a path; write it as in /my/registry/");
        }
    }
    Ok(format!("/{trimmed}"))
}

/// Checks the name of a response header that is ours to choose (RFC 9110, section 5.6.2).
pub(super) fn header_name(text: &str) -> Result<(), &'static str> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.is_empty() || !text.chars().all(token) {
        return Err("not the name of a header");
    }
    let framing = [
        "connection",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "docker-content-digest",
        "location",
        "transfer-encoding",
        "upgrade",
    ];
    if framing.contains(&text.to_ascii_lowercase().as_str()) {
        return Err("the registry sets this header itself");
    }
    Ok(())
}

/// Checks a header's value: a line break in it would begin a header of its own.
pub(super) fn header_value(text: &str) -> Result<(), &'static str> {
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err("a header's value cannot contain line breaks or control characters");
    }
    Ok(())
}

/// Checks a value for an `Authorization` header.
pub(super) fn credential(text: &str) -> Result<(), &'static str> {
    if text.contains(|c: char| c.is_control() || !c.is_ascii()) {
        return Err("contains characters that no header can carry; was it copied whole?");
    }
    Ok(())
}

/// Reads where the catalog is: a file. Another database is none, and its URL may hold a password.
pub(super) fn catalog(text: &str) -> Result<PathBuf, &'static str> {
    if ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        return Err(
            "PostgreSQL can't keep the catalog yet; name a file for SQLite, or remove it to have \
             one below rootdirectory",
        );
    }
    if text.contains("://") || text.ends_with('/') || text.is_empty() || text.contains('\0') {
        return Err("not a file; write it as in /var/lib/lighthouse/catalog.sqlite");
    }
    Ok(PathBuf::from(text))
}

/// Checks a name that travels as a file name.
pub(super) fn name(text: &str) -> Result<String, &'static str> {
    let strange = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if text.contains(strange) || text.starts_with('.') || 128 < text.len() {
        return Err("must consist of up to 128 letters, digits, dots, hyphens and underscores");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("10s", Some(10_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("168h", Some(604_800_000_000_000)),
            ("500ms", Some(500_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("+3us", Some(3_000)),
            ("3µs", Some(3_000)),
            ("7ns", Some(7)),
            ("", None),
            ("+", None),
            ("10", None),
            ("-1s", None),
            ("1d", None),
            ("10 s", None),
            ("s", None),
            ("1.2.3s", None),
            (".s", None),
            ("1e3s", None),
            ("99999999999999999999h", None),
            ("2562048h", None),
        ] {
            assert_eq!(
                duration(text).ok(),
                expected.map(Duration::from_nanos),
                "{text:?}"
            );
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("10GB", Some(10_000_000_000)),
            ("10 gb", Some(10_000_000_000)),
            ("512MiB", Some(536_870_912)),
            ("1.5KiB", Some(1536)),
            ("1TiB", Some(1 << 40)),
            ("", None),
            ("GB", None),
            ("10G", None),
            ("-1", None),
            ("1e3", None),
            ("1.2.3GB", None),
            ("99999999TiB", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn urls() {
        for (text, expected) in [
            ("https://api.estuary.tech", Some("https://api.estuary.tech")),
            ("http://127.0.0.1:5001/", Some("http://127.0.0.1:5001")),
            ("https://[::1]:443/a/b/", Some("https://[::1]:443/a/b")),
            ("https://host", Some("https://host")),
            ("api.estuary.tech", None),
            ("ftp://host", None),
            ("https://", None),
            ("https:///path", None),
            ("https://user:password@host", None),
            ("https://host/?token=x", None),
            ("https://host/#x", None),
            ("https://ho st", None),
            ("https://host\r\nX: y", None),
            ("https://host:70000", None),
            ("https://host:", None),
        ] {
            assert_eq!(url(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn gateways() {
        for (text, expected) in [
            ("https://dweb.link/", Some("https://dweb.link")),
            (
                "https://{cid}.ipfs.dweb.link/",
                Some("https://{cid}.ipfs.dweb.link"),
            ),
            (
                "http://127.0.0.1:8080/ipfs/{cid}",
                Some("http://127.0.0.1:8080/ipfs/{cid}"),
            ),
            ("https://{hash}.ipfs.dweb.link", None),
            ("https://%s.ipfs.dweb.link", None),
            ("dweb.link", None),
        ] {
            assert_eq!(gateway(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn addresses() {
        for good in [
            ":5005",
            "127.0.0.1:0",
            "localhost:5000",
            "[::]:5005",
            "[fe80::1%eth0]:80",
        ] {
            assert_eq!(addr(good), Ok(()), "{good:?}");
        }
        for bad in [
            "5005", "", ":", "host", "::1:5005", ":70000", ":+1", "[::1]", "[x]:1", "a b:1",
        ] {
            assert!(addr(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixes() {
        for (text, expected) in [
            ("/", Some("")),
            ("/my/registry/", Some("/my/registry")),
            ("my", Some("/my")),
            ("/a//b", None),
            ("/../a", None),
            ("/a?b", None),
            ("/a b", None),
        ] {
            assert_eq!(prefix(text).ok().as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn header_names_and_values() {
        assert!(header_name("X-Content-Type-Options").is_ok());
        for bad in [
            "",
            "X Y",
            "X:",
            "X\r\nY",
            "Content-Length",
            "transfer-encoding",
        ] {
            assert!(header_name(bad).is_err(), "{bad:?}");
        }
        assert!(header_value("max-age=63072000; includeSubDomains").is_ok());
        for bad in ["a\r\nSet-Cookie: x", "a\nb", "\0"] {
            assert!(header_value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn catalogs() {
        let path = "/var/lib/lighthouse/catalog.sqlite";
        assert_eq!(catalog(path), Ok(PathBuf::from(path)));
        for (bad, cause) in [
            ("postgres://lighthouse:secret@db/lighthouse", "PostgreSQL"),
            ("postgresql:///lighthouse", "PostgreSQL"),
            ("mysql://db", "not a file"),
            ("/var/lib/lighthouse/", "not a file"),
            ("", "not a file"),
        ] {
            let said = catalog(bad).expect_err(bad);
            assert!(said.starts_with(cause) && !said.contains("secret"), "{bad}");
        }
    }

    #[test]
    fn names_that_travel_as_file_names() {
        assert!(name("lighthouse-catalog.v1").is_ok());
        for bad in ["../up", ".hidden", "a/b", "a b"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
