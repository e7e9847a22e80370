//! `registry serve`: serve until a signal comes.

use std::path::PathBuf;

use lighthouse::config::{Config, Net, Store};
use lighthouse::server::Server;
use lighthouse::store::filesystem;
use lighthouse::{disk, logbook};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{FAILED, WELL, read, tell_problems};

#[derive(clap::Args, Debug)]
pub struct Options {
    /// The configuration; without it, a store in ./data is served on :5005.
    config: Option<PathBuf>,
}

pub fn run(options: &Options) -> u8 {
    let path = options.config.as_deref();
    let (config, warnings) = match read(path) {
        Ok(read) => read,
        Err(problems) => {
            tell_problems(path, &problems);
            return FAILED;
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
            return FAILED;
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
            FAILED
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
    match filesystem::free(server.root().path()) {
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
            std::process::exit(i32::from(FAILED));
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map(drop)
}
