//! What a configuration means, from its text and the environment to the type.

use lighthouse::config::{self, Config, Problem, Store};

/// Parses a file without environment, which must work; gives the warnings as text too.
fn accepted(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) = config::parse(Some(text), std::iter::empty())
        .unwrap_or_else(|problems| panic!("refused: {problems:?}"));
    (config, warnings.iter().map(Problem::to_string).collect())
}

#[test]
fn the_built_in_defaults() {
    let (config, warnings) = config::parse(None, std::iter::empty()).expect("defaults are sound");
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(
        config.storage.store,
        Store::Filesystem {
            rootdirectory: "./data".into()
        }
    );
    assert_eq!(config.http.addr, ":5005");
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
    let (config, warnings) = accepted(ORIGINAL);
    println!("{config:#?}");
    assert_eq!(
        warnings,
        [
            "line 13: storage.estuary.auth-token: still the placeholder; put the API key of your \
          node here"
        ]
    );
}
