//! Rooms and floors: who may know whom.

use super::{Complaint, complaints, hold, house, rust::Source};

/// An import points down, or to a room beside it that does not look back. The rooms on floor 1
/// do not know each other.
const FLOORS: &[(&str, u8)] = &[
    ("oci", 0),
    ("cid", 0),
    ("config", 0),
    ("fault", 0),
    ("disk", 0),
    ("logbook", 0),
    ("outward", 0),
    ("nearest", 0),
    ("progress", 0),
    ("http", 1),
    ("catalog", 1),
    ("spool", 1),
    ("blobs", 1),
    ("estuary", 1),
    ("kubo", 1),
    ("gateway", 1),
    ("registry", 2),
    ("pump", 2),
    ("migrate", 2),
    ("status", 2),
    ("export", 2),
    ("lib", 3),
    ("main", 3),
];

/// What a room does not name, whatever its floor.
const STRANGERS: &[(&str, &str)] = &[
    // The specs' words are parsed and printed without any input or output.
    ("oci", "std::fs"),
    ("oci", "std::net"),
    ("oci", "tiny_http"),
    ("oci", "ureq"),
    // What is kept does not depend on who sends it.
    ("catalog", "tiny_http"),
    ("catalog", "ureq"),
    ("spool", "tiny_http"),
    ("spool", "ureq"),
    ("blobs", "tiny_http"),
    ("blobs", "ureq"),
    // The room that decides sees no socket, no thread and no clock: time arrives in an event.
    ("registry", "tiny_http"),
    ("registry", "ureq"),
    ("registry", "std::net"),
    ("registry", "std::thread"),
    ("registry", "Instant::now"),
    ("registry", "SystemTime::now"),
    // A program of its own.
    ("migrate", "crate::http"),
    ("migrate", "crate::catalog"),
    ("migrate", "crate::registry"),
    ("migrate", "crate::pump"),
];

fn floor(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, floor)| *floor)
}

/// Whether the imports of the room `from` lead to the room `to`, past those already `seen`.
fn leads(sources: &[Source], from: &str, to: &str, seen: &mut Vec<String>) -> bool {
    if from == to || seen.iter().any(|room| room == from) {
        return from == to;
    }
    seen.push(from.into());
    let mut inside = sources.iter().filter(|source| source.room() == Some(from));
    inside.any(|source| {
        source
            .rooms()
            .iter()
            .any(|(room, _)| leads(sources, room, to, seen))
    })
}

/// What is wrong with `room` on floor `own` naming `known`.
fn climb(sources: &[Source], room: &str, own: u8, known: &str) -> Option<String> {
    if known == room || own == 3 {
        return None;
    }
    match floor(known) {
        None => Some(format!(
            "crate::{known} stands in no room: give it one below {room}, or a floor in FLOORS"
        )),
        Some(floor) if floor > own => Some(format!(
            "{room} (floor {own}) names {known} (floor {floor}), but imports point down: hand in \
             what is needed, or move it to a lower floor"
        )),
        Some(1) if own == 1 => Some(format!(
            "{room} and {known} stand on floor 1, where rooms do not know each other: let a room \
             above bring them together"
        )),
        Some(floor) if floor == own && leads(sources, known, room, &mut Vec::new()) => Some(
            format!("{room} and {known} know each other: move what they share down a floor"),
        ),
        Some(_) => None,
    }
}

/// The climbs of one of the `sources`.
fn climbs(sources: &[Source], source: &Source) -> Vec<Complaint> {
    let Some(room) = source.room() else {
        return Vec::new();
    };
    let Some(own) = floor(room) else {
        return vec![(
            1,
            format!("give {room} a floor in FLOORS and a row in ARCHITECTURE.md"),
        )];
    };
    let rooms = source.rooms().into_iter();
    rooms
        .filter_map(|(known, line)| Some((line, climb(sources, room, own, &known)?)))
        .collect()
}

#[test]
fn imports_point_down() {
    let sources = house();
    let bad = [
        (
            "src/oci/mod.rs",
            "use crate::{cid, http::{self, Exchange}};",
        ),
        (
            "src/http/socket.rs",
            "fn f() { super::super::registry::g() }",
        ),
        ("src/http.rs", "mod tests { use super::super::pump::*; }"),
        ("src/spool.rs", "use crate::blobs;"),
        ("src/pump.rs", "use crate::serve;"),
        ("src/attic.rs", ""),
    ];
    hold(|source| climbs(&sources, source), &bad);
}

#[test]
fn rooms_beside_each_other_do_not_look_back() {
    let found = |registry: &str| {
        let sources = [
            Source::new("src/pump.rs", "use crate::registry::Job;"),
            Source::new("src/registry/mod.rs", registry),
        ];
        complaints(&sources, |source| climbs(&sources, source)).len()
    };
    assert_eq!(found("use super::{catalog, oci::{Digest as D}};"), 0);
    assert_eq!(found("use super::pump::start;"), 2);
}

#[test]
fn strangers_are_not_named() {
    let rule = |source: &Source| {
        let mut found = Vec::new();
        for (_, stranger) in STRANGERS
            .iter()
            .filter(|(room, _)| source.room() == Some(room))
        {
            let parts: Vec<&str> = stranger.split("::").collect();
            let named = source.named().into_iter();
            for name in named.filter(|name| name.parts.windows(parts.len()).any(|w| w == parts)) {
                let what = format!(
                    "{stranger} is a stranger in this room: leave it to the room that knows it, \
                     and take what it gives as an argument or an event"
                );
                found.push((name.line, what));
            }
        }
        found
    };
    let bad = [
        ("src/registry/mod.rs", "use std::{io, net::IpAddr};"),
        (
            "src/registry/blob.rs",
            "fn f() { g(std::time::Instant::now()) }",
        ),
        ("src/oci/mod.rs", "fn f() -> ureq::Agent { g() }"),
        ("src/migrate/mod.rs", "use super::registry;"),
    ];
    hold(rule, &bad);
}
