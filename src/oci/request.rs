//! Requests: the endpoints of the distribution-spec ("Endpoints"), each with its arguments typed.

use super::digest::{Algorithm, Digest, clip};
use super::name::{Reference, Repository, Tag};
use super::range::{ByteRange, ChunkRange, number};
use super::refusal::Refusal;

/// All methods that some URL takes.
const METHODS: &str = "GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS";

/// What a client asks; one variant for each endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether this is a registry (`GET /v2/`); also the root, which load balancers ask.
    Base,
    /// What can be done with a URL, or at all (`OPTIONS`): these methods.
    Options(&'static str),
    /// The repositories of the registry (distribution's `GET /v2/_catalog`).
    ListRepositories(Page),
    /// The tags of a repository.
    ListTags(Repository, Page),
    /// The manifests whose subject is that digest, of one kind or of all.
    ListReferrers(Repository, Digest, Option<String>, Page),
    /// A manifest.
    GetManifest(Repository, Reference, Wanted),
    /// Keep a manifest, under its digest and under all these tags.
    PutManifest(Repository, Reference, NewManifest),
    /// Forget a tag, or a manifest with all its tags.
    DeleteManifest(Repository, Reference),
    /// A blob, or a part of one.
    GetBlob(Repository, Digest, Wanted),
    /// Forget a blob in one repository.
    DeleteBlob(Repository, Digest),
    /// Begin an upload.
    StartUpload(Repository, NewUpload),
    /// How far an upload has come.
    GetUpload(Repository, String),
    /// Append a chunk, or a stream, to an upload.
    PatchUpload(Repository, String, Option<ChunkRange>),
    /// Append what the body holds and keep the whole as that digest.
    FinishUpload(Repository, String, Option<ChunkRange>, Digest),
    /// Give an upload up.
    CancelUpload(Repository, String),
}

/// How a client wants to see content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only the head of the answer (`HEAD`).
    pub head_only: bool,
    /// Only this part.
    pub range: Option<ByteRange>,
    /// Not if it is still one of these (`If-None-Match`).
    pub unless: Option<String>,
}

impl Wanted {
    /// Whether the client has that content already (RFC 9110, section 13.1.2).
    pub fn has(&self, digest: &Digest) -> bool {
        let tag = digest.to_string();
        self.unless.as_deref().is_some_and(|list| {
            list.split(',').map(str::trim).any(|known| {
                let known = known.strip_prefix("W/").unwrap_or(known);
                known == "*" || known.trim_matches('"') == tag
            })
        })
    }
}

/// What comes with a manifest that is pushed, besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewManifest {
    /// Its media type, as the client said it.
    pub content_type: Option<String>,
    /// Tags to set besides the reference (`?tag=`).
    pub tags: Vec<Tag>,
}

/// What an upload can begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewUpload {
    /// A blob that another repository may hold, so that nothing need be sent.
    pub mount: Option<Digest>,
    /// The repository that may hold it.
    pub from: Option<Repository>,
    /// The digest of the body, if this one request is to be the whole upload.
    pub digest: Option<Digest>,
    /// The algorithm of the digest that the upload will end with, if announced.
    pub algorithm: Option<Algorithm>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many entries.
    pub count: Option<usize>,
    /// Only entries after this one.
    pub last: Option<String>,
}

impl Request {
    /// Reads a request from its method, its target (path and query; below `prefix`, which ends
    /// without a slash) and its headers.
    pub fn parse<'h>(
        method: &str,
        target: &str,
        prefix: &str,
        header: impl Fn(&'static str) -> Option<&'h str>,
    ) -> Result<Request, Refusal> {
        if (method, target) == ("OPTIONS", "*") {
            // The server as a whole (RFC 9110, section 9.3.7).
            return Ok(Request::Options(METHODS));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = decode(path).ok_or(Refusal::NotFound)?;
        let query = Query::parse(query)?;
        if path == "/" || path == "/v2" {
            return Endpoint::Base.ask(method, &query, &header);
        }
        let path = path
            .strip_prefix(prefix)
            .and_then(|path| path.strip_prefix("/v2"));
        let path = path.ok_or(Refusal::NotFound)?;
        let elements: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        Endpoint::of(&elements)?.ask(method, &query, &header)
    }
}

/// A URL of the API, before the method says what to do there.
enum Endpoint {
    Base,
    Catalog,
    Tags(Repository),
    Referrers(Repository, Digest),
    Manifest(Repository, Reference),
    Blob(Repository, Digest),
    Uploads(Repository),
    Upload(Repository, String),
}

impl Endpoint {
    fn of(elements: &[&str]) -> Result<Endpoint, Refusal> {
        Ok(match elements {
            [""] => Endpoint::Base,
            ["_catalog"] => Endpoint::Catalog,
            [name @ .., "tags", "list"] => Endpoint::Tags(repository(name)?),
            [name @ .., "referrers", digest] => {
                Endpoint::Referrers(repository(name)?, digest.parse()?)
            }
            [name @ .., "manifests", reference] => {
                Endpoint::Manifest(repository(name)?, reference.parse()?)
            }
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Endpoint::Uploads(repository(name)?)
            }
            [name @ .., "blobs", "uploads", session] => {
                Endpoint::Upload(repository(name)?, session_name(session)?)
            }
            [name @ .., "blobs", digest] => Endpoint::Blob(repository(name)?, digest.parse()?),
            _ => return Err(Refusal::NotFound),
        })
    }

    fn ask<'h>(
        self,
        method: &str,
        query: &Query,
        header: &impl Fn(&'static str) -> Option<&'h str>,
    ) -> Result<Request, Refusal> {
        let wanted = || Wanted {
            head_only: method == "HEAD",
            range: header("Range").and_then(ByteRange::parse),
            unless: header("If-None-Match").map(str::to_owned),
        };
        let chunk = || header("Content-Range").map(ChunkRange::parse).transpose();
        Ok(match (self, method) {
            (endpoint, "OPTIONS") => Request::Options(endpoint.methods()),
            (Endpoint::Base, "GET" | "HEAD") => Request::Base,
            (Endpoint::Catalog, "GET" | "HEAD") => Request::ListRepositories(query.page()?),
            (Endpoint::Tags(name), "GET" | "HEAD") => Request::ListTags(name, query.page()?),
            (Endpoint::Referrers(name, digest), "GET" | "HEAD") => {
                // No media type has a space: it was a plus that nobody encoded.
                let kind = query.first("artifactType");
                let kind = kind.map(|kind| kind.replace(' ', "+"));
                Request::ListReferrers(name, digest, kind, query.page()?)
            }
            (Endpoint::Manifest(name, reference), "GET" | "HEAD") => {
                Request::GetManifest(name, reference, wanted())
            }
            (Endpoint::Manifest(name, reference), "PUT") => {
                let content_type = header("Content-Type").map(str::to_owned);
                let tags = query.all("tag").map(str::parse).collect::<Result<_, _>>()?;
                Request::PutManifest(name, reference, NewManifest { content_type, tags })
            }
            (Endpoint::Manifest(name, reference), "DELETE") => {
                Request::DeleteManifest(name, reference)
            }
            (Endpoint::Blob(name, digest), "GET" | "HEAD") => {
                Request::GetBlob(name, digest, wanted())
            }
            (Endpoint::Blob(name, digest), "DELETE") => Request::DeleteBlob(name, digest),
            (Endpoint::Uploads(name), "POST") => Request::StartUpload(name, query.new_upload()?),
            (Endpoint::Upload(name, session), "GET" | "HEAD") => Request::GetUpload(name, session),
            (Endpoint::Upload(name, session), "PATCH") => {
                Request::PatchUpload(name, session, chunk()?)
            }
            (Endpoint::Upload(name, session), "PUT") => {
                let digest = query.first("digest").ok_or_else(|| {
                    Refusal::DigestInvalid("say what the blob hashes to in ?digest=".into())
                })?;
                Request::FinishUpload(name, session, chunk()?, digest.parse()?)
            }
            (Endpoint::Upload(name, session), "DELETE") => Request::CancelUpload(name, session),
            (endpoint, _) => return Err(Refusal::MethodNotAllowed(endpoint.methods())),
        })
    }

    /// What the `Allow` header lists.
    fn methods(&self) -> &'static str {
        match self {
            Endpoint::Base | Endpoint::Catalog | Endpoint::Tags(_) | Endpoint::Referrers(..) => {
                "GET, HEAD, OPTIONS"
            }
            Endpoint::Manifest(..) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Endpoint::Blob(..) => "GET, HEAD, DELETE, OPTIONS",
            Endpoint::Uploads(_) => "POST, OPTIONS",
            Endpoint::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",
        }
    }
}

fn repository(elements: &[&str]) -> Result<Repository, Refusal> {
    elements.join("/").parse()
}

/// A session is named by us, with a UUID; anything else can't be one.
fn session_name(text: &str) -> Result<String, Refusal> {
    let uuid = text.len() == 36
        && text
            .bytes()
            .all(|c| c == b'-' || c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
    if uuid {
        Ok(text.to_owned())
    } else {
        Err(Refusal::BlobUploadUnknown)
    }
}

/// The decoded parameters of a query, in their order.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Query, Refusal> {
        let decoded = |part: &str| {
            decode(&part.replace('+', " ")).ok_or_else(|| {
                Refusal::BadRequest(format!("{:?} is not a query parameter", clip(part)))
            })
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(key)?, decoded(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Query)
    }

    fn all<'q>(&'q self, key: &'q str) -> impl Iterator<Item = &'q str> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    fn first(&self, key: &str) -> Option<String> {
        self.all(key)
            .find(|value| !value.is_empty())
            .map(str::to_owned)
    }

    fn page(&self) -> Result<Page, Refusal> {
        let count = self.first("n").map(|text| {
            let count = number(&text).and_then(|count| usize::try_from(count).ok());
            count.ok_or_else(|| {
                Refusal::PaginationNumberInvalid(format!("n={:?} is not a count", clip(&text)))
            })
        });
        Ok(Page {
            count: count.transpose()?,
            last: self.first("last"),
        })
    }

    fn new_upload(&self) -> Result<NewUpload, Refusal> {
        let digest = |key| {
            self.first(key)
                .map(|text| text.parse::<Digest>())
                .transpose()
        };
        let algorithm = self.first("digest-algorithm").map(|name| {
            Algorithm::named(&name).ok_or_else(|| {
                Refusal::DigestInvalid(format!("{:?} is neither sha256 nor sha512", clip(&name)))
            })
        });
        let (mount, from) = (digest("mount")?, self.all("from").next());
        // What is no repository holds no blob to be mounted; then the client sends it.
        let (mount, from) = match from.map(str::parse).transpose() {
            Ok(from) => (mount, from),
            Err(_) => (None, None),
        };
        Ok(NewUpload {
            mount,
            from,
            digest: digest("digest")?,
            algorithm: algorithm.transpose()?,
        })
    }
}

/// Undoes percent-encoding; None if that does not leave text.
fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (hex, after) = after.split_at_checked(2)?;
            let hex = std::str::from_utf8(hex)
                .ok()
                .filter(|hex| !hex.starts_with('+'))?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, target: &str) -> Result<Request, Refusal> {
        Request::parse(method, target, "", |_| None)
    }

    #[test]
    fn every_url_is_a_picture_of_its_endpoint() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let name: Repository = "a/b".parse().expect("a name");
        let session = "01234567-89ab-cdef-0123-456789abcdef";
        let (head_only, plain) = (true, Wanted::default());
        let head = Wanted {
            head_only,
            ..plain.clone()
        };
        for (method, target, expected) in [
            ("GET", "/v2/".to_owned(), Request::Base),
            ("HEAD", "/v2".to_owned(), Request::Base),
            (
                "GET",
                "/v2/_catalog?n=3&last=a%2Fb".to_owned(),
                Request::ListRepositories(Page {
                    count: Some(3),
                    last: Some("a/b".into()),
                }),
            ),
            (
                "GET",
                "/v2/a/b/tags/list".to_owned(),
                Request::ListTags(name.clone(), Page::default()),
            ),
            (
                "HEAD",
                format!("/v2/a/b/blobs/{digest}"),
                Request::GetBlob(name.clone(), digest, head),
            ),
            (
                "GET",
                format!("/v2/a/b/blobs/{}", digest.to_string().replace(':', "%3A")),
                Request::GetBlob(name.clone(), digest, plain.clone()),
            ),
            (
                "GET",
                "/v2/a/b/manifests/v1".to_owned(),
                Request::GetManifest(
                    name.clone(),
                    Reference::Tag("v1".parse().expect("a tag")),
                    plain.clone(),
                ),
            ),
            (
                "POST",
                format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c"),
                Request::StartUpload(
                    name.clone(),
                    NewUpload {
                        mount: Some(digest),
                        from: Some("c".parse().expect("a name")),
                        ..NewUpload::default()
                    },
                ),
            ),
            (
                "PUT",
                format!("/v2/a/b/blobs/uploads/{session}?x=1&digest={digest}"),
                Request::FinishUpload(name.clone(), session.into(), None, digest),
            ),
            (
                "GET",
                format!("/v2/a/b/referrers/{digest}?artifactType=x"),
                Request::ListReferrers(name.clone(), digest, Some("x".into()), Page::default()),
            ),
        ] {
            assert_eq!(parse(method, &target), Ok(expected), "{method} {target}");
        }
    }

    #[test]
    fn nothing_malformed_gets_through() {
        for (method, target, code) in [
            ("GET", "/etc/passwd", "NAME_UNKNOWN"),
            ("GET", "/v2/../../etc/passwd", "NAME_UNKNOWN"),
            ("GET", "/v2/../x/tags/list", "NAME_INVALID"),
            ("GET", "/v2/%2e%2e/x/tags/list", "NAME_INVALID"),
            ("GET", "/v2/a%00/tags/list", "NAME_INVALID"),
            ("GET", "/v2/a/%zz/tags/list", "NAME_UNKNOWN"),
            ("GET", "/v2/tags/list", "NAME_INVALID"),
            ("GET", "/v2/A/tags/list", "NAME_INVALID"),
            ("GET", "/v2/a/tags/list?n=-1", "PAGINATION_NUMBER_INVALID"),
            (
                "GET",
                "/v2/a/tags/list?n=99999999999999999999",
                "PAGINATION_NUMBER_INVALID",
            ),
            ("GET", "/v2/a/blobs/sha256:abc", "DIGEST_INVALID"),
            ("GET", "/v2/a/blobs/sha256:..%2f..%2fdata", "NAME_UNKNOWN"),
            ("GET", "/v2/a/manifests/sha256:abc", "DIGEST_INVALID"),
            ("GET", "/v2/a/manifests/.hidden", "TAG_INVALID"),
            ("PUT", "/v2/a/manifests/v1?tag=a/b", "TAG_INVALID"),
            ("POST", "/v2/a/blobs/uploads/?digest=x", "DIGEST_INVALID"),
            (
                "POST",
                "/v2/a/blobs/uploads/?digest-algorithm=md5",
                "DIGEST_INVALID",
            ),
            (
                "PUT",
                "/v2/a/blobs/uploads/01234567-89ab-cdef-0123-456789abcdef",
                "DIGEST_INVALID",
            ),
            ("PATCH", "/v2/a/blobs/uploads/..", "BLOB_UPLOAD_UNKNOWN"),
            ("PATCH", "/v2/a/manifests/v1", "UNSUPPORTED"),
            ("BREW", "/v2/", "UNSUPPORTED"),
        ] {
            let refusal = parse(method, target).expect_err(target);
            assert_eq!(refusal.row().1, code, "{method} {target}");
        }
    }

    #[test]
    fn a_client_that_has_the_content_says_so() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let wanted = |unless: String| Wanted {
            unless: Some(unless),
            ..Wanted::default()
        };
        assert!(wanted(format!("\"{digest}\"")).has(&digest));
        assert!(wanted(format!("\"x\", W/\"{digest}\"")).has(&digest));
        assert!(wanted("*".into()).has(&digest));
        assert!(!wanted("\"x\"".into()).has(&digest));
        assert!(!Wanted::default().has(&digest));
    }

    #[test]
    fn a_prefix_stands_before_everything_but_the_base() {
        let base = |target| Request::parse("GET", target, "/hub", |_| None);
        assert_eq!(base("/hub/v2/"), Ok(Request::Base));
        assert_eq!(base("/v2/a/tags/list"), Err(Refusal::NotFound));
        assert!(base("/hub/v2/a/tags/list").is_ok());
    }
}
