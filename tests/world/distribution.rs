//! distribution itself, as Debian packages it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Ask, Hub, Image, Line, await_some, free_address, skip};

/// Debian's docker-registry on a root directory; ended when it is dropped.
pub struct Distribution {
    pub hub: Hub,
    child: Child,
}

impl Distribution {
    /// None, with the reason printed, where it is not installed.
    pub fn at(dir: &Path, root: &Path) -> Option<Distribution> {
        let address = free_address();
        let config = configure(dir, root, &address);
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

/// Writes its configuration.
fn configure(dir: &Path, root: &Path, address: &str) -> PathBuf {
    let root = root.display();
    let config = dir.join("distribution.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {root}}}\n  \
         delete: {{enabled: true}}\nhttp:\n  addr: {address}\n"
    );
    std::fs::write(&config, text).expect("written");
    config
}

/// Has its garbage collector delete every blob that no manifest names; whether it said it did.
/// None where it is not installed.
#[allow(dead_code)] // Only journeys of an import do that.
pub fn collect_garbage(dir: &Path, root: &Path) -> Option<bool> {
    let config = configure(dir, root, "127.0.0.1:0");
    let collected = Command::new("docker-registry")
        .arg("garbage-collect")
        .arg(&config)
        .output();
    match collected {
        Ok(collected) => Some(collected.status.success()),
        Err(err) => {
            skip(&format!("docker-registry: {err}"));
            None
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
pub fn push(hub: &Hub, repository: &str, tag: &str, image: &Image) {
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
