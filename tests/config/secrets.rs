//! What must stay a secret stays one.

use lighthouse::config::Store;

use super::{accepted, file, parse};

#[test]
fn no_debug_output_shows_a_secret() {
    let (config, _) = accepted(file(
        "storage: {kubo: {authorization: Bearer hush}}\nhttp: {secret: hush}",
    ));
    let shown = format!("{config:?} {config:#?}");
    assert!(
        !shown.contains("hush") && shown.contains("Secret(…)"),
        "{shown}"
    );
    let (config, _) = accepted(file("storage: {estuary: {auth-token: hush}}"));
    let Store::Estuary(estuary) = config.storage.store else {
        panic!("estuary was asked for")
    };
    assert!(!format!("{estuary:?} {}", estuary.auth_token).contains("hush"));
}

#[test]
fn secrets_on_their_way_in_the_clear_are_warned_about() {
    for (text, warned) in [
        (
            "storage: {kubo: {api: 'http://node:5001', authorization: Bearer x}}",
            true,
        ),
        (
            "storage: {kubo: {api: 'http://127.0.0.1:5001', authorization: Bearer x}}",
            false,
        ),
        ("storage: {kubo: {api: 'http://node:5001'}}", false),
        (
            "storage: {estuary: {auth-token: x, url: 'http://estuary'}}",
            true,
        ),
        (
            "storage: {estuary: {auth-token: x, shuttle-url: 'http://shuttle'}}",
            true,
        ),
    ] {
        let (_, warnings) = accepted(file(text));
        let found = warnings
            .iter()
            .any(|warning| warning.contains("unencrypted"));
        assert_eq!(found, warned, "{text}: {warnings:?}");
    }
}

#[test]
fn a_secret_can_stand_in_a_file() {
    let dir = tempfile::tempdir().expect("a place for files");
    let path = dir.path().join("secret");
    std::fs::write(&path, "a: 'b' #c\n").expect("a file");
    let (config, warnings) = accepted(parse(
        None,
        &[&format!("REGISTRY_HTTP_SECRET_FILE={}", path.display())],
    ));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.http.secret.expect("it is set").expose(), "a: 'b' #c");
}
