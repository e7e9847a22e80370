//! The settings of a registry: distribution's `config.yml`, read once into a type that cannot be
//! wrong.
//!
//! [`parse`] takes the text of a file and the environment and gives either a [`Config`] with the
//! warnings it deserves, or every problem at once, each with its line. Three rules make it so:
//!
//! 1. One table, `keys`, knows every key and whether it is acted on, ignored with a warning, or
//!    refused with a pointer. What it does not know is an error that names the nearest known key.
//! 2. `REGISTRY_*` variables are laid over the file before anything is judged (`environ`).
//! 3. A value that is wrong is reported and replaced by its default, so that reading goes on
//!    and finds the next one; the result is only handed out if there was no error.
//!
//! Sources: distribution's "Configuring a registry" and its `configuration` package.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex_lite::Regex;
use serde_yaml::Value;

mod environ;
mod keys;
mod lines;
mod read;
mod sections;
mod values;

use lines::Lines;
use read::Reading;

/// Parses the text of a configuration file, with the environment laid over it.
///
/// `text` is the file's content; `None` stands for the built-in defaults: distribution's tree
/// beneath `./data`, served at `:5005`. `env` gives the process environment by name and value;
/// only names that begin with `REGISTRY_` matter. A variable `…_FILE` is read from the file that
/// it names; nothing else is opened.
///
/// Gives the configuration with its warnings, or every error and warning, in the order of the
/// file's lines.
pub fn parse(
    text: Option<&str>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let mut reading = Reading::default();
    if let Some(text) = text {
        match serde_yaml::from_str::<Value>(text).and_then(|mut tree| {
            tree.apply_merge()?;
            Ok(tree)
        }) {
            Ok(tree) => reading.tree = tree,
            Err(error) => return Err(vec![syntax_problem(&error)]),
        }
        reading.lines = Lines::scan(text);
        check_version(&mut reading);
    }
    environ::overlay(&mut reading, env);
    keys::judge(&mut reading);
    let config = sections::config(&mut reading);

    let mut problems = reading.problems;
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    if problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
    {
        Err(problems)
    } else {
        Ok((config, problems))
    }
}

/// What the YAML parser says, with its line where ours stand.
fn syntax_problem(error: &serde_yaml::Error) -> Problem {
    let cause = error.to_string();
    let cause = cause.split(" at line ").next().unwrap_or(&cause);
    Problem {
        severity: Severity::Error,
        line: error.location().map(|location| location.line()),
        key: String::new(),
        cause: format!("not YAML: {cause}"),
    }
}

/// A file says `version: 0.1`, as a number or as text.
fn check_version(reading: &mut Reading) {
    const ONLY: &str = "the only version of this file's format is 0.1; write `version: 0.1`";
    let fits = match reading.value("version") {
        Some(Value::Number(number)) => number.to_string() == "0.1",
        Some(Value::String(text)) => text == "0.1",
        _ => false,
    };
    if reading.tree.is_mapping() || reading.tree.is_null() {
        if reading.value("version").is_none() {
            reading.error("version", format!("missing; {ONLY}"));
        } else if !fits {
            reading.error("version", ONLY);
        }
    }
}

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `log`: what is written, and how.
    pub log: Log,
    /// `storage`: where images live.
    pub storage: Storage,
    /// `http`: how clients reach the registry.
    pub http: Http,
    /// `health`: what is checked from time to time.
    pub health: Health,
    /// `validation`: which manifests are accepted.
    pub validation: Validation,
    /// `catalog.maxentries`: the most repositories in one answer; 1000 unless set.
    pub catalog_entries_max: usize,
    /// `tags.maxtags`: the most tags in one answer; 1000 unless set.
    pub tags_max: usize,
}

/// `log`: what is written to standard error.
#[derive(Clone, Debug)]
pub struct Log {
    /// `log.level`: `error`, `warn`, `info` (the default) or `debug`.
    pub level: log::LevelFilter,
    /// `log.formatter`: the form of a line.
    pub formatter: Formatter,
    /// `log.fields`: added to every line.
    pub fields: BTreeMap<String, String>,
    /// Whether each request is logged; off with `log.accesslog.disabled`.
    pub access_log: bool,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formatter {
    /// `INFO[0000] message   key=value`, as logrus writes to a terminal.
    Text,
    /// One JSON object with `level`, `msg` and `time`.
    Json,
    /// One JSON object with `@timestamp`, `@version`, `level` and `message`.
    Logstash,
}

/// `storage`: where images live.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `storage.catalog`: the file that the catalog is, if it is not below the root directory.
    pub catalog: Option<PathBuf>,
    /// The one driver that is configured; [`Store::default`] without one.
    pub store: Store,
    /// `storage.delete.enabled`: whether clients may delete manifests and blobs.
    pub delete_enabled: bool,
    /// Whether a pull may be sent to a gateway; off with `storage.redirect.disable`.
    pub redirect: bool,
    /// `storage.gateway[]`: IPFS gateways to read from, in this order. A URL that holds `{cid}`
    /// is a pattern; any other is a base beneath which `/ipfs/CID` is found. No trailing slash.
    pub gateways: Vec<String>,
    /// `storage.recheck`: how often a content network is asked whether it still keeps what it has
    /// pinned; 24 hours unless set.
    pub recheck: Duration,
    /// `storage.maintenance.uploadpurging`; `None` when it is not enabled.
    pub upload_purging: Option<UploadPurging>,
    /// `storage.maintenance.readonly.enabled`: whether every push is refused.
    pub read_only: bool,
}

/// `storage.maintenance.uploadpurging`: removal of uploads that nobody finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPurging {
    /// Uploads that began longer ago are removed; 168 hours unless set.
    pub age: Duration,
    /// The time from one round to the next; 24 hours unless set.
    pub interval: Duration,
    /// Only tell what would be removed.
    pub dry_run: bool,
}

/// A storage driver with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// `storage.filesystem`: a directory on this machine.
    Filesystem {
        /// Where distribution's tree begins; `/var/lib/registry` unless set.
        rootdirectory: PathBuf,
    },
    /// `storage.inmemory`: gone when the registry stops.
    Inmemory,
    /// `storage.estuary`: a directory on this machine whose blobs travel through Estuary.
    Estuary(Estuary),
    /// `storage.kubo`: a directory on this machine whose blobs travel through an IPFS node.
    Kubo(Kubo),
}

/// What a store that travels says of it, whatever the network.
#[derive(Clone, Copy, Debug)]
pub struct Travels {
    /// The most blobs under way at a time.
    pub maxthreads: usize,
    /// When a push is answered.
    pub acknowledge: Acknowledge,
    /// Bytes of local copies to keep once they are pinned; `None` keeps all.
    pub cache_size: Option<u64>,
}

impl Store {
    /// How blobs travel from here; `None` if they stay on this disk.
    pub fn network(&self) -> Option<Travels> {
        match self {
            Store::Filesystem { .. } | Store::Inmemory => None,
            Store::Estuary(Estuary {
                maxthreads,
                acknowledge,
                cache_size,
                ..
            })
            | Store::Kubo(Kubo {
                maxthreads,
                acknowledge,
                cache_size,
                ..
            }) => Some(Travels {
                maxthreads: *maxthreads,
                acknowledge: *acknowledge,
                cache_size: *cache_size,
            }),
        }
    }

    /// The name of the network that blobs travel to, under which the catalog knows them; `None` if
    /// they stay on this disk.
    pub fn network_name(&self) -> Option<&'static str> {
        match self {
            Store::Filesystem { .. } | Store::Inmemory => None,
            Store::Estuary(_) => Some("estuary"),
            Store::Kubo(_) => Some("kubo"),
        }
    }

    /// Where it is on this machine's disk; `None` if that is nobody's business.
    pub fn rootdirectory(&self) -> Option<&Path> {
        match self {
            Store::Filesystem { rootdirectory } => Some(rootdirectory),
            Store::Estuary(estuary) => Some(&estuary.rootdirectory),
            Store::Kubo(kubo) => Some(&kubo.rootdirectory),
            Store::Inmemory => None,
        }
    }
}

impl Default for Store {
    /// `./data`, what serves somebody who configures nothing.
    fn default() -> Self {
        Store::Filesystem {
            rootdirectory: PathBuf::from("./data"),
        }
    }
}

/// `storage.estuary`: the network beyond, and the disk before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estuary {
    /// `url` of the main node, without a trailing slash; `https://api.estuary.tech` unless set.
    pub url: String,
    /// `shuttle-url`: the server that takes uploads; without it `/viewer` names them.
    pub shuttle_url: Option<String>,
    /// `auth-token`: a token of user level.
    pub auth_token: Secret,
    /// Where distribution's tree begins; `/var/lib/estuary` unless set.
    pub rootdirectory: PathBuf,
    /// `gateway-pattern`: a gateway's URL in which `{cid}` stands for the CID.
    pub gateway_pattern: Option<String>,
    /// `maxthreads`: the most uploads at a time; 100 unless set.
    pub maxthreads: usize,
    /// When a push is answered.
    pub acknowledge: Acknowledge,
    /// `cache.size`: the most bytes of local copies to keep once they are pinned. `None` keeps
    /// all, 0 drops each as soon as it is pinned.
    pub cache_size: Option<u64>,
    /// `export-name`: the name under which the newest export can be found again.
    pub export_name: Option<String>,
}

/// `storage.kubo`: an IPFS node with Kubo's RPC, or IPFS Cluster's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubo {
    /// `api`: the RPC's URL without `/api/v0` or a trailing slash; `http://127.0.0.1:5001`
    /// unless set.
    pub api: String,
    /// `gateway`: the node's gateway, a base URL or a pattern with `{cid}`.
    pub gateway: Option<String>,
    /// Where distribution's tree begins; `/var/lib/registry` unless set.
    pub rootdirectory: PathBuf,
    /// `authorization`: the value of the `Authorization` header that the RPC asks for.
    pub authorization: Option<Secret>,
    /// `maxthreads`: the most uploads at a time; 16 unless set.
    pub maxthreads: usize,
    /// When a push is answered.
    pub acknowledge: Acknowledge,
    /// `cache.size`, as in [`Estuary::cache_size`].
    pub cache_size: Option<u64>,
    /// `export-name`, as in [`Estuary::export_name`].
    pub export_name: Option<String>,
}

/// `acknowledge`: what must be true before a push is answered with 201.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// The bytes are safe on this machine's disk.
    #[default]
    Local,
    /// The content network has pinned them.
    Pinned,
}

/// `http`: how clients reach the registry.
#[derive(Clone, Debug)]
pub struct Http {
    /// `http.addr` as written: `:5005`, `127.0.0.1:0`, or a path when `net` is `unix`.
    pub addr: String,
    /// `http.net`: the kind of socket.
    pub net: Net,
    /// `http.prefix`: the path before `/v2/`: empty, or with a leading and no trailing slash.
    pub prefix: String,
    /// `http.host`: the URL under which clients know the registry, without a trailing slash.
    pub host: Option<String>,
    /// `http.secret`: signs what is left with a client; random when it is not set.
    pub secret: Option<Secret>,
    /// `http.relativeurls`: whether Location headers leave out scheme and host.
    pub relative_urls: bool,
    /// `http.draintimeout`: how long a stop waits for requests on their way; 5 seconds unless
    /// set, and 0 stops at once.
    pub drain_timeout: Duration,
    /// `http.headers`: added to every response; a name comes once for each of its values.
    pub headers: Vec<(String, String)>,
    /// `http.debug.addr`: where health and metrics are served.
    pub debug_addr: Option<String>,
    /// `http.debug.prometheus.path` if that is enabled; `/metrics` unless set.
    pub prometheus_path: Option<String>,
}

/// `http.net`: the kind of socket that `http.addr` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Net {
    /// HOST:PORT.
    #[default]
    Tcp,
    /// A path in the file system.
    Unix,
}

/// `health`: what is checked from time to time, told at `/debug/health`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `health.storagedriver`: the store; `None` when it is not enabled.
    pub storage_driver: Option<Check>,
    /// `health.file[]`: unhealthy while the file exists.
    pub file: Vec<FileCheck>,
    /// `health.http[]`: unhealthy while a HEAD request gets another status.
    pub http: Vec<HttpCheck>,
    /// `health.tcp[]`: unhealthy while no connection can be made.
    pub tcp: Vec<TcpCheck>,
}

/// When a check is made, and when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The time from one check to the next; 10 seconds unless set.
    pub interval: Duration,
    /// How many failures in a row make it unhealthy; 1 unless set.
    pub threshold: u32,
}

/// One of `health.file[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck {
    /// The path that must not exist.
    pub file: PathBuf,
    /// When it is looked at.
    pub check: Check,
}

/// One of `health.http[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The URL that gets a HEAD request.
    pub uri: String,
    /// Added to the request.
    pub headers: Vec<(String, String)>,
    /// The status that is expected; 200 unless set.
    pub status: u16,
    /// How long an answer may take; `None` if that is not limited.
    pub timeout: Option<Duration>,
    /// When it is asked.
    pub check: Check,
}

/// One of `health.tcp[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpCheck {
    /// HOST:PORT.
    pub addr: String,
    /// How long connecting may take; `None` if that is not limited.
    pub timeout: Option<Duration>,
    /// When it is tried.
    pub check: Check,
}

/// `validation`: which manifests are accepted.
#[derive(Clone, Debug)]
pub struct Validation {
    /// `validation.disabled`: whether what follows is without effect.
    pub disabled: bool,
    /// `validation.manifests.urls.allow`: each URL in a manifest must match one of these; if
    /// there is none, a manifest with URLs is refused.
    pub urls_allow: Vec<Regex>,
    /// `validation.manifests.urls.deny`: no URL in a manifest may match one of these.
    pub urls_deny: Vec<Regex>,
    /// `validation.manifests.indexes`: which images of an index must exist.
    pub platforms: Platforms,
}

/// `validation.manifests.indexes.platforms`: which images of an index must exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Platforms {
    /// All of them.
    #[default]
    All,
    /// None of them: an index may be sparse.
    None,
    /// Those whose `(os, architecture)` stands in `platformlist`.
    List(Vec<(String, String)>),
}

/// A value that no log, error or debug output may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value into hiding.
    pub fn new(value: String) -> Self {
        Secret(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Something about a configuration that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the registry can start all the same.
    pub severity: Severity,
    /// The line of the file, counted from 1, if it came from there.
    pub line: Option<usize>,
    /// The key, as in `http.headers.X-Frame-Options[0]`; if the value came from the environment
    /// the variable follows in parentheses. Empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong and what to do; never a value from the environment.
    pub cause: String,
}

impl fmt::Display for Problem {
    /// `line 12: storage.filesytem: unknown key; did you mean storage.filesystem?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.cause)
    }
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The registry does not start.
    Error,
    /// It starts, though not as somebody might expect.
    Warning,
}
