//! Credentials: who we are to a registry, as docker keeps it (docker/cli, "docker login").

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Failure;
use super::image::Host;

/// A text that no log and no `Debug` output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text from now on.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the wire alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a registry, or its token server, is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password, or an access token in place of one.
    Password(String, Secret),
    /// A token that buys others (OAuth 2's refresh token).
    Identity(Secret),
}

impl Credentials {
    /// A user with a password.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Credentials {
        Credentials::Password(user.into(), Secret::new(password))
    }

    /// The value of an `Authorization: Basic` header (RFC 7617); none for a token.
    pub fn basic(&self) -> Option<Secret> {
        match self {
            Credentials::Password(user, password) => {
                let pair = format!("{user}:{}", password.reveal());
                Some(Secret(format!("Basic {}", STANDARD.encode(pair))))
            }
            Credentials::Identity(_) => None,
        }
    }
}

/// What `docker login` has written down.
#[derive(Debug, Default)]
pub struct Keyring {
    path: PathBuf,
    file: File,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: HashMap<String, Entry>,
    creds_store: String,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a program of the credential protocol answers (docker-credential-helpers, "get").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Keyring {
    /// Reads `config.json` in `$DOCKER_CONFIG` or `~/.docker`; it need not be there.
    pub fn open() -> Result<Keyring, Failure> {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
        match folder {
            Some(folder) => Keyring::read(folder.join("config.json")),
            None => Ok(Keyring::default()),
        }
    }

    fn read(path: PathBuf) -> Result<Keyring, Failure> {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Keyring {
                    path,
                    file: File::default(),
                });
            }
            Err(cause) => return Err(Failure::disk(path, cause)),
        };
        // The parser's own message could repeat a piece of a secret.
        let file = serde_json::from_slice(&text).map_err(|cause| {
            let place = format!("line {}, column {}", cause.line(), cause.column());
            Failure::disk(
                &path,
                format!("this is not what docker login writes: {place}"),
            )
        })?;
        Ok(Keyring { path, file })
    }

    /// What there is for a registry: from the program set for it, from the one set for all, or
    /// from the file itself.
    pub fn find(&self, host: &Host) -> Result<Option<Credentials>, Failure> {
        for key in keys(host) {
            if let Some(program) = self.file.cred_helpers.get(&key) {
                return ask(program, &key);
            }
        }
        if !self.file.creds_store.is_empty() {
            for key in keys(host) {
                if let Some(found) = ask(&self.file.creds_store, &key)? {
                    return Ok(Some(found));
                }
            }
        }
        let entries = &self.file.auths;
        let entry = keys(host)
            .into_iter()
            .find_map(|key| entries.get(&key))
            .or_else(|| {
                // Docker also finds https://host/v1/ when it looks for the host.
                let same = |key: &str| host_of(key) == host.as_str();
                entries
                    .iter()
                    .find(|(key, _)| same(key))
                    .map(|(_, entry)| entry)
            });
        entry.map_or(Ok(None), |entry| self.open_entry(host, entry))
    }

    fn open_entry(&self, host: &Host, entry: &Entry) -> Result<Option<Credentials>, Failure> {
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credentials::Identity(Secret::new(
                &entry.identitytoken,
            ))));
        }
        if entry.auth.is_empty() {
            let found = Credentials::password(&entry.username, &entry.password);
            return Ok((!entry.username.is_empty()).then_some(found));
        }
        let pair = STANDARD
            .decode(entry.auth.trim())
            .ok()
            .and_then(|pair| String::from_utf8(pair).ok());
        let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
        let (user, password) = pair.ok_or_else(|| {
            let cause = format!("the entry for {host} is damaged; run docker login {host} again");
            Failure::disk(&self.path, cause)
        })?;
        Ok(Some(Credentials::password(
            user,
            password.trim_end_matches('\0'),
        )))
    }
}

/// The names under which docker files a registry.
fn keys(host: &Host) -> Vec<String> {
    let name = host.as_str();
    if name == Host::DOCKER_HUB {
        let others = [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
        ];
        return others.into_iter().map(str::to_owned).collect();
    }
    vec![
        name.to_owned(),
        format!("https://{name}"),
        format!("http://{name}"),
    ]
}

fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Asks the program `docker-credential-NAME`: the registry goes in, JSON comes out.
fn ask(name: &str, registry: &str) -> Result<Option<Credentials>, Failure> {
    let program = format!("docker-credential-{name}");
    let failed = |cause: String| Failure::Login(format!("{program} get, for {registry}: {cause}"));
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|cause| failed(cause.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading has an answer of its own, below.
        let _ = stdin.write_all(registry.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|cause| failed(cause.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.trim();
        // The protocol's only way to say that there is nothing.
        if said.contains("credentials not found") || said.contains("no credentials server URL") {
            return Ok(None);
        }
        return Err(failed(format!("{}: {:.200}", output.status, said)));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer is not the JSON of the protocol".into()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(Secret(answer.secret)),
        user => Credentials::password(user, answer.secret),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(text: &str) -> Keyring {
        Keyring {
            path: "config.json".into(),
            file: serde_json::from_str(text).expect("JSON"),
        }
    }

    fn find(keyring: &Keyring, host: &str) -> Option<Credentials> {
        keyring
            .find(&Host::parse(host).expect(host))
            .expect("readable")
    }

    #[test]
    fn entries_are_found_under_any_name_docker_gives_them() {
        let ring = keyring(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"Ym9iOnM6ZWNyZXQ="},
            "quay.io":{"identitytoken":"abc"},"https://old.test/v1/":{"auth":"Ym9iOng="},
            "plain.test:5000":{"username":"eve","password":"y"},"empty.test":{}},
            "HttpHeaders":{"X":"y"}}"#,
        );
        assert_eq!(
            find(&ring, "docker.io"),
            Some(Credentials::password("bob", "s:ecret"))
        );
        assert_eq!(
            find(&ring, "quay.io"),
            Some(Credentials::Identity(Secret::new("abc")))
        );
        assert_eq!(
            find(&ring, "old.test"),
            Some(Credentials::password("bob", "x"))
        );
        assert_eq!(
            find(&ring, "plain.test:5000"),
            Some(Credentials::password("eve", "y"))
        );
        assert_eq!(
            find(&ring, "plain.test"),
            None,
            "another port is another registry"
        );
        assert_eq!(find(&ring, "empty.test"), None);
        assert_eq!(find(&ring, "evil-quay.io"), None);
    }

    #[test]
    fn a_damaged_entry_is_named_and_not_shown() {
        let ring = keyring(r#"{"auths":{"a.test":{"auth":"c2VjcmV0"}}}"#);
        let failure = ring
            .find(&Host::parse("a.test").expect("a host"))
            .expect_err("damaged");
        assert!(
            failure.to_string().contains("docker login a.test"),
            "{failure}"
        );
        assert!(!format!("{ring:?} {failure} {failure:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn no_secret_is_shown() {
        let credentials = Credentials::password("bob", "hunter2");
        assert_eq!(format!("{credentials:?}"), "Password(\"bob\", (secret))");
        let basic = credentials.basic().expect("a password");
        assert_eq!(basic.reveal(), "Basic Ym9iOmh1bnRlcjI=");
        assert_eq!(format!("{basic:?}"), "(secret)");
    }
}
