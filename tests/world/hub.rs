//! A registry as its clients see it.

use super::await_some;
use super::client::{Answer, Ask, Line};
use super::image::{Blob, Image};

/// Where a registry can be reached, and what clients do there.
#[derive(Clone, Debug)]
pub struct Hub {
    pub address: String,
}

impl Hub {
    /// Waits until it has read what another program left in its directory.
    pub fn await_ready(&self) {
        await_some("the catalog to be whole", || {
            (self.get("/v2/").status != 503).then_some(())
        });
    }

    pub fn line(&self) -> Line {
        Line::to(&self.address)
    }

    /// Asks on a connection of its own.
    #[track_caller]
    pub fn ask(&self, ask: Ask) -> Answer {
        self.line().ask(&ask.with("Connection", "close"))
    }

    #[track_caller]
    pub fn get(&self, target: impl Into<String>) -> Answer {
        self.ask(Ask::get(target))
    }

    #[track_caller]
    pub fn head(&self, target: impl Into<String>) -> Answer {
        self.ask(Ask::head(target))
    }

    #[track_caller]
    pub fn delete(&self, target: impl Into<String>) -> Answer {
        self.ask(Ask::delete(target))
    }

    /// Begins an upload; its location.
    #[track_caller]
    pub fn begin(&self, repository: &str) -> String {
        let begun = self.ask(Ask::post(format!("/v2/{repository}/blobs/uploads/")));
        begun.expect(202).header("Location").to_owned()
    }

    /// Pushes a blob as docker does, in two requests.
    #[track_caller]
    pub fn push_blob(&self, repository: &str, blob: &Blob) {
        let location = self.begin(repository);
        let put = Ask::put(format!("{location}?digest={}", blob.digest));
        self.ask(put.body(blob.bytes.clone())).expect(201);
    }

    /// Pushes the configuration and the layers of an image, but not the image.
    #[track_caller]
    pub fn push_blobs(&self, repository: &str, image: &Image) {
        for blob in &image.blobs {
            self.push_blob(repository, blob);
        }
    }

    /// Pushes an image under a tag, or under its digest.
    #[track_caller]
    pub fn push(&self, repository: &str, reference: &str, image: &Image) -> Answer {
        self.push_blobs(repository, image);
        self.put_manifest(repository, reference, image).expect(201)
    }

    #[track_caller]
    pub fn put_manifest(&self, repository: &str, reference: &str, image: &Image) -> Answer {
        self.ask(
            Ask::put(format!("/v2/{repository}/manifests/{reference}"))
                .with("Content-Type", &image.media_type)
                .body(image.manifest.bytes.clone()),
        )
    }

    #[track_caller]
    pub fn manifest(&self, repository: &str, reference: &str) -> Answer {
        self.get(format!("/v2/{repository}/manifests/{reference}"))
    }

    #[track_caller]
    pub fn blob(&self, repository: &str, blob: &Blob) -> Answer {
        self.get(format!("/v2/{repository}/blobs/{}", blob.digest))
    }

    /// Follows a list from page to page; every entry, and how many pages there were.
    #[track_caller]
    pub fn list(&self, first: &str, key: &str) -> (Vec<String>, usize) {
        let (mut all, mut pages) = (Vec::new(), 0);
        let mut next = Some(first.to_owned());
        while let Some(target) = next {
            let page = self.get(target).expect(200);
            let entries = page.json()[key].as_array().expect("a list").clone();
            all.extend(
                entries
                    .iter()
                    .map(|name| name.as_str().expect("a name").to_owned()),
            );
            pages += 1;
            assert!(pages < 1000, "the list never ends");
            next = page.find("Link").map(|link| {
                let url = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
                let (url, relation) = url.expect("a URL in angle brackets");
                assert_eq!(relation, "; rel=\"next\"");
                url.to_owned()
            });
        }
        (all, pages)
    }
}
