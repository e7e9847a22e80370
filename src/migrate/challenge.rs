//! Challenges: how a registry asks who we are, and whom we then believe.

use std::collections::HashMap;

use super::image::Host;

/// What a `WWW-Authenticate` header asks for (RFC 9110, section 11.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token that is fetched elsewhere (distribution, "Token Authentication Specification").
    Bearer {
        /// The URL of the token server.
        realm: String,
        /// Whom the token is to be for: the parameter `service`.
        audience: Option<String>,
        /// What the token is to allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first challenge that we can meet; a header may have several, and may be repeated.
    pub fn parse<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Challenge> {
        let mut found = None;
        for (scheme, mut parameters) in headers.flat_map(challenges) {
            match scheme.as_str() {
                "bearer" => {
                    let realm = parameters.remove("realm")?;
                    let (audience, scope) =
                        (parameters.remove("service"), parameters.remove("scope"));
                    return Some(Challenge::Bearer {
                        realm,
                        audience,
                        scope,
                    });
                }
                "basic" => found = Some(Challenge::Basic),
                _ => {}
            }
        }
        found
    }
}

/// The challenges in one header: each its scheme, in lower case, and its parameters.
fn challenges(header: &str) -> Vec<(String, HashMap<String, String>)> {
    let mut found: Vec<(String, HashMap<String, String>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest
            .find(|c: char| " \t,=".contains(c))
            .unwrap_or(rest.len());
        if end == 0 {
            return found;
        }
        let (word, after) = rest.split_at(end);
        let Some(value) = after.trim_start().strip_prefix('=') else {
            found.push((word.to_ascii_lowercase(), HashMap::new()));
            rest = after;
            continue;
        };
        let (value, after) = unquote(value.trim_start());
        if let Some((_, parameters)) = found.last_mut() {
            parameters.insert(word.to_ascii_lowercase(), value);
        }
        rest = after;
    }
}

/// The value in front, out of its quotes if it has some, and what comes after it.
fn unquote(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| " \t,".contains(c))
            .unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// Token servers that live elsewhere than their registries, as their operators document it.
const KNOWN_REALMS: [(&str, &str); 2] = [
    ("docker.elastic.co", "docker-auth.elastic.co"),
    ("lscr.io", "ghcr.io"),
];

/// Whether a token server may see the credentials for a registry: it is on the registry's own
/// host, below it or above it (`gitlab.example.com` for `registry.gitlab.example.com`), a known
/// one, or one the user trusts; and, like the registry, it is reached by TLS. Anyone could name
/// their own server in a challenge and collect passwords (CVE-2020-15157, CVE-2026-33540).
pub fn may_see_credentials(registry: &Host, plain: bool, realm: &str, trusted: &[String]) -> bool {
    let Some((scheme, rest)) = realm.split_once("://") else {
        return false;
    };
    if !(scheme == "https" || scheme == "http" && plain) {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Ok(realm) = Host::parse(authority) else {
        return false;
    };
    let (own, other) = (registry.name(), realm.name());
    let is_below = |one: &str, other: &str| {
        let other_is_a_domain = other.contains('.') && other.parse::<std::net::IpAddr>().is_err();
        other_is_a_domain
            && one
                .strip_suffix(other)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    own == other
        || is_below(own, other)
        || is_below(other, own)
        || KNOWN_REALMS.contains(&(own, other))
        || trusted
            .iter()
            .any(|host| host == other || host == realm.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Option<Challenge> {
        Challenge::parse(std::iter::once(header))
    }

    #[test]
    fn challenges_are_read_whatever_their_form() {
        let bearer = |realm: &str, audience: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                audience: audience.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        for (header, expected) in [
            (
                "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\"",
                bearer("https://a/t", Some("s"), Some("repository:x:pull,push")),
            ),
            (
                "bearer realm = https://a/t , service=s",
                bearer("https://a/t", Some("s"), None),
            ),
            (
                "Basic realm=\"x\", Bearer realm=\"https://a\"",
                bearer("https://a", None, None),
            ),
            ("Bearer realm=\"a\\\"b\"", bearer("a\"b", None, None)),
            ("Basic realm=\"Registry Realm\"", Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Negotiate abc==, Basic realm=\"x\"", Some(Challenge::Basic)),
            ("Bearer service=\"s\"", None),
            ("Bearer realm=\"open", bearer("open", None, None)),
            ("Digest realm=\"x\"", None),
            ("", None),
            ("=,=", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn credentials_are_for_the_registrys_own_realm() {
        let trusted = vec!["sso.test".to_owned(), "10.0.0.2:8443".to_owned()];
        for (registry, plain, realm, expected) in [
            ("docker.io", false, "https://auth.docker.io/token", true),
            ("docker.io", false, "http://auth.docker.io/token", false),
            (
                "docker.io",
                false,
                "https://auth.docker.io.evil.test/token",
                false,
            ),
            (
                "docker.io",
                false,
                "https://evil.test/auth.docker.io",
                false,
            ),
            (
                "docker.io",
                false,
                "https://auth.docker.io@evil.test/",
                false,
            ),
            ("ghcr.io", false, "https://ghcr.io/token", true),
            ("quay.io", false, "https://evil-quay.io/v2/auth", false),
            (
                "registry.gitlab.com",
                false,
                "https://gitlab.com/jwt/auth",
                true,
            ),
            ("registry.gitlab.com", false, "https://com/jwt/auth", false),
            ("r.test", false, "https://auth.r.test:5001/token", true),
            ("a.co.test", false, "https://b.co.test/token", false),
            ("r.test:5000", false, "https://r.test:5001/auth", true),
            ("r.test", false, "https://sso.test/auth", true),
            ("r.test", false, "https://10.0.0.2:8443/auth", true),
            ("r.test", false, "https://10.0.0.2/auth", false),
            ("127.0.0.1:5000", true, "http://127.0.0.1:5001/auth", true),
            ("127.0.0.1:5000", true, "http://127.0.0.2:5001/auth", false),
            ("1.127.0.0.1", true, "http://127.0.0.1/auth", false),
            ("r.test", false, "not a url", false),
        ] {
            let registry = Host::parse(registry).expect(registry);
            let seen = may_see_credentials(&registry, plain, realm, &trusted);
            assert_eq!(seen, expected, "{registry} {realm}");
        }
    }
}
