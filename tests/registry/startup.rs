//! From the command line to the first answer, or to a line that says what to do.

use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use crate::world::program::{command, run};
use crate::world::{Image, Place, Program, Served};

/// What distribution's fork for Estuary had in its manual, with other addresses.
const ORIGINAL: &str = "\
version: 0.1
log:
  fields:
    service: registry

storage:
  redirect:
    disable: false
  
  estuary:
    url: http://127.0.0.1:1
    shuttle-url: http://127.0.0.1:1
    auth-token: TOKEN_GOES_HERE
    rootdirectory: ROOT

http:
  addr: 127.0.0.1:0
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3

";

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("config.yml");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_registry_without_a_configuration_serves_what_is_beneath() {
    let dir = TempDir::new().expect("a folder");
    let mut serve = command(&["serve"]);
    serve
        .current_dir(dir.path())
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0");
    let hub = Program::start(serve);
    let image = Image::named("first");
    hub.push("helloworld", "v1", &image);
    assert!(dir.path().join("data/lighthouse/catalog.sqlite").is_file());
    let here = dir.path().canonicalize().expect("a path");
    let port = hub.address.rsplit_once(':').expect("a port").1;
    for line in [
        "WARN[0000] No HTTP secret provided - generated random secret.".to_owned(),
        format!("INFO[0000] listening on 127.0.0.1:{port}"),
        format!(
            "INFO[0000] filesystem store in {}/data, writable, ",
            here.display()
        ),
        " GB free".into(),
        "WARN[0000] anyone on this machine can push".into(),
        format!("INFO[0000] try: docker push 127.0.0.1:{port}/helloworld:v1"),
    ] {
        hub.logged(&line);
    }
    // Each answer is a line of the access log.
    let access = hub.logged("response completed");
    for field in [
        "http.request.method=POST",
        "http.request.uri=/v2/helloworld/blobs/uploads/",
        "http.request.remoteaddr=127.0.0.1",
        "http.response.status=202",
    ] {
        assert!(access.contains(field), "{access}");
    }
}

#[test]
fn a_registry_says_who_can_push() {
    let dir = TempDir::new().expect("a folder");
    let hub = Program::serve(dir.path(), &[("HTTP_ADDR", ":0")]);
    hub.logged("anyone who can reach it can push");
    hub.logged("insecure-registries");
    hub.get("/v2/").expect(200);
    drop(hub);
    let read_only = [("STORAGE_MAINTENANCE_READONLY_ENABLED", "true")];
    let hub = Program::serve(dir.path(), &read_only);
    hub.logged(", read-only, ");
    hub.get("/v2/").expect(200);
    assert!(!hub.log().iter().any(|line| line.contains("can push")));
}

#[test]
fn the_original_configuration_starts() {
    let dir = TempDir::new().expect("a folder");
    let root = dir.path().join("registries/estuary-prod");
    let text = ORIGINAL.replace("ROOT", root.to_str().expect("UTF-8"));
    let path = write(dir.path(), &text);
    let hub = Program::start(command(&["serve", &path]));
    let image = Image::named("first");
    hub.push("helloworld", "v1", &image);
    let got = hub.manifest("helloworld", "v1").expect(200);
    assert_eq!(got.header("X-Content-Type-Options"), "nosniff");
    assert!(root.join("lighthouse/catalog.sqlite").is_file());
    hub.logged("service=registry");
}

#[test]
fn a_configuration_is_checked_as_a_whole() {
    let dir = TempDir::new().expect("a folder");
    let text = "\
version: 0.1
log:
  level: loud
storage:
  filesytem:
    rootdirectory: ./data
http:
  addr: nonsense
  draintimeout: soon
";
    let path = write(dir.path(), text);
    for verb in ["check", "serve"] {
        let (code, _, complaints) = run(&mut command(&[verb, &path]));
        assert_eq!(code, Some(1), "{complaints}");
        for (line, key, hint) in [
            (3, "log.level", ""),
            (5, "storage.filesytem", "did you mean storage.filesystem?"),
            (8, "http.addr", ""),
            (9, "http.draintimeout", ""),
        ] {
            let start = format!("{path}: line {line}: {key}: ");
            let found = complaints.lines().find(|line| line.starts_with(&start));
            assert!(
                found.is_some_and(|line| line.contains(hint)),
                "{start} in {complaints}"
            );
        }
        assert_eq!(complaints.lines().count(), 4, "{complaints}");
    }
    let path = write(dir.path(), "version: 0.1\nhttp:\n  addr: :5005\n");
    let (code, told, complaints) = run(&mut command(&["check", &path]));
    assert_eq!((code, complaints.as_str()), (Some(0), ""));
    assert_eq!(told, format!("{path}: good\n"));
    // The environment is part of it.
    let mut check = command(&["check", &path]);
    let (code, _, complaints) = run(check.env("REGISTRY_HTTP_ADRR", ":5000"));
    assert_eq!(code, Some(0));
    assert!(
        complaints.contains("did you mean REGISTRY_HTTP_ADDR?"),
        "{complaints}"
    );
    let mut check = command(&["check", &path]);
    let (code, _, complaints) = run(check.env("REGISTRY_HTTP_ADDR", "nonsense"));
    assert_eq!(code, Some(1));
    assert!(complaints.contains("REGISTRY_HTTP_ADDR"), "{complaints}");
    let (code, _, complaints) = run(&mut command(&["check", "/nowhere/config.yml"]));
    assert_eq!(code, Some(1));
    assert!(complaints.contains("/nowhere/config.yml"), "{complaints}");
}

#[test]
fn the_command_line_explains_itself() {
    let (code, told, _) = run(&mut command(&["--version"]));
    assert_eq!(
        (code, told),
        (Some(0), format!("registry {}\n", env!("CARGO_PKG_VERSION")))
    );
    let (code, told, _) = run(&mut command(&["--help"]));
    assert_eq!(code, Some(0));
    for text in ["Usage: registry", "serve", "check", "config.yml"] {
        assert!(told.contains(text), "{told}");
    }
    for arguments in [&["serv"][..], &["serve", "--prot"], &[], &["check"]] {
        let (code, _, complaints) = run(&mut command(arguments));
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(complaints.contains("Usage:"), "{complaints}");
    }
}

#[test]
fn what_keeps_a_registry_from_starting_is_told() {
    let dir = TempDir::new().expect("a folder");
    let neighbour = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = neighbour.local_addr().expect("an address").to_string();
    let missing = dir.path().join("missing");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let root = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY";
    let read_only = "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED";
    for (settings, told) in [
        (
            vec![(root, path(&missing)), (read_only, "true".into())],
            path(&missing),
        ),
        (
            vec![
                (root, path(dir.path())),
                ("REGISTRY_HTTP_ADDR", taken.clone()),
            ],
            taken.clone(),
        ),
        (
            vec![
                (root, path(dir.path())),
                ("REGISTRY_HTTP_ADDR", "nowhere.invalid:80".into()),
            ],
            "nowhere.invalid:80".into(),
        ),
    ] {
        let mut serve = command(&["serve"]);
        serve
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .envs(settings);
        let (code, _, complaints) = run(&mut serve);
        assert_eq!(code, Some(1), "{complaints}");
        let last = complaints.lines().last().expect("a line");
        assert!(
            last.starts_with("ERRO[0000] ") && last.contains(&told),
            "{complaints}"
        );
    }
    drop(neighbour);
}

/// Else nobody hears of it until the first push.
#[test]
fn a_network_that_does_not_answer_is_said_at_the_start() {
    let stranger = Served::on(Place::Disk);
    let wrong = format!("http://{}", stranger.address);
    for api in ["http://127.0.0.1:1", &wrong] {
        let dir = TempDir::new().expect("a folder");
        let mut serve = command(&["serve"]);
        serve
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .env("REGISTRY_STORAGE_KUBO_API", api)
            .env("REGISTRY_STORAGE_KUBO_ROOTDIRECTORY", dir.path());
        let hub = Program::start(serve);
        let said = hub.logged("stays on this disk until it does");
        assert!(said.contains(api) && said.contains("WARN"), "{said}");
    }
}
