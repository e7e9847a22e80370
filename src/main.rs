//! The command line of Lighthouse.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lighthouse::config::{self, Config, Net, Problem, Severity, Store};
use lighthouse::export::{self, restore};
use lighthouse::status::{self, Verdict};
use lighthouse::{Server, disk, logbook, migrate};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A small Docker registry whose images travel to IPFS and Filecoin.
#[derive(Parser)]
#[command(name = "registry", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve a registry: `registry serve`, or `registry serve config.yml`.
    Serve {
        /// The configuration; without it, a store in ./data is served on :5005.
        config: Option<PathBuf>,
    },
    /// Tell everything that is wrong with a configuration: `registry check config.yml`.
    Check {
        /// The configuration.
        config: PathBuf,
    },
    /// Copy images from another registry: `registry migrate alpine 127.0.0.1:5005`.
    Migrate(Box<migrate::Options>),
    /// Tell how far images have come on their way to the content network.
    Status(status::Options),
    /// Write the catalog as one document, to the content network: `registry export --cid`.
    Export(export::Options),
    /// Rebuild a registry from an export: `registry restore CID`.
    Restore(restore::Options),
}

/// Everything is well.
const WELL: u8 = 0;
/// The configuration, or what it names, has to be put right.
const WRONG: u8 = 1;
/// A command that looks at a root directory could not begin.
const UNABLE: u8 = 2;
/// It did its work, and something is still on its way to the network.
const ON_ITS_WAY: u8 = 3;

fn main() -> ExitCode {
    let code = match Arguments::parse().verb {
        Verb::Serve { config } => serve(config.as_deref()),
        Verb::Check { config } => check(&config),
        Verb::Migrate(options) => return migrate::run(*options),
        Verb::Status(typed) => look(&typed.config, |config| status::run(config, &typed)),
        Verb::Export(typed) => look(&typed.config, |config| export::run(config, &typed)),
        Verb::Restore(typed) => look(&typed.config, |config| restore::run(config, &typed)),
    };
    ExitCode::from(code)
}

/// Reads a configuration file, with the environment over it.
fn read(path: Option<&Path>) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let text = path
        .map(std::fs::read_to_string)
        .transpose()
        .map_err(|err| {
            let cause = format!("can't be read: {err}");
            vec![Problem {
                severity: Severity::Error,
                line: None,
                key: String::new(),
                cause,
            }]
        })?;
    // A variable that is not text can't be one of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config::parse(text.as_deref(), variables)
}

fn complain(path: Option<&Path>, problems: &[Problem]) {
    let path = path.map_or("the configuration".into(), |path| {
        path.display().to_string()
    });
    for problem in problems {
        eprintln!("{path}: {problem}");
    }
}

fn check(path: &Path) -> u8 {
    match read(Some(path)) {
        Ok((_, warnings)) => {
            complain(Some(path), &warnings);
            println!("{}: good", path.display());
            WELL
        }
        Err(problems) => {
            complain(Some(path), &problems);
            WRONG
        }
    }
}

/// Runs a command that looks at a root directory, or its network, and prints what it finds. Its
/// log is what went wrong.
fn look(
    path: &Option<PathBuf>,
    command: impl FnOnce(&Config) -> Result<Verdict, Box<dyn Error>>,
) -> u8 {
    let mut config = match read(path.as_deref()) {
        Ok((config, _)) => config,
        Err(problems) => {
            complain(path.as_deref(), &problems);
            return UNABLE;
        }
    };
    config.log.level = config.log.level.min(log::LevelFilter::Warn);
    logbook::start(&config.log);
    match command(&config) {
        Ok(Verdict::Well) => WELL,
        Ok(Verdict::Failed) => WRONG,
        Ok(Verdict::OnItsWay) => ON_ITS_WAY,
        Err(err) => {
            eprintln!("error: {err}");
            UNABLE
        }
    }
}

fn serve(path: Option<&Path>) -> u8 {
    let (config, warnings) = match read(path) {
        Ok(read) => read,
        Err(problems) => {
            complain(path, &problems);
            return WRONG;
        }
    };
    logbook::start(&config.log);
    for warning in &warnings {
        log::warn!("{warning}");
    }
    if config.http.secret.is_none() {
        log::warn!(
            "No HTTP secret provided - generated random secret. Uploads live through a restart \
             all the same: their state is kept on disk, not in URLs."
        );
    }
    let server = match Server::open(config.clone()) {
        Ok(server) => server,
        Err(fault) => {
            log::error!("{fault}");
            return WRONG;
        }
    };
    if let Err(err) = stop_on_signals(&server) {
        log::warn!("signals will end the server at once: {err}");
    }
    log::info!("listening on {}", server.address());
    introduce(&config, &server);
    match server.run() {
        Ok(()) => {
            log::info!("stopped");
            WELL
        }
        Err(fault) => {
            log::error!("{fault}");
            WRONG
        }
    }
}

/// Says what an owner wants to know of a registry that has just started.
fn introduce(config: &Config, server: &Server) {
    let kind = match &config.storage.store {
        Store::Filesystem { .. } => "filesystem",
        Store::Inmemory => "inmemory",
        Store::Estuary(_) => "estuary",
        Store::Kubo(_) => "kubo",
    };
    let root = server.root().path();
    // An absolute path is worth more in a log; one that can't be had is worth saying as it is.
    let root = std::fs::canonicalize(root).unwrap_or(root.to_owned());
    let mode = if config.storage.read_only {
        "read-only"
    } else {
        "writable"
    };
    match server.root().free() {
        Ok(free) => {
            let free = free as f64 / 1e9;
            let root = root.display();
            log::info!("{kind} store in {root}, {mode}, {free:.1} GB free");
        }
        Err(fault) => log::warn!("{fault}"),
    }
    if config.storage.store == Store::Inmemory {
        log::warn!("the inmemory store is gone when this process ends");
    } else if let Ok(Some(false)) = disk::has_journal(&root) {
        log::warn!("the file system has no journal: a power cut may damage what is stored here");
    }
    if config.http.net == Net::Unix {
        return;
    }
    let (host, port) = server.address().rsplit_once(':').unwrap_or_default();
    let anywhere = ["[::]", "0.0.0.0"].contains(&host);
    let host = if anywhere { "127.0.0.1" } else { host };
    if !config.storage.read_only {
        let whose = if host.starts_with("127.") && !anywhere {
            "on this machine"
        } else {
            "who can reach it"
        };
        log::warn!("anyone {whose} can push: there is no access control");
        log::info!("try: docker push {host}:{port}/helloworld:v1");
    }
    if anywhere {
        log::info!(
            "docker on other machines takes a registry without TLS only if their daemon.json \
             lists this one in insecure-registries"
        );
    }
}

/// The first SIGTERM or SIGINT lets transfers end; the second ends the process.
fn stop_on_signals(server: &Server) -> std::io::Result<()> {
    let stop = server.stop();
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let wait = move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            log::info!("stopping: transfers under way may end, new ones are refused");
            stop.stop();
        }
        if signals.next().is_some() {
            std::process::exit(i32::from(WRONG));
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map(drop)
}
