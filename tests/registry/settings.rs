//! What the owner of a registry can set, as clients and supervisors see it.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use crate::world::{
    Answer, Ask, Blob, Hub, Image, Place, Program, Served, await_some, free_address,
};

#[test]
fn a_prefix_stands_before_every_url() {
    let hub = Served::with(Place::Disk, &[("HTTP_PREFIX", "/hub/")]);
    hub.get("/hub/v2/").expect(200);
    hub.get("/v2/a/tags/list").refuses(404, "NAME_UNKNOWN");
    hub.get("/hubv2/").refuses(404, "NAME_UNKNOWN");
    let image = Image::named("x");
    for blob in &image.blobs {
        let begun = hub.ask(Ask::post("/hub/v2/a/blobs/uploads/")).expect(202);
        let location = begun.header("Location");
        assert!(
            location.starts_with("/hub/v2/a/blobs/uploads/"),
            "{location}"
        );
        let put = Ask::put(format!("{location}?digest={}", blob.digest));
        let put = hub.ask(put.body(blob.bytes.clone())).expect(201);
        assert_eq!(hub.get(put.header("Location")).expect(200).body, blob.bytes);
    }
    let put = Ask::put("/hub/v2/a/manifests/v1?tag=v2").with("Content-Type", &image.media_type);
    let put = hub.ask(put.body(image.manifest.bytes.clone())).expect(201);
    assert_eq!(
        hub.get(put.header("Location")).expect(200).body,
        image.manifest.bytes
    );
    assert_eq!(hub.list("/hub/v2/a/tags/list?n=1", "tags").0, ["v1", "v2"]);
}

#[test]
fn locations_name_the_host_that_the_owner_names() {
    let host = ("HTTP_HOST", "https://registry.example.com:8443");
    let hub = Served::with(Place::Disk, &[host]);
    let begun = hub.ask(Ask::post("/v2/a/blobs/uploads/")).expect(202);
    let location = begun.header("Location");
    let path = location
        .strip_prefix("https://registry.example.com:8443")
        .expect("the host");
    hub.get(path).expect(204);
    let relative = [host, ("HTTP_RELATIVEURLS", "true")];
    let hub = Served::with(Place::Disk, &relative);
    assert!(hub.begin("a").starts_with("/v2/a/"));
    // Without a host nothing that a client says of itself gets into a location.
    let hub = Served::on(Place::Disk);
    let post = Ask::post("/v2/a/blobs/uploads/").with("Host", "evil.example.com");
    let post = post.with("X-Forwarded-Host", "evil.example.com");
    assert!(hub.ask(post).header("Location").starts_with("/v2/a/"));
}

#[test]
fn headers_of_the_owner_are_on_every_answer() {
    let headers = "{X-Content-Type-Options: [nosniff], X-Two: [one, two]}";
    let hub = Served::with(Place::Disk, &[("HTTP_HEADERS", headers)]);
    let blob = Blob::of("x");
    hub.push_blob("a", &blob);
    let has_them = |answer: Answer| {
        assert_eq!(answer.header("X-Content-Type-Options"), "nosniff");
        let two = answer.headers.iter().filter(|(name, _)| name == "X-Two");
        assert_eq!(
            two.map(|(_, value)| value.as_str()).collect::<Vec<_>>(),
            ["one", "two"]
        );
    };
    has_them(hub.get("/v2/"));
    has_them(hub.blob("a", &blob).expect(200));
    has_them(hub.get("/v2/a/tags/list"));
    has_them(hub.get("/nowhere").expect(404));
    has_them(hub.delete(hub.begin("a")).expect(204));
    let mut line = hub.line();
    line.say("nonsense\r\n\r\n");
    has_them(line.hear("GET").expect(400));
}

#[test]
fn a_registry_listens_on_a_socket_in_the_file_system() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().join("registry.sock");
    // A server that died left its socket behind.
    drop(UnixListener::bind(&path).expect("bound"));
    let settings = [
        ("HTTP_NET", "unix"),
        ("HTTP_ADDR", path.to_str().expect("UTF-8")),
    ];
    let hub = Served::with(Place::Disk, &settings);
    assert_eq!(hub.address, path.to_str().expect("UTF-8"));
    let image = Image::named("unix");
    hub.push("a", "v1", &image);
    assert_eq!(
        hub.manifest("a", "v1").expect(200).body,
        image.manifest.bytes
    );
    let large = Blob::noise(3_000_000, 80);
    hub.push_blob("a", &large);
    assert!(hub.blob("a", &large).expect(200).body == large.bytes);
}

#[test]
fn a_registry_that_is_read_only_is_only_read() {
    let dir = TempDir::new().expect("a folder");
    let image = Image::named("kept");
    Served::at(dir.path(), &[]).push("a", "v1", &image);
    let hub = Served::at(
        dir.path(),
        &[("STORAGE_MAINTENANCE_READONLY_ENABLED", "true")],
    );
    assert_eq!(
        hub.manifest("a", "v1").expect(200).body,
        image.manifest.bytes
    );
    hub.blob("a", &image.blobs[0]).expect(200);
    assert_eq!(hub.list("/v2/_catalog", "repositories").0, ["a"]);
    let digest = image.digest();
    for ask in [
        Ask::post("/v2/a/blobs/uploads/"),
        Ask::post(format!(
            "/v2/b/blobs/uploads/?mount={}&from=a",
            image.blobs[0].digest
        )),
        Ask::patch("/v2/a/blobs/uploads/01234567-89ab-4def-8123-456789abcdef").body("x"),
        Ask::put("/v2/a/manifests/v2").body(image.manifest.bytes.clone()),
        Ask::delete("/v2/a/manifests/v1"),
        Ask::delete(format!("/v2/a/manifests/{digest}")),
        Ask::delete(format!("/v2/a/blobs/{}", image.blobs[0].digest)),
    ] {
        hub.ask(ask).refuses(405, "UNSUPPORTED");
    }
    hub.manifest("a", "v1").expect(200);
}

#[test]
fn a_supervisor_learns_how_the_registry_is() {
    let dir = TempDir::new().expect("a folder");
    let flag = dir.path().join("down");
    let (debug, peer) = (free_address(), free_address());
    let other = Served::on(Place::Disk);
    let uri = format!("http://{}/v2/", other.address);
    let hub = Served::with(
        Place::Disk,
        &[
            ("HTTP_DEBUG_ADDR", &debug),
            ("HTTP_DEBUG_PROMETHEUS_ENABLED", "true"),
            ("HEALTH_STORAGEDRIVER_ENABLED", "true"),
            ("HEALTH_STORAGEDRIVER_INTERVAL", "100ms"),
            ("HEALTH_FILE_0_FILE", flag.to_str().expect("UTF-8")),
            ("HEALTH_FILE_0_INTERVAL", "100ms"),
            ("HEALTH_HTTP_0_URI", &uri),
            ("HEALTH_HTTP_0_INTERVAL", "100ms"),
            ("HEALTH_TCP_0_ADDR", &peer),
            ("HEALTH_TCP_0_INTERVAL", "100ms"),
        ],
    );
    let supervisor = Hub { address: debug };
    let health = |status: u16| {
        await_some("its health to change", || {
            let answer = supervisor.get("/debug/health");
            (answer.status == status).then(|| answer.json())
        })
    };
    // Nobody listens there yet.
    assert_eq!(
        health(503)
            .as_object()
            .expect("causes")
            .keys()
            .collect::<Vec<_>>(),
        [&peer]
    );
    let listener = TcpListener::bind(&peer).expect("still free");
    assert_eq!(health(200), serde_json::json!({}));
    std::fs::write(&flag, "").expect("written");
    let missed = |name: &str| {
        await_some("it to be missed", || health(503).get(name).cloned());
    };
    missed(flag.to_str().expect("UTF-8"));
    std::fs::remove_file(&flag).expect("there");
    assert_eq!(health(200), serde_json::json!({}));
    drop(other);
    missed(&uri);
    drop(listener);
    hub.get("/v2/").expect(200);
    hub.get("/nowhere").expect(404);
    let metrics = supervisor.get("/metrics").expect(200);
    let text = String::from_utf8(metrics.body).expect("UTF-8");
    let counted = "registry_http_requests_total{method=\"get\",code=\"404\"} 1";
    assert!(text.contains(counted), "{text}");
    // What supervisors ask is not on the clients' port, nor the other way round.
    hub.get("/debug/health").expect(404);
    supervisor.get("/v2/").expect(404);
}

/// Tokens, passwords and whatever a query holds are nobody's business later.
#[test]
fn nothing_secret_is_logged() {
    let dir = TempDir::new().expect("a folder");
    for formatter in ["text", "json"] {
        let settings = [
            ("LOG_LEVEL", "debug"),
            ("LOG_FORMATTER", formatter),
            ("HTTP_SECRET", "hush-secret"),
        ];
        let hub = Program::serve(dir.path(), &settings);
        let basic = "Basic aHVzaC11c2VyOmh1c2gtcGFzc3dvcmQ=";
        for ask in [
            Ask::get("/v2/"),
            Ask::get("/v2/a/tags/list"),
            Ask::get("/v2/A/tags/list"),
            Ask::put("/v2/a/manifests/v1").body("not JSON"),
            Ask::get("/v2/?token=hush-query"),
            Ask::get("/v2/a/blobs/sha256:abc?_state=hush-state"),
        ] {
            let ask = ask
                .with("Authorization", basic)
                .with("Cookie", "id=hush-cookie");
            hub.ask(ask.with("Proxy-Authorization", "Bearer hush-token"));
        }
        let mut line = hub.line();
        line.say(format!(
            "GET /v2/ HTTP/1.1\r\nAuthorization: {basic}\r\nno colon: \0\r\n\r\n"
        ));
        line.hear("GET").expect(400);
        hub.ask(Ask::get("/v2/last/tags/list").with("User-Agent", "told/1.0 \"x\""));
        hub.logged("/v2/last/tags/list");
        hub.logged("told/1.0");
        for line in hub.log() {
            assert!(
                !line.contains("hush") && !line.contains("aHVzaC1"),
                "{line}"
            );
        }
    }
}
