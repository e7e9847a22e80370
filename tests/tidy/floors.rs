//! Rooms and floors: who may know whom.

use super::{Complaint, complaints, hold, house, rust::Source};

/// An import points down, or to a room beside it that does not look back.
const FLOORS: &[(&str, u8)] = &[
    ("oci", 0),
    ("cid", 0),
    ("config", 0),
    ("fault", 0),
    ("logbook", 0),
    ("nearest", 0),
    ("terminal", 0),
    ("disk", 1),
    ("outward", 1),
    ("http", 2),
    ("store", 2),
    ("ipfs", 2),
    ("estuary", 2),
    ("kubo", 2),
    ("gateway", 2),
    ("registry", 3),
    ("background", 3),
    ("migrate", 3),
    ("status", 3),
    ("export", 3),
    ("server", 4),
    ("commands", 5),
    ("lib", 5),
    ("main", 5),
];

/// The floor whose rooms may know all others.
const TOP: u8 = 5;

/// What a room does not name, whatever its floor.
const STRANGERS: &[(&str, &str)] = &[
    // The specs' words are parsed and printed without any input or output.
    ("oci", "std::fs"),
    ("oci", "std::net"),
    ("oci", "tiny_http"),
    ("oci", "ureq"),
    // What is kept does not depend on who sends it, or where else it is kept.
    ("store", "tiny_http"),
    ("store", "ureq"),
    ("store", "crate::http"),
    ("store", "crate::ipfs"),
    // Who answers requests sees no socket, and no database but through the store.
    ("registry", "tiny_http"),
    ("registry", "ureq"),
    ("registry", "rusqlite"),
    ("registry", "std::net"),
    ("background", "tiny_http"),
    ("background", "rusqlite"),
    ("background", "crate::http"),
    ("ipfs", "rusqlite"),
    ("server", "rusqlite"),
    ("status", "rusqlite"),
    ("export", "rusqlite"),
    // A program of its own.
    ("migrate", "crate::http"),
    ("migrate", "crate::store"),
    ("migrate", "crate::registry"),
    ("migrate", "crate::background"),
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
    if known == room || own == TOP {
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
        ("src/http.rs", "mod tests { use super::super::server::*; }"),
        ("src/store.rs", "use crate::background;"),
        ("src/background.rs", "use crate::serve;"),
        ("src/attic.rs", ""),
    ];
    hold(|source| climbs(&sources, source), &bad);
}

#[test]
fn rooms_beside_each_other_do_not_look_back() {
    let found = |registry: &str| {
        let sources = [
            Source::new("src/background.rs", "use crate::registry::Answer;"),
            Source::new("src/registry/mod.rs", registry),
        ];
        complaints(&sources, |source| climbs(&sources, source)).len()
    };
    assert_eq!(found("use super::{store, oci::{Digest as D}};"), 0);
    assert_eq!(found("use super::background::start;"), 2);
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
        ("src/registry/blob.rs", "fn f() { rusqlite::g() }"),
        ("src/oci/mod.rs", "fn f() -> ureq::Agent { g() }"),
        ("src/migrate/mod.rs", "use super::registry;"),
    ];
    hold(rule, &bad);
}
