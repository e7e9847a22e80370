//! What a registry should hold, as a map, and the changes that move it on: the simplest thing that
//! can be right. What is asked of a registry is held against it.

use std::collections::BTreeMap;

use lighthouse::oci::Digest;

use crate::told::held;
use crate::world::image::Noise;
use crate::world::{Answer, Ask, Blob, Hub, Image};

/// All that is ever pushed.
pub struct Things {
    pub blobs: Vec<Blob>,
    pub images: Vec<Image>,
    pub tags: [&'static str; 2],
}

impl Things {
    /// Contents of both kinds: those that the catalog keeps, and those in files.
    pub fn new() -> Things {
        let sizes = [100, 60_000, 70_000, 200_000];
        let mut blobs = vec![Blob::of("{}")];
        blobs.extend((0..).zip(sizes).map(|(n, size)| Blob::noise(size, 160 + n)));
        let image = |layers: &[usize]| {
            let all = [&[0], layers].concat();
            Image::made_of(&all.iter().map(|n| blobs[*n].clone()).collect::<Vec<_>>())
        };
        let images = vec![image(&[1, 2]), image(&[2, 3]), image(&[4])];
        Things {
            blobs,
            images,
            tags: ["v1", "v2"],
        }
    }
}

/// One request that changes something. Contents and tags are numbers of [`Things`].
#[derive(Clone, Debug)]
pub enum Change {
    PushBlob {
        to: String,
        blob: usize,
    },
    /// With another blob's bytes.
    PushWrongBlob {
        to: String,
        blob: usize,
    },
    Mount {
        from: String,
        to: String,
        blob: usize,
    },
    DeleteBlob {
        of: String,
        blob: usize,
    },
    /// Under a tag, or under its digest alone.
    PutManifest {
        to: String,
        image: usize,
        tag: Option<usize>,
    },
    DeleteTag {
        of: String,
        tag: usize,
    },
    DeleteManifest {
        of: String,
        image: usize,
    },
}

impl Change {
    /// Any change of a repository, which may mount from another one.
    pub fn drawn(noise: &mut Noise, things: &Things, own: &str, other: &str) -> Change {
        let mut pick = |count: usize| noise.below(count as u64) as usize;
        let (blob, image) = (pick(things.blobs.len()), pick(things.images.len()));
        let (tag, own) = (pick(things.tags.len()), own.to_owned());
        match pick(16) {
            0..=4 => Change::PushBlob { to: own, blob },
            5 => Change::PushWrongBlob { to: own, blob },
            6 => Change::Mount {
                from: other.into(),
                to: own,
                blob,
            },
            7 => Change::DeleteBlob { of: own, blob },
            8..=11 => Change::PutManifest {
                to: own,
                image,
                tag: Some(tag),
            },
            12 => Change::PutManifest {
                to: own,
                image,
                tag: None,
            },
            13..=14 => Change::DeleteTag { of: own, tag },
            _ => Change::DeleteManifest { of: own, image },
        }
    }

    /// The request.
    pub fn ask(&self, things: &Things) -> Ask {
        let post = |to: &str, query: String| Ask::post(format!("/v2/{to}/blobs/uploads/?{query}"));
        match self {
            Change::PushBlob { to, blob } => {
                let blob = &things.blobs[*blob];
                post(to, format!("digest={}", blob.digest)).body(blob.bytes.clone())
            }
            Change::PushWrongBlob { to, blob } => {
                let (blob, bytes) = (&things.blobs[*blob], &things.blobs[1 - blob.min(&1)].bytes);
                post(to, format!("digest={}", blob.digest)).body([bytes, &b"x"[..]].concat())
            }
            Change::Mount { from, to, blob } => post(
                to,
                format!("mount={}&from={from}", things.blobs[*blob].digest),
            ),
            Change::DeleteBlob { of, blob } => Ask::delete(blob_url(of, &things.blobs[*blob])),
            Change::PutManifest { to, image, tag } => {
                let image = &things.images[*image];
                let url = match tag {
                    Some(tag) => tag_url(to, things.tags[*tag]),
                    None => manifest_url(to, image),
                };
                let put = Ask::put(url).with("Content-Type", &image.media_type);
                put.body(image.manifest.bytes.clone())
            }
            Change::DeleteTag { of, tag } => Ask::delete(tag_url(of, things.tags[*tag])),
            Change::DeleteManifest { of, image } => {
                Ask::delete(manifest_url(of, &things.images[*image]))
            }
        }
    }
}

fn blob_url(repository: &str, blob: &Blob) -> String {
    format!("/v2/{repository}/blobs/{}", blob.digest)
}

fn tag_url(repository: &str, tag: &str) -> String {
    format!("/v2/{repository}/manifests/{tag}")
}

fn manifest_url(repository: &str, image: &Image) -> String {
    tag_url(repository, &image.digest())
}

/// What each URL leads to; the rest leads nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model(BTreeMap<String, Digest>);

impl Model {
    /// Makes a change; the status that it is answered with.
    pub fn apply(&mut self, change: &Change, things: &Things) -> u16 {
        match change {
            Change::PushBlob { to, blob } => {
                self.put(blob_url(to, &things.blobs[*blob]), &things.blobs[*blob])
            }
            Change::PushWrongBlob { .. } => 400,
            Change::Mount { from, to, blob } => {
                let blob = &things.blobs[*blob];
                match self.0.contains_key(&blob_url(from, blob)) {
                    true => self.put(blob_url(to, blob), blob),
                    // An upload begins, of which nothing is seen.
                    false => 202,
                }
            }
            Change::DeleteBlob { of, blob } => self.delete(&blob_url(of, &things.blobs[*blob])),
            Change::PutManifest { to, image, tag } => {
                let image = &things.images[*image];
                let holds = |blob| self.0.contains_key(&blob_url(to, blob));
                if !image.blobs.iter().all(holds) {
                    return 400;
                }
                if let Some(tag) = tag {
                    self.put(tag_url(to, things.tags[*tag]), &image.manifest);
                }
                self.put(manifest_url(to, image), &image.manifest)
            }
            Change::DeleteTag { of, tag } => self.delete(&tag_url(of, things.tags[*tag])),
            Change::DeleteManifest { of, image } => {
                let image = &things.images[*image];
                let status = self.delete(&manifest_url(of, image));
                let tags = things.tags.map(|tag| tag_url(of, tag));
                let is_kept = |url: &String, digest: &Digest| {
                    !tags.contains(url) || *digest != image.manifest.digest
                };
                self.0.retain(|url, digest| is_kept(url, digest));
                status
            }
        }
    }

    fn put(&mut self, url: String, content: &Blob) -> u16 {
        self.0.insert(url, content.digest);
        201
    }

    fn delete(&mut self, url: &str) -> u16 {
        match self.0.remove(url) {
            Some(_) => 202,
            None => 404,
        }
    }

    /// What a registry has of some repositories. Whatever it gives is whole, and its list of tags
    /// says the same. An error where it is gone.
    pub fn found(
        repositories: &[&str],
        things: &Things,
        when: &str,
        mut get: impl FnMut(&str) -> std::io::Result<Answer>,
    ) -> std::io::Result<Model> {
        let mut model = Model::default();
        for repository in repositories {
            let tags = things.tags.iter().map(|tag| tag_url(repository, tag));
            let blobs = things.blobs.iter().map(|blob| blob_url(repository, blob));
            let manifests = things
                .images
                .iter()
                .map(|image| manifest_url(repository, image));
            let urls: Vec<String> = tags.chain(blobs).chain(manifests).collect();
            for url in urls {
                if let Some(digest) = held(&get(&url)?, &url, when) {
                    model.0.insert(url, digest);
                }
            }
            let listed = get(&format!("/v2/{repository}/tags/list"))?;
            let listed: Vec<String> = match listed.status {
                404 => Vec::new(),
                _ => {
                    serde_json::from_value(listed.expect(200).json()["tags"].take()).expect("names")
                }
            };
            let has = |tag: &&str| model.0.contains_key(&tag_url(repository, tag));
            let tags: Vec<&str> = things.tags.into_iter().filter(has).collect();
            assert_eq!(listed, tags, "{when}: {repository}");
        }
        Ok(model)
    }

    /// The same of a registry that is there.
    pub fn of(hub: &Hub, repositories: &[&str], things: &Things, when: &str) -> Model {
        Model::found(repositories, things, when, |url| Ok(hub.get(url))).expect("it is there")
    }
}
