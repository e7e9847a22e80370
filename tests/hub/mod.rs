//! A registry that plays Docker Hub: its API, its token server and its store of blobs are three
//! hosts, it counts pulls and refuses too many, and it breaks off now and then.

pub mod http;
pub mod seed;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::{Ask, Reply};
use lighthouse::oci::{Digest, Reference};
use seed::Seed;
use serde_json::json;

/// How it behaves.
pub struct Rules {
    /// Its repositories.
    pub repositories: Vec<(String, Seed)>,
    /// Pulls that it allows in a window of time.
    pub pulls: Option<(u64, Duration)>,
    /// Tags on a page, at most.
    pub page: usize,
    /// The one user it knows; without, anyone may pull.
    pub user: Option<(String, String)>,
    /// Whether it lists referrers.
    pub referrers: bool,
    /// Each download breaks off after so many bytes.
    pub cut: Option<usize>,
    /// But only so many of them.
    pub cuts_max: u64,
    /// Whether a part of a blob can be asked for; else all of it is sent.
    pub ranges: bool,
    /// Every so manieth request fails with 503.
    pub stumble: Option<u64>,
    /// The ports of the API, of the token server and of the store of blobs.
    pub ports: [u16; 3],
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            repositories: Vec::new(),
            pulls: None,
            page: 100,
            user: None,
            referrers: false,
            cut: None,
            cuts_max: u64::MAX,
            ranges: true,
            stumble: None,
            ports: [0; 3],
        }
    }
}

/// What it was asked, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages of tags.
    pub pages: u64,
    /// HEAD of a manifest, which is free.
    pub heads: u64,
    /// GET of a manifest, which is a pull.
    pub pulls: u64,
    /// Pulls that were refused.
    pub refused: u64,
    /// GET of a blob.
    pub blobs: u64,
    /// Of those, for a part.
    pub ranges: u64,
    /// Bytes of blobs that were sent.
    pub blob_bytes: u64,
    /// Questions for referrers.
    pub referrers: u64,
    /// Tokens that were granted.
    pub tokens: u64,
    /// Requests that were answered with a challenge.
    pub challenges: u64,
}

/// The hub while it runs.
pub struct Hub {
    /// Where its API is, as `host:port`.
    pub registry: String,
    /// Where its token server is, which is another host.
    pub realm: String,
    state: Arc<Mutex<State>>,
}

struct State {
    rules: Rules,
    counts: Counts,
    requests: u64,
    /// Pulls in this window.
    used: u64,
    /// Since when a window is used up. Time is compressed: it ends so long after the first
    /// refusal, however long it took to get there.
    exhausted: Option<Instant>,
    tokens: HashSet<String>,
    /// What each host saw in `Authorization`.
    seen: Vec<(Host, String)>,
    realm: String,
    store: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Registry,
    Realm,
    Store,
}

impl Hub {
    /// Starts it, on three addresses of this machine.
    pub fn start(rules: Rules) -> Hub {
        let ports = rules.ports;
        let state = Arc::new(Mutex::new(State {
            rules,
            counts: Counts::default(),
            requests: 0,
            used: 0,
            exhausted: None,
            tokens: HashSet::new(),
            seen: Vec::new(),
            realm: String::new(),
            store: String::new(),
        }));
        let host = |last: u8, port, host: Host| {
            let state = state.clone();
            http::serve(SocketAddr::from(([127, 0, 0, last], port)), move |ask| {
                lock(&state).answer(host, ask)
            })
        };
        let store = host(3, ports[2], Host::Store).to_string();
        let realm = host(2, ports[1], Host::Realm).to_string();
        (lock(&state).store, lock(&state).realm) = (store, realm.clone());
        let registry = host(1, ports[0], Host::Registry).to_string();
        Hub {
            registry,
            realm,
            state,
        }
    }

    /// What it was asked since it was last asked this.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut lock(&self.state).counts)
    }

    /// What it has been asked so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts.clone()
    }

    /// What one of its hosts saw in `Authorization`.
    pub fn seen(&self, host: Host) -> Vec<String> {
        let state = lock(&self.state);
        let seen = state.seen.iter().filter(|(at, _)| *at == host);
        seen.map(|(_, header)| header.clone()).collect()
    }

    /// Changes what it holds, or how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut lock(&self.state).rules);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no answer panics")
}

impl State {
    fn answer(&mut self, host: Host, ask: &Ask) -> Reply {
        if let Some(login) = ask.headers.get("authorization") {
            self.seen.push((host, login.clone()));
        }
        self.requests += 1;
        if self
            .rules
            .stumble
            .is_some_and(|every| self.requests.is_multiple_of(every))
        {
            return Reply::new(503);
        }
        match host {
            Host::Realm => self.grant(ask),
            Host::Store => self.blob(ask),
            Host::Registry => self.registry(ask).unwrap_or_else(|reply| reply),
        }
    }

    /// The token server: anyone gets a token, unless there is a user to be.
    fn grant(&mut self, ask: &Ask) -> Reply {
        if let Some((user, password)) = &self.rules.user {
            let expected = basic(user, password);
            if ask.headers.get("authorization") != Some(&expected) {
                return Reply::new(401);
            }
        }
        self.counts.tokens += 1;
        let token = format!(
            "{}.{}",
            self.counts.tokens,
            ask.query.get("scope").cloned().unwrap_or_default()
        );
        self.tokens.insert(format!("Bearer {token}"));
        let grant = json!({ "token": token, "expires_in": 300 });
        Reply::new(200).carrying("application/json", grant.to_string().into_bytes())
    }

    fn registry(&mut self, ask: &Ask) -> Result<Reply, Reply> {
        let unknown = || error(404, "NAME_UNKNOWN");
        let path = ask.path.strip_prefix("/v2/").ok_or_else(unknown)?;
        let names = self.rules.repositories.iter().map(|(name, _)| name.clone());
        let mut names = names.filter(|name| path.starts_with(&format!("{name}/")));
        let name = names.next().ok_or_else(unknown)?;
        self.admit(ask, &name)?;
        let rest = path[name.len() + 1..].split_once('/').ok_or_else(unknown)?;
        match rest {
            ("tags", "list") => Ok(self.tags(ask, &name)),
            ("manifests", reference) => self.manifest(ask, &name, reference),
            ("referrers", digest) => self.referrers(&name, digest),
            ("blobs", digest) => {
                self.counts.blobs += 1;
                let url = format!("http://{}/{name}/{digest}?signature=secret", self.store);
                Ok(Reply::new(307).with("Location", url))
            }
            _ => Err(unknown()),
        }
    }

    /// Challenges whoever has no token for the repository.
    fn admit(&mut self, ask: &Ask, name: &str) -> Result<(), Reply> {
        let login = ask.headers.get("authorization");
        let scope = format!("repository:{name}:pull");
        if login.is_some_and(|login| self.tokens.contains(login) && login.ends_with(&scope)) {
            return Ok(());
        }
        self.counts.challenges += 1;
        let realm = format!(
            "Bearer realm=\"http://{}/token\",service=\"hub\",scope=\"{scope}\"",
            self.realm
        );
        Err(error(401, "UNAUTHORIZED").with("WWW-Authenticate", realm))
    }

    fn seed(&self, name: &str) -> &Seed {
        let found = self.rules.repositories.iter().find(|(own, _)| own == name);
        &found.expect("it was found before").1
    }

    fn tags(&mut self, ask: &Ask, name: &str) -> Reply {
        self.counts.pages += 1;
        let asked = ask.query.get("n").and_then(|n| n.parse().ok());
        let count = asked.unwrap_or(usize::MAX).min(self.rules.page);
        let after = ask.query.get("last");
        let all = self.seed(name).tags.keys();
        let mut rest = all.filter(|tag| after.is_none_or(|after| *tag > after));
        let tags: Vec<&String> = rest.by_ref().take(count).collect();
        let list = json!({ "name": name, "tags": tags });
        let reply = Reply::new(200).carrying("application/json", list.to_string().into_bytes());
        match (rest.next(), tags.last()) {
            (Some(_), Some(last)) => {
                let next = format!("</v2/{name}/tags/list?last={last}&n={count}>; rel=\"next\"");
                reply.with("Link", next)
            }
            _ => reply,
        }
    }

    fn manifest(&mut self, ask: &Ask, name: &str, reference: &str) -> Result<Reply, Reply> {
        let seed = self.seed(name);
        let digest = match reference.parse::<Reference>() {
            Ok(Reference::Digest(digest)) => Some(digest),
            Ok(Reference::Tag(tag)) => seed.tags.get(tag.as_str()).copied(),
            Err(_) => None,
        };
        let found = digest.and_then(|digest| Some((digest, seed.manifests.get(&digest)?.clone())));
        let (digest, (media_type, bytes)) = found.ok_or_else(|| error(404, "MANIFEST_UNKNOWN"))?;
        let free = ask.method == "HEAD";
        let quota = self
            .rules
            .pulls
            .map(|(limit, window)| self.count(free, limit, window));
        if free {
            self.counts.heads += 1;
        } else if quota.is_some_and(|(left, _)| left.is_none()) {
            self.counts.refused += 1;
        } else {
            self.counts.pulls += 1;
        }
        let reply = match quota {
            Some((None, wait)) if !free => {
                error(429, "TOOMANYREQUESTS").with("Retry-After", wait.as_secs() + 1)
            }
            _ => Reply::new(200)
                .with("Docker-Content-Digest", digest)
                .carrying(&media_type, bytes),
        };
        Ok(match (quota, self.rules.pulls) {
            (Some((left, _)), Some((limit, window))) => reply
                .with(
                    "ratelimit-limit",
                    format!("{limit};w={}", window.as_secs().max(1)),
                )
                .with(
                    "ratelimit-remaining",
                    format!("{};w={}", left.unwrap_or(0), window.as_secs().max(1)),
                ),
            _ => reply,
        })
    }

    /// Counts a pull, unless it is free. Gives what is left, or nothing if there was nothing, and
    /// how long until there is more.
    fn count(&mut self, free: bool, limit: u64, window: Duration) -> (Option<u64>, Duration) {
        let now = Instant::now();
        if self.exhausted.is_some_and(|since| now >= since + window) {
            (self.exhausted, self.used) = (None, 0);
        }
        if free {
            return (Some(limit - self.used), Duration::ZERO);
        }
        if self.used == limit {
            let since = *self.exhausted.get_or_insert(now);
            return (None, (since + window).saturating_duration_since(now));
        }
        self.used += 1;
        (Some(limit - self.used), Duration::ZERO)
    }

    fn referrers(&mut self, name: &str, digest: &str) -> Result<Reply, Reply> {
        self.counts.referrers += 1;
        if !self.rules.referrers {
            return Err(Reply::new(404).carrying("text/plain", *b"404 page not found"));
        }
        let digest: Digest = digest.parse().map_err(|_| error(400, "DIGEST_INVALID"))?;
        let found = self
            .seed(name)
            .referrers
            .get(&digest)
            .cloned()
            .unwrap_or_default();
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": found });
        Ok(Reply::new(200).carrying(kind, index.to_string().into_bytes()))
    }

    /// The store of blobs: `/NAME/DIGEST`, for whoever has the URL.
    fn blob(&mut self, ask: &Ask) -> Reply {
        let name_and_digest = ask.path[1..].rsplit_once('/');
        let Some((name, digest)) = name_and_digest else {
            return Reply::new(404);
        };
        let digest: Option<Digest> = digest.parse().ok();
        let seed = self.rules.repositories.iter().find(|(own, _)| own == name);
        let blob = digest.and_then(|digest| seed?.1.blobs.get(&digest).cloned());
        let Some(blob) = blob else {
            return Reply::new(404);
        };
        let range = ask
            .headers
            .get("range")
            .filter(|_| self.rules.ranges)
            .and_then(|range| {
                range
                    .strip_prefix("bytes=")?
                    .strip_suffix('-')?
                    .parse::<usize>()
                    .ok()
            });
        let start = range.unwrap_or(0).min(blob.len());
        self.counts.ranges += u64::from(range.is_some());
        let cut = self.rules.cut.filter(|_| self.rules.cuts_max > 0);
        let length = cut.unwrap_or(usize::MAX).min(blob.len() - start);
        self.rules.cuts_max -= u64::from(length < blob.len() - start);
        self.counts.blob_bytes += length as u64;
        let mut reply = Reply::new(if range.is_some() { 206 } else { 200 })
            .carrying("application/octet-stream", &blob[start..]);
        if range.is_some() {
            let last = blob.len().saturating_sub(1);
            reply = reply.with(
                "Content-Range",
                format!("bytes {start}-{last}/{}", blob.len()),
            );
        }
        reply.cut = cut;
        reply
    }
}

/// The value of `Authorization` for a user with a password.
pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{user}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

fn error(status: u16, code: &str) -> Reply {
    let body = json!({ "errors": [{ "code": code, "message": "as the rules say" }] });
    Reply::new(status).carrying("application/json", body.to_string().into_bytes())
}
