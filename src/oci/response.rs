//! Responses: what the distribution-spec has a registry say to each request.

use std::sync::Arc;
use std::time::Duration;

use super::descriptor::Descriptor;
use super::digest::Digest;
use super::manifest::OCI_INDEX;
use super::name::{Repository, Tag};
use super::refusal::{Refusal, errors_json};

/// An answer but for the bytes of a blob, which travel from file to socket on their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers, in the order they are sent; `Content-Length` is not among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Arc<[u8]>,
    /// The length that an answer to HEAD declares, where its body is not here; in bytes.
    pub length: Option<u64>,
    /// Whether the connection can't go on after this answer.
    pub close: bool,
}

const JSON: &str = "application/json; charset=utf-8";

impl Response {
    fn new(status: u16) -> Response {
        let body = Arc::from([]);
        Response {
            status,
            headers: Vec::new(),
            body,
            length: None,
            close: false,
        }
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Ends the connection with this answer.
    pub fn closing(self) -> Response {
        Response {
            close: true,
            ..self
        }
    }

    /// Says what the content is called on IPFS, if that is known.
    pub fn with_cid(self, cid: Option<&str>) -> Response {
        match cid {
            Some(cid) => self.with("X-Lighthouse-Cid", cid),
            None => self,
        }
    }

    /// Gives it a body of that type.
    fn carrying(self, content_type: impl Into<String>, body: impl Into<Arc<[u8]>>) -> Response {
        Response {
            body: body.into(),
            ..self.with("Content-Type", content_type)
        }
    }

    /// This is a registry.
    pub fn base() -> Response {
        Response::new(200).carrying(JSON, *b"{}")
    }

    /// A refusal, with the headers that its status asks for.
    pub fn refusal(refusal: &Refusal) -> Response {
        let response = Response::new(refusal.row().0).carrying(JSON, refusal.json().into_bytes());
        match refusal {
            Refusal::MethodNotAllowed(methods) => response.with("Allow", *methods),
            Refusal::RangeNotSatisfiable(size) => {
                response.with("Content-Range", format!("bytes */{size}"))
            }
            Refusal::ChunkOutOfOrder { session, offset } => response
                .with("Range", upload_range(*offset))
                .with("Docker-Upload-UUID", session.as_str()),
            Refusal::TooManyRequests(seconds) | Refusal::Unavailable(_, seconds) => {
                response.with("Retry-After", seconds.to_string())
            }
            _ => response,
        }
    }

    /// What broke on our side: its status, a cause that the client can act on, and when it is
    /// worth trying again.
    pub fn fault(status: u16, cause: &str, retry_after: Option<Duration>) -> Response {
        let details = [cause.to_owned()];
        let body = errors_json("UNKNOWN", "the registry could not do this", &details);
        let response = Response::new(status).carrying(JSON, body.into_bytes());
        match retry_after {
            Some(wait) => response.with("Retry-After", wait.as_secs().max(1).to_string()),
            None => response,
        }
    }

    /// The client has the content already.
    pub fn not_modified(digest: &Digest) -> Response {
        Response::new(304).with_digest(digest)
    }

    /// What can be done with a URL.
    pub fn options(methods: &'static str) -> Response {
        Response::new(200).with("Allow", methods)
    }

    /// A manifest, byte for byte.
    pub fn manifest(media_type: &str, digest: &Digest, bytes: Arc<[u8]>) -> Response {
        Response::new(200)
            .carrying(media_type, bytes)
            .with_digest(digest)
            .inert()
    }

    /// The head of a blob, or of the part of it at `part` (offset and length of `size` bytes).
    pub fn blob(digest: &Digest, size: u64, part: Option<(u64, u64)>) -> Response {
        let response = Response::new(if part.is_some() { 206 } else { 200 })
            .with("Content-Type", "application/octet-stream")
            .with("Accept-Ranges", "bytes")
            .with("Cache-Control", "max-age=31536000");
        let response = match part {
            Some((offset, length)) => {
                let last = offset + length - 1;
                response.with("Content-Range", format!("bytes {offset}-{last}/{size}"))
            }
            None => response,
        };
        let length = Some(part.map_or(size, |(_, length)| length));
        Response {
            length,
            ..response.with_digest(digest).inert()
        }
    }

    /// Where the blob can be had instead.
    pub fn elsewhere(digest: &Digest, url: &str) -> Response {
        Response::new(307).with("Location", url).with_digest(digest)
    }

    /// A manifest is kept, under all these tags.
    pub fn manifest_created(
        location: String,
        digest: &Digest,
        subject: Option<&Digest>,
        tags: &[Tag],
    ) -> Response {
        let mut response = Response::created(location, digest);
        if let Some(subject) = subject {
            response = response.with("OCI-Subject", subject.to_string());
        }
        if !tags.is_empty() {
            let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            response = response.with("OCI-Tag", tags.join(", "));
        }
        response
    }

    /// A blob or a manifest is kept.
    pub fn created(location: String, digest: &Digest) -> Response {
        Response::new(201)
            .with("Location", location)
            .with("Docker-Content-Digest", digest.to_string())
    }

    /// An upload has begun or grown and stands at `offset` bytes.
    pub fn upload(location: String, session: &str, offset: u64) -> Response {
        Response::new(202)
            .with_session(session, offset)
            .with("Location", location)
    }

    /// How far an upload has come.
    pub fn upload_status(location: String, session: &str, offset: u64) -> Response {
        Response::new(204)
            .with_session(session, offset)
            .with("Location", location)
    }

    /// An upload is given up.
    pub fn upload_cancelled(session: &str) -> Response {
        Response::new(204).with("Docker-Upload-UUID", session)
    }

    /// A tag, manifest or blob is forgotten.
    pub fn deleted() -> Response {
        Response::new(202)
    }

    /// The repositories of the registry, and where the next ones are.
    pub fn repositories(names: &[String], next: Option<String>) -> Response {
        Response::list(&serde_json::json!({ "repositories": names }), next)
    }

    /// The tags of a repository, and where the next ones are.
    pub fn tags(repository: &Repository, tags: &[String], next: Option<String>) -> Response {
        Response::list(
            &serde_json::json!({ "name": repository.as_str(), "tags": tags }),
            next,
        )
    }

    /// The referrers of a manifest, as an image index, and where the next ones are.
    pub fn referrers(manifests: &[Descriptor], filtered: bool, next: Option<String>) -> Response {
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": manifests,
        });
        let response = Response::new(200)
            .carrying(OCI_INDEX, index.to_string().into_bytes())
            .linking(next);
        if filtered {
            response.with("OCI-Filters-Applied", "artifactType")
        } else {
            response
        }
    }

    /// A plain document of ours, such as what `/debug/health` says.
    pub fn json(status: u16, document: &serde_json::Value) -> Response {
        Response::new(status).carrying(JSON, (document.to_string() + "\n").into_bytes())
    }

    /// Counts in Prometheus' text format.
    pub fn metrics(text: String) -> Response {
        Response::new(200).carrying("text/plain; version=0.0.4", text.into_bytes())
    }

    fn list(names: &serde_json::Value, next: Option<String>) -> Response {
        Response::json(200, names).linking(next)
    }

    /// Says where the rest of a list is.
    fn linking(self, next: Option<String>) -> Response {
        match next {
            Some(url) => self.with("Link", format!("<{url}>; rel=\"next\"")),
            None => self,
        }
    }

    /// Gives it the bytes of its body, whose type it says already.
    pub fn with_body(self, body: impl Into<Arc<[u8]>>) -> Response {
        Response {
            body: body.into(),
            ..self
        }
    }

    /// Whoever pushes content chooses its bytes: a browser must not run them as a page of this
    /// host (Fetch, "X-Content-Type-Options"; CSP 3, "sandbox").
    fn inert(self) -> Response {
        self.with("X-Content-Type-Options", "nosniff")
            .with("Content-Security-Policy", "sandbox")
    }

    fn with_digest(self, digest: &Digest) -> Response {
        self.with("Docker-Content-Digest", digest.to_string())
            .with("ETag", format!("\"{digest}\""))
    }

    fn with_session(self, session: &str, offset: u64) -> Response {
        self.with("Range", upload_range(offset))
            .with("Docker-Upload-UUID", session)
    }
}

/// The `Range` of an upload is inclusive, so an empty one can't be told from one of one byte.
fn upload_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_an_answer_that_clients_can_read() {
        let digest = Digest::of(crate::oci::Algorithm::Sha256, b"");
        let text = || "why".to_owned();
        for (refusal, status, code) in [
            (Refusal::BlobUnknown(digest), 404, "BLOB_UNKNOWN"),
            (
                Refusal::BlobUploadInvalid(text()),
                400,
                "BLOB_UPLOAD_INVALID",
            ),
            (Refusal::BlobUploadUnknown, 404, "BLOB_UPLOAD_UNKNOWN"),
            (Refusal::BlobUploadBusy, 409, "BLOB_UPLOAD_INVALID"),
            (Refusal::DigestInvalid(text()), 400, "DIGEST_INVALID"),
            (
                Refusal::ManifestBlobUnknown(vec![digest]),
                400,
                "MANIFEST_BLOB_UNKNOWN",
            ),
            (Refusal::ManifestInvalid(text()), 400, "MANIFEST_INVALID"),
            (Refusal::ManifestUnknown(text()), 404, "MANIFEST_UNKNOWN"),
            (Refusal::NameInvalid(text()), 400, "NAME_INVALID"),
            (Refusal::NameUnknown(text()), 404, "NAME_UNKNOWN"),
            (Refusal::SizeInvalid(text()), 400, "SIZE_INVALID"),
            (Refusal::TagInvalid(text()), 400, "TAG_INVALID"),
            (Refusal::Denied(text()), 403, "DENIED"),
            (Refusal::Unsupported(text()), 405, "UNSUPPORTED"),
            (Refusal::MethodNotAllowed("GET"), 405, "UNSUPPORTED"),
            (Refusal::NotFound, 404, "NAME_UNKNOWN"),
            (Refusal::BadRequest(text()), 400, "UNSUPPORTED"),
            (
                Refusal::PaginationNumberInvalid(text()),
                400,
                "PAGINATION_NUMBER_INVALID",
            ),
            (Refusal::ManifestTooLarge(4), 413, "SIZE_INVALID"),
            (Refusal::RangeNotSatisfiable(4), 416, "SIZE_INVALID"),
            (
                Refusal::ChunkOutOfOrder {
                    session: text(),
                    offset: 4,
                },
                416,
                "BLOB_UPLOAD_INVALID",
            ),
            (Refusal::HeadTooLarge, 431, "UNSUPPORTED"),
            (Refusal::TooManyRequests(9), 503, "TOOMANYREQUESTS"),
            (Refusal::Unavailable("why", 9), 503, "UNAVAILABLE"),
        ] {
            let response = Response::refusal(&refusal);
            assert_eq!(response.status, status, "{refusal:?}");
            let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
            let error = &body["errors"][0];
            assert_eq!(error["code"], code, "{refusal:?}");
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty())
            );
            assert!(
                error["detail"]
                    .as_str()
                    .is_some_and(|detail| !detail.is_empty())
            );
            assert!(response.headers.contains(&("Content-Type", JSON.into())));
        }
    }
}
