//! What is refused, and what is said about it.

use super::{accepted, file, parse, refused};

/// Asserts that the one problem of a refused file contains this.
fn assert_refused(text: &str, part: &str) {
    let problems = refused(file(text));
    assert_eq!(problems.len(), 1, "{text}: {problems:#?}");
    assert!(problems[0].contains(part), "{text}: {problems:#?}");
}

#[test]
fn what_asks_for_protection_or_for_what_is_not_there_is_refused() {
    for (text, part) in [
        (
            "auth: htpasswd",
            "line 2: auth.htpasswd: users are not checked",
        ),
        (
            "auth:\n  htpasswd: {realm: a, path: b}",
            "line 3: auth.htpasswd: users are not checked",
        ),
        (
            "auth:\n  token:",
            "line 3: auth.token: users are not checked",
        ),
        (
            "auth: ldap",
            "auth.ldap: unknown key; known beneath auth are none, silly",
        ),
        (
            "http: {tls: {certificate: /a}}",
            "http.tls.certificate: TLS is not served; put a rev",
        ),
        ("http: {tls: {key: /a}}", "http.tls.key: TLS is not served"),
        (
            "http: {tls: {clientcas: [/a]}}",
            "http.tls.clientcas: TLS is not served",
        ),
        (
            "http: {tls: {letsencrypt: {email: a}}}",
            "http.tls.letsencrypt: TLS is not served",
        ),
        (
            "proxy: {remoteurl: 'https://a', password: b}",
            "proxy.remoteurl: a pull-through cache",
        ),
        (
            "notifications: {endpoints: [{name: a}]}",
            "notifications.endpoints: notifications",
        ),
        (
            "storage: s3",
            "storage.s3: this storage driver does not exist here; use filesystem",
        ),
        ("storage: {s3: }", "storage.s3: this storage driver"),
        (
            "storage: {azure: {container: a}}",
            "storage.azure: this storage driver",
        ),
        (
            "storage: {gcs: {bucket: a}}",
            "storage.gcs: this storage driver",
        ),
        ("storage: {swift: {}}", "storage.swift: this storage driver"),
        ("storage: {oss: {}}", "storage.oss: this storage driver"),
        (
            "middleware: {storage: [{name: cloudfront}]}",
            "middleware.storage[0]: cloudfront needs",
        ),
    ] {
        assert_refused(text, part);
    }
}

#[test]
fn every_problem_at_once_with_its_line() {
    let text = "\
version: 0.1
log:
  level: loud
  formatter: xml
storage:
  filesytem:
    rootdirectory: /data
  delete:
    enabled: perhaps
  tag:
    concurrencylimit: 3
http:
  addr: 5005
  headers:
    X-A: b
    X-B: [\"c\\r\\nX-D: e\"]
    Content-Length: ['1']
  tls:
    certificate: /cert
health:
  tcp:
    - adr: a:1
    - addr: b
      interval: 3 days
unheard: of
";
    assert_eq!(
        refused(parse(Some(text), &[])),
        [
            "E line 3: log.level: must be one of error, warn, info, debug",
            "E line 4: log.formatter: must be one of text, json, logstash",
            "E line 6: storage.filesytem: unknown key; did you mean storage.filesystem?",
            "E line 9: storage.delete.enabled: must be true or false",
            "W line 11: storage.tag.concurrencylimit: ignored; the disk needs no limit",
            "E line 13: http.addr: not an address; write HOST:PORT or :PORT, with an IPv6 host in \
             brackets",
            "E line 15: http.headers.X-A: must be a list, as in [a, b]",
            "E line 16: http.headers.X-B[0]: a header's value cannot contain line breaks or \
             control characters",
            "E line 17: http.headers.Content-Length: the registry sets this header itself",
            "E line 19: http.tls.certificate: TLS is not served; put a reverse proxy (Caddy, \
             nginx) in front and set http.host to its https:// URL",
            "E line 22: health.tcp[0].adr: unknown key; did you mean health.tcp[].addr?",
            "E line 22: health.tcp[0].addr: missing",
            "E line 23: health.tcp[1].addr: not an address; write HOST:PORT or :PORT, with an \
             IPv6 host in brackets",
            "E line 24: health.tcp[1].interval: not a duration; write a number with a unit (ns, \
             us, ms, s, m, h), as in 1h30m",
            "E line 25: unheard: unknown key; known are version, log, loglevel, storage, auth, \
             middleware, reporting, http, notifications, redis, health, proxy, compatibility, \
             policy, catalog, tags, validation",
        ]
    );
}

#[test]
fn versions_and_files_that_are_none() {
    for text in [
        "version: 0.1",
        "version: '0.1'",
        "---\nversion: 0.1\nstorage:\nhttp:\n",
    ] {
        accepted(parse(Some(text), &[]));
    }
    for (text, expected) in [
        ("", "E version: missing; the only version"),
        ("# nothing\n", "E version: missing; the only version"),
        ("log: {level: info}", "E version: missing; the only version"),
        ("\nversion: 0.2", "E line 2: version: the only version"),
        ("version: 1", "E line 1: version: the only version"),
        ("version: [0.1]", "E line 1: version: the only version"),
        ("just text", "E not a configuration; it consists of lines"),
        ("- a", "E not a configuration; it consists of lines"),
        (
            "version: 0.1\nhttp:\n  addr: :5\n addr: :6",
            "E line 4: not YAML: ",
        ),
        ("version: 0.1\n\tlog:", "E line 2: not YAML: "),
        (
            "version: 0.1\nlog: {level: info}\nlog: {level: info}",
            "E line 1: not YAML: dup",
        ),
        ("version: 0.1\n---\nversion: 0.1", "E not YAML: "),
        ("version: 0.1\n1: 2", "E a key beneath it is not text"),
    ] {
        let problems = refused(parse(Some(text), &[]));
        assert!(
            problems.len() == 1 && problems[0].starts_with(expected),
            "{text}: {problems:?}"
        );
    }
}

/// Whatever a file or a variable contains, it is read or refused. The letters that are put in
/// are those that mean something to YAML, to paths or to lengths of text.
#[test]
fn no_text_is_fatal() {
    const LETTERS: [char; 16] = [
        ' ', '\n', '\t', ':', '-', '[', ']', '{', '}', '\'', '"', '#', '|', '0', '*', 'µ',
    ];
    let mut state = 0x2545_f491_u32;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for _ in 0..200 {
        let mut text: Vec<char> = super::EVERYTHING.chars().collect();
        for _ in 0..=draw(8) {
            let (at, letter) = (draw(text.len()), LETTERS[draw(LETTERS.len())]);
            match draw(3) {
                0 => text[at] = letter,
                1 => text.insert(at, letter),
                _ => drop(text.remove(at)),
            }
        }
        let text: String = text.into_iter().collect();
        let start = text.char_indices().nth(draw(900)).map_or(0, |(at, _)| at);
        let variable = format!("REGISTRY_HTTP={}", &text[start..]);
        let _ = parse(Some(&format!("version: 0.1\n{text}")), &[&variable]);
        let name: String = text[start..]
            .chars()
            .filter(|c| *c != '=')
            .take(20)
            .collect();
        let _ = parse(None, &[&format!("REGISTRY_{name}=x")]);
    }
}

#[test]
fn shapes_and_values_that_do_not_fit() {
    for (text, part) in MISFITS {
        assert_refused(text, part);
    }
}

const MISFITS: &[(&str, &str)] = &[
    ("log: debug", "line 2: log: must be a section"),
    ("http: [a]", "line 2: http: must be a section"),
    ("health: {tcp: {addr: a}}", "health.tcp: must be a list"),
    (
        "storage: {gateway: https://a}",
        "storage.gateway: must be a list",
    ),
    (
        "storage: {gateway: ['ftp://a']}",
        "storage.gateway[0]: not a URL",
    ),
    (
        "storage: {inmemory: {size: 3}}",
        "storage.inmemory: takes no parameters",
    ),
    (
        "storage: {filesystem: {rootdirectory: [a]}}",
        "rootdirectory: must be text",
    ),
    (
        "storage: {filesystem: {rootdirectory: 1.5}}",
        "rootdirectory: must be text; put it in",
    ),
    (
        "storage: {kubo: {maxthreads: 0}}",
        "maxthreads: must be at least 1",
    ),
    (
        "storage: {kubo: {maxthreads: many}}",
        "maxthreads: must be a whole number",
    ),
    (
        "storage: {kubo: {}, recheck: 1s}",
        "storage.recheck: must be at least 1m",
    ),
    (
        "storage: {kubo: {acknowledge: never}}",
        "acknowledge: must be one of local, pinned",
    ),
    (
        "storage: {kubo: {cache: {size: -1}}}",
        "cache.size: not a size",
    ),
    (
        "storage: {kubo: {api: 'http://u:p@h'}}",
        "api: a user or password has no place",
    ),
    (
        "storage: {kubo: {export-name: ../x}}",
        "export-name: must consist of",
    ),
    (
        "storage: {estuary: {url: 'https://a'}}",
        "storage.estuary.auth-token: missing; an API",
    ),
    (
        "storage: {estuary: {auth-token: ''}}",
        "storage.estuary.auth-token: missing; an API",
    ),
    (
        "storage: {estuary: {auth-token: \"a\\nb\"}}",
        "auth-token: contains characters",
    ),
    (
        "storage: {estuary: {auth-token: a, gateway-pattern: 'https://a'}}",
        "must hold {cid}",
    ),
    (
        "storage:\n  filesystem:\n  redirect:\n  inmemory:",
        "line 5: storage.inmemory: filesystem and inmemory are set, but a registry has one",
    ),
    (
        "storage: {maintenance: {uploadpurging: {interval: 0}}}",
        "uploadpurging.interval: must be longer than 0",
    ),
    ("http: {net: udp}", "http.net: must be one of tcp, unix"),
    (
        "http: {net: unix}",
        "http.addr: missing; with http.net unix",
    ),
    ("http: {prefix: /a b/}", "http.prefix: not a path"),
    (
        "http: {host: registry.example.org}",
        "http.host: not a URL; it must begin with https",
    ),
    (
        "http: {debug: {addr: x}}",
        "http.debug.addr: not an address",
    ),
    (
        "http: {debug: {prometheus: {path: x}}}",
        "prometheus.path: must begin with a slash",
    ),
    (
        "http: {headers: {'X Y': [a]}}",
        "http.headers.X Y: not the name of a header",
    ),
    (
        "http: {draintimeout: -5s}",
        "http.draintimeout: not a duration",
    ),
    (
        "health: {file: [{interval: 1s}]}",
        "health.file[0].file: missing",
    ),
    (
        "health: {http: [{uri: 'http://a', statuscode: 9}]}",
        "statuscode: not a status",
    ),
    (
        "health: {storagedriver: {threshold: -1}}",
        "threshold: must be 1 or more",
    ),
    (
        "validation: {manifests: {urls: {allow: ['(']}}}",
        "allow[0]: not a regular expression",
    ),
    (
        "validation: {manifests: {indexes: {platforms: some}}}",
        "must be one of all, none, list",
    ),
    (
        "validation: {manifests: {indexes: {platformlist: [{os: a}]}}}",
        "platformlist[0].architecture: missing",
    ),
    (
        "log: {fields: {a: [b]}}",
        "log.fields.a: must be text, a number, true or false",
    ),
];
