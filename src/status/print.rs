//! The report: a table for people, JSON for programs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use serde::Serialize;

use super::look::{Image, Kind, Part, Standing};
use crate::cid::Cid;
use crate::estuary::{Deal, DealState};
use crate::oci::{Digest, Tag};

/// What is known, to be printed.
pub struct Report<'r> {
    /// The images, in order.
    pub images: &'r [Image],
    /// Whether anything travels from here.
    pub has_network: bool,
    /// The deals that are known; `None` where none are made.
    pub deals: Option<&'r HashMap<Cid, Vec<Deal>>>,
    /// What a reader should know of it all.
    pub note: Option<String>,
}

/// A line of the table.
enum Row {
    Cells(Vec<String>),
    /// A text that belongs to no column.
    Note(String),
}

impl Report<'_> {
    /// Aligned columns, an image after the other with its parts below it, and a line of totals.
    pub fn table(&self) -> String {
        let titles = ["IMAGE", "SIZE", "STATE", "CID", "DEALS"];
        let mut rows = vec![Row::Cells(titles.map(String::from).into())];
        for image in self.images {
            let size = image.parts.iter().map(|part| part.size).sum();
            rows.push(Row::Cells(vec![
                label(image),
                size_text(size),
                summary(&image.parts),
            ]));
            for part in &image.parts {
                rows.push(Row::Cells(self.cells(part)));
                let cause = part.cause.as_ref();
                let indent = "  ".repeat(part.depth + 2);
                rows.extend(cause.map(|cause| Row::Note(format!("{indent}because: {cause}"))));
            }
        }
        let columns = match (self.has_network, self.deals.is_some()) {
            (false, _) => 3,
            (true, false) => 4,
            (true, true) => 5,
        };
        let mut table = align(rows, columns);
        // A formatter that writes to a text never fails.
        let _ = writeln!(table, "{}", self.totals().in_words());
        table
    }

    fn cells(&self, part: &Part) -> Vec<String> {
        let hex = part.digest.hex();
        let indent = "  ".repeat(part.depth + 1);
        vec![
            format!("{indent}{} {}", word(part.kind), &hex[..12]),
            size_text(part.size),
            word(part.standing),
            part.cid.map_or("-".into(), |cid| cid.to_string()),
            self.deals_text(part),
        ]
    }

    /// The deals of a part, as far as it can have any.
    fn deals_text(&self, part: &Part) -> String {
        match (self.known_deals(part), part.standing) {
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

    fn known_deals(&self, part: &Part) -> Option<&[Deal]> {
        let known = self.deals?.get(&part.cid?)?;
        Some(known)
    }

    /// One document, with everything in full.
    pub fn json(&self) -> String {
        let document = Document {
            images: self.images.iter().map(|image| self.entry(image)).collect(),
            totals: self.totals(),
            note: self.note.as_deref(),
        };
        // Texts and numbers always have their JSON.
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    }

    fn entry<'i>(&self, image: &'i Image) -> ImageEntry<'i> {
        let parts = image.parts.iter().map(|part| {
            let deals = self.known_deals(part).map(|deals| {
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
                deals: self.deals.map(|_| deals),
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

    /// Each manifest and blob counts once, however many images need it.
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut seen: HashSet<Digest> = HashSet::new();
        for image in self.images {
            totals.images += usize::from(image.digest.is_some());
            for part in &image.parts {
                if seen.insert(part.digest) {
                    totals.parts += 1;
                    totals.size += part.size;
                    *totals.states.entry(part.standing).or_default() += 1;
                }
            }
        }
        totals
    }
}

#[derive(Serialize)]
struct Document<'d> {
    images: Vec<ImageEntry<'d>>,
    totals: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'d str>,
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
fn summary(parts: &[Part]) -> String {
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

/// `512 B`, `1.2 kB`, `3.4 MB`: decimal, as docker prints them.
fn size_text(size: u64) -> String {
    if size < 1000 {
        return format!("{size} B");
    }
    let mut size = size as f64;
    let mut unit = "";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        // What would be rounded up to 1000 has the next unit.
        if size < 999.95 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

/// Puts cells under each other; numbers, in the second column, end at the same place.
fn align(rows: Vec<Row>, columns: usize) -> String {
    let mut widths = vec![0; columns];
    for row in &rows {
        if let Row::Cells(cells) = row {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        match row {
            Row::Note(note) => line = note,
            Row::Cells(cells) => {
                for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                    let _ = match at {
                        1 => write!(line, "{cell:>width$}  "),
                        _ => write!(line, "{cell:width$}  "),
                    };
                }
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1234, "1.2 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (34_000_000_000, "34.0 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size_text(size), text);
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let cells = |cells: [&str; 3]| Row::Cells(cells.map(String::from).into());
        let rows = vec![
            cells(["IMAGE", "SIZE", "STATE"]),
            cells(["é", "1.2 kB", "local"]),
            Row::Note("  because: why".into()),
        ];
        let table = "IMAGE    SIZE  STATE\né      1.2 kB  local\n  because: why\n";
        assert_eq!(align(rows, 3), table);
    }
}
