//! Referrers: who refers to a manifest (distribution-spec, "Listing Referrers").

use super::error::Error;
use super::transaction::{Row, Transaction, Value, sql, values};
use crate::oci::{Descriptor, Digest, Repository};

/// Lists a manifest, by the number of its blob's row, among the referrers of its subject.
pub(super) fn put(
    tx: &Transaction,
    repository: i64,
    subject: &Digest,
    manifest: i64,
    descriptor: &Descriptor,
) -> Result<(), Error> {
    let annotations = descriptor.annotations.as_ref().map(serde_json::to_string);
    // A map of texts always has its JSON.
    let annotations = annotations.transpose().unwrap_or_default();
    let values = values![
        repository,
        subject,
        &descriptor.digest,
        manifest,
        &descriptor.media_type,
        descriptor.size as i64,
        descriptor.artifact_type.as_deref(),
        annotations.as_deref(),
    ];
    tx.run(sql!("referrer/put"), values).map(drop)
}

/// Takes a manifest from the lists that it is on.
pub(super) fn delete_all_of(tx: &Transaction, repository: i64, manifest: i64) -> Result<(), Error> {
    tx.run(
        sql!("referrer/delete_of_manifest"),
        values![repository, manifest],
    )
    .map(drop)
}

/// The referrers of a digest in a repository, of one type or of all, in the order of their own
/// digests after `last`, at most `count`.
pub fn list(
    tx: &Transaction,
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
    last: Option<&Digest>,
    count: u32,
) -> Result<Vec<Descriptor>, Error> {
    let (name, count) = (repository.as_str(), i64::from(count));
    // Every digest comes after no bytes.
    let last = last.map_or(Value::Blob(&[]), Value::from);
    match artifact_type {
        None => tx.list(
            sql!("referrer/list"),
            values![name, subject, last, count],
            read,
        ),
        Some(kind) => {
            let values = values![name, subject, kind, last, count];
            tx.list(sql!("referrer/list_type"), values, read)
        }
    }
}

fn read(row: &Row) -> Result<Descriptor, Error> {
    let annotations = row.text_or_null(4)?;
    let annotations = annotations
        .map(|text| serde_json::from_str(&text))
        .transpose();
    Ok(Descriptor {
        media_type: row.text(1)?,
        digest: row.digest(0)?,
        size: row.size(2)?,
        urls: None,
        annotations: annotations.map_err(|_| Error::corrupt("annotations are no JSON"))?,
        artifact_type: row.text_or_null(3)?,
        platform: None,
    })
}
