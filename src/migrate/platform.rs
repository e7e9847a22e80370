//! Platforms: which images of an index are wanted.

use std::fmt;

use crate::oci::{Descriptor, Manifest};

use super::Failure;

/// A platform as docker writes it: `linux/arm64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// What docker's builder writes on a manifest that describes another one of the same index.
const ATTESTED: &str = "vnd.docker.reference.digest";

impl Wanted {
    /// Reads `os/architecture[/variant]`.
    pub fn parse(text: &str) -> Result<Wanted, Failure> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => ("", "", None),
        };
        if os.is_empty() || architecture.is_empty() || variant == Some("") {
            return Err(Failure::Name(format!(
                "{text:?} is not a platform such as linux/amd64 or linux/arm/v7"
            )));
        }
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Wanted {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        })
    }

    fn matches(&self, descriptor: &Descriptor) -> bool {
        let Some(platform) = &descriptor.platform else {
            return false;
        };
        let variant = platform.variant.as_deref();
        // An image that names no variant of arm64 is for v8, the only one there is.
        let variant = variant.or((platform.architecture == "arm64").then_some("v8"));
        platform.os == self.os
            && platform.architecture == self.architecture
            && self
                .variant
                .as_deref()
                .is_none_or(|wanted| variant == Some(wanted))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The manifests of an index that are on one of the platforms, and what attests to them.
pub fn wanted_of(index: &Manifest, platforms: &[Wanted]) -> Vec<Descriptor> {
    let on_platform = |descriptor: &&Descriptor| {
        platforms.is_empty() || platforms.iter().any(|wanted| wanted.matches(descriptor))
    };
    let chosen: Vec<&Descriptor> = index.manifests.iter().filter(on_platform).collect();
    let attests = |descriptor: &Descriptor| {
        let about = descriptor
            .annotations
            .as_ref()
            .and_then(|notes| notes.get(ATTESTED));
        about.is_some_and(|about| chosen.iter().any(|one| one.digest.to_string() == *about))
    };
    let kept = |descriptor: &&Descriptor| on_platform(descriptor) || attests(descriptor);
    index.manifests.iter().filter(kept).cloned().collect()
}

/// The manifest of an index that stands for the whole where one platform is enough.
pub fn first_of(index: &Manifest, platform: &Wanted) -> Option<Descriptor> {
    index
        .manifests
        .iter()
        .find(|descriptor| platform.matches(descriptor))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Manifest {
        let digest = |c: char| format!("sha256:{}", c.to_string().repeat(64));
        let entry = |c, platform: &str, notes: &str| {
            format!(
                r#"{{"mediaType":"m","digest":"{}","size":1,"platform":{platform}{notes}}}"#,
                digest(c)
            )
        };
        let about = format!(r#","annotations":{{"{ATTESTED}":"{}"}}"#, digest('a'));
        let entries = [
            entry('a', r#"{"os":"linux","architecture":"amd64"}"#, ""),
            entry(
                'b',
                r#"{"os":"linux","architecture":"arm","variant":"v6"}"#,
                "",
            ),
            entry(
                'c',
                r#"{"os":"linux","architecture":"arm","variant":"v7"}"#,
                "",
            ),
            entry('d', r#"{"os":"linux","architecture":"arm64"}"#, ""),
            entry('e', r#"{"os":"unknown","architecture":"unknown"}"#, &about),
        ];
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entries.join(",")
        );
        Manifest::parse(text.as_bytes(), Some(crate::oci::manifest::OCI_INDEX)).expect("an index")
    }

    #[test]
    fn platforms_choose_manifests_and_what_attests_to_them() {
        for (platforms, expected) in [
            (&["linux/amd64"][..], "ae"),
            (&["linux/arm"], "bc"),
            (&["linux/arm/v7"], "c"),
            (&["linux/arm64/v8", "linux/x86_64"], "ade"),
            (&["windows/amd64"], ""),
            (&[], "abcde"),
        ] {
            let platforms: Vec<Wanted> = platforms
                .iter()
                .map(|text| Wanted::parse(text).expect(text))
                .collect();
            let found = wanted_of(&index(), &platforms);
            let found: String = found.iter().map(|one| one.digest.hex().remove(0)).collect();
            assert_eq!(found, expected);
        }
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/arm/"] {
            assert!(
                Wanted::parse(text).is_err(),
                "{text:?} was taken for a platform"
            );
        }
    }
}
