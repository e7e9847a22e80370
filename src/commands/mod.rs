//! The command line: one file a command, with what it takes and what it calls.
//!
//! What all of them share is here: how the store is found, and how they end.

mod backup;
mod check;
mod export;
mod ls;
mod migrate;
mod restore;
mod serve;
mod status;
mod tree;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lighthouse::config::{self, Config, Problem, Severity};
use lighthouse::logbook;
use lighthouse::terminal::{self, Verdict};

/// A small Docker registry whose images travel to IPFS and Filecoin.
#[derive(Parser)]
#[command(name = "registry", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a registry: `registry serve`, or `registry serve config.yml`.
    Serve(serve::Options),
    /// Tell everything that is wrong with a configuration: `registry check config.yml`.
    Check(check::Options),
    /// List repositories, or the tags of one: `registry ls library/alpine`.
    Ls(ls::Options),
    /// Tell how far images have come on their way to the content network.
    Status(status::Options),
    /// Copy the catalog into a file, while the registry runs: `registry backup FILE`.
    Backup(backup::Options),
    /// Copy images from another registry: `registry migrate alpine 127.0.0.1:5005`.
    Migrate(Box<migrate::Options>),
    /// Write the catalog as one document, to the content network: `registry export --cid`.
    Export(export::Options),
    /// Rebuild a registry from an export: `registry restore CID`.
    Restore(restore::Options),
    /// Write registry:2's tree again, to go back to it: `registry tree`.
    Tree(tree::Options),
}

/// Which store a command is about.
#[derive(clap::Args, Debug)]
struct Where {
    /// The configuration; else the environment's, and a store in ./data
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Everything is well.
const WELL: u8 = 0;
/// It could not do its work, or the configuration has to be put right.
const FAILED: u8 = 1;
/// A command that looks at a store could not begin.
const UNABLE: u8 = 2;
/// It did its work, and something is not finished.
const UNFINISHED: u8 = 3;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let code = match Arguments::parse().command {
        Command::Serve(options) => serve::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Ls(options) => ls::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Backup(options) => backup::run(&options),
        Command::Migrate(options) => return migrate::run(*options),
        Command::Export(options) => export::run(&options),
        Command::Restore(options) => restore::run(&options),
        Command::Tree(options) => tree::run(&options),
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

fn tell_problems(path: Option<&Path>, problems: &[Problem]) {
    let path = path.map_or("the configuration".into(), |path| {
        path.display().to_string()
    });
    for problem in problems {
        terminal::tell(format_args!("{path}: {problem}"));
    }
}

/// Runs a command on the store of a configuration, or on its network. Its log is what went wrong.
fn look(place: &Where, command: impl FnOnce(&Config) -> Result<Verdict, Box<dyn Error>>) -> u8 {
    let path = place.config.as_deref();
    let mut config = match read(path) {
        Ok((config, _)) => config,
        Err(problems) => {
            tell_problems(path, &problems);
            return UNABLE;
        }
    };
    config.log.level = config.log.level.min(log::LevelFilter::Warn);
    logbook::start(&config.log);
    match command(&config) {
        Ok(Verdict::Well) => WELL,
        Ok(Verdict::Failed) => FAILED,
        Ok(Verdict::OnItsWay) => UNFINISHED,
        Err(err) => {
            terminal::complain(err);
            UNABLE
        }
    }
}
