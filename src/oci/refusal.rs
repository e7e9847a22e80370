//! Refusals: each way in which a request can be the client's fault.

use std::fmt;

use super::Digest;

/// The most missing blobs that an answer lists.
const ANSWERED_MAX: usize = 100;
/// The most that a line of the log lists.
const LOGGED_MAX: usize = 3;

/// Why a client does not get what it asked for: a variant for each error code of the
/// distribution-spec ("Error codes"), and for the few statuses that have no code of their own.
/// The text in a variant is the `detail` the client is told: what was wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The repository does not hold this blob.
    BlobUnknown(Digest),
    /// An upload can't go on as asked.
    BlobUploadInvalid(String),
    /// No such upload session.
    BlobUploadUnknown,
    /// Another request writes to the same upload session.
    BlobUploadBusy,
    /// A digest is malformed, or the content does not hash to it.
    DigestInvalid(String),
    /// A manifest refers to blobs or manifests that its repository does not hold.
    ManifestBlobUnknown(Vec<Digest>),
    /// A manifest is malformed.
    ManifestInvalid(String),
    /// The repository does not hold this manifest.
    ManifestUnknown(String),
    /// A repository name is malformed.
    NameInvalid(String),
    /// No such repository.
    NameUnknown(String),
    /// A body is shorter or longer than declared, or not of the declared form.
    SizeInvalid(String),
    /// A tag is malformed.
    TagInvalid(String),
    /// The request is understood and not allowed.
    Denied(String),
    /// The operation is not offered, or not as this registry is configured.
    Unsupported(String),
    /// The method is not one this URL knows; the field lists those it does.
    MethodNotAllowed(&'static str),
    /// The URL is not one of the distribution-spec's.
    NotFound,
    /// A query parameter or header is malformed.
    BadRequest(String),
    /// `n` is not a number of entries that one answer may have.
    PaginationNumberInvalid(String),
    /// A manifest is over the limit; the field is that limit, in bytes.
    ManifestTooLarge(u64),
    /// No byte of the blob is in the asked range; the field is the blob's size, in bytes.
    RangeNotSatisfiable(u64),
    /// A chunk does not begin where the session stands.
    ChunkOutOfOrder {
        /// The name of the session, which lives on.
        session: String,
        /// Bytes that the session holds.
        offset: u64,
    },
    /// The head of the request is over the limit of length.
    HeadTooLarge,
    /// All places are taken; the field says after how many seconds to try again.
    TooManyRequests(u32),
    /// The registry answers nobody now, for that reason; after so many seconds it may.
    Unavailable(&'static str, u32),
}

impl Refusal {
    /// The HTTP status, the code and the message: the one table of them all.
    pub fn row(&self) -> (u16, &'static str, &'static str) {
        use Refusal::*;
        match self {
            BlobUnknown(_) => (404, "BLOB_UNKNOWN", "blob unknown to registry"),
            BlobUploadInvalid(_) => (400, "BLOB_UPLOAD_INVALID", "blob upload invalid"),
            BlobUploadUnknown => (
                404,
                "BLOB_UPLOAD_UNKNOWN",
                "blob upload unknown to registry",
            ),
            BlobUploadBusy => (409, "BLOB_UPLOAD_INVALID", "blob upload is being written"),
            DigestInvalid(_) => (
                400,
                "DIGEST_INVALID",
                "provided digest did not match content",
            ),
            ManifestBlobUnknown(_) => (
                400,
                "MANIFEST_BLOB_UNKNOWN",
                "manifest references a blob unknown to registry",
            ),
            ManifestInvalid(_) => (400, "MANIFEST_INVALID", "manifest invalid"),
            ManifestUnknown(_) => (404, "MANIFEST_UNKNOWN", "manifest unknown to registry"),
            NameInvalid(_) => (400, "NAME_INVALID", "invalid repository name"),
            NameUnknown(_) => (404, "NAME_UNKNOWN", "repository name not known to registry"),
            SizeInvalid(_) => (
                400,
                "SIZE_INVALID",
                "provided length did not match content length",
            ),
            TagInvalid(_) => (400, "TAG_INVALID", "manifest tag is malformed"),
            Denied(_) => (403, "DENIED", "requested access to the resource is denied"),
            Unsupported(_) => (405, "UNSUPPORTED", "the operation is unsupported"),
            MethodNotAllowed(_) => (405, "UNSUPPORTED", "the method is not one of this URL"),
            NotFound => (404, "NAME_UNKNOWN", "no such URL in the distribution API"),
            BadRequest(_) => (400, "UNSUPPORTED", "the request is malformed"),
            PaginationNumberInvalid(_) => (
                400,
                "PAGINATION_NUMBER_INVALID",
                "invalid number of results requested",
            ),
            ManifestTooLarge(_) => (413, "SIZE_INVALID", "the manifest is too large"),
            RangeNotSatisfiable(_) => (416, "SIZE_INVALID", "the range is outside the blob"),
            ChunkOutOfOrder { .. } => (416, "BLOB_UPLOAD_INVALID", "the chunk is out of order"),
            HeadTooLarge => (431, "UNSUPPORTED", "the head of the request is too large"),
            Unavailable(..) => (503, "UNAVAILABLE", "the registry is not available now"),
            TooManyRequests(_) => (503, "TOOMANYREQUESTS", "too many requests at a time"),
        }
    }

    /// What was wrong and what to do, for the client's `detail` and our log.
    pub fn detail(&self) -> String {
        use Refusal::*;
        match self {
            BlobUnknown(digest) => digest.to_string(),
            ManifestBlobUnknown(missing) => to_push(missing, LOGGED_MAX).join(", "),
            BlobUploadUnknown => "start a new upload with POST".into(),
            BlobUploadBusy => "wait for the other request, ask GET, and go on from Range".into(),
            BlobUploadInvalid(text)
            | DigestInvalid(text)
            | ManifestInvalid(text)
            | ManifestUnknown(text)
            | NameInvalid(text)
            | NameUnknown(text)
            | SizeInvalid(text)
            | TagInvalid(text)
            | Denied(text)
            | Unsupported(text)
            | BadRequest(text)
            | PaginationNumberInvalid(text) => text.clone(),
            MethodNotAllowed(methods) => format!("use one of {methods}"),
            NotFound => "see the OCI distribution-spec for the URLs of a registry".into(),
            ManifestTooLarge(max) => format!("the limit is {max} bytes"),
            RangeNotSatisfiable(size) => format!("the blob has {size} bytes"),
            ChunkOutOfOrder { offset, .. } => format!("the next chunk begins at {offset}"),
            HeadTooLarge => "send fewer or shorter headers".into(),
            TooManyRequests(seconds) => format!("try again in {seconds} s"),
            Unavailable(cause, seconds) => format!("{cause}: try again in {seconds} s"),
        }
    }

    /// Whether clients run into it as a matter of course: they ask what is here, and learn that
    /// it is not.
    pub fn is_routine(&self) -> bool {
        matches!(self, Refusal::BlobUnknown(_) | Refusal::ManifestUnknown(_))
    }

    /// The body of the answer (distribution-spec, "Error codes"): an error for each blob that is
    /// missing, as distribution has it, else one.
    pub fn json(&self) -> String {
        let (_, code, message) = self.row();
        let details = match self {
            Refusal::ManifestBlobUnknown(missing) => to_push(missing, ANSWERED_MAX),
            _ => vec![self.detail()],
        };
        errors_json(code, message, &details)
    }
}

/// The error body that every client parses, with an error for each detail; also for a fault,
/// whose code is `UNKNOWN`.
pub fn errors_json(code: &str, message: &str, details: &[String]) -> String {
    let error = |detail| serde_json::json!({ "code": code, "message": message, "detail": detail });
    let errors: Vec<_> = details.iter().map(error).collect();
    serde_json::json!({ "errors": errors }).to_string() + "\n"
}

/// What to do about each of the missing, at most so many of them, and how many more there are.
fn to_push(missing: &[Digest], count_max: usize) -> Vec<String> {
    let (listed, more) = missing.split_at(missing.len().min(count_max));
    let listed = listed.iter().map(|digest| format!("push {digest} first"));
    let more = (!more.is_empty()).then(|| format!("push {} more first", more.len()));
    listed.chain(more).collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, _, message) = self.row();
        write!(f, "{message}: {}", self.detail())
    }
}

impl std::error::Error for Refusal {}
