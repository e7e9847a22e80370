//! Every key that a configuration can have, and what becomes of it.
//!
//! This table is the only place that knows: start-up, `check`, the nearest known key and the
//! names of environment variables are all drawn from it.

use serde_yaml::Value;

use super::read::{Reading, join};
use crate::nearest::{distance, near};

/// What becomes of a key.
#[derive(Debug)]
pub(super) enum Fate {
    /// `sections` reads it.
    Act,
    /// Nothing needs to be done for it.
    Pass,
    /// Ignored with a warning that says why, if it is set to anything.
    Warn(&'static str),
    /// Refused with a pointer, if it is set to anything.
    RefuseIfSet(&'static str),
    /// Refused with a pointer even when it is empty, since its presence already asks for it.
    Refuse(&'static str),
}
use Fate::{Act, Pass, Refuse, RefuseIfSet, Warn};

const NO_AUTH: &str = "users are not checked yet; to keep others out, serve on 127.0.0.1 and put \
    a reverse proxy that asks for passwords (Caddy, nginx) in front";
const NO_TLS: &str = "TLS is not served; put a reverse proxy (Caddy, nginx) in front and set \
    http.host to its https:// URL";
const NO_OBJECTS: &str = "this storage driver does not exist here; use filesystem, kubo or estuary";
const NO_PROXY: &str = "a pull-through cache is not there yet; remove it to serve what is pushed";
const NO_NOTES: &str = "notifications are not sent yet; remove the endpoints to start without";
const ONE_PACE: &str = "ignored; the disk needs no limit";
const NO_REPORTS: &str = "ignored; errors are reported in the log only";
const TLS_DETAIL: &str = "ignored; TLS is left to a reverse proxy";

/// The keys of `storage` that name a driver.
pub(super) const DRIVERS: [&str; 9] = [
    "filesystem",
    "inmemory",
    "estuary",
    "kubo",
    "azure",
    "gcs",
    "oss",
    "s3",
    "swift",
];

/// Path and fate of each key. `*` stands for any name, `[]` for each entry of a list; what lies
/// beneath a key shares its fate.
pub(super) const KEYS: &[(&str, Fate)] = &[
    ("version", Act),
    ("log.level", Act),
    ("log.formatter", Act),
    ("log.fields.*", Act),
    ("log.accesslog.disabled", Act),
    (
        "log.hooks",
        Warn("ignored; let the collector of the log send mails"),
    ),
    (
        "log.reportcaller",
        Warn("ignored; lines do not name their source"),
    ),
    ("loglevel", Act),
    ("storage.filesystem.rootdirectory", Act),
    ("storage.filesystem.maxthreads", Warn(ONE_PACE)),
    ("storage.inmemory", Act),
    ("storage.estuary.url", Act),
    ("storage.estuary.shuttle-url", Act),
    ("storage.estuary.auth-token", Act),
    ("storage.estuary.rootdirectory", Act),
    ("storage.estuary.gateway-pattern", Act),
    ("storage.estuary.maxthreads", Act),
    ("storage.estuary.acknowledge", Act),
    ("storage.estuary.cache.size", Act),
    ("storage.estuary.export-name", Act),
    ("storage.kubo.api", Act),
    ("storage.kubo.gateway", Act),
    ("storage.kubo.rootdirectory", Act),
    ("storage.kubo.authorization", Act),
    ("storage.kubo.maxthreads", Act),
    ("storage.kubo.acknowledge", Act),
    ("storage.kubo.cache.size", Act),
    ("storage.kubo.export-name", Act),
    ("storage.azure", Refuse(NO_OBJECTS)),
    ("storage.gcs", Refuse(NO_OBJECTS)),
    ("storage.oss", Refuse(NO_OBJECTS)),
    ("storage.s3", Refuse(NO_OBJECTS)),
    ("storage.swift", Refuse(NO_OBJECTS)),
    ("storage.catalog", Act),
    ("storage.gateway[]", Act),
    ("storage.recheck", Act),
    ("storage.delete.enabled", Act),
    ("storage.redirect.disable", Act),
    ("storage.cache.blobdescriptor", Act),
    ("storage.cache.layerinfo", Act),
    ("storage.cache.blobdescriptorsize", Pass),
    ("storage.tag.concurrencylimit", Warn(ONE_PACE)),
    ("storage.maintenance.uploadpurging.enabled", Act),
    ("storage.maintenance.uploadpurging.age", Act),
    ("storage.maintenance.uploadpurging.interval", Act),
    ("storage.maintenance.uploadpurging.dryrun", Act),
    ("storage.maintenance.readonly.enabled", Act),
    ("auth.none", Pass),
    (
        "auth.silly",
        Warn("ignored; it protects nothing, and anyone can push and pull"),
    ),
    ("auth.htpasswd", Refuse(NO_AUTH)),
    ("auth.token", Refuse(NO_AUTH)),
    ("middleware.registry[].name", Act),
    ("middleware.registry[].disabled", Act),
    ("middleware.registry[].options", Pass),
    ("middleware.repository[].name", Act),
    ("middleware.repository[].disabled", Act),
    ("middleware.repository[].options", Pass),
    ("middleware.storage[].name", Act),
    ("middleware.storage[].disabled", Act),
    ("middleware.storage[].options", Pass),
    ("reporting", Warn(NO_REPORTS)),
    ("http.addr", Act),
    ("http.net", Act),
    ("http.prefix", Act),
    ("http.host", Act),
    ("http.secret", Act),
    ("http.relativeurls", Act),
    ("http.draintimeout", Act),
    ("http.tls.certificate", RefuseIfSet(NO_TLS)),
    ("http.tls.key", RefuseIfSet(NO_TLS)),
    ("http.tls.clientcas", RefuseIfSet(NO_TLS)),
    ("http.tls.letsencrypt", RefuseIfSet(NO_TLS)),
    ("http.tls.clientauth", Warn(TLS_DETAIL)),
    ("http.tls.minimumtls", Warn(TLS_DETAIL)),
    ("http.tls.ciphersuites", Warn(TLS_DETAIL)),
    ("http.headers.*[]", Act),
    ("http.http2.disabled", Pass),
    ("http.h2c.enabled", Warn("ignored; HTTP/1.1 is served")),
    ("http.debug.addr", Act),
    ("http.debug.prometheus.enabled", Act),
    ("http.debug.prometheus.path", Act),
    ("notifications.events.includereferences", Pass),
    ("notifications.endpoints", RefuseIfSet(NO_NOTES)),
    (
        "redis",
        Warn("ignored; what redis would cache is held in memory"),
    ),
    ("health.storagedriver.enabled", Act),
    ("health.storagedriver.interval", Act),
    ("health.storagedriver.threshold", Act),
    ("health.file[].file", Act),
    ("health.file[].interval", Act),
    ("health.file[].threshold", Act),
    ("health.http[].uri", Act),
    ("health.http[].headers.*[]", Act),
    ("health.http[].statuscode", Act),
    ("health.http[].timeout", Act),
    ("health.http[].interval", Act),
    ("health.http[].threshold", Act),
    ("health.tcp[].addr", Act),
    ("health.tcp[].timeout", Act),
    ("health.tcp[].interval", Act),
    ("health.tcp[].threshold", Act),
    ("proxy.remoteurl", RefuseIfSet(NO_PROXY)),
    ("proxy.remotenamespace", Pass),
    ("proxy.username", Pass),
    ("proxy.password", Pass),
    ("proxy.exec", Pass),
    ("proxy.ttl", Pass),
    (
        "compatibility",
        Warn("ignored; schema 1 manifests are not accepted"),
    ),
    ("policy", Warn("ignored; repositories have no classes")),
    ("catalog.maxentries", Act),
    ("tags.maxtags", Act),
    (
        "validation.enabled",
        Warn("ignored; use validation.disabled"),
    ),
    ("validation.disabled", Act),
    ("validation.manifests.urls.allow[]", Act),
    ("validation.manifests.urls.deny[]", Act),
    ("validation.manifests.indexes.platforms", Act),
    (
        "validation.manifests.indexes.platformlist[].architecture",
        Act,
    ),
    ("validation.manifests.indexes.platformlist[].os", Act),
];

/// The fate of a key by its pattern; `None` for a section and for what is not known.
fn fate(pattern: &str) -> Option<&'static Fate> {
    KEYS.iter()
        .find(|(known, _)| *known == pattern)
        .map(|(_, fate)| fate)
}

/// Whether known keys lie beneath a pattern, each after `separator`.
fn has_beneath(pattern: &str, separator: char) -> bool {
    KEYS.iter().any(|(known, _)| {
        known
            .strip_prefix(pattern)
            .is_some_and(|rest| rest.starts_with(separator))
    })
}

/// Whether a pattern names a key or a section.
fn is_known(pattern: &str) -> bool {
    fate(pattern).is_some() || has_beneath(pattern, '.') || has_beneath(pattern, '[')
}

/// Whether a section knows a key or section of this name.
pub(super) fn is_section_key(section: &str, name: &str) -> bool {
    is_known(&join(section, name))
}

/// Every pattern there is: keys, sections and lists.
pub(super) fn patterns() -> impl Iterator<Item = (&'static str, Option<&'static Fate>)> {
    let mut last = "";
    KEYS.iter().flat_map(move |(key, fate)| {
        let before = std::mem::replace(&mut last, key);
        let sections = key.match_indices(['.', '[']).map(|(at, _)| &key[..at]);
        let new = sections.filter(move |section| {
            !before
                .strip_prefix(section)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        });
        new.map(|section| (section, None))
            .chain([(*key, Some(fate))])
    })
}

/// Judges a whole configuration by the table: unknown, ignored and refused keys, and sections
/// that are none. What is acted on is judged where it is read.
pub(super) fn judge(reading: &mut Reading) {
    let tree = std::mem::take(&mut reading.tree);
    match &tree {
        Value::Null => {}
        Value::Mapping(_) => judge_beneath(reading, &tree, "", ""),
        _ => reading.error(
            "",
            "not a configuration; it consists of lines such as `version: 0.1`",
        ),
    }
    reading.tree = tree;
}

/// Judges what lies beneath a section or a list.
fn judge_beneath(reading: &mut Reading, value: &Value, path: &str, pattern: &str) {
    match value {
        Value::Null => {}
        Value::Mapping(mapping) if pattern.is_empty() || has_beneath(pattern, '.') => {
            for (key, value) in mapping {
                let Some(key) = key.as_str() else {
                    reading.error(path, "a key beneath it is not text; put it in quotes");
                    continue;
                };
                let named = join(pattern, key);
                let any = join(pattern, "*");
                let pattern = if !is_known(&named) && is_known(&any) {
                    any
                } else {
                    named
                };
                judge_key(reading, value, &join(path, key), &pattern);
            }
        }
        Value::Sequence(items) if has_beneath(pattern, '[') => {
            for (index, item) in items.iter().enumerate() {
                judge_key(
                    reading,
                    item,
                    &format!("{path}[{index}]"),
                    &format!("{pattern}[]"),
                );
            }
        }
        _ if has_beneath(pattern, '[') => {
            reading.error(path, "must be a list, as in [a, b]");
        }
        _ => reading.error(path, "must be a section with its keys indented beneath it"),
    }
}

/// Judges one key or list entry.
fn judge_key(reading: &mut Reading, value: &Value, path: &str, pattern: &str) {
    match fate(pattern) {
        Some(Act | Pass) => {}
        Some(Warn(cause)) if is_set(value) => reading.warn(path, *cause),
        Some(RefuseIfSet(cause)) if is_set(value) => reading.error(path, *cause),
        Some(Warn(_) | RefuseIfSet(_)) => {}
        Some(Refuse(cause)) => reading.error(path, *cause),
        None if is_known(pattern) => judge_beneath(reading, value, path, pattern),
        None => reading.error(path, format!("unknown key; {}", instead(pattern))),
    }
}

/// Whether a value asks for anything: `false`, empty text and empty sections do not.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != "false",
        Value::Sequence(items) => items.iter().any(is_set),
        Value::Mapping(mapping) => mapping.values().any(is_set),
        Value::Bool(true) | Value::Number(_) | Value::Tagged(_) => true,
    }
}

/// What to write instead of an unknown key: the nearest one, or all that stand beside it.
fn instead(pattern: &str) -> String {
    let section = pattern.rfind(['.', '[']).map_or("", |at| &pattern[..at]);
    let nearest = patterns()
        .map(|(known, _)| known)
        .filter(|known| !known.contains('*'))
        .min_by_key(|known| distance_of_keys(pattern, section, known));
    if let Some(known) = nearest
        && distance_of_keys(pattern, section, known) <= near(last_name(pattern))
    {
        return format!("did you mean {known}?");
    }
    let beside: Vec<&str> = patterns()
        .map(|(known, _)| known)
        .filter(|known| join(section, last_name(known)) == *known)
        .map(last_name)
        .collect();
    match section {
        "" => format!("known are {}", beside.join(", ")),
        _ => format!("known beneath {section} are {}", beside.join(", ")),
    }
}

/// The distance of an unknown key to a known one; if only sections between its own and the key
/// were left out, it is near.
fn distance_of_keys(pattern: &str, section: &str, known: &str) -> usize {
    let whole = distance(pattern, known);
    let same_name = last_name(pattern).eq_ignore_ascii_case(last_name(known));
    if same_name && known.starts_with(section) {
        whole.min(2)
    } else {
        whole
    }
}

/// The name at the end of a path.
fn last_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn no_key_is_listed_twice_or_beneath_another() {
        let all: Vec<&str> = patterns().map(|(pattern, _)| pattern).collect();
        for (index, pattern) in all.iter().enumerate() {
            assert!(
                !all[index + 1..].contains(pattern),
                "{pattern} stands twice or apart"
            );
        }
        for (key, _) in KEYS {
            assert!(
                !has_beneath(key, '.') && !has_beneath(key, '['),
                "{key} is also a section"
            );
        }
    }

    #[test]
    fn drivers_are_in_the_table() {
        for driver in DRIVERS {
            assert!(is_section_key("storage", driver), "{driver}");
        }
    }

    /// A key that is listed as acted on and never read would be ignored in silence.
    #[test]
    fn every_key_that_is_acted_on_is_read() {
        for (pattern, _) in KEYS.iter().filter(|(_, fate)| matches!(fate, Act)) {
            let mut text = "{wrong: [1]}".to_owned();
            for step in pattern
                .replace("[]", ".[]")
                .replace('*', "X-Any")
                .rsplit('.')
            {
                text = if step == "[]" {
                    format!("[{text}]")
                } else {
                    format!("{{{step}: {text}}}")
                };
            }
            let path = pattern.replace("[]", "[0]").replace('*', "X-Any");
            let problems = super::super::parse(Some(&text), std::iter::empty());
            let problems = problems.expect_err("a section is no value");
            assert!(problems.iter().any(|p| p.key == path), "{problems:?}");
        }
    }

    #[test]
    fn what_to_write_instead() {
        for (unknown, expected) in [
            ("sotrage", "did you mean storage?"),
            ("storage.filesytem", "did you mean storage.filesystem?"),
            (
                "storage.estuary.auth_token",
                "did you mean storage.estuary.auth-token?",
            ),
            (
                "storage.delete.enable",
                "did you mean storage.delete.enabled?",
            ),
            (
                "storage.rootdirectory",
                "did you mean storage.filesystem.rootdirectory?",
            ),
            ("http.adr", "did you mean http.addr?"),
            ("health.http[].url", "did you mean health.http[].uri?"),
            (
                "log.zzzzzz",
                "known beneath log are level, formatter, fields, accesslog, hooks, reportcaller",
            ),
        ] {
            assert_eq!(instead(unknown), expected, "{unknown}");
        }
        assert!(instead("zzzzzzzz").starts_with("known are version, log, loglevel, storage, "));
    }
}
