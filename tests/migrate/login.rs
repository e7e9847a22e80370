//! Who we are, and who gets to see it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::hub::http::{Ask, Reply, serve};
use crate::hub::seed::Seed;
use crate::hub::{Host, Hub, Rules, basic};
use crate::world::{Run, World};

const PASSWORD: &str = "hunter2";
/// bob with that password, as `htpasswd -B` writes him.
const HTPASSWD: &str = "bob:$2y$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.";

fn hub(seed: &Seed) -> Hub {
    Hub::start(Rules {
        repositories: vec![("org/app".into(), seed.clone())],
        user: Some(("bob".into(), PASSWORD.into())),
        ..Rules::default()
    })
}

/// Writes what docker login would.
fn log_in(world: &World, host: &str) {
    let auth = STANDARD.encode(format!("bob:{PASSWORD}"));
    let config = json!({ "auths": { host: { "auth": auth } } });
    world.write("home/.docker/config.json", &config.to_string());
}

fn expect_no_secret(run: &Run) {
    let encoded = STANDARD.encode(format!("bob:{PASSWORD}"));
    for secret in [PASSWORD, &encoded, "Bearer ", "signature=secret"] {
        assert!(!run.text().contains(secret), "{secret} in {}", run.text());
    }
}

/// A token server on another host sees the password only if the user trusts it; the store of
/// blobs, yet another host, never sees anything.
#[test]
fn a_password_goes_only_where_it_belongs() {
    let Some(world) = World::new() else { return };
    let seed = Seed::alpine(1, None);
    let hub = hub(&seed);
    let target = world.registry("target", "");
    let arguments = format!("{}/org/app {} --strip-registry", hub.registry, target.host);
    let run = world.migrate(&arguments);
    assert_eq!(run.code(), 1);
    assert!(run.text().contains("docker login"), "{}", run.text());

    log_in(&world, &hub.registry);
    let run = world.migrate(&arguments);
    assert_eq!(run.code(), 1);
    assert!(
        run.text().contains(&format!("--trust-realm {}", hub.realm)),
        "{}",
        run.text()
    );
    assert_eq!(hub.seen(Host::Realm), Vec::<String>::new());

    let arguments = format!("{arguments} --trust-realm {}", hub.realm);
    let mut command = world.command(arguments.split_whitespace());
    let run = Run::of(command.env("RUST_LOG", "trace"));
    run.expect_success();
    expect_no_secret(&run);
    target.expect_whole("org/app", &seed);
    assert_eq!(hub.seen(Host::Realm), [basic("bob", PASSWORD)]);
    assert_eq!(hub.seen(Host::Store), Vec::<String>::new());
    assert!(
        hub.seen(Host::Registry)
            .iter()
            .all(|login| login.starts_with("Bearer "))
    );
    let journals = world.path("home/.local/state");
    assert!(!crate::world::is_kept(&journals, PASSWORD));
}

/// A program of docker's credential protocol is asked, and only about the registry it is set for.
#[test]
fn credentials_come_from_a_program() {
    let Some(world) = World::new() else { return };
    let seed = Seed::alpine(1, None);
    let hub = hub(&seed);
    let target = world.registry("target", "");
    let asked = world.path("asked");
    let script = format!(
        "#!/bin/sh\nread -r host\necho \"$1 $host\" >>{}\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"bob\",\"Secret\":\"{PASSWORD}\"}}'\n",
        asked.display()
    );
    let program = world.write("programs/docker-credential-vault", &script);
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("executable");
    let config = json!({ "credHelpers": { &hub.registry: "vault" } });
    world.write("elsewhere/config.json", &config.to_string());
    let arguments = format!(
        "{}/org/app:3.0 {} --strip-registry --trust-realm 127.0.0.2",
        hub.registry, target.host
    );
    let mut command = world.command(arguments.split_whitespace());
    let run = Run::of(command.env("DOCKER_CONFIG", world.path("elsewhere")));
    run.expect_success();
    expect_no_secret(&run);
    let asked = std::fs::read_to_string(asked).expect("it was asked");
    assert_eq!(asked, format!("get {}\n", hub.registry));
}

/// docker-registry with htpasswd at both ends: flags, a file, the environment; and a wrong
/// password is named as such.
#[test]
fn htpasswd_at_both_ends() {
    let Some(world) = World::new() else { return };
    let users = world.write("users", HTPASSWD);
    let auth = format!(
        "auth: {{htpasswd: {{realm: here, path: {}}}}}",
        users.display()
    );
    let (source, target) = (
        world.registry("source", &auth),
        world.registry("target", &auth),
    );
    let seed = Seed::alpine(1, None);
    let repositories = vec![("library/alpine".to_owned(), seed.clone())];
    let hub = Hub::start(Rules {
        repositories,
        ..Rules::default()
    });
    let fill = format!("--mirror docker.io={} alpine {}", hub.registry, source.host);
    let run = world.migrate(&fill);
    assert_eq!(run.code(), 1);
    assert!(
        run.text()
            .contains(&format!("docker login {}", source.host)),
        "{}",
        run.text()
    );
    let run = world.migrate(&format!("{fill} --dest-user bob:wrong"));
    assert_eq!(run.code(), 1);
    assert!(run.text().contains("does not let bob"), "{}", run.text());
    let password = world.write("password", &format!("{PASSWORD}\n"));
    let file = format!(
        "--dest-user bob --dest-password-file {}",
        password.display()
    );
    world.migrate(&format!("{fill} {file}")).expect_success();

    log_in(&world, &source.host);
    let arguments = format!("{}/alpine {} --strip-registry", source.host, target.host);
    let mut command = world.command(arguments.split_whitespace());
    command
        .env("LIGHTHOUSE_DEST_USER", "bob")
        .env("LIGHTHOUSE_DEST_PASSWORD", PASSWORD);
    let run = Run::of(&mut command);
    run.expect_success();
    expect_no_secret(&run);
    let summary = format!("{} copied", seed.tags.len());
    assert!(run.summary().contains(&summary), "{}", run.summary());
}

/// A token server whose tokens docker-registry believes: RS256, signed by openssl.
struct Tokens {
    folder: std::path::PathBuf,
    certificate: String,
    /// The logins that it was shown.
    seen: Mutex<Vec<String>>,
}

impl Tokens {
    fn new(folder: &Path) -> Tokens {
        let made = Command::new("openssl")
            .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tokens".split(' '))
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder)
            .stderr(Stdio::null())
            .status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "openssl makes a certificate"
        );
        let pem = std::fs::read_to_string(folder.join("cert.pem")).expect("a certificate");
        let certificate = pem
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        Tokens {
            folder: folder.to_path_buf(),
            certificate,
            seen: Mutex::default(),
        }
    }

    fn grant(&self, ask: &Ask) -> Reply {
        let form = String::from_utf8_lossy(&ask.body).into_owned();
        let shown = ask
            .headers
            .get("authorization")
            .cloned()
            .unwrap_or(form.clone());
        self.seen
            .lock()
            .expect("no answer panics")
            .push(shown.clone());
        if shown != basic("bob", PASSWORD) && !form.contains("refresh_token=an-identity") {
            return Reply::new(401);
        }
        let in_form = form.split('&').find_map(|pair| pair.strip_prefix("scope="));
        let in_form = in_form.map(|scope| scope.replace("%2C", ","));
        let scope = ask
            .query
            .get("scope")
            .cloned()
            .or(in_form)
            .unwrap_or_default();
        let parts: Vec<&str> = scope.split(':').collect();
        let [kind, name, actions] = parts[..] else {
            return Reply::new(400);
        };
        let actions: Vec<&str> = actions.split(',').collect();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let access = json!([{ "type": kind, "name": name, "actions": actions }]);
        let token = self.sign(&json!({
            "iss": "tests", "sub": "bob", "aud": "target", "jti": "1",
            "iat": now, "nbf": now - 5, "exp": now + 300, "access": access,
        }));
        let grant = json!({ "access_token": token, "expires_in": 300 });
        Reply::new(200).carrying("application/json", grant.to_string().into_bytes())
    }

    fn sign(&self, claims: &Value) -> String {
        let head = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.certificate] });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&head), part(claims));
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-sha256", "-sign", "key.pem"])
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let mut stdin = openssl.stdin.take().expect("it is piped");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        let signature = openssl.wait_with_output().expect("it signs").stdout;
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// docker-registry with a token server as the destination: by password, and by the identity token
/// that docker login keeps where it can.
#[test]
fn a_token_server_guards_the_destination() {
    let Some(world) = World::new() else { return };
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed, which signs the tokens");
        return;
    }
    let folder = world.path("tokens");
    std::fs::create_dir(&folder).expect("made");
    let tokens = Arc::new(Tokens::new(&folder));
    let own = tokens.clone();
    let realm = serve(([127, 0, 0, 1], 0).into(), move |ask| own.grant(ask));
    let auth = format!(
        "auth: {{token: {{realm: 'http://{realm}/token', service: target, issuer: tests, \
         rootcertbundle: {}}}}}",
        folder.join("cert.pem").display()
    );
    let seed = Seed::alpine(1, None);
    let repositories = vec![("library/alpine".to_owned(), seed.clone())];
    let hub = Hub::start(Rules {
        repositories,
        ..Rules::default()
    });

    let by_password = world.registry("by-password", &auth);
    log_in(&world, &by_password.host);
    let arguments = |host: &str| format!("--mirror docker.io={} alpine {host}", hub.registry);
    let run = world.migrate(&arguments(&by_password.host));
    run.expect_success();
    expect_no_secret(&run);
    assert!(
        run.summary()
            .contains(&format!("{} copied", seed.tags.len())),
        "{}",
        run.summary()
    );
    let seen = std::mem::take(&mut *tokens.seen.lock().expect("no answer panics"));
    assert_eq!(seen, [basic("bob", PASSWORD)], "one token does for all");

    let by_identity = world.registry("by-identity", &auth);
    let config = json!({ "auths": { &by_identity.host: { "identitytoken": "an-identity" } } });
    world.write("home/.docker/config.json", &config.to_string());
    world
        .migrate(&arguments(&by_identity.host))
        .expect_success();
    let seen = tokens.seen.lock().expect("no answer panics");
    assert!(
        seen.len() == 1 && seen[0].starts_with("grant_type=refresh_token"),
        "{seen:?}"
    );
}

/// TLS with a certificate of one's own; without --dest-ca-file nothing is sent at all.
#[test]
fn a_registry_with_a_certificate_of_its_own() {
    let Some(world) = World::new() else { return };
    let folder = world.path("tls");
    std::fs::create_dir(&folder).expect("made");
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1".split(' '))
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(&folder)
        .stderr(Stdio::null())
        .status();
    let Ok(made) = made else {
        eprintln!("skipped: openssl is not installed, which makes the certificate");
        return;
    };
    assert!(made.success());
    let certificate = folder.join("cert.pem");
    let tls = format!(
        "  tls: {{certificate: {}, key: {}}}",
        certificate.display(),
        folder.join("key.pem").display()
    );
    let target = world.registry("target", &tls);
    let seed = Seed::alpine(1, None);
    let repositories = vec![("library/alpine".to_owned(), seed.clone())];
    let hub = Hub::start(Rules {
        repositories,
        ..Rules::default()
    });
    let arguments = format!(
        "--mirror docker.io={} alpine {1} --tls {1} --retries 3",
        hub.registry, target.host
    );
    let run = world.migrate(&arguments);
    assert_eq!(run.code(), 1);
    assert!(run.text().contains("certificate"), "{}", run.text());
    world
        .migrate(&format!(
            "{arguments} --dest-ca-file {}",
            certificate.display()
        ))
        .expect_success();
    let again = world.migrate(&format!(
        "{arguments} --dest-ca-file {}",
        certificate.display()
    ));
    let summary = format!("0 copied, {} were there", seed.tags.len());
    assert!(again.summary().contains(&summary), "{}", again.summary());
}
