//! The list of what there is: repositories, and the tags of one.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::look::{Image, Look};
use super::print::{fault, summary};
use crate::config::Storage;
use crate::fault::Fault;
use crate::logbook::rfc3339;
use crate::oci::{Platform, Repository};
use crate::store::scan::{Listed, Tagged};
use crate::store::{self, View};
use crate::terminal::{self, Format, List, Table, Verdict, size_text};

/// What is printed of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Names alone, one a line, for scripts.
    Names,
    /// All that is listed.
    Full(Format),
}

/// Prints the repositories that hold a manifest, or the tags of one repository.
pub fn run(
    view: &View,
    storage: &Storage,
    repository: Option<&Repository>,
    shape: Shape,
    out: &mut dyn Write,
) -> Result<Verdict, Box<dyn Error>> {
    let look = Look::new(view, storage.store.network_name());
    match repository {
        None => repositories(&look, shape, out)?,
        Some(repository) => {
            if !tags(&look, repository, shape, out)? {
                terminal::complain(look.unknown_repository(repository)?);
                return Ok(Verdict::Failed);
            }
        }
    }
    Ok(Verdict::Well)
}

/// Where entries of a list go.
enum Form {
    Names,
    Table(Table),
    Json(List),
}

impl Form {
    fn new(shape: Shape, name: &'static str, titles: &[&str]) -> Form {
        match shape {
            Shape::Names => Form::Names,
            Shape::Full(Format::Table) => Form::Table(Table::new(titles, 1)),
            Shape::Full(Format::Json) => Form::Json(List::new(name)),
        }
    }

    fn entry(
        &mut self,
        out: &mut dyn Write,
        name: &str,
        entry: &impl Serialize,
        cells: Vec<String>,
    ) -> io::Result<()> {
        match self {
            Form::Names => writeln!(out, "{name}"),
            Form::Json(list) => list.entry(out, entry),
            Form::Table(table) => {
                table.cells(cells);
                table.print_page(out)
            }
        }
    }

    fn end(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Form::Names => out.flush(),
            Form::Table(mut table) => table.print(out),
            Form::Json(list) => list.end(out, &Nothing {}),
        }
    }
}

/// What follows a list that is all there is.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct RepositoryEntry<'e> {
    repository: &'e str,
    manifests: u64,
}

fn repositories(look: &Look, shape: Shape, out: &mut dyn Write) -> Result<(), Fault> {
    let mut form = Form::new(shape, "repositories", &["REPOSITORY", "MANIFESTS"]);
    look.each_repository(&mut |Listed { name, manifests }| {
        let entry = RepositoryEntry {
            repository: name.as_str(),
            manifests,
        };
        let cells = vec![name.to_string(), manifests.to_string()];
        let entered = form.entry(out, name.as_str(), &entry, cells);
        entered.map_err(fault)
    })?;
    form.end(out).map_err(fault)
}

#[derive(Serialize)]
struct TagEntry<'e> {
    tag: &'e str,
    digest: String,
    /// In bytes, of all that the image is made of.
    size: u64,
    pushed: String,
    platforms: BTreeSet<String>,
    state: String,
}

/// Whether there is such a repository.
fn tags(
    look: &Look,
    repository: &Repository,
    shape: Shape,
    out: &mut dyn Write,
) -> Result<bool, Fault> {
    let titles = ["TAG", "SIZE", "PUSHED", "DIGEST", "PLATFORMS", "STATE"];
    let mut form = Form::new(shape, "tags", &titles);
    let is_any = look.each_tag(repository, &mut |tagged| {
        let name = tagged.name.to_string();
        if shape == Shape::Names {
            return form
                .entry(out, &name, &Nothing {}, Vec::new())
                .map_err(fault);
        }
        let Tagged {
            digest, pushed_at, ..
        } = tagged;
        let image = look.image(repository, vec![tagged.name], digest)?;
        let entry = TagEntry {
            tag: &name,
            digest: digest.to_string(),
            size: image.parts.iter().map(|part| part.size).sum(),
            pushed: time(pushed_at),
            platforms: platforms(look, repository, &image)?,
            state: summary(&image.parts),
        };
        let platforms: Vec<&str> = entry.platforms.iter().map(String::as_str).collect();
        let cells = vec![
            name.clone(),
            size_text(entry.size),
            entry.pushed.clone(),
            entry.digest.clone(),
            platforms.join(","),
            entry.state.clone(),
        ];
        form.entry(out, &name, &entry, cells).map_err(fault)
    })?;
    let is_known = is_any || holds_manifest(look, repository)?;
    match is_known {
        true => form.end(out).map_err(fault).map(|()| true),
        false => Ok(false),
    }
}

fn holds_manifest(look: &Look, repository: &Repository) -> Result<bool, Fault> {
    let first = look.read(|tx| store::scan::manifests(tx, repository, 0, 1))?;
    Ok(!first.is_empty())
}

/// `2026-11-28T04:05:06Z`.
fn time(millis: i64) -> String {
    let text = rfc3339(UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs()));
    let seconds = text.split('.').next().unwrap_or(&text);
    format!("{seconds}Z")
}

/// The part of an image's configuration that says what it runs on (image-spec, config.md).
#[derive(Deserialize)]
struct Configuration {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// What an image runs on: what an index says of its manifests, or else what a configuration says.
fn platforms(
    look: &Look,
    repository: &Repository,
    image: &Image,
) -> Result<BTreeSet<String>, Fault> {
    let mut platforms = BTreeSet::new();
    let Some(digest) = image.digest else {
        return Ok(platforms);
    };
    look.read(|tx| {
        let manifest = match look.manifest(tx, repository, &digest) {
            // Its parts say that it is damaged.
            Ok(None) | Err(store::Error::Fault(_)) => return Ok(()),
            found => found?,
        };
        let Some(manifest) = manifest else {
            return Ok(());
        };
        let said = manifest.manifests.iter();
        platforms.extend(said.filter_map(|below| below.platform.as_ref().and_then(said_by)));
        if let (true, Some(config)) = (manifest.manifests.is_empty(), manifest.blobs.first()) {
            let bytes = look.bytes(tx, &config.digest)?.unwrap_or_default();
            if let Ok(found) = serde_json::from_slice::<Configuration>(&bytes) {
                let variant = found.variant.as_deref();
                platforms.insert(platform(&found.os, &found.architecture, variant));
            }
        }
        Ok(())
    })?;
    Ok(platforms)
}

/// What a platform of an index is called; None for what runs nowhere, as an attestation, or where
/// nobody said where.
fn said_by(said: &Platform) -> Option<String> {
    let variant = said.variant.as_deref();
    (!["unknown", ""].contains(&&*said.os)).then(|| platform(&said.os, &said.architecture, variant))
}

/// `linux/arm/v7`.
fn platform(os: &str, architecture: &str, variant: Option<&str>) -> String {
    let variant = variant.filter(|variant| !variant.is_empty());
    [Some(os), Some(architecture), variant]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("/")
}
