//! `REGISTRY_*` variables, laid over a file.

use lighthouse::config::Store;

use super::{accepted, parse, refused};

#[test]
fn the_environment_overrides_the_file() {
    let base = "version: 0.1\nhttp:\n  addr: :1\n  headers:\n    X-A: [b]\n";
    let config = |env: &[&str]| {
        let (config, warnings) = accepted(parse(Some(base), env));
        assert!(warnings.is_empty(), "{env:?}: {warnings:?}");
        config
    };
    assert_eq!(config(&["REGISTRY_HTTP_ADDR=:2"]).http.addr, ":2");
    assert_eq!(config(&["registry_http_Addr=':2'"]).http.addr, ":2");
    assert_eq!(config(&["REGISTRY_HTTP={addr: ':2'}"]).http.addr, ":2");
    assert_eq!(config(&["REGISTRY_HTTP_ADDR="]).http.addr, ":5005");
    assert_eq!(
        config(&["HTTP_ADDR=:2", "MY_REGISTRY_HTTP_ADDR=:2"])
            .http
            .addr,
        ":1"
    );
    // A secret is taken as it is written, whatever YAML would make of it.
    for secret in ["0123", "1e10", "yes", "null", "@x", "{x", "%x", "a b"] {
        let config = config(&[&format!("REGISTRY_HTTP_SECRET={secret}")]);
        assert_eq!(config.http.secret.expect("it is set").expose(), secret);
    }
    assert!(
        config(&["REGISTRY_STORAGE_DELETE_ENABLED=true"])
            .storage
            .delete_enabled
    );
    assert_eq!(
        config(&["REGISTRY_CATALOG_MAXENTRIES=3"]).catalog_entries_max,
        3
    );
    let header = |value: &str| vec![("X-A".to_owned(), value.to_owned())];
    assert_eq!(
        config(&["REGISTRY_HTTP_HEADERS_X-A_0=c"]).http.headers,
        header("c")
    );
    assert_eq!(
        config(&["REGISTRY_HTTP_HEADERS_X_A=[d]"]).http.headers,
        header("d")
    );
    assert_eq!(
        config(&["REGISTRY_HTTP_HEADERS_X_New_Header_0=e"])
            .http
            .headers[1],
        ("x-new-header".to_owned(), "e".to_owned())
    );
    assert_eq!(
        config(&["REGISTRY_LOG_FIELDS_MY_FIELD=x"]).log.fields["my_field"],
        "x"
    );
    let health = config(&[
        "REGISTRY_HEALTH_TCP_0_ADDR=a:1",
        "REGISTRY_HEALTH_TCP_1_ADDR=b:2",
    ])
    .health;
    assert_eq!(health.tcp[1].addr, "b:2");
    let gateways = config(&["REGISTRY_STORAGE_GATEWAY_0=https://a"])
        .storage
        .gateways;
    assert_eq!(gateways, ["https://a"]);
}

#[test]
fn the_environment_names_the_driver() {
    let base =
        "version: 0.1\nstorage:\n  filesystem: {rootdirectory: /f}\n  delete: {enabled: true}";
    let storage = |env: &[&str]| accepted(parse(Some(base), env)).0.storage;
    let disk = |path: &str| Store::Filesystem {
        rootdirectory: path.into(),
    };

    let inmemory = storage(&["REGISTRY_STORAGE=inmemory"]);
    assert_eq!(inmemory.store, Store::Inmemory);
    assert!(inmemory.delete_enabled, "what is no driver stays");
    assert_eq!(
        storage(&["REGISTRY_STORAGE_INMEMORY="]).store,
        Store::Inmemory
    );
    assert_eq!(
        storage(&["REGISTRY_STORAGE={inmemory: {}}"]).store,
        Store::Inmemory
    );
    assert_eq!(storage(&["REGISTRY_STORAGE=filesystem"]).store, disk("/f"));
    assert_eq!(
        storage(&["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/g"]).store,
        disk("/g")
    );
    let token = [
        "REGISTRY_STORAGE_ESTUARY_AUTH_TOKEN=x",
        "REGISTRY_STORAGE_ESTUARY_AUTH-TOKEN=x",
    ];
    for variable in token {
        let Store::Estuary(estuary) = storage(&[variable]).store else {
            panic!("{variable}")
        };
        assert_eq!(estuary.auth_token.expose(), "x");
    }
    let (config, _) = accepted(parse(
        None,
        &["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/h"],
    ));
    assert_eq!(config.storage.store, disk("/h"));

    let problems = refused(parse(
        Some(base),
        &[
            "REGISTRY_STORAGE_INMEMORY={}",
            "REGISTRY_STORAGE_KUBO_API=http://a",
        ],
    ));
    assert!(
        problems[0].contains("inmemory and kubo are set"),
        "{problems:?}"
    );
}

/// Asserts what is said about a variable, and that its value `hush` is not.
fn assert_said(said: &[String], variable: &str, expected: &str) {
    assert_eq!(said.len(), 1, "{variable}: {said:?}");
    assert!(said[0].starts_with(expected), "{variable}: {said:?}");
    assert!(!said[0].contains("hush"), "{variable}: {said:?}");
}

#[test]
fn what_is_wrong_with_a_variable_is_told_without_its_value() {
    for (variable, expected) in WRONG {
        assert_said(&refused(parse(None, &[variable])), variable, expected);
    }
}

#[test]
fn what_is_strange_about_a_variable_is_told_without_its_value() {
    for (variable, expected) in STRANGE {
        assert_said(&accepted(parse(None, &[variable])).1, variable, expected);
    }
}

const WRONG: &[(&str, &str)] = &[
    (
        "REGISTRY_HTTP_ADDR=hush",
        "E http.addr (REGISTRY_HTTP_ADDR): not an address",
    ),
    (
        "REGISTRY_LOG_LEVEL=hush",
        "E log.level (REGISTRY_LOG_LEVEL): must be one of",
    ),
    (
        "registry_log=hush",
        "E log (registry_log): must be a section",
    ),
    (
        "REGISTRY_AUTH=htpasswd",
        "E auth.htpasswd (REGISTRY_AUTH): users are not checked",
    ),
    (
        "REGISTRY_AUTH=hush",
        "E REGISTRY_AUTH: not one of auth's known kinds",
    ),
    (
        "REGISTRY_AUTH_HTPASSWD_PATH=hush",
        "E auth.htpasswd (REGISTRY_AUTH_HTPASSWD_PATH): us",
    ),
    (
        "REGISTRY_AUTH_HTPASSWD_PATH_FILE=/hush",
        "E auth.htpasswd (REGISTRY_AUTH_HTPASSWD",
    ),
    (
        "REGISTRY_STORAGE=hush",
        "E REGISTRY_STORAGE: not one of storage's known kinds",
    ),
    (
        "REGISTRY_STORAGE=delete",
        "E REGISTRY_STORAGE: not one of storage's known kinds",
    ),
    (
        "REGISTRY_STORAGE=s3",
        "E storage.s3 (REGISTRY_STORAGE): this storage driver",
    ),
    (
        "REGISTRY_STORAGE_S3_SECRETKEY=hush",
        "E storage.s3 (REGISTRY_STORAGE_S3_SECRETKEY): t",
    ),
    (
        "REGISTRY_PROXY_REMOTEURL=hush",
        "E proxy.remoteurl (REGISTRY_PROXY_REMOTEURL): a pull",
    ),
    (
        "REGISTRY_HTTP_TLS_KEY=hush",
        "E http.tls.key (REGISTRY_HTTP_TLS_KEY): TLS is not",
    ),
    (
        "REGISTRY_STORAGE_GATEWAY_1=hush",
        "E REGISTRY_STORAGE_GATEWAY_1: storage.gateway[1] do",
    ),
    (
        "REGISTRY_HTTP_SECRET_FILE=/hush",
        "E REGISTRY_HTTP_SECRET_FILE: its file: No such",
    ),
    (
        "REGISTRY_HTTP_HEADERS={A: [\"hush\\nX\"]}",
        "E http.headers.A[0] (REGISTRY_HTTP_HEADERS)",
    ),
    (
        "REGISTRY_STORAGE={what: hush}",
        "E storage.what (REGISTRY_STORAGE): unknown key",
    ),
];

const STRANGE: &[(&str, &str)] = &[
    (
        "REGISTRY_REDIS_PASSWORD=hush",
        "redis (REGISTRY_REDIS_PASSWORD): ignored; what redis",
    ),
    (
        "REGISTRY_HTTP_ADR=hush",
        "REGISTRY_HTTP_ADR: ignored; no key has this name; did you mean REGISTRY_HTTP_ADDR?",
    ),
    (
        "REGISTRY_AUTH_FILE=/hush",
        "REGISTRY_AUTH_FILE: ignored; no key has this name",
    ),
    (
        "REGISTRY_PORT_5000_TCP_ADDR=hush",
        "REGISTRY_PORT_5000_TCP_ADDR: ignored; no key has",
    ),
    ("REGISTRY_=hush", "REGISTRY_: ignored; no key has this name"),
    (
        "REGISTRY_HTTP_DRAINTIMEOUT=5",
        "http.draintimeout (REGISTRY_HTTP_DRAINTIMEOUT): a numb",
    ),
];
