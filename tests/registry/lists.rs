//! Listing tags and repositories (distribution-spec, "Listing Tags"; distribution's
//! `_catalog`).

use std::collections::BTreeSet;

use lighthouse::oci::manifest::OCI_MANIFEST;
use serde_json::json;

use crate::world::{Ask, Image, Place, Served};

journeys!(
    tags_are_listed_in_order,
    pages_of_tags_make_the_whole_list,
    pages_of_repositories_make_the_whole_list,
    a_list_may_be_empty,
    counts_that_are_none_are_refused,
    a_list_goes_on_after_whatever_the_client_saw_last,
    a_head_of_a_list_has_no_body,
);

/// Names that sort, escape or compare in surprising ways.
const TAGS: [&str; 16] = [
    "1", "10", "2", "A", "B-", "Z", "_", "__", "a", "a-b", "a.b", "a_b", "aa", "latest", "v1.0.0",
    "z..z",
];

fn tag(hub: &Served, repository: &str, tags: &[&str]) {
    let image = Image::named("listed");
    hub.push_blobs(repository, &image);
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let target = format!(
        "/v2/{repository}/manifests/{}?{}",
        image.digest(),
        query.join("&")
    );
    let put = Ask::put(target).with("Content-Type", OCI_MANIFEST);
    hub.ask(put.body(image.manifest.bytes)).expect(201);
}

fn tags_are_listed_in_order(hub: &Served) {
    tag(hub, "a/b", &TAGS);
    let answer = hub.get("/v2/a/b/tags/list").expect(200);
    assert_eq!(answer.json(), json!({ "name": "a/b", "tags": TAGS }));
    assert_eq!(answer.find("Link"), None);
    assert!(
        answer
            .header("Content-Type")
            .starts_with("application/json")
    );
    hub.get("/v2/a/tags/list").refuses(404, "NAME_UNKNOWN");
    hub.get("/v2/A/tags/list").refuses(400, "NAME_INVALID");
}

fn pages_of_tags_make_the_whole_list(hub: &Served) {
    let longest = "x".repeat(128);
    let all = [&TAGS[..], &[&longest]].concat();
    tag(hub, "a/b", &all);
    let all: BTreeSet<String> = all.iter().map(|tag| (*tag).to_owned()).collect();
    for n in [1, 2, 3, 7, 16, 17, 18, 1000] {
        let (listed, pages) = hub.list(&format!("/v2/a/b/tags/list?n={n}"), "tags");
        assert!(listed.iter().eq(&all), "{n}: {listed:?}");
        assert_eq!(
            pages,
            all.len().div_ceil(n),
            "a full last page has no next one"
        );
    }
}

fn pages_of_repositories_make_the_whole_list(hub: &Served) {
    let longest = "x/".repeat(127) + "x";
    let names = [
        "0",
        "a",
        "a-b",
        "a-b/c",
        "a.b",
        "a/b",
        "a/b/c",
        "a/b-c",
        "a/b.c/d",
        "a__b",
        "a_b",
        "ab",
        "blobs",
        "manifests/tags",
        "tags",
        "uploads",
        "zz",
        &longest,
    ];
    for name in names {
        tag(hub, name, &["v1"]);
    }
    let all: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for n in [1, 2, 5, 17, 18, 19, 1000] {
        let (listed, pages) = hub.list(&format!("/v2/_catalog?n={n}"), "repositories");
        assert!(listed.iter().eq(&all), "{n}: {listed:?}");
        assert_eq!(pages, all.len().div_ceil(n));
    }
    let (listed, _) = hub.list("/v2/_catalog", "repositories");
    assert!(listed.iter().eq(&all));
    // A repository is there with its first manifest, not with a blob.
    hub.push_blobs("only/blobs", &Image::named("only"));
    assert!(
        !hub.list("/v2/_catalog", "repositories")
            .0
            .contains(&"only/blobs".to_owned())
    );
    // Each of those names is served like any other.
    for name in names {
        hub.manifest(name, "v1").expect(200);
    }
}

fn a_list_may_be_empty(hub: &Served) {
    let empty = hub.get("/v2/_catalog").expect(200);
    assert_eq!(empty.json(), json!({ "repositories": [] }));
    tag(hub, "a", &["v1"]);
    for target in [
        "/v2/a/tags/list?n=0",
        "/v2/_catalog?n=0",
        "/v2/a/tags/list?last=zz",
    ] {
        let none = hub.get(target).expect(200);
        assert!(none.json().to_string().contains("[]"), "{target}: {none}");
        assert_eq!(none.find("Link"), None, "{target}");
    }
}

fn counts_that_are_none_are_refused(hub: &Served) {
    tag(hub, "a", &["v1"]);
    for list in ["/v2/a/tags/list", "/v2/_catalog"] {
        for n in [
            "-1",
            "x",
            "1.5",
            "%2B1",
            "99999999999999999999",
            "0x10",
            "1%00",
        ] {
            hub.get(format!("{list}?n={n}"))
                .refuses(400, "PAGINATION_NUMBER_INVALID");
        }
        // A huge count costs nothing.
        for n in [u64::from(u32::MAX) + 1, i64::MAX as u64, u64::MAX] {
            hub.get(format!("{list}?n={n}")).expect(200);
        }
    }
}

fn a_list_goes_on_after_whatever_the_client_saw_last(hub: &Served) {
    tag(hub, "a", &["a", "c", "e"]);
    for (last, rest) in [
        ("b", vec!["c", "e"]),
        ("c", vec!["e"]),
        ("A", vec!["a", "c", "e"]),
    ] {
        let answer = hub.get(format!("/v2/a/tags/list?last={last}")).expect(200);
        assert_eq!(answer.json()["tags"], json!(rest));
    }
    for name in ["b/x", "d/x"] {
        tag(hub, name, &["v"]);
    }
    let answer = hub.get("/v2/_catalog?last=b%2Fx").expect(200);
    assert_eq!(answer.json()["repositories"], json!(["d/x"]));
    // What was deleted since the last page is no reason to end.
    hub.delete("/v2/a/manifests/c").expect(202);
    let answer = hub.get("/v2/a/tags/list?last=c&n=1").expect(200);
    assert_eq!(answer.json()["tags"], json!(["e"]));
}

fn a_head_of_a_list_has_no_body(hub: &Served) {
    tag(hub, "a", &["v1"]);
    for target in [
        "/v2/a/tags/list",
        "/v2/_catalog",
        "/v2/b/tags/list",
        "/v2/nonsense",
    ] {
        let (head, get) = (hub.head(target), hub.get(target));
        assert_eq!(head.status, get.status);
        assert_eq!(head.header("Content-Length"), get.header("Content-Length"));
        assert!(head.body.is_empty() && !get.body.is_empty());
    }
}

/// `tags.maxtags` and `catalog.maxentries` bound a page, however much a client asks for.
#[test]
fn the_owner_bounds_a_page() {
    let hub = Served::with(
        Place::Disk,
        &[("TAGS_MAXTAGS", "5"), ("CATALOG_MAXENTRIES", "2")],
    );
    for name in ["a", "b", "c"] {
        tag(&hub, name, &TAGS);
    }
    for query in ["", "?n=100"] {
        let (tags, pages) = hub.list(&format!("/v2/a/tags/list{query}"), "tags");
        assert_eq!(
            (tags, pages),
            (TAGS.map(str::to_owned).to_vec(), 4),
            "{query}"
        );
        let (names, pages) = hub.list(&format!("/v2/_catalog{query}"), "repositories");
        assert_eq!((names.join(" "), pages), ("a b c".into(), 2), "{query}");
    }
}

/// What was pushed before a restart is listed with what is pushed after it.
#[test]
fn lists_survive_a_restart() {
    let dir = tempfile::TempDir::new().expect("a folder");
    tag(&Served::at(dir.path(), &[]), "a/b", &["v1"]);
    let hub = Served::at(dir.path(), &[]);
    tag(&hub, "c", &["v1"]);
    tag(&hub, "a/b", &["v2"]);
    assert_eq!(hub.list("/v2/_catalog", "repositories").0, ["a/b", "c"]);
    assert_eq!(hub.list("/v2/a/b/tags/list", "tags").0, ["v1", "v2"]);
}
