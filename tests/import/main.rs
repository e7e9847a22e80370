//! Import: what trees of distribution, and of version 0.1, leave in the catalog, however broken
//! they are and whenever it is killed; and the way back.
#![forbid(unsafe_code)]

mod broken;
mod distribution;
mod drawn;
mod golden;
mod killed;
mod merged;
#[path = "../world/mod.rs"]
#[allow(dead_code, unused_imports)] // These journeys need only a part of the world.
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use lighthouse::disk::Root;
use lighthouse::fault::Fault;
use lighthouse::oci::{Digest, Reference, Repository, Tag};
use lighthouse::store::import::{self, Options, Progress, Summary};
use lighthouse::store::{Store, manifest, tag};
use rusqlite::{Connection, OpenFlags};

fn repository(name: &str) -> Repository {
    name.parse().expect("a name")
}

fn tagged(name: &str) -> Tag {
    name.parse().expect("a tag")
}

fn root(path: &Path) -> Root {
    Root::open(path).expect("a root")
}

fn store(path: &Path) -> Store {
    Store::open(&root(path), None).expect("a store")
}

fn try_import(path: &Path) -> Result<Summary, Fault> {
    let (root, progress) = (root(path), Progress::default());
    let store = Store::open(&root, None)?;
    let summary = import::run(&store, &root, &Options::default(), &progress)?;
    Ok(summary.expect("nobody stopped it"))
}

fn imported(path: &Path) -> Summary {
    try_import(path).expect("imported")
}

/// Where a tag points.
fn target(store: &Store, name: &str, tag: &str) -> Option<Digest> {
    let reference = Reference::Tag(tagged(tag));
    let found = store.read(|tx| manifest::find(tx, &repository(name), &reference));
    found.expect("an answer").map(|found| found.digest)
}

/// Where a tag pointed, the latest first.
fn history(store: &Store, name: &str, tag: &str) -> Vec<Option<Digest>> {
    let moved = store.read(|tx| tag::history(tx, &repository(name), &tagged(tag), i64::MAX, 100));
    let moved = moved.expect("an answer").into_iter();
    moved.map(|entry| entry.digest).collect()
}

fn folder(path: &Path) -> PathBuf {
    path.join("docker/registry/v2/repositories")
}

/// All that a catalog says, a sorted line each, but for the numbers of rows and when it was said.
fn dump(path: &Path) -> Vec<String> {
    let catalog = path.join("lighthouse/catalog.sqlite");
    let catalog = Connection::open_with_flags(catalog, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let catalog = catalog.expect("a catalog");
    let mut lines = Vec::new();
    for statement in [
        "select 'repository ' || name || ' ' || manifests from repositories",
        "select 'tag ' || r.name || ':' || t.name || ' ' || hex(b.digest) || ' ' || t.moved_at
         from tags t join repositories r on r.id = t.repository join blobs b on b.id = t.manifest",
        "select 'history ' || r.name || ':' || h.name || ' ' || hex(b.digest) || ' ' || h.moved_at
         from tag_history h join repositories r on r.id = h.repository
         join blobs b on b.id = h.manifest",
        "select 'manifest ' || r.name || ' ' || hex(b.digest) || ' ' || m.media_type || ' '
         || coalesce(hex(m.subject), '-') || ' ' || m.pushed_at
         from manifests m join repositories r on r.id = m.repository join blobs b on b.id = m.blob",
        "select 'holds ' || r.name || ' ' || hex(b.digest) from repository_blobs h
         join repositories r on r.id = h.repository join blobs b on b.id = h.blob",
        "select 'blob ' || hex(digest) || ' ' || coalesce(size, -1) || ' ' || place from blobs",
        "select 'content ' || hex(b.digest) || ' ' || hex(c.bytes)
         from contents c join blobs b on b.id = c.blob",
        "select 'needs ' || hex(m.digest) || ' ' || hex(b.digest)
         from needs n join blobs m on m.id = n.manifest join blobs b on b.id = n.blob",
        "select 'referrer ' || r.name || ' ' || hex(f.subject) || ' ' || hex(f.digest) || ' '
         || f.media_type || ' ' || coalesce(f.artifact_type, '-') || coalesce(f.annotations, '-')
         from referrers f join repositories r on r.id = f.repository",
        "select 'pin ' || p.network || ' ' || hex(b.digest) || ' ' || p.state || ' '
         || coalesce(p.cid, '-') || ' ' || coalesce(p.remote, '-') || ' '
         || coalesce(p.profile, '-') || ' ' || (p.due_at is null)
         from pins p join blobs b on b.id = p.blob",
        "select 'change ' || number from changes",
        "select 'tree ' || tree from catalog",
    ] {
        let mut asked = catalog.prepare(statement).expect("a statement");
        let rows = asked.query_map([], |row| row.get::<_, String>(0));
        lines.extend(rows.expect("rows").map(|row| row.expect("a text")));
    }
    lines.sort();
    lines
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copied")),
        }
    }
}
