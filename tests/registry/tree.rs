//! The tree on disk is distribution's own: what registry:2 wrote can be served, and what we
//! wrote can be served by it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::world::{Ask, Blob, Hub, Image, Line, Served, await_some, free_address, skip};

/// Debian's docker-registry on a root directory; ended when it is dropped.
struct Distribution {
    hub: Hub,
    child: Child,
}

impl Distribution {
    /// None, with the reason printed, where it is not installed.
    fn at(dir: &Path, root: &Path) -> Option<Distribution> {
        let address = free_address();
        let root = root.display();
        let config = dir.join("distribution.yml");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {root}}}\n  \
             delete: {{enabled: true}}\nhttp:\n  addr: {address}\n"
        );
        std::fs::write(&config, text).expect("written");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => {
                let hub = Hub { address };
                await_some("docker-registry", || Line::try_to(&hub.address).ok());
                Some(Distribution { hub, child })
            }
            Err(err) => {
                skip(&format!("docker-registry: {err}"));
                None
            }
        }
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pushes as every client can, whatever form locations have.
fn push(hub: &Hub, repository: &str, tag: &str, image: &Image) {
    for blob in &image.blobs {
        let begun = hub
            .ask(Ask::post(format!("/v2/{repository}/blobs/uploads/")))
            .expect(202);
        let location = begun.header("Location");
        let path = location.find("/v2/").map_or(location, |at| &location[at..]);
        let joint = if path.contains('?') { '&' } else { '?' };
        let put = Ask::put(format!("{path}{joint}digest={}", blob.digest));
        hub.ask(put.body(blob.bytes.clone())).expect(201);
    }
    hub.put_manifest(repository, tag, image).expect(201);
}

#[track_caller]
fn holds(hub: &Hub, repository: &str, tag: &str, image: &Image) {
    for reference in [tag, &image.digest()] {
        let ask = Ask::get(format!("/v2/{repository}/manifests/{reference}"));
        // distribution serves only what is asked for.
        let got = hub.ask(ask.with("Accept", &image.media_type)).expect(200);
        assert_eq!(got.body, image.manifest.bytes);
        assert_eq!(got.header("Content-Type"), image.media_type);
        assert_eq!(got.header("Docker-Content-Digest"), image.digest());
    }
    for blob in &image.blobs {
        assert!(hub.blob(repository, blob).expect(200).body == blob.bytes);
    }
}

/// What distribution left is served, and changed before it gets it back.
fn ours_after_theirs(root: &Path, session: &str, images: &[&Image; 4]) {
    let [one, two, three, index] = images;
    let ours = Served::at(root, &[]);
    holds(&ours, "library/a", "v1", one);
    holds(&ours, "library/a", "v2", two);
    holds(&ours, "library/a", "multi", index);
    holds(&ours, "b", "v1", one);
    ours.manifest("library/a", "gone")
        .refuses(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        ours.list("/v2/_catalog", "repositories").0,
        ["b", "library/a"]
    );
    assert_eq!(
        ours.list("/v2/library/a/tags/list", "tags").0,
        ["multi", "v1", "v2"]
    );
    // An upload that was begun there goes on here, or is begun again; never half of it.
    let status = ours.get(format!("/v2/b/blobs/uploads/{session}")).status;
    assert!([204, 404].contains(&status), "{status}");
    push(&ours, "library/a", "v1", three);
    push(&ours, "library/c", "v1", one);
    ours.delete("/v2/library/a/manifests/v2").expect(202);
    ours.delete(format!("/v2/b/manifests/{}", one.digest()))
        .expect(202);
    ours.begin("library/c");
}

#[test]
fn a_root_directory_goes_from_one_registry_to_the_other_and_back() {
    let dir = TempDir::new().expect("a folder");
    let root = dir.path().join("root");
    let (one, two, three) = (
        Image::named("one"),
        Image::named("two"),
        Image::named("three"),
    );
    let index = Image::index(&[&one, &two]);
    let Some(theirs) = Distribution::at(dir.path(), &root) else {
        return;
    };
    push(&theirs.hub, "library/a", "v1", &one);
    push(&theirs.hub, "library/a", "v2", &two);
    push(&theirs.hub, "library/a", "multi", &index);
    push(&theirs.hub, "library/a", "gone", &three);
    push(&theirs.hub, "b", "v1", &one);
    theirs
        .hub
        .delete(format!("/v2/library/a/manifests/{}", three.digest()))
        .expect(202);
    let begun = theirs
        .hub
        .ask(Ask::post("/v2/b/blobs/uploads/"))
        .expect(202);
    let session = begun.header("Docker-Upload-UUID").to_owned();
    drop(theirs);
    ours_after_theirs(&root, &session, &[&one, &two, &three, &index]);

    let theirs = Distribution::at(dir.path(), &root).expect("it was there");
    holds(&theirs.hub, "library/a", "v1", &three);
    holds(&theirs.hub, "library/a", "multi", &index);
    holds(&theirs.hub, "library/c", "v1", &one);
    theirs.hub.manifest("library/a", "v2").expect(404);
    theirs.hub.manifest("b", &one.digest()).expect(404);
    let tags = theirs.hub.get("/v2/library/a/tags/list").expect(200).json();
    let mut tags: Vec<&str> = tags["tags"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|tag| tag.as_str().expect("a tag"))
        .collect();
    tags.sort();
    assert_eq!(tags, ["multi", "v1"]);
    push(&theirs.hub, "library/a", "again", &two);
    drop(theirs);
    holds(&Served::at(&root, &[]), "library/a", "again", &two);
}

fn blob_path(hub: &Served, blob: &Blob) -> std::path::PathBuf {
    let hex = blob.digest.hex();
    hub.tree()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(hex)
        .join("data")
}

#[test]
fn each_thing_stands_where_distribution_puts_it() {
    let dir = TempDir::new().expect("a folder");
    let hub = Served::at(dir.path(), &[]);
    let image = Image::named("x");
    hub.push("library/a", "v1", &image);
    let text = |path: &str| std::fs::read_to_string(hub.tree().join(path)).expect(path);
    let (digest, hex) = (image.digest(), image.manifest.digest.hex());
    let repository = "repositories/library/a";
    for link in [
        format!("{repository}/_manifests/revisions/sha256/{hex}/link"),
        format!("{repository}/_manifests/tags/v1/current/link"),
        format!("{repository}/_manifests/tags/v1/index/sha256/{hex}/link"),
    ] {
        assert_eq!(text(&link), digest, "{link}");
    }
    for blob in &image.blobs {
        let link = format!("{repository}/_layers/sha256/{}/link", blob.digest.hex());
        assert_eq!(text(&link), blob.digest.to_string());
        assert_eq!(
            std::fs::read(blob_path(&hub, blob)).expect("bytes"),
            blob.bytes
        );
    }
    let sessions = hub.tree().join(repository).join("_uploads");
    let left = std::fs::read_dir(sessions).expect("a folder").count();
    assert_eq!(left, 0, "a session outlived its upload");
}

/// What power cuts and older registries left behind is no reason not to serve the rest.
#[test]
fn leftovers_do_no_harm() {
    let dir = TempDir::new().expect("a folder");
    let (image, other) = (Image::named("x"), Image::named("other"));
    let hub = Served::at(dir.path(), &[]);
    hub.push("a", "v1", &image);
    hub.push("a", "lost", &image);
    hub.push("a", "v2", &other);
    let repository = hub.tree().join("repositories/a");
    drop(hub);
    let write = |path: &str, text: &str| {
        let path = repository.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let (hex, layer) = (image.manifest.digest.hex(), image.blobs[1].digest.hex());
    // Empty links: the path tells the digest, but not where a tag pointed.
    write(&format!("_manifests/revisions/sha256/{hex}/link"), "");
    write(&format!("_layers/sha256/{layer}/link"), "");
    write("_manifests/tags/lost/current/link", "");
    write("_manifests/tags/nonsense/current/link", "not a digest");
    write("_manifests/tags/.bad name/current/link", "x");
    // registry:2 deletes links and leaves their folders.
    let gone = repository
        .join("_manifests/revisions/sha256")
        .join(other.manifest.digest.hex());
    std::fs::remove_file(gone.join("link")).expect("there");
    write("_manifests/revisions/sha256/not-hex/link", "x");
    write("_uploads/not-a-session/data", "x");
    write("stray", "x");
    std::fs::create_dir_all(repository.join("_manifests/tags/empty")).expect("made");
    let hub = Served::at(dir.path(), &[]);
    holds(&hub, "a", "v1", &image);
    for tag in ["lost", "v2", "nonsense", "empty"] {
        hub.manifest("a", tag).refuses(404, "MANIFEST_UNKNOWN");
    }
    assert_eq!(hub.list("/v2/a/tags/list", "tags").0, ["v1"]);
    assert_eq!(hub.list("/v2/_catalog", "repositories").0, ["a"]);
    // Pushing again heals.
    hub.push("a", "lost", &image);
    hub.push("a", "v2", &other);
    holds(&hub, "a", "lost", &image);
    holds(&hub, "a", "v2", &other);
}

/// Bytes that are not what their name says are never served as a manifest.
#[test]
fn a_corrupted_manifest_is_never_served() {
    let dir = TempDir::new().expect("a folder");
    let image = Image::named("x");
    Served::at(dir.path(), &[]).push("a", "v1", &image);
    let hub = Served::at(dir.path(), &[]);
    let path = blob_path(&hub, &image.manifest);
    for at in [
        0,
        image.manifest.bytes.len() / 2,
        image.manifest.bytes.len() - 1,
    ] {
        let mut bytes = image.manifest.bytes.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        for reference in ["v1", &image.digest()] {
            // It is ours to mend, so it is no 404.
            hub.manifest("a", reference).refuses(500, "UNKNOWN");
        }
    }
    std::fs::write(&path, &image.manifest.bytes[..10]).expect("written");
    hub.manifest("a", "v1").refuses(500, "UNKNOWN");
    hub.push("a", "v1", &image);
    assert_eq!(
        hub.manifest("a", "v1").expect(200).body,
        image.manifest.bytes
    );
}

/// A blob whose bytes are gone is missing, and one that is cut is not passed off as whole.
#[test]
fn a_lost_blob_is_not_there_until_it_is_pushed_again() {
    let dir = TempDir::new().expect("a folder");
    let blob = Blob::noise(50_000, 120);
    let hub = Served::at(dir.path(), &[]);
    hub.push_blob("a", &blob);
    let path = blob_path(&hub, &blob);
    std::fs::remove_file(&path).expect("there");
    hub.blob("a", &blob).refuses(404, "BLOB_UNKNOWN");
    let target = format!("/v2/a/blobs/{}", blob.digest);
    hub.head(&target).expect(404);
    hub.push_blob("a", &blob);
    assert!(hub.blob("a", &blob).expect(200).body == blob.bytes);
}
