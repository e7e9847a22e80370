//! The sections of a configuration, one function for each, with their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex_lite::Regex;
use serde_yaml::Value;

use super::keys::DRIVERS;
use super::read::{Reading, join};
use super::values;
use super::{
    Acknowledge, Check, Config, Estuary, FileCheck, Formatter, Health, Http, HttpCheck, Kubo, Log,
    Net, Platforms, Secret, Storage, Store, TcpCheck, UploadPurging, Validation,
};

/// The whole configuration; what is wrong is reported and replaced by its default.
pub(super) fn config(reading: &mut Reading) -> Config {
    middleware(reading);
    Config {
        log: log(reading),
        storage: storage(reading),
        http: http(reading),
        health: health(reading),
        validation: validation(reading),
        catalog_entries_max: entries_max(reading, "catalog.maxentries"),
        tags_max: entries_max(reading, "tags.maxtags"),
    }
}

/// The most entries of one answer; distribution takes 0 and less for the default.
fn entries_max(reading: &mut Reading, path: &str) -> usize {
    let number = reading
        .number(path)
        .and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number > 0).unwrap_or(1000)
}

fn log(reading: &mut Reading) -> Log {
    use log::LevelFilter::{Debug, Error, Info, Warn};
    let levels = [
        ("error", Error),
        ("warn", Warn),
        ("info", Info),
        ("debug", Debug),
    ];
    let deprecated = reading.word("loglevel", &levels);
    if deprecated.is_some() {
        reading.warn("loglevel", "deprecated; use log.level");
    }
    let formatters = [
        ("text", Formatter::Text),
        ("json", Formatter::Json),
        ("logstash", Formatter::Logstash),
    ];
    Log {
        level: reading
            .word("log.level", &levels)
            .or(deprecated)
            .unwrap_or(Info),
        formatter: reading
            .word("log.formatter", &formatters)
            .unwrap_or(Formatter::Text),
        fields: fields(reading),
        access_log: !reading.flag("log.accesslog.disabled", false),
    }
}

/// `log.fields`; a name may contain dots, so the section is read as a whole.
fn fields(reading: &mut Reading) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut wrong = Vec::new();
    if let Some(section) = reading.value("log.fields").and_then(Value::as_mapping) {
        for (name, value) in section {
            let Some(name) = name.as_str() else { continue };
            let value = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                Value::Bool(flag) => flag.to_string(),
                Value::Number(number) => number.to_string(),
                _ => {
                    wrong.push(join("log.fields", name));
                    continue;
                }
            };
            fields.insert(name.to_owned(), value);
        }
    }
    for path in wrong {
        reading.error(&path, "must be text, a number, true or false");
    }
    fields
}

fn storage(reading: &mut Reading) -> Storage {
    for path in ["storage.cache.blobdescriptor", "storage.cache.layerinfo"] {
        if reading.text(path).is_some_and(|cache| cache != "inmemory") {
            reading.warn(path, "ignored; what it would cache is held in memory");
        }
    }
    let store = store(reading);
    let catalog = reading.parsed("storage.catalog", values::catalog);
    if catalog.is_some() && store == Store::Inmemory {
        let cause = "an inmemory store has its catalog in memory, too; remove it";
        reading.error("storage.catalog", cause);
    }
    Storage {
        store,
        catalog,
        delete_enabled: reading.flag("storage.delete.enabled", false),
        redirect: !reading.flag("storage.redirect.disable", false),
        gateways: reading.list("storage.gateway", values::gateway),
        recheck: recheck(reading),
        upload_purging: upload_purging(reading),
        read_only: reading.flag("storage.maintenance.readonly.enabled", false),
    }
}

/// The driver. One that is refused was reported already, so the default stands in for it.
fn store(reading: &mut Reading) -> Store {
    let drivers: Vec<String> = match reading.value("storage").and_then(Value::as_mapping) {
        Some(section) => section
            .keys()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        None => Vec::new(),
    };
    let drivers: Vec<&str> = drivers
        .iter()
        .map(String::as_str)
        .filter(|name| DRIVERS.contains(name))
        .collect();
    if let [_, second, ..] = drivers[..] {
        let all = drivers.join(" and ");
        reading.error(
            &join("storage", second),
            format!("{all} are set, but a registry has one storage driver; remove all but one"),
        );
    }
    match drivers.first() {
        Some(&"filesystem") => {
            let path = "storage.filesystem.rootdirectory";
            Store::Filesystem {
                rootdirectory: directory(reading, path, "/var/lib/registry"),
            }
        }
        Some(&"inmemory") => {
            let empty = match reading.value("storage.inmemory") {
                Some(Value::Mapping(section)) => section.is_empty(),
                Some(Value::String(text)) => text.is_empty(),
                Some(_) => false,
                None => true,
            };
            if !empty {
                reading.error("storage.inmemory", "takes no parameters");
            }
            Store::Inmemory
        }
        Some(&"estuary") => Store::Estuary(estuary(reading)),
        Some(&"kubo") => Store::Kubo(kubo(reading)),
        _ => Store::default(),
    }
}

fn directory(reading: &mut Reading, path: &str, default: &str) -> PathBuf {
    PathBuf::from(reading.text(path).unwrap_or_else(|| default.to_owned()))
}

fn estuary(reading: &mut Reading) -> Estuary {
    let token_path = "storage.estuary.auth-token";
    match reading.text(token_path).as_deref() {
        // An unreadable one was reported with its own cause.
        None if reading
            .value(token_path)
            .is_some_and(|value| !value.is_string()) => {}
        None => {
            reading.error(
                token_path,
                "missing; an API key of user level from your Estuary node",
            );
        }
        Some("TOKEN_GOES_HERE") => {
            reading.warn(
                token_path,
                "still the placeholder; put the API key of your node here",
            );
        }
        Some(_) => {}
    }
    let shuttle_url = reading.parsed("storage.estuary.shuttle-url", values::url);
    let url = reading.parsed("storage.estuary.url", values::url);
    for (path, url) in [
        ("storage.estuary.url", &url),
        ("storage.estuary.shuttle-url", &shuttle_url),
    ] {
        if url.as_deref().is_some_and(in_clear) {
            reading.warn(path, "auth-token travels unencrypted; use https://");
        }
    }
    Estuary {
        url: url.unwrap_or_else(|| "https://api.estuary.tech".to_owned()),
        shuttle_url,
        auth_token: secret(reading, token_path).unwrap_or(Secret(String::new())),
        rootdirectory: directory(reading, "storage.estuary.rootdirectory", "/var/lib/estuary"),
        gateway_pattern: reading.parsed("storage.estuary.gateway-pattern", |text| {
            let pattern = values::gateway(text)?;
            let named = pattern.contains("{cid}");
            named
                .then_some(pattern)
                .ok_or("must hold {cid} in the place of the CID")
        }),
        maxthreads: maxthreads(reading, "storage.estuary.maxthreads", 100),
        acknowledge: acknowledge(reading, "storage.estuary.acknowledge"),
        cache_size: reading.parsed("storage.estuary.cache.size", values::size),
        export_name: reading.parsed("storage.estuary.export-name", values::name),
    }
}

fn kubo(reading: &mut Reading) -> Kubo {
    let authorization = secret(reading, "storage.kubo.authorization");
    let api = reading.parsed("storage.kubo.api", values::url);
    let api = api.unwrap_or_else(|| "http://127.0.0.1:5001".to_owned());
    if authorization.is_some() && in_clear(&api) {
        reading.warn(
            "storage.kubo.api",
            "authorization travels unencrypted; use https://",
        );
    }
    Kubo {
        api: api.strip_suffix("/api/v0").unwrap_or(&api).to_owned(),
        gateway: reading.parsed("storage.kubo.gateway", values::gateway),
        rootdirectory: directory(reading, "storage.kubo.rootdirectory", "/var/lib/registry"),
        authorization,
        maxthreads: maxthreads(reading, "storage.kubo.maxthreads", 16),
        acknowledge: acknowledge(reading, "storage.kubo.acknowledge"),
        cache_size: reading.parsed("storage.kubo.cache.size", values::size),
        export_name: reading.parsed("storage.kubo.export-name", values::name),
    }
}

/// Whether what is sent to a URL can be read on its way to another machine.
fn in_clear(url: &str) -> bool {
    let local = ["127.", "localhost", "[::1]"];
    url.strip_prefix("http://")
        .is_some_and(|rest| !local.iter().any(|l| rest.starts_with(l)))
}

fn secret(reading: &mut Reading, path: &str) -> Option<Secret> {
    reading.parsed(path, |text| {
        values::credential(text).map(|()| Secret(text.to_owned()))
    })
}

fn maxthreads(reading: &mut Reading, path: &str, default: usize) -> usize {
    match reading.number(path).map(usize::try_from) {
        None => default,
        Some(Ok(number)) if 0 < number => number,
        Some(_) => {
            reading.error(path, "must be at least 1");
            default
        }
    }
}

fn acknowledge(reading: &mut Reading, path: &str) -> Acknowledge {
    let words = [
        ("local", Acknowledge::Local),
        ("pinned", Acknowledge::Pinned),
    ];
    reading.word(path, &words).unwrap_or_default()
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// More often than once a minute would keep a network busy with questions alone.
fn recheck(reading: &mut Reading) -> Duration {
    let recheck = reading.duration("storage.recheck").unwrap_or(DAY);
    if recheck < Duration::from_secs(60) {
        reading.error("storage.recheck", "must be at least 1m");
    }
    recheck
}

/// Purging is on unless it is switched off, as in distribution.
fn upload_purging(reading: &mut Reading) -> Option<UploadPurging> {
    let path = |key| join("storage.maintenance.uploadpurging", key);
    let purging = UploadPurging {
        age: reading.duration(&path("age")).unwrap_or(7 * DAY),
        interval: reading.duration(&path("interval")).unwrap_or(DAY),
        dry_run: reading.flag(&path("dryrun"), false),
    };
    if purging.interval.is_zero() {
        reading.error(
            &path("interval"),
            "must be longer than 0; set enabled to false instead",
        );
    }
    reading.flag(&path("enabled"), true).then_some(purging)
}

fn http(reading: &mut Reading) -> Http {
    let net = reading.word("http.net", &[("tcp", Net::Tcp), ("unix", Net::Unix)]);
    let net = net.unwrap_or_default();
    let addr = match net {
        Net::Tcp => reading.parsed("http.addr", |text| {
            values::addr(text).map(|()| text.to_owned())
        }),
        Net::Unix => reading.text("http.addr"),
    };
    if net == Net::Unix && addr.is_none() {
        reading.error(
            "http.addr",
            "missing; with http.net unix it is the path of the socket",
        );
    }
    let debug_addr = reading.parsed("http.debug.addr", |text| {
        values::addr(text).map(|()| text.to_owned())
    });
    let prometheus_path = reading.text("http.debug.prometheus.path");
    if prometheus_path
        .as_ref()
        .is_some_and(|path| !path.starts_with('/'))
    {
        reading.error(
            "http.debug.prometheus.path",
            "must begin with a slash, as in /metrics",
        );
    }
    let prometheus = reading.flag("http.debug.prometheus.enabled", false);
    if prometheus && reading.value("http.debug.addr").is_none() {
        reading.warn(
            "http.debug.prometheus",
            "without effect; set http.debug.addr as well",
        );
    }
    Http {
        addr: addr.unwrap_or_else(|| ":5005".to_owned()),
        net,
        prefix: reading
            .parsed("http.prefix", values::prefix)
            .unwrap_or_default(),
        host: reading.parsed("http.host", values::url),
        secret: reading.text("http.secret").map(Secret),
        relative_urls: reading.flag("http.relativeurls", false),
        drain_timeout: reading
            .duration("http.draintimeout")
            .unwrap_or(Duration::from_secs(5)),
        headers: reading.headers("http.headers"),
        debug_addr,
        prometheus_path: prometheus
            .then(|| prometheus_path.unwrap_or_else(|| "/metrics".to_owned())),
    }
}

fn health(reading: &mut Reading) -> Health {
    let each = |reading: &Reading, list: &str| -> Vec<String> {
        (0..reading.len(list))
            .map(|i| format!("{list}[{i}]"))
            .collect()
    };
    let mut health = Health::default();
    let driver = check(reading, "health.storagedriver");
    health.storage_driver = reading
        .flag("health.storagedriver.enabled", false)
        .then_some(driver);
    for path in each(reading, "health.file") {
        let check = check(reading, &path);
        if let Some(file) = required(reading, &join(&path, "file"), |text| Ok(text.into())) {
            health.file.push(FileCheck { file, check });
        }
    }
    for path in each(reading, "health.http") {
        let status = reading.number(&join(&path, "statuscode")).unwrap_or(200);
        let status = u16::try_from(status)
            .ok()
            .filter(|status| (100..600).contains(status));
        let status = status.ok_or("not a status; it is 100 to 599");
        let status = reading
            .accept(&join(&path, "statuscode"), status)
            .unwrap_or(200);
        let headers = reading.headers(&join(&path, "headers"));
        let timeout = reading
            .duration(&join(&path, "timeout"))
            .filter(|t| !t.is_zero());
        let check = check(reading, &path);
        let whole = |text: &str| values::whole_url(text).map(|()| text.to_owned());
        if let Some(uri) = required(reading, &join(&path, "uri"), whole) {
            health.http.push(HttpCheck {
                uri,
                headers,
                status,
                timeout,
                check,
            });
        }
    }
    for path in each(reading, "health.tcp") {
        let timeout = reading
            .duration(&join(&path, "timeout"))
            .filter(|t| !t.is_zero());
        let check = check(reading, &path);
        let addr = |text: &str| values::addr(text).map(|()| text.to_owned());
        if let Some(addr) = required(reading, &join(&path, "addr"), addr) {
            health.tcp.push(TcpCheck {
                addr,
                timeout,
                check,
            });
        }
    }
    health
}

/// `interval` and `threshold` of a check; 0 is the default of either, as in distribution.
fn check(reading: &mut Reading, path: &str) -> Check {
    let interval = reading
        .duration(&join(path, "interval"))
        .filter(|i| !i.is_zero());
    let threshold = join(path, "threshold");
    let count = reading.number(&threshold).unwrap_or(0);
    let count = u32::try_from(count).map_err(|_| "must be 1 or more");
    Check {
        interval: interval.unwrap_or(Duration::from_secs(10)),
        threshold: reading.accept(&threshold, count).unwrap_or(0).max(1),
    }
}

/// Text that must be there.
fn required<T>(
    reading: &mut Reading,
    path: &str,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Option<T> {
    match reading.value(path) {
        None => reading.accept(path, Err("missing")),
        Some(_) => reading.parsed(path, parse),
    }
}

fn validation(reading: &mut Reading) -> Validation {
    let regex = |text: &str| Regex::new(text).map_err(|_| "not a regular expression");
    let indexes = |key| join("validation.manifests.indexes", key);
    let mut listed = Vec::new();
    for i in 0..reading.len(&indexes("platformlist")) {
        let path = format!("{}[{i}]", indexes("platformlist"));
        let os = required(reading, &join(&path, "os"), |text| Ok(text.to_owned()));
        let architecture = required(reading, &join(&path, "architecture"), |text| {
            Ok(text.to_owned())
        });
        listed.extend(os.zip(architecture));
    }
    let words = [
        ("all", Platforms::All),
        ("none", Platforms::None),
        ("list", Platforms::List(listed)),
    ];
    Validation {
        disabled: reading.flag("validation.disabled", false),
        urls_allow: reading.list("validation.manifests.urls.allow", regex),
        urls_deny: reading.list("validation.manifests.urls.deny", regex),
        platforms: reading
            .word(&indexes("platforms"), &words)
            .unwrap_or_default(),
    }
}

/// Middleware does not exist here. One that would keep things from others is refused.
fn middleware(reading: &mut Reading) {
    for place in ["registry", "repository", "storage"] {
        let list = format!("middleware.{place}");
        for i in 0..reading.len(&list) {
            let path = format!("{list}[{i}]");
            let disabled = reading.flag(&join(&path, "disabled"), false);
            match reading.text(&join(&path, "name")).as_deref() {
                _ if disabled => {}
                Some("cloudfront") => reading.error(
                    &path,
                    "cloudfront needs the s3 driver, which does not exist here; remove it",
                ),
                _ => reading.warn(&path, "ignored; middleware does not exist here"),
            }
        }
    }
}
