//! A double of Estuary: a main node and its shuttles, as a program of its own.
//!
//! Estuary's public servers are gone, and so the tests speak to this one. It keeps contents with
//! states and true CIDs, answers as Estuary's source says, and fails on command.
//!
//! ```text
//! estuary-double DIR [PORT [SHUTTLE_PORT…]]
//! ```
//!
//! It keeps contents and their rows in DIR, so that it can be killed and started again. It prints
//! one line for each server, `main http://…` and `shuttle http://…`, when all of them listen (port
//! 0 is any port). `POST /double` replaces the settings (`settings.rs` lists them), `GET /double`
//! gives the requests it had and the rows it keeps. `ESTuserARY` is a token for everything,
//! `ESTuploadARY` one for uploads only, `ESTexpiredARY` an old one.

mod content;
mod form;
mod metadata;
mod rows;
mod settings;
mod wire;

use rows::Rows;
use serde_json::{Value, json};
use settings::{Fault, Settings};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use wire::Exchange;

/// All servers' common state.
struct Double {
    dir: PathBuf,
    /// The main node first.
    servers: Vec<SocketAddr>,
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    rows: Rows,
    requests: Vec<Value>,
}

impl Double {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the state")
    }

    fn url(&self, server: usize) -> String {
        format!("http://{}", self.servers[server])
    }
}

/// What a token is good for.
#[derive(PartialEq, PartialOrd)]
enum Level {
    Nothing,
    Upload,
    User,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("usage: estuary-double DIR [PORT…]"));
    std::fs::create_dir_all(&dir).expect("DIR can be made");
    let mut ports: Vec<u16> = arguments
        .map(|port| port.parse().expect("a port is a number"))
        .collect();
    if ports.is_empty() {
        ports.push(0);
    }
    let listen = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).expect("the port is free");
    let listeners: Vec<_> = ports.iter().map(listen).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
    let servers: Vec<_> = listeners.iter().map(address).collect();
    let rows = Rows::open(&dir);
    let state = State {
        settings: Settings::default(),
        rows,
        requests: Vec::new(),
    };
    let double = Arc::new(Double {
        dir,
        servers,
        state: Mutex::new(state),
    });
    for (server, address) in double.servers.iter().enumerate() {
        println!(
            "{} http://{address}",
            if server == 0 { "main" } else { "shuttle" }
        );
    }
    std::io::stdout().flush().expect("somebody reads our ports");
    let servers = listeners.into_iter().enumerate().map(|(server, listener)| {
        let double = double.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let double = double.clone();
                thread::spawn(move || converse(&double, server, stream));
            }
        })
    });
    servers
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|server| server.join().expect("endless"));
}

/// Answers one client until it goes, or is cut off.
fn converse(double: &Double, server: usize, stream: TcpStream) {
    let Ok(mut wire) = wire::Wire::new(stream) else {
        return;
    };
    while let Ok(Some(mut exchange)) = wire.next() {
        let seen = json!({
            "server": server,
            "method": exchange.method,
            "path": exchange.path,
            "query": exchange.query,
            "authorization": exchange.header("authorization"),
        });
        if exchange.path != "/double" {
            double.state().requests.push(seen);
        }
        if answer(double, server, &mut exchange).is_err() || !exchange.is_reusable() {
            return;
        }
    }
}

/// One request, as Estuary routes it. An error means that the connection is to be cut.
fn answer(double: &Double, server: usize, exchange: &mut Exchange) -> std::io::Result<()> {
    let path = exchange.path.trim_end_matches('/').to_string();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let method = exchange.method.clone();
    let route = match (server, &method[..], &parts[..]) {
        (_, "POST", ["content", "add"]) | (0, "POST", ["put"]) => "add",
        (_, "GET", ["gw", "ipfs", ..]) => "gateway",
        (_, "GET", ["get", _]) => "gateway",
        (_, _, ["gw", "ipfs", ..]) => return exchange.error(405, "Method Not Allowed", ""),
        (_, "GET", ["viewer"]) => "viewer",
        (_, "GET", ["health"]) => "health",
        (_, "GET" | "POST", ["double"]) => return command(double, exchange),
        (0, "GET", ["pinning", "pins"]) => "pins",
        (0, "GET" | "DELETE", ["pinning", "pins", _]) => "pins",
        (0, "GET", ["public" | "content", "by-cid", _]) => "by-cid",
        _ => return exchange.error(404, "Not Found", ""),
    };
    let fault = double.state().settings.fault(route, server);
    if let Some(fault) = &fault
        && fault.is_early()
    {
        return fail(exchange, fault);
    }
    let needed = match (route, parts[0]) {
        ("gateway" | "health", _) | ("by-cid", "public") => Level::Nothing,
        ("add" | "viewer", _) => Level::Upload,
        _ => Level::User,
    };
    if !authorized(exchange, server, needed)? {
        return Ok(());
    }
    match route {
        "add" => content::add(double, server, exchange, fault),
        "gateway" => content::gateway(double, server, exchange, parts[parts.len() - 1], fault),
        "viewer" => metadata::viewer(double, server, exchange),
        "health" => exchange.json(200, &json!({"status": "ok"})),
        "by-cid" => metadata::by_cid(double, exchange, parts[2]),
        _ => metadata::pins(double, exchange, parts.get(2).copied()),
    }
}

/// Whether the token is good for this; if not, it has been said.
fn authorized(exchange: &mut Exchange, server: usize, needed: Level) -> std::io::Result<bool> {
    if needed == Level::Nothing {
        return Ok(true);
    }
    let authorization = exchange
        .header("authorization")
        .unwrap_or_default()
        .to_string();
    let (status, reason, details) = match authorization.split(' ').collect::<Vec<_>>()[..] {
        [""] | ["undefined"] => (401, "ERR_AUTH_MISSING", "no api key was specified"),
        [scheme, ..] if scheme != "Bearer" => (
            401,
            "ERR_AUTH_MISSING_BEARER",
            "invalid api key was specified, missing Bearer",
        ),
        [_, "ESTuserARY"] => return Ok(true),
        [_, "ESTuploadARY"] if needed == Level::Upload => return Ok(true),
        [_, "ESTuploadARY"] if server > 0 => (401, "ERR_NOT_AUTHORIZED", ""),
        [_, "ESTuploadARY"] => (403, "ERR_NOT_AUTHORIZED", "api key is upload only"),
        [_, "ESTexpiredARY"] => (401, "ERR_TOKEN_EXPIRED", "authentication token expired"),
        [_, _] => (401, "ERR_INVALID_TOKEN", "api key does not exist"),
        _ => (401, "ERR_INVALID_AUTH", "invalid api key was specified"),
    };
    exchange.error(status, reason, details)?;
    Ok(false)
}

/// Fails before anything is done.
fn fail(exchange: &mut Exchange, fault: &Fault) -> std::io::Result<()> {
    match fault {
        Fault::Status(429) => exchange.error(429, "Too Many Requests", "rate limit exceeded"),
        Fault::Status(status) => exchange.error(*status, "ERR_ON_COMMAND", "as commanded"),
        Fault::Body(status, body) => exchange.text(*status, body),
        Fault::Redirect(to) => exchange.redirect(307, to),
        Fault::Hang => exchange.wait_until_gone(),
        _ => Err(std::io::Error::other("cut off on command")),
    }
}

/// The control of the double itself.
fn command(double: &Double, exchange: &mut Exchange) -> std::io::Result<()> {
    if exchange.method == "POST" {
        return match serde_json::from_reader(&mut *exchange) {
            Ok(settings) => {
                double.state().settings = settings;
                exchange.json(200, &json!({}))
            }
            Err(error) => exchange.error(400, "ERR_SETTINGS", &error.to_string()),
        };
    }
    let state = double.state();
    let rows = state
        .rows
        .all()
        .map(|row| row.json(&state.settings))
        .collect::<Vec<_>>();
    let seen = json!({"requests": state.requests, "rows": rows});
    drop(state);
    exchange.json(200, &seen)
}
