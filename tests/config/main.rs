//! What a configuration means, from its text and the environment to the type.

use std::time::Duration;

use lighthouse::config::{
    self, Acknowledge, Check, Config, FileCheck, Formatter, HttpCheck, Net, Platforms, Problem,
    Severity, Store, TcpCheck, UploadPurging,
};
use log::LevelFilter;

mod environment;
mod refusals;
mod secrets;

type Outcome = Result<(Config, Vec<Problem>), Vec<Problem>>;

/// Parses a file and an environment of `NAME=value`.
fn parse(text: Option<&str>, env: &[&str]) -> Outcome {
    let env = env
        .iter()
        .map(|variable| variable.split_once('=').expect("NAME=value"));
    config::parse(
        text,
        env.map(|(name, value)| (name.to_owned(), value.to_owned())),
    )
}

/// The configuration, and its warnings as text.
fn accepted(outcome: Outcome) -> (Config, Vec<String>) {
    let (config, warnings) = outcome.unwrap_or_else(|problems| panic!("refused: {problems:#?}"));
    assert!(
        warnings
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    );
    (config, warnings.iter().map(Problem::to_string).collect())
}

/// The problems of what is refused, as text, each marked with its severity.
fn refused(outcome: Outcome) -> Vec<String> {
    let problems = outcome.expect_err("something is wrong with it");
    assert!(
        problems
            .iter()
            .any(|problem| problem.severity == Severity::Error),
        "{problems:?}"
    );
    let mark = |problem: &Problem| match problem.severity {
        Severity::Error => format!("E {problem}"),
        Severity::Warning => format!("W {problem}"),
    };
    problems.iter().map(mark).collect()
}

/// A file with the version before it, on line 1.
fn file(text: &str) -> Outcome {
    parse(Some(&format!("version: 0.1\n{text}")), &[])
}

#[test]
fn the_built_in_defaults() {
    let (config, warnings) = accepted(parse(None, &[]));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.log.level, LevelFilter::Info);
    assert_eq!(config.log.formatter, Formatter::Text);
    assert!(config.log.access_log && config.log.fields.is_empty());
    assert_eq!(
        config.storage.store,
        Store::Filesystem {
            rootdirectory: "./data".into()
        }
    );
    assert!(config.storage.redirect && !config.storage.delete_enabled && !config.storage.read_only);
    let purging = UploadPurging {
        age: Duration::from_secs(168 * 3600),
        interval: Duration::from_secs(24 * 3600),
        dry_run: false,
    };
    assert_eq!(config.storage.upload_purging, Some(purging));
    assert_eq!(
        (config.http.addr.as_str(), config.http.net),
        (":5005", Net::Tcp)
    );
    assert_eq!(config.http.prefix, "");
    assert_eq!(config.http.drain_timeout, Duration::from_secs(5));
    assert!(config.http.secret.is_none() && config.http.debug_addr.is_none());
    assert_eq!(config.health, config::Health::default());
    assert_eq!(config.validation.platforms, Platforms::All);
    assert_eq!((config.catalog_entries_max, config.tags_max), (1000, 1000));
}

/// The file of the original's developer guide.
const ORIGINAL: &str = "\
version: 0.1
log:
  fields:
    service: registry

storage:
  redirect:
    disable: false
  
  estuary:
    url: https://api.estuary.tech
    shuttle-url: https://shuttle-4.estuary.tech
    auth-token: TOKEN_GOES_HERE
    rootdirectory: /Users/satoshi/registries/estuary-prod

http:
  addr: :5005
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3

";

#[test]
fn the_original_file_is_accepted_unchanged() {
    let (config, warnings) = accepted(parse(Some(ORIGINAL), &[]));
    assert_eq!(
        warnings,
        [
            "line 13: storage.estuary.auth-token: still the placeholder; put the API key of your \
          node here"
        ]
    );
    assert_eq!(config.log.fields["service"], "registry");
    assert!(config.storage.redirect);
    let Store::Estuary(estuary) = config.storage.store else {
        panic!("{:?}", config.storage)
    };
    assert_eq!(estuary.url, "https://api.estuary.tech");
    assert_eq!(
        estuary.shuttle_url.as_deref(),
        Some("https://shuttle-4.estuary.tech")
    );
    assert_eq!(estuary.auth_token.expose(), "TOKEN_GOES_HERE");
    assert_eq!(
        estuary.rootdirectory.to_str(),
        Some("/Users/satoshi/registries/estuary-prod")
    );
    assert_eq!(
        (estuary.maxthreads, estuary.acknowledge),
        (100, Acknowledge::Local)
    );
    assert_eq!((estuary.cache_size, estuary.export_name), (None, None));
    assert_eq!(
        config.http.headers,
        [("X-Content-Type-Options".into(), "nosniff".into())]
    );
    let check = Check {
        interval: Duration::from_secs(10),
        threshold: 3,
    };
    assert_eq!(config.health.storage_driver, Some(check));
}

#[test]
fn our_own_file_says_what_the_defaults_are() {
    let own = include_str!("../../config.yml");
    let (config, warnings) = accepted(parse(Some(own), &[]));
    assert!(warnings.is_empty(), "{warnings:?}");
    let (defaults, _) = accepted(parse(None, &[]));
    assert_eq!(config.storage.store, defaults.storage.store);
    assert_eq!(config.http.addr, defaults.http.addr);

    // What is commented out must work once it is not: each driver in the place of the other.
    for driver in ["kubo", "estuary"] {
        let mut of_driver = false;
        let mut text = String::new();
        for line in own.lines() {
            let bare = line.replacen("# ", "", 1);
            of_driver = match bare.trim_end() {
                "  filesystem:" | "  kubo:" | "  estuary:" => bare.trim() == format!("{driver}:"),
                _ => of_driver && bare.starts_with("    "),
            };
            if of_driver {
                text += &format!("{bare}\n");
            }
        }
        let (config, warnings) = accepted(file(&format!("storage:\n{text}")));
        let name = format!("{:?}", config.storage.store).to_lowercase();
        assert!(name.starts_with(driver), "{name} from\n{text}");
        assert!(
            warnings.iter().all(|w| w.contains("placeholder")),
            "{warnings:?}"
        );
    }
}

#[test]
fn all_of_log() {
    let log = everything().log;
    assert_eq!(
        (log.level, log.formatter),
        (LevelFilter::Debug, Formatter::Json)
    );
    assert!(!log.access_log);
    let fields: Vec<_> = log.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(fields, ["a.b=1", "empty=", "on=true", "service=registry"]);
}

#[test]
fn all_of_storage() {
    let storage = everything().storage;
    let Store::Kubo(kubo) = storage.store else {
        panic!("{storage:?}")
    };
    assert_eq!(kubo.api, "http://127.0.0.1:5001");
    assert_eq!(kubo.gateway.as_deref(), Some("http://127.0.0.1:8080"));
    assert_eq!(kubo.rootdirectory.to_str(), Some("/r"));
    assert_eq!(
        kubo.authorization.expect("it is set").expose(),
        "Bearer abc"
    );
    assert_eq!(
        (kubo.maxthreads, kubo.acknowledge),
        (4, Acknowledge::Pinned)
    );
    assert_eq!(kubo.cache_size, Some(10_000_000_000));
    assert_eq!(kubo.export_name.as_deref(), Some("mine"));
    assert_eq!(
        storage.gateways,
        ["https://dweb.link", "https://{cid}.ipfs.w3s.link"]
    );
    assert!(storage.delete_enabled && !storage.redirect && storage.read_only);
    let purging = UploadPurging {
        age: 6 * TEN_SECS,
        interval: TEN_SECS,
        dry_run: true,
    };
    assert_eq!(storage.upload_purging, Some(purging));
}

#[test]
fn all_of_http() {
    let http = everything().http;
    assert_eq!(
        (http.addr.as_str(), http.net),
        ("/run/registry.sock", Net::Unix)
    );
    assert_eq!(http.prefix, "/my/registry");
    assert_eq!(
        http.host.as_deref(),
        Some("https://registry.example.org:5000")
    );
    assert_eq!(http.secret.expect("it is set").expose(), "hush");
    assert!(http.relative_urls);
    assert_eq!(http.drain_timeout, 6 * TEN_SECS);
    assert_eq!(
        http.headers,
        [("X-A".into(), "b".into()), ("X-A".into(), "c".into())]
    );
    assert_eq!(http.debug_addr.as_deref(), Some("localhost:5001"));
    assert_eq!(http.prometheus_path.as_deref(), Some("/m"));
}

#[test]
fn all_of_health() {
    let once = Check {
        interval: TEN_SECS,
        threshold: 1,
    };
    let health = everything().health;
    assert_eq!(health.storage_driver, Some(once));
    assert_eq!(
        health.file,
        [FileCheck {
            file: "/stop".into(),
            check: once
        }]
    );
    let http_check = HttpCheck {
        uri: "http://other/up/?now".into(),
        headers: vec![("Authorization".into(), "Basic x".into())],
        status: 204,
        timeout: Some(TEN_SECS),
        check: Check {
            interval: 2 * TEN_SECS,
            threshold: 3,
        },
    };
    assert_eq!(health.http, [http_check]);
    let tcp_check = TcpCheck {
        addr: "db:6379".into(),
        timeout: None,
        check: once,
    };
    assert_eq!(health.tcp, [tcp_check]);
}

#[test]
fn all_of_validation_and_limits() {
    let config = everything();
    let validation = config.validation;
    assert!(validation.disabled);
    assert!(validation.urls_allow[0].is_match("https://a.example.com/x"));
    assert!(!validation.urls_allow[0].is_match("https://a.example.org/x"));
    assert!(validation.urls_deny[0].is_match("https://www.example.com/x"));
    assert_eq!(
        validation.platforms,
        Platforms::List(vec![("linux".into(), "amd64".into())])
    );
    assert_eq!((config.catalog_entries_max, config.tags_max), (7, 8));
}

const TEN_SECS: Duration = Duration::from_secs(10);

fn everything() -> Config {
    let (config, warnings) = accepted(file(EVERYTHING));
    assert!(warnings.is_empty(), "{warnings:?}");
    config
}

const EVERYTHING: &str = r"
log:
  level: Debug
  formatter: json
  fields: {service: registry, a.b: 1, on: true, empty: }
  accesslog: {disabled: true}
storage:
  kubo:
    api: http://127.0.0.1:5001/api/v0/
    gateway: http://127.0.0.1:8080/
    rootdirectory: /r
    authorization: Bearer abc
    maxthreads: 4
    acknowledge: pinned
    cache: {size: 10GB}
    export-name: mine
  gateway: [https://dweb.link/, 'https://{cid}.ipfs.w3s.link']
  delete: {enabled: true}
  redirect: {disable: true}
  cache: {blobdescriptor: inmemory, blobdescriptorsize: 10000}
  maintenance:
    uploadpurging: {enabled: true, age: 1m, interval: 10s, dryrun: yes}
    readonly: {enabled: true}
auth: none
http:
  addr: /run/registry.sock
  net: unix
  prefix: /my/registry/
  host: https://registry.example.org:5000/
  secret: hush
  relativeurls: true
  draintimeout: 60s
  headers:
    X-A: [b, c]
  http2: {disabled: true}
  h2c: {enabled: false}
  debug:
    addr: localhost:5001
    prometheus: {enabled: true, path: /m}
  tls: {certificate: '', clientcas: []}
notifications: {events: {includereferences: true}, endpoints: []}
proxy: {remoteurl: '', username: }
health:
  storagedriver: {enabled: true}
  file: [{file: /stop, interval: 10s}]
  http:
    - uri: http://other/up/?now
      headers: {Authorization: [Basic x]}
      statuscode: 204
      timeout: 10s
      interval: 20s
      threshold: 3
  tcp:
    - addr: db:6379
validation:
  disabled: true
  manifests:
    urls:
      allow: ['^https?://([^/]+\.)*example\.com/']
      deny: ['^https?://www\.example\.com/']
    indexes:
      platforms: List
      platformlist: [{os: linux, architecture: amd64}]
catalog: {maxentries: 7}
tags: {maxtags: 8}
";

#[test]
fn every_key_that_is_ignored_warns_once() {
    let (_, warnings) = accepted(file(
        "\
loglevel: debug
log:
  hooks: [{type: mail}]
  reportcaller: true
storage:
  filesystem: {maxthreads: 100}
  cache: {blobdescriptor: redis}
  tag: {concurrencylimit: 8}
auth:
  silly: {realm: a, service: b}
middleware:
  registry: [{name: a, disabled: true}]
  repository: [{name: b, options: {c: d}}]
  storage: [{name: redirect, options: {baseurl: 'https://a'}}]
reporting: {bugsnag: {apikey: x}}
http:
  tls: {minimumtls: tls1.2, clientauth: x, ciphersuites: [y]}
  h2c: {enabled: true}
  draintimeout: 5
  debug: {prometheus: {enabled: true}}
redis: {addrs: [localhost:6379], password: secret}
compatibility: {schema1: {enabled: true}}
policy: {repository: {classes: [image]}}
validation: {enabled: true}",
    ));
    let places: Vec<&str> = warnings
        .iter()
        .map(|w| &w[..w.rfind(": ").expect("a key")])
        .collect();
    assert_eq!(
        places,
        [
            "line 2: loglevel",
            "line 4: log.hooks",
            "line 5: log.reportcaller",
            "line 7: storage.filesystem.maxthreads",
            "line 8: storage.cache.blobdescriptor",
            "line 9: storage.tag.concurrencylimit",
            "line 11: auth.silly",
            "line 14: middleware.repository[0]",
            "line 15: middleware.storage[0]",
            "line 16: reporting",
            "line 18: http.tls.minimumtls",
            "line 18: http.tls.clientauth",
            "line 18: http.tls.ciphersuites",
            "line 19: http.h2c.enabled",
            "line 20: http.draintimeout",
            "line 21: http.debug.prometheus",
            "line 22: redis",
            "line 23: compatibility",
            "line 24: policy",
            "line 25: validation.enabled",
        ]
    );
}

#[test]
fn defaults_of_drivers_and_limits() {
    let store = |text: &str| accepted(file(text)).0.storage.store;
    let disk = |path: &str| Store::Filesystem {
        rootdirectory: path.into(),
    };
    assert_eq!(store("storage: filesystem"), disk("/var/lib/registry"));
    assert_eq!(store("storage: {filesystem: }"), disk("/var/lib/registry"));
    assert_eq!(store("storage: {delete: {enabled: true}}"), disk("./data"));
    assert_eq!(store("storage: inmemory"), Store::Inmemory);
    assert_eq!(store("storage: {inmemory: {}}"), Store::Inmemory);
    let Store::Kubo(kubo) = store("storage: kubo") else {
        panic!("kubo was asked for")
    };
    assert_eq!(
        (kubo.api.as_str(), kubo.maxthreads),
        ("http://127.0.0.1:5001", 16)
    );
    let Store::Estuary(estuary) = store("storage: {estuary: {auth-token: EST1ARY}}") else {
        panic!("estuary was asked for")
    };
    assert_eq!(
        (estuary.url.as_str(), estuary.shuttle_url),
        ("https://api.estuary.tech", None)
    );
    assert_eq!(estuary.rootdirectory.to_str(), Some("/var/lib/estuary"));

    let (config, _) = accepted(file("catalog: {maxentries: 0}\ntags: {maxtags: -1}"));
    assert_eq!((config.catalog_entries_max, config.tags_max), (1000, 1000));
    let (config, _) = accepted(file(
        "storage: {maintenance: {uploadpurging: {enabled: false}}}",
    ));
    assert_eq!(config.storage.upload_purging, None);
}
