//! The report: a table for people, JSON for programs, image by image.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};

use serde::Serialize;

use super::look::{Image, Kind, Part, Standing};
use crate::cid::Cid;
use crate::estuary::{Deal, DealState};
use crate::fault::Fault;
use crate::oci::{Digest, Tag};
use crate::terminal::{Format, List, Table, size_text};

/// The deals that are known, by what the network calls the content; `None` where none are made.
pub type Known<'k> = Option<&'k HashMap<Cid, Vec<Deal>>>;

/// A report on its way.
pub struct Report<'o> {
    out: &'o mut dyn Write,
    form: Form,
    totals: Totals,
    /// What was counted, by the first half of its hash: what is enough to tell two from each
    /// other takes little memory.
    seen: HashSet<u128>,
}

enum Form {
    Table(Table),
    Json(List),
}

impl<'o> Report<'o> {
    /// A report of a registry that has a network, and whose network makes deals.
    pub fn new(
        format: Format,
        has_network: bool,
        has_deals: bool,
        out: &'o mut dyn Write,
    ) -> Report<'o> {
        let titles = ["IMAGE", "SIZE", "STATE", "CID", "DEALS"];
        let columns = match (has_network, has_deals) {
            (false, _) => 3,
            (true, false) => 4,
            (true, true) => 5,
        };
        let form = match format {
            Format::Table => Form::Table(Table::new(&titles[..columns], 1)),
            Format::Json => Form::Json(List::new("images")),
        };
        Report {
            out,
            form,
            totals: Totals::default(),
            seen: HashSet::new(),
        }
    }

    /// Tells of an image, with its parts below it.
    pub fn image(&mut self, image: &Image, deals: Known) -> io::Result<()> {
        self.count(image);
        let table = match &mut self.form {
            Form::Json(list) => return list.entry(self.out, &entry(image, deals)),
            Form::Table(table) => table,
        };
        let size = image.parts.iter().map(|part| part.size).sum();
        table.cells(vec![label(image), size_text(size), summary(&image.parts)]);
        for part in &image.parts {
            table.cells(cells(part, deals));
            if let Some(cause) = &part.cause {
                let indent = "  ".repeat(part.depth + 2);
                table.note(format!("{indent}because: {cause}"));
            }
        }
        table.print_page(self.out)
    }

    /// Ends with the totals, and with what a reader should know of it all; how many manifests and
    /// blobs are in which state.
    pub fn end(self, note: Option<&str>) -> io::Result<BTreeMap<Standing, usize>> {
        let totals = self.totals;
        match self.form {
            Form::Table(mut table) => {
                table.note(totals.in_words());
                table.print(self.out)?;
            }
            Form::Json(list) => {
                let totals = &totals;
                list.end(self.out, &Ending { totals, note })?;
            }
        }
        Ok(totals.states)
    }

    /// Each manifest and blob counts once, however many images need it.
    fn count(&mut self, image: &Image) {
        self.totals.images += usize::from(image.digest.is_some());
        for part in &image.parts {
            if self.seen.insert(short(&part.digest)) {
                self.totals.parts += 1;
                self.totals.size += part.size;
                *self.totals.states.entry(part.standing).or_default() += 1;
            }
        }
    }
}

/// Standard output that can't be written to.
pub fn fault(cause: io::Error) -> Fault {
    Fault::disk("write", "standard output", cause)
}

fn short(digest: &Digest) -> u128 {
    let half = digest.hash().first_chunk();
    // Each hash has 32 bytes or more.
    half.map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

fn cells(part: &Part, deals: Known) -> Vec<String> {
    let hex = part.digest.hex();
    let indent = "  ".repeat(part.depth + 1);
    vec![
        format!("{indent}{} {}", word(part.kind), &hex[..12]),
        size_text(part.size),
        word(part.standing),
        part.cid.map_or("-".into(), |cid| cid.to_string()),
        deals_text(part, deals),
    ]
}

/// The deals of a part, as far as it can have any.
fn deals_text(part: &Part, deals: Known) -> String {
    match (known_deals(part, deals), part.standing) {
        (Some([]), _) => "none".into(),
        (Some(deals), _) => {
            let deal = |deal: &Deal| {
                let state = state_of(deal);
                format!("{} {} {state}", deal.miner, deal.id)
            };
            deals.iter().map(deal).collect::<Vec<_>>().join(", ")
        }
        (None, Standing::Pinned | Standing::Stored) => "-".into(),
        (None, _) => String::new(),
    }
}

fn known_deals<'k>(part: &Part, deals: Known<'k>) -> Option<&'k [Deal]> {
    let known = deals?.get(&part.cid?)?;
    Some(known)
}

fn entry<'i>(image: &'i Image, deals: Known) -> ImageEntry<'i> {
    let parts = image.parts.iter().map(|part| {
        let known = known_deals(part, deals).map(|deals| {
            let deal = |deal: &Deal| DealEntry {
                miner: deal.miner.clone(),
                id: deal.id,
                state: state_of(deal),
            };
            deals.iter().map(deal).collect()
        });
        PartEntry {
            kind: part.kind,
            digest: part.digest.to_string(),
            size: part.size,
            cid: part.cid.map(|cid| cid.to_string()),
            state: part.standing,
            cause: part.cause.as_deref(),
            local: part.is_here,
            deals: deals.map(|_| known),
        }
    });
    ImageEntry {
        repository: image.repository.as_str(),
        tags: image.tags.iter().map(Tag::as_str).collect(),
        digest: image.digest.map(|digest| digest.to_string()),
        size: image.parts.iter().map(|part| part.size).sum(),
        state: summary(&image.parts),
        parts: parts.collect(),
    }
}

/// What follows the images.
#[derive(Serialize)]
struct Ending<'e> {
    totals: &'e Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'e str>,
}

#[derive(Serialize)]
struct ImageEntry<'d> {
    repository: &'d str,
    tags: Vec<&'d str>,
    /// None for blobs in no image.
    digest: Option<String>,
    size: u64,
    state: String,
    parts: Vec<PartEntry<'d>>,
}

#[derive(Serialize)]
struct PartEntry<'d> {
    kind: Kind,
    digest: String,
    size: u64,
    cid: Option<String>,
    state: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'d str>,
    local: bool,
    /// Left out where none are made, null where they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    deals: Option<Option<Vec<DealEntry>>>,
}

#[derive(Serialize)]
struct DealEntry {
    miner: String,
    id: u64,
    state: &'static str,
}

#[derive(Default, Serialize)]
struct Totals {
    images: usize,
    parts: usize,
    size: u64,
    states: BTreeMap<Standing, usize>,
}

impl Totals {
    fn in_words(&self) -> String {
        let plural = |count, one, many| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {many}"),
        };
        let images = plural(self.images, "image", "images");
        let parts = plural(self.parts, "blob or manifest", "blobs and manifests");
        let size = size_text(self.size);
        let states = self.states.iter();
        let states = states.map(|(standing, count)| format!("{count} {}", word(*standing)));
        let states = states.collect::<Vec<_>>().join(", ");
        let is_empty = states.is_empty();
        let colon = if is_empty { "" } else { ": " };
        format!("{images}, {parts}, {size}{colon}{states}")
    }
}

/// `helloworld:latest, v1`, or what stands in for a tag.
fn label(image: &Image) -> String {
    let repository = &image.repository;
    let tags: Vec<&str> = image.tags.iter().map(Tag::as_str).collect();
    match image.digest {
        _ if !tags.is_empty() => format!("{repository}:{}", tags.join(", ")),
        Some(digest) => {
            let hex = digest.hex();
            let algorithm = digest.algorithm().name();
            format!("{repository}@{algorithm}:{}", &hex[..12])
        }
        None => format!("{repository}, in no image"),
    }
}

/// The state that all parts have, or how many of them are pinned.
pub fn summary(parts: &[Part]) -> String {
    let counted = || {
        parts
            .iter()
            .filter(|part| part.standing != Standing::Foreign)
    };
    let mut standings = counted().map(|part| part.standing);
    let first = standings.next().unwrap_or(Standing::Foreign);
    if standings.all(|standing| standing == first) {
        return word(first);
    }
    let pinned = counted().filter(|part| part.standing == Standing::Pinned);
    format!("{} of {} pinned", pinned.count(), counted().count())
}

/// How far a deal is, in a word.
fn state_of(deal: &Deal) -> &'static str {
    match deal.state {
        DealState::Published => "published",
        DealState::Active => "active",
        DealState::Slashed => "slashed",
        DealState::Failed => "failed",
    }
}

/// A kind or standing as JSON has it.
fn word(named: impl Serialize) -> String {
    match serde_json::to_value(named) {
        Ok(serde_json::Value::String(word)) => word,
        // Both are enums of bare words.
        _ => String::new(),
    }
}
