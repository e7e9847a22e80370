//! The forms that values take: pure functions from text to a type, or to what is wrong with it.
//!
//! A cause never repeats the text, since it may come from the environment.

use std::time::Duration;

/// Reads a duration as Go's `time.ParseDuration` does: `10s`, `1h30m`, `1.5h`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str =
        "not a duration; write a number with a unit (ns, us, ms, s, m, h), as in 1h30m";
    const TOO_LONG: &str = "too long a duration";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(WRONG);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
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

/// Checks an http or https URL without user, query or fragment, and takes off a trailing slash.
pub(super) fn url(text: &str) -> Result<String, &'static str> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or("not a URL; it must begin with https:// or http://")?;
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL cannot contain spaces or control characters");
    }
    if rest.contains(['?', '#']) {
        return Err("a query or a fragment has no place in this URL");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user or password has no place in a URL, since URLs are logged");
    }
    host_port(authority, false)?;
    Ok(text.trim_end_matches('/').to_owned())
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

/// Checks a name that travels as a file name.
pub(super) fn name(text: &str) -> Result<String, &'static str> {
    let strange = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if text.contains(strange) || text.starts_with('.') || 128 < text.len() {
        return Err("must consist of up to 128 letters, digits, dots, hyphens and underscores");
    }
    Ok(text.to_owned())
}
