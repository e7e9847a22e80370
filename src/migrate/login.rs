//! Login: answering a registry's challenge, and keeping what that earned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::Method;

use super::Failure;
use super::challenge::{Challenge, may_see_credentials};
use super::credentials::{Credentials, Keyring, Secret};
use super::failure::without_secrets;
use super::image::Host;
use super::wire::{Answer, Origin, Payload, Wire, check, encode};

/// Who we are to one registry.
pub struct Login {
    host: Host,
    origin: Origin,
    /// What the user said on the command line; else the keyring is asked.
    given: Option<Credentials>,
    keyring: Arc<Keyring>,
    trusted_realms: Arc<[String]>,
    /// Held while a token is fetched, so that several workers fetch it once.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    /// Looked up at the first challenge: a program may have to ask the user.
    credentials: Option<Option<Credentials>>,
    /// By what they allow.
    tokens: HashMap<String, Token>,
}

struct Token {
    header: Secret,
    expires: Instant,
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Grant {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// What a token server may answer, in bytes.
const GRANT_SIZE_MAX: u64 = 1 << 20;

impl Login {
    /// A login to the registry named `host`, which is reached at `origin`.
    pub fn new(
        host: &Host,
        origin: &Origin,
        given: Option<Credentials>,
        keyring: &Arc<Keyring>,
        trusted_realms: &Arc<[String]>,
    ) -> Login {
        Login {
            host: host.clone(),
            origin: origin.clone(),
            given,
            keyring: keyring.clone(),
            trusted_realms: trusted_realms.clone(),
            state: Mutex::default(),
        }
    }

    /// The `Authorization` header for requests within a scope; none before the registry asks.
    pub fn authorization(&self, wire: &Wire, scope: &str) -> Result<Option<Secret>, Failure> {
        let mut state = self.state();
        match state.challenge.clone() {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self.credentials(&mut state)?.and_then(|own| own.basic())),
            Some(Challenge::Bearer {
                realm, audience, ..
            }) => {
                if let Some(token) = state.tokens.get(scope)
                    && Instant::now() < token.expires
                {
                    return Ok(Some(token.header.clone()));
                }
                let own = self.credentials(&mut state)?;
                let audience = audience.unwrap_or_default();
                let token = self.fetch(wire, &realm, &audience, scope, own)?;
                let header = token.header.clone();
                state.tokens.insert(scope.to_owned(), token);
                Ok(Some(header))
            }
        }
    }

    /// Takes in a 401 to a request that carried `used`; an error if there is no better answer.
    pub fn challenged(
        &self,
        answer: &Answer,
        scope: &str,
        used: Option<&Secret>,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        let headers = answer.headers().get_all("WWW-Authenticate");
        let challenge = Challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()));
        match &challenge {
            None => {
                return Err(Failure::Login(format!(
                    "{} answers 401 and asks for neither a password nor a token",
                    self.host
                )));
            }
            Some(Challenge::Basic) if used.is_some() || self.credentials(&mut state)?.is_none() => {
                return Err(self.refused(&mut state));
            }
            // Another worker may have fetched a new one by now.
            Some(Challenge::Bearer { .. }) => {
                if state
                    .tokens
                    .get(scope)
                    .is_some_and(|token| Some(&token.header) == used)
                {
                    state.tokens.remove(scope);
                }
            }
            Some(Challenge::Basic) => {}
        }
        state.challenge = challenge;
        Ok(())
    }

    /// The failure to say when the registry does not let us in.
    pub fn denied(&self) -> Failure {
        self.refused(&mut self.state())
    }

    fn refused(&self, state: &mut State) -> Failure {
        let host = &self.host;
        Failure::Login(match &state.credentials {
            Some(Some(Credentials::Password(user, _))) => {
                format!("{host} does not let {user} do this; use another login for {host}")
            }
            Some(Some(Credentials::Identity(_))) => {
                format!("{host} does not take the token of docker login; log in to {host} again")
            }
            _ => format!(
                "{host} does not let just anyone do this, or there is no such repository; run \
                 docker login {host}, or say who you are with --src-user or --dest-user"
            ),
        })
    }

    fn credentials(&self, state: &mut State) -> Result<Option<Credentials>, Failure> {
        if let Some(known) = &state.credentials {
            return Ok(known.clone());
        }
        let found = match &self.given {
            Some(given) => Some(given.clone()),
            None => self.keyring.find(&self.host)?,
        };
        state.credentials = Some(found.clone());
        Ok(found)
    }

    /// Fetches a token (distribution, "Token Authentication Specification", and its OAuth 2 form
    /// for an identity token).
    fn fetch(
        &self,
        wire: &Wire,
        realm: &str,
        audience: &str,
        scope: &str,
        own: Option<Credentials>,
    ) -> Result<Token, Failure> {
        self.vet(realm, own.is_some())?;
        let mut query = format!("service={}", encode(audience));
        for scope in scope.split(' ') {
            query += &format!("&scope={}", encode(scope));
        }
        let basic = own.as_ref().and_then(Credentials::basic);
        let mut answer = wire.retry(|| match &own {
            Some(Credentials::Identity(token)) => {
                // OAuth 2 has one parameter for all scopes.
                let form = format!(
                    "grant_type=refresh_token&service={}&scope={}&client_id=lighthouse\
                     &refresh_token={}",
                    encode(audience),
                    encode(scope),
                    encode(token.reveal())
                );
                let form_type = ("Content-Type", "application/x-www-form-urlencoded");
                let mut payload = Payload::Bytes(form.as_bytes());
                let answer = wire.send(&Method::POST, realm, &[form_type], &mut payload)?;
                self.granted(realm, answer)
            }
            _ => {
                let separator = if realm.contains('?') { '&' } else { '?' };
                let url = format!("{realm}{separator}{query}");
                let basic = basic
                    .as_ref()
                    .map(|basic| ("Authorization", basic.reveal()));
                let headers: Vec<_> = basic.into_iter().collect();
                let answer = wire.send(&Method::GET, &url, &headers, &mut Payload::None)?;
                self.granted(realm, answer)
            }
        })?;
        let grant = answer
            .body_mut()
            .with_config()
            .limit(GRANT_SIZE_MAX)
            .read_to_vec();
        let grant: Option<Grant> = grant
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok());
        let lifetime = grant
            .as_ref()
            .and_then(|grant| grant.expires_in)
            .unwrap_or(60);
        let token = grant.and_then(|grant| grant.token.or(grant.access_token));
        let token = token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Failure::protocol(realm, "it granted no token"))?;
        // Renewed a little before its end, for clocks differ and requests take time.
        let lifetime = Duration::from_secs(lifetime.clamp(60, 86_400)) * 9 / 10;
        let header = Secret::new(format!("Bearer {token}"));
        Ok(Token {
            header,
            expires: Instant::now() + lifetime,
        })
    }

    /// Refuses a realm that must not see what we would send there.
    fn vet(&self, realm: &str, with_credentials: bool) -> Result<(), Failure> {
        let (host, place) = (&self.host, without_secrets(realm));
        if !(realm.starts_with("https://")
            || realm.starts_with("http://") && self.origin.is_plain())
        {
            return Err(Failure::Login(format!(
                "{host} sends us for a token to {place}, which is not encrypted"
            )));
        }
        let plain = self.origin.is_plain();
        if with_credentials && !may_see_credentials(host, plain, realm, &self.trusted_realms) {
            let rest = place.split_once("://").map_or("", |(_, rest)| rest);
            let other = rest.split('/').next().unwrap_or_default();
            return Err(Failure::Login(format!(
                "{host} wants its password sent to {other}, which does not belong to it, so it \
                 was not sent; if that is right, say --trust-realm {other}"
            )));
        }
        Ok(())
    }

    fn granted(&self, realm: &str, answer: Answer) -> Result<Answer, Failure> {
        match answer.status().as_u16() {
            200..=299 => Ok(answer),
            401 | 403 => Err(self.refused_by(realm)),
            300..=399 => Err(Failure::protocol(
                realm,
                "it sends us elsewhere for a token",
            )),
            _ => check(realm, answer),
        }
    }

    fn refused_by(&self, realm: &str) -> Failure {
        let host = &self.host;
        Failure::Login(format!(
            "{} refuses our login to {host}; run docker login {host} again",
            without_secrets(realm)
        ))
    }

    /// What a worker that panicked leaves behind is whole: each change is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
