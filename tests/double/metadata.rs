//! What Estuary tells about an account, its contents and their deals.

use crate::wire::Exchange;
use crate::{Double, State};
use lighthouse::cid::Cid;
use serde_json::{Value, json};
use std::io;

/// `GET /viewer`. A shuttle knows only who asks.
pub fn viewer(double: &Double, server: usize, exchange: &mut Exchange) -> io::Result<()> {
    if server > 0 {
        return exchange.json(200, &json!({"id": 1, "username": "double", "perms": 2}));
    }
    let endpoints = double
        .state()
        .settings
        .upload_endpoints
        .clone()
        .unwrap_or_else(|| {
            let shuttles = (1..double.servers.len()).chain([0]);
            shuttles
                .map(|server| double.url(server) + "/content/add")
                .collect()
        });
    let endpoints = if endpoints.is_empty() {
        Value::Null
    } else {
        json!(endpoints)
    };
    exchange.json(
        200,
        &json!({
            "username": "double", "perms": 2, "id": 1, "address": "f1double", "miners": null,
            "auth_expiry": "2099-01-01T00:00:00Z",
            "settings": {
                "replication": 6, "verified": true, "dealDuration": 1494720,
                "fileStagingThreshold": 1_100_000_000, "contentAddingDisabled": false,
                "dealMakingDisabled": false, "uploadEndpoints": endpoints, "flags": 0,
            },
        }),
    )
}

/// `GET /public/by-cid/{cid}`: active rows only, and never 404.
pub fn by_cid(double: &Double, exchange: &mut Exchange, cid: &str) -> io::Result<()> {
    let Ok(cid) = cid.parse::<Cid>() else {
        return exchange.error(500, "Internal Server Error", "invalid cid");
    };
    let state = double.state();
    let settings = &state.settings;
    let rows = state
        .rows
        .all()
        .filter(|row| row.is_active(settings) && row.cid == cid.to_string());
    let contents: Vec<_> = rows
        .map(|row| json!({"content": row.json(settings), "deals": row.deals(settings)}))
        .collect();
    drop(state);
    exchange.json(200, &json!(contents))
}

/// `/pinning/pins` and `/pinning/pins/{requestid}`. Errors here lack their `code`.
pub fn pins(double: &Double, exchange: &mut Exchange, id: Option<&str>) -> io::Result<()> {
    let Some(id) = id else {
        return match list(&double.state(), exchange) {
            Ok(list) => exchange.json(200, &list),
            Err((status, reason)) => exchange.pin_error(status, reason),
        };
    };
    let Ok(id) = id.parse::<u64>() else {
        return exchange.pin_error(500, "Internal Server Error");
    };
    let mut state = double.state();
    if exchange.method == "DELETE" {
        let found = state.rows.delete(id);
        drop(state);
        return match found {
            true => exchange.empty(202),
            false => exchange.pin_error(404, "ERR_CONTENT_NOT_FOUND"),
        };
    }
    let pin = state
        .rows
        .all()
        .find(|row| row.id == id)
        .map(|row| row.pin(&state.settings));
    drop(state);
    match pin {
        Some(pin) => exchange.json(200, &pin),
        None => exchange.pin_error(404, "ERR_CONTENT_NOT_FOUND"),
    }
}

/// The pins that the query asks for, in all states if it names none.
fn list(state: &State, exchange: &Exchange) -> Result<Value, (u16, &'static str)> {
    let settings = &state.settings;
    let names = |name: &str| {
        exchange
            .query(name)
            .map(|value| value.split(',').collect::<Vec<_>>())
    };
    let limit = match exchange.query("limit").map(str::parse) {
        None => 10,
        Some(Ok(limit @ 1..=1000)) => limit,
        Some(Ok(_)) => return Err((400, "ERR_INVALID_QUERY_PARAM_VALUE")),
        Some(Err(_)) => return Err((500, "Internal Server Error")),
    };
    let known = ["queued", "pinning", "pinned", "failed"];
    let statuses = names("status");
    if statuses
        .iter()
        .flatten()
        .any(|status| !known.contains(status))
    {
        return Err((400, "ERR_INVALID_PINNING_STATUS"));
    }
    // The set of three that makes Estuary write malformed SQL.
    if statuses
        .as_ref()
        .is_some_and(|set| set.len() == 3 && set.contains(&"failed"))
    {
        return Err((500, "Internal Server Error"));
    }
    let (cids, ids) = (names("cid"), names("requestid"));
    let one_of =
        |set: &Option<Vec<&str>>, value: &str| set.as_ref().is_none_or(|set| set.contains(&value));
    let named = |name: &str| match (exchange.query("name"), exchange.query("match")) {
        (None | Some(""), _) => true,
        (Some(asked), None | Some("exact")) => name == asked,
        (Some(asked), Some("iexact")) => name.eq_ignore_ascii_case(asked),
        (Some(asked), Some("partial")) => name.contains(asked),
        (Some(asked), _) => name.to_lowercase().contains(&asked.to_lowercase()),
    };
    let matches: Vec<_> = state
        .rows
        .all()
        .rev()
        .filter(|row| one_of(&cids, &row.cid) && one_of(&ids, &row.id.to_string()))
        .filter(|row| one_of(&statuses, row.status(settings)) && named(&row.name))
        .collect();
    let results: Vec<_> = matches
        .iter()
        .take(limit)
        .map(|row| row.pin(settings))
        .collect();
    Ok(json!({"count": matches.len(), "results": results}))
}
