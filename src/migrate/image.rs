//! Names: images as people write them for docker, and where they go.

use std::fmt;
use std::net::Ipv6Addr;

use crate::oci::{Digest, Reference, Repository, Tag};

use super::Failure;

/// The host of a registry, with its port if it has one, as names write it: `docker.io`,
/// `localhost:5000`, `[::1]:5000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// Docker Hub, which is meant where a name has no host.
    pub const DOCKER_HUB: &str = "docker.io";

    /// Reads `host[:port]`; Docker Hub's other names become `docker.io`.
    pub fn parse(text: &str) -> Result<Host, Failure> {
        let (name, port) = split_port(text);
        let label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let literal = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let good_name = match literal {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !name.is_empty() && name.chars().all(label),
        };
        let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if !good_name || !good_port {
            return Err(Failure::Name(format!(
                "{text:?} is not a registry; write host or host:port, without a scheme or a path"
            )));
        }
        Ok(match text {
            "index.docker.io" | "registry-1.docker.io" => Host(Host::DOCKER_HUB.into()),
            _ => Host(text.to_ascii_lowercase()),
        })
    }

    /// The host with its port.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without its port; the brackets of an IPv6 address stay.
    pub fn name(&self) -> &str {
        split_port(&self.0).0
    }

    /// Whether this machine itself is meant, so that plain HTTP is as private as TLS.
    pub fn is_loopback(&self) -> bool {
        let name = self.name();
        name == "localhost"
            || name == "[::1]"
            || name
                .parse::<std::net::Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// A host and its port; the colons within the brackets of an IPv6 address are none of a port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

/// An image to copy: one tag or digest of a repository, or all of its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The registry.
    pub host: Host,
    /// The repository there.
    pub repository: Repository,
    /// The one tag that is wanted.
    pub tag: Option<Tag>,
    /// The one manifest that is wanted; with a tag, what the tag is to point to.
    pub digest: Option<Digest>,
}

impl Source {
    /// Reads `[host/]repository[:tag][@digest]` the way docker does: no host is Docker Hub, and a
    /// single word there is an official image, in `library/`.
    pub fn parse(text: &str) -> Result<Source, Failure> {
        let unclear = |cause: String| Failure::Name(format!("{text:?} is not an image: {cause}"));
        if text.contains("://") {
            return Err(unclear(
                "write it without a scheme, as for docker pull".into(),
            ));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (host, path) = match rest.split_once('/') {
            Some((first, path)) if first == "localhost" || first.contains(['.', ':']) => {
                (Host::parse(first)?, path)
            }
            _ => (Host(Host::DOCKER_HUB.into()), rest),
        };
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        let official = host.as_str() == Host::DOCKER_HUB && !path.contains('/');
        let path = if official {
            format!("library/{path}")
        } else {
            path.into()
        };
        let refused = |refusal: crate::oci::Refusal| unclear(refusal.detail());
        Ok(Source {
            host,
            repository: path.parse().map_err(refused)?,
            tag: tag.map(str::parse).transpose().map_err(refused)?,
            digest: digest.map(str::parse).transpose().map_err(refused)?,
        })
    }

    /// The one manifest that is wanted, and what it is to be called at the destination: its tag,
    /// or else its digest. None if all tags are wanted.
    pub fn one(&self) -> Option<(Reference, Reference)> {
        let tag = || self.tag.clone().map(Reference::Tag);
        let digest = || self.digest.map(Reference::Digest);
        digest().or_else(tag).zip(tag().or_else(digest))
    }

    /// The full name of the repository.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The repository that the image goes to: the name that `docker images` shows for it, so
    /// `alpine` for `docker.io/library/alpine` and `quay.io/org/img` for that of another registry.
    /// `strip_registry` leaves the registry out, and `prefix` comes before all.
    pub fn repository_at_destination(
        &self,
        strip_registry: bool,
        prefix: Option<&str>,
    ) -> Result<Repository, Failure> {
        let own = self.repository.as_str();
        let name = if self.host.as_str() == Host::DOCKER_HUB {
            own.strip_prefix("library/").unwrap_or(own).to_owned()
        } else if strip_registry {
            own.to_owned()
        } else {
            // A colon can't stand in the name of a repository.
            format!("{}/{own}", self.host.name())
        };
        let name = match prefix.map(|prefix| prefix.trim_matches('/')) {
            Some(prefix) if !prefix.is_empty() => format!("{prefix}/{name}"),
            _ => name,
        };
        name.parse().map_err(|_| {
            Failure::Name(format!(
                "{name:?} can't be the name of a repository; choose another --prefix, or leave \
                 the registry out with --strip-registry"
            ))
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for (text, full, destination) in [
            ("alpine", "docker.io/library/alpine", "alpine"),
            ("library/alpine", "docker.io/library/alpine", "alpine"),
            ("docker.io/alpine", "docker.io/library/alpine", "alpine"),
            ("index.docker.io/a/b", "docker.io/a/b", "a/b"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine"),
            ("bitnami/redis", "docker.io/bitnami/redis", "bitnami/redis"),
            ("quay.io/org/img", "quay.io/org/img", "quay.io/org/img"),
            ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io/a/b/c"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000/x", "localhost:5000/x", "localhost/x"),
            (
                "127.0.0.1:5000/x/y:t",
                "127.0.0.1:5000/x/y:t",
                "127.0.0.1/x/y",
            ),
            ("QUAY.io/org/img", "quay.io/org/img", "quay.io/org/img"),
        ] {
            let source = Source::parse(text).expect(text);
            assert_eq!(source.to_string(), full);
            let named = source.repository_at_destination(false, None).expect(text);
            assert_eq!(named.as_str(), destination, "{text}");
        }
        let pinned = Source::parse(&format!("alpine:3@{DIGEST}")).expect("a pinned tag");
        assert_eq!(
            pinned.to_string(),
            format!("docker.io/library/alpine:3@{DIGEST}")
        );
    }

    #[test]
    fn the_destination_can_be_named_otherwise() {
        let name = |text, strip, prefix| {
            let source: Source = Source::parse(text).expect("a name");
            source
                .repository_at_destination(strip, prefix)
                .map(|name| name.to_string())
                .ok()
        };
        assert_eq!(
            name("quay.io/org/img", true, None).as_deref(),
            Some("org/img")
        );
        assert_eq!(
            name("alpine", true, Some("hub")).as_deref(),
            Some("hub/alpine")
        );
        assert_eq!(
            name("quay.io/o/i", false, Some("/m/")).as_deref(),
            Some("m/quay.io/o/i")
        );
        assert_eq!(name("[::1]:5000/x", true, None).as_deref(), Some("x"));
        assert_eq!(name("[::1]:5000/x", false, None), None);
        assert_eq!(name("alpine", false, Some("UP")), None);
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in [
            "",
            "Alpine",
            "a//b",
            "a:b:c",
            "a@sha256:0",
            "https://quay.io/a",
            "a.b:x/y",
        ] {
            assert!(
                Source::parse(text).is_err(),
                "{text:?} was taken for an image"
            );
        }
        for text in [
            "",
            "host/path",
            "http://host",
            "host:",
            "host:0",
            "host:70000",
            "[::g]",
        ] {
            assert!(
                Host::parse(text).is_err(),
                "{text:?} was taken for a registry"
            );
        }
    }

    #[test]
    fn loopback_is_this_machine() {
        for (text, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5005", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("[::2]:5000", false),
            ("localhost.example.com", false),
            ("128.0.0.1", false),
        ] {
            assert_eq!(
                Host::parse(text).expect(text).is_loopback(),
                loopback,
                "{text}"
            );
        }
    }
}
