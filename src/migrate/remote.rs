//! A remote registry: the endpoints of the distribution-spec, as a client asks them.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use ureq::http::Method;
use ureq::http::header::{HeaderMap, LOCATION};

use crate::oci::manifest::{self, Manifest};
use crate::oci::{Descriptor, Digest, Reference, Repository, Tag};

use super::Failure;
use super::image::Host;
use super::login::Login;
use super::quota::Quota;
use super::wire::{Answer, Origin, Payload, Wire, check, encode};

/// A registry that images come from or go to.
pub struct Remote {
    host: Host,
    /// Where it is.
    pub origin: Origin,
    /// How it is reached.
    pub wire: Wire,
    login: Login,
    /// What tokens are to allow there.
    access: &'static str,
}

/// A manifest as it travels: the very bytes, and what they mean.
#[derive(Clone, Debug)]
pub struct Document {
    /// The bytes, which hash to the digest.
    pub bytes: Arc<[u8]>,
    /// What they hash to.
    pub digest: Digest,
    /// What they say.
    pub manifest: Arc<Manifest>,
}

/// What HEAD says of a manifest.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its digest, unless the registry keeps that to itself.
    pub digest: Option<Digest>,
    /// Its media type.
    pub media_type: String,
    /// What is left to pull.
    pub quota: Option<Quota>,
}

/// How an upload begins.
pub enum Upload {
    /// The registry had the blob elsewhere: nothing need be sent.
    Mounted,
    /// The bytes go to this URL.
    At(String),
}

/// What tokens are to allow at a registry that images come from.
pub const PULL: &str = "pull";
/// What tokens are to allow at a registry that images go to.
pub const PULL_AND_PUSH: &str = "pull,push";

/// The types of manifest that we take; whatever else there is, too.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json, */*;q=0.1";

/// How often one request may be sent elsewhere.
const HOPS_MAX: usize = 5;
/// What one page of tags or referrers may have, in bytes.
const PAGE_SIZE_MAX: u64 = 8 << 20;

#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ReferrerPage {
    manifests: Option<Vec<Descriptor>>,
}

impl Remote {
    /// The registry at `origin`; `access` is what tokens are to allow there.
    pub fn new(
        host: &Host,
        origin: Origin,
        wire: Wire,
        login: Login,
        access: &'static str,
    ) -> Remote {
        Remote {
            host: host.clone(),
            origin,
            wire,
            login,
            access,
        }
    }

    /// The full name of a repository.
    pub fn name(&self, repository: &Repository) -> String {
        format!("{}/{repository}", self.host)
    }

    /// All tags of a repository, page by page.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, Failure> {
        let mut tags = Vec::new();
        let mut next = Some(
            self.origin
                .url(&format!("/v2/{repository}/tags/list?n=1000")),
        );
        let mut seen = HashSet::new();
        while let Some(url) = next {
            if !seen.insert(url.clone()) {
                return Err(Failure::protocol(
                    &url,
                    "its pages of tags go round in a circle",
                ));
            }
            let answer = self.get(repository, &url, &[])?;
            next = self.origin.next_page(&url, answer.headers())?;
            let page: TagPage = read_json(&url, answer)?;
            // What is no tag by the spec can't be asked for either.
            tags.extend(
                page.tags
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|tag| tag.parse().ok()),
            );
        }
        Ok(tags)
    }

    /// The digest and type of a manifest; none if the registry does not have it. This is no pull.
    pub fn head(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Head>, Failure> {
        let url = self.manifest_url(repository, reference);
        let headers = [("Accept", ACCEPT)];
        let answer = match self.ask(&Method::HEAD, repository, &url, &headers) {
            Err(Failure::Missing(_)) => return Ok(None),
            // Some do not answer HEAD at all; the digest is then in what GET brings.
            Err(Failure::Refused { status: 405, .. }) => {
                return Ok(Some(Head {
                    digest: None,
                    media_type: String::new(),
                    quota: None,
                }));
            }
            answer => answer?,
        };
        let digest = text(answer.headers(), "docker-content-digest");
        let media_type = text(answer.headers(), "content-type").unwrap_or_default();
        Ok(Some(Head {
            digest: digest.and_then(|digest| digest.parse().ok()),
            media_type: media_type.to_owned(),
            quota: Quota::of(answer.headers()),
        }))
    }

    /// A manifest, whose bytes hash to the digest that was asked for; and what is left to pull.
    pub fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(Document, Option<Quota>), Failure> {
        let url = self.manifest_url(repository, reference);
        let answer = self.get(repository, &url, &[("Accept", ACCEPT)])?;
        let quota = Quota::of(answer.headers());
        let header = |name| text(answer.headers(), name).map(str::to_owned);
        let media_type = header("content-type");
        let said = header("docker-content-digest").and_then(|digest| digest.parse().ok());
        let expected = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => said,
        };
        let bytes = read(&url, answer, manifest::SIZE_MAX)?;
        let algorithm = expected.map_or(crate::oci::Algorithm::Sha256, |digest| digest.algorithm());
        let digest = Digest::of(algorithm, &bytes);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(Failure::Corrupt {
                url,
                expected,
                received: digest.to_string(),
            });
        }
        // Not every registry remembers the type: then the document says it.
        let is_manifest = media_type
            .as_deref()
            .is_some_and(|said| said.contains("+json"));
        let media_type = media_type.filter(|_| is_manifest);
        let media_type = media_type.unwrap_or_else(|| Manifest::media_type_of(&bytes));
        let manifest = Manifest::parse(&bytes, Some(&media_type))
            .map_err(|refusal| Failure::protocol(&url, refusal.detail()))?;
        Ok((
            Document {
                bytes: bytes.into(),
                digest,
                manifest: Arc::new(manifest),
            },
            quota,
        ))
    }

    /// Keeps a manifest under a tag or its digest.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        document: &Document,
    ) -> Result<(), Failure> {
        let url = self.manifest_url(repository, reference);
        let headers = [("Content-Type", document.manifest.media_type.as_str())];
        let answer = self.wire.retry(|| {
            let payload = Payload::Bytes(&document.bytes);
            self.send(
                &Method::PUT,
                &self.scope(repository, None),
                &url,
                &headers,
                payload,
            )
        })?;
        let kept = text(answer.headers(), "docker-content-digest");
        let expected = document.digest;
        if let Some(kept) = kept.filter(|kept| *kept != expected.to_string()) {
            return Err(Failure::Corrupt {
                url,
                expected,
                received: kept.to_owned(),
            });
        }
        Ok(())
    }

    /// The manifests whose subject is that digest; none if the registry has no such API.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Failure> {
        let mut found = Vec::new();
        let mut next = Some(
            self.origin
                .url(&format!("/v2/{repository}/referrers/{subject}")),
        );
        let mut seen = HashSet::new();
        while let Some(url) = next {
            if !seen.insert(url.clone()) {
                return Err(Failure::protocol(
                    &url,
                    "its pages of referrers go round in a circle",
                ));
            }
            let answer = match self.get(repository, &url, &[]) {
                // Some registries do not even route the path.
                Err(Failure::Missing(_)) => return Ok(None),
                Err(Failure::Refused {
                    status: 400 | 405 | 501,
                    ..
                }) => return Ok(None),
                answer => answer?,
            };
            let kind = text(answer.headers(), "content-type").unwrap_or_default();
            if !kind.starts_with(manifest::OCI_INDEX) {
                return Ok(None);
            }
            next = self.origin.next_page(&url, answer.headers())?;
            let page: ReferrerPage = read_json(&url, answer)?;
            found.extend(page.manifests.unwrap_or_default());
        }
        Ok(Some(found))
    }

    /// Whether the repository holds a blob.
    pub fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, Failure> {
        let url = self.origin.url(&format!("/v2/{repository}/blobs/{digest}"));
        match self.ask(&Method::HEAD, repository, &url, &[]) {
            Ok(_) => Ok(true),
            Err(Failure::Missing(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// The bytes of a blob from an offset on, once: trouble is not tried again.
    pub fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        offset: u64,
    ) -> Result<Answer, Failure> {
        let url = self.origin.url(&format!("/v2/{repository}/blobs/{digest}"));
        let range = format!("bytes={offset}-");
        let headers = [("Range", range.as_str())];
        let headers = if offset > 0 { &headers[..] } else { &[] };
        self.send(
            &Method::GET,
            &self.scope(repository, None),
            &url,
            headers,
            Payload::None,
        )
    }

    /// Begins an upload; if the registry holds the blob in the repository `from`, nothing need be
    /// sent (distribution-spec, "Mounting a blob from another repository").
    pub fn start_upload(
        &self,
        repository: &Repository,
        mount: Option<(&Digest, &Repository)>,
    ) -> Result<Upload, Failure> {
        let mut url = self.origin.url(&format!("/v2/{repository}/blobs/uploads/"));
        let scope = self.scope(repository, mount.map(|(_, from)| from));
        if let Some((digest, from)) = mount {
            let (digest, from) = (digest.to_string(), encode(from.as_str()));
            url += &format!("?mount={}&from={from}", encode(&digest));
        }
        let answer = self
            .wire
            .retry(|| self.send(&Method::POST, &scope, &url, &[], Payload::Bytes(&[])))?;
        if answer.status() == 201 {
            return Ok(Upload::Mounted);
        }
        let location = answer
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let location = location
            .ok_or_else(|| Failure::protocol(&url, "it began an upload without a Location"))?;
        Ok(Upload::At(self.origin.follow(&url, location)?))
    }

    /// Sends the whole of a blob to an upload, once, and ends it.
    pub fn finish_upload(
        &self,
        repository: &Repository,
        upload: &str,
        blob: &Descriptor,
        payload: Payload,
    ) -> Result<(), Failure> {
        let separator = if upload.contains('?') { '&' } else { '?' };
        let digest = blob.digest.to_string();
        let url = format!("{upload}{separator}digest={}", encode(&digest));
        let headers = [("Content-Type", "application/octet-stream")];
        let answer = self.send(
            &Method::PUT,
            &self.scope(repository, None),
            &url,
            &headers,
            payload,
        )?;
        match text(answer.headers(), "docker-content-digest") {
            Some(kept) if kept != digest => Err(Failure::Corrupt {
                url: super::failure::without_secrets(&url),
                expected: blob.digest,
                received: kept.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Gives an upload up, so that nothing is left of it.
    pub fn cancel_upload(&self, repository: &Repository, upload: &str) {
        let scope = self.scope(repository, None);
        // What can't be cancelled now, the registry itself clears away one day.
        if let Err(failure) = self.send(&Method::DELETE, &scope, upload, &[], Payload::None) {
            log::debug!("{failure}");
        }
    }

    fn manifest_url(&self, repository: &Repository, reference: &Reference) -> String {
        self.origin
            .url(&format!("/v2/{repository}/manifests/{reference}"))
    }

    fn scope(&self, repository: &Repository, from: Option<&Repository>) -> String {
        let own = format!("repository:{repository}:{}", self.access);
        match from.filter(|from| *from != repository) {
            Some(from) => format!("{own} repository:{from}:pull"),
            None => own,
        }
    }

    fn get(
        &self,
        repository: &Repository,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        self.ask(&Method::GET, repository, url, headers)
    }

    fn ask(
        &self,
        method: &Method,
        repository: &Repository,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let scope = self.scope(repository, None);
        self.wire
            .retry(|| self.send(method, &scope, url, headers, Payload::None))
    }

    /// Sends one request, answers a challenge, and goes where a GET or HEAD is sent on to. Only
    /// the registry itself sees who we are.
    fn send(
        &self,
        method: &Method,
        scope: &str,
        url: &str,
        headers: &[(&str, &str)],
        mut payload: Payload,
    ) -> Result<Answer, Failure> {
        let mut url = url.to_owned();
        let mut challenged = false;
        for _ in 0..=HOPS_MAX {
            let own = self.origin.owns(&url);
            let login = if own {
                self.login.authorization(&self.wire, scope)?
            } else {
                None
            };
            let mut sent = headers.to_vec();
            sent.extend(
                login
                    .as_ref()
                    .map(|login| ("Authorization", login.reveal())),
            );
            let answer = self.wire.send(method, &url, &sent, &mut payload)?;
            match answer.status().as_u16() {
                401 if own && !challenged && payload.is_repeatable() => {
                    self.login.challenged(&answer, scope, login.as_ref())?;
                    challenged = true;
                }
                401 if own => return Err(self.login.denied()),
                301 | 302 | 303 | 307 | 308 if method.is_safe() => {
                    let location = text(answer.headers(), "location").unwrap_or_default();
                    url = self.origin.follow(&url, location)?;
                }
                300..=399 => {
                    return Err(Failure::protocol(&url, "it sends us elsewhere, unasked"));
                }
                _ => return check(&url, answer),
            }
        }
        Err(Failure::protocol(&url, "it sends us on and on"))
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn read(url: &str, mut answer: Answer, size_max: u64) -> Result<Vec<u8>, Failure> {
    let body = answer
        .body_mut()
        .with_config()
        .limit(size_max)
        .read_to_vec();
    body.map_err(|cause| match cause {
        ureq::Error::BodyExceedsLimit(max) => {
            Failure::protocol(url, format!("the answer is longer than {max} bytes"))
        }
        cause => Failure::unreachable(url, cause),
    })
}

fn read_json<T: serde::de::DeserializeOwned>(url: &str, answer: Answer) -> Result<T, Failure> {
    let body = read(url, answer, PAGE_SIZE_MAX)?;
    serde_json::from_slice(&body).map_err(|cause| Failure::protocol(url, cause.to_string()))
}
