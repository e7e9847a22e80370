//! Options: what was typed, and what is meant by it.

use std::path::PathBuf;
use std::sync::Arc;

use super::Failure;
use super::copier::{Plan, Trip};
use super::credentials::{Credentials, Keyring};
use super::image::{Host, Source};
use super::job::Route;
use super::journal::Journal;
use super::login::Login;
use super::platform::Wanted;
use super::remote::{PULL, PULL_AND_PUSH, Remote};
use super::report::Format;
use super::select::Selection;
use super::wire::{Origin, Wire};

/// Copies images from another registry: all tags of a repository, or one.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// What to copy, as for docker pull: alpine, bitnami/redis, quay.io/org/img, ghcr.io/a/b:v1.
    /// Without a tag or digest, all tags
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The registry to copy to, such as 127.0.0.1:5005
    #[arg(value_name = "REGISTRY")]
    destination: String,
    /// Copy only tags that match, such as '3.*' (can be repeated)
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave tags out that match, such as '*-rc*' (can be repeated)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Of the tags that are left, copy the N highest versions
    #[arg(long, value_name = "N")]
    latest: Option<usize>,
    /// Copy only this platform, such as linux/arm64. One alone stands in for the whole image; of
    /// several, the index is kept as it is, if the destination takes one with gaps
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    platform: Vec<String>,
    /// Copy no signatures and other referrers of the images
    #[arg(long)]
    no_referrers: bool,
    /// Only say what there is to do: images, bytes, pulls
    #[arg(long)]
    dry_run: bool,
    /// Leave the source's registry out of the name: quay.io/org/img becomes org/img
    #[arg(long)]
    strip_registry: bool,
    /// Put this in front of the name: with hub, alpine becomes hub/alpine
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Do so many things at a time
    #[arg(short, long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Who to be at the source: USER or USER:PASSWORD; else LIGHTHOUSE_SRC_USER and
    /// LIGHTHOUSE_SRC_PASSWORD, else what docker login knows
    #[arg(long, value_name = "USER")]
    src_user: Option<Typed>,
    /// A file with the password for --src-user
    #[arg(long, value_name = "FILE")]
    src_password_file: Option<PathBuf>,
    /// Who to be at the destination: USER or USER:PASSWORD; else LIGHTHOUSE_DEST_USER and
    /// LIGHTHOUSE_DEST_PASSWORD, else what docker login knows
    #[arg(long, value_name = "USER")]
    dest_user: Option<Typed>,
    /// A file with the password for --dest-user
    #[arg(long, value_name = "FILE")]
    dest_password_file: Option<PathBuf>,
    /// Let this token server see passwords although it does not belong to the registry that
    /// names it (can be repeated)
    #[arg(long, value_name = "HOST")]
    trust_realm: Vec<String>,
    /// Reach a source by way of another host, as in docker.io=mirror.example.com; logins are
    /// then those for the mirror (can be repeated)
    #[arg(long, value_name = "HOST=MIRROR")]
    mirror: Vec<String>,
    /// Speak HTTP without TLS to this registry; to this machine itself that is a matter of
    /// course (can be repeated)
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
    /// Speak TLS to this registry although it is on this machine (can be repeated)
    #[arg(long, value_name = "HOST")]
    tls: Vec<String>,
    /// Trust the certificates in this PEM file at the source, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    src_ca_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file at the destination, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    dest_ca_file: Option<PathBuf>,
    /// Try again so many times after a failure that may pass
    #[arg(long, value_name = "N", default_value_t = 6)]
    retries: u32,
    /// Where to note what has arrived, so that the same run goes on after an interruption
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

/// A user as typed, perhaps with a password, which is not to be seen.
#[derive(Clone)]
struct Typed(String);

impl std::str::FromStr for Typed {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Typed, Self::Err> {
        Ok(Typed(text.into()))
    }
}

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// All that a run needs.
pub struct Setup {
    /// What is wanted.
    pub plan: Plan,
    /// The repositories.
    pub trips: Vec<Trip>,
    /// How each of them travels.
    pub routes: Vec<Route>,
    /// What has arrived before; a dry run writes nothing down.
    pub journal: Option<Journal>,
}

impl Options {
    /// Checks what was typed, all of it before the first request.
    pub fn set_up(self) -> Result<Setup, Failure> {
        let sources: Vec<Source> = self
            .images
            .iter()
            .map(|text| Source::parse(text))
            .collect::<Result<_, _>>()?;
        let sources = by_repository(sources);
        let destination = Host::parse(&self.destination).map_err(|_| self.no_destination())?;
        let platforms = self.platform.iter().map(|text| Wanted::parse(text));
        let plan = Plan {
            selection: Selection {
                include: self.include.clone(),
                exclude: self.exclude.clone(),
                latest: self.latest,
            },
            platforms: platforms.collect::<Result<_, _>>()?,
            referrers: !self.no_referrers,
            dry: self.dry_run,
            jobs: self.jobs.into(),
        };
        let routes = self.routes(&sources, &destination)?;
        let name = |route: &Route| {
            let (from, to) = (
                route.source.name(&route.from),
                route.destination.name(&route.to),
            );
            format!("{from} {to}")
        };
        let names: Vec<String> = routes.iter().map(name).collect();
        let journal = match self.dry_run {
            true => None,
            false => Some(Journal::open(self.journal.as_deref(), &names)?),
        };
        let trips = sources.into_iter().zip(&routes).map(|(sources, route)| {
            let (from, to) = (
                route.source.name(&route.from),
                route.destination.name(&route.to),
            );
            let known = journal.as_ref().map(|journal| journal.known(&from, &to));
            let same = route.source.origin == route.destination.origin;
            let beside = same.then(|| route.from.clone());
            Trip {
                sources,
                to: route.to.clone(),
                known: known.unwrap_or_default(),
                beside,
            }
        });
        Ok(Setup {
            plan,
            trips: trips.collect(),
            routes,
            journal,
        })
    }

    fn no_destination(&self) -> Failure {
        let text = &self.destination;
        Failure::Name(format!(
            "{text:?} is not a registry to copy to; write host or host:port, and say --prefix to \
             put the images into a folder there"
        ))
    }

    fn routes(&self, sources: &[Vec<Source>], destination: &Host) -> Result<Vec<Route>, Failure> {
        let keyring = Arc::new(Keyring::open()?);
        let trusted: Arc<[String]> = self.trust_realm.clone().into();
        let wire = |ca_file: &Option<PathBuf>| {
            let pem = ca_file.as_ref().map(read).transpose()?;
            Wire::new(self.jobs.into(), self.retries, pem.as_deref())
        };
        let (wire, own_wire) = (wire(&self.src_ca_file)?, wire(&self.dest_ca_file)?);
        let given = given("SRC", &self.src_user, &self.src_password_file)?;
        if given.is_some()
            && sources
                .iter()
                .any(|source| source[0].host != sources[0][0].host)
        {
            return Err(Failure::Name(
                "a login for the source is for one registry, and there are several; run docker \
                 login for each instead"
                    .into(),
            ));
        }
        let remote = |host: &Host, wire: &Wire, given: &Option<Credentials>, access| {
            let origin = Origin::new(host, self.is_plain(host));
            let login = Login::new(host, &origin, given.clone(), &keyring, &trusted);
            Remote::new(host, origin, wire.clone(), login, access)
        };
        let own = self::given("DEST", &self.dest_user, &self.dest_password_file)?;
        let destination = Arc::new(remote(destination, &own_wire, &own, PULL_AND_PUSH));
        let prefix = self.prefix.as_deref();
        let route = |sources: &Vec<Source>| {
            let source = &sources[0];
            let to = source.repository_at_destination(self.strip_registry, prefix)?;
            let host = self.mirror_of(&source.host)?;
            Ok(Route {
                source: remote(&host, &wire, &given, PULL),
                from: source.repository.clone(),
                destination: destination.clone(),
                to,
            })
        };
        let routes: Vec<Route> = sources.iter().map(route).collect::<Result<_, Failure>>()?;
        for (index, route) in routes.iter().enumerate() {
            if route.source.origin == route.destination.origin && route.from == route.to {
                let name = route.destination.name(&route.to);
                return Err(Failure::Name(format!("{name} can't be copied onto itself")));
            }
            if routes[..index].iter().any(|other| other.to == route.to) {
                return Err(Failure::Name(format!(
                    "two repositories would both become {}; copy them one after the other, each \
                     with a --prefix",
                    route.to
                )));
            }
        }
        Ok(routes)
    }

    fn is_plain(&self, host: &Host) -> bool {
        let is_in = |hosts: &[String]| hosts.iter().any(|one| one == host.as_str());
        (host.is_loopback() || is_in(&self.plain_http)) && !is_in(&self.tls)
    }

    fn mirror_of(&self, host: &Host) -> Result<Host, Failure> {
        for mirror in &self.mirror {
            let (from, to) = mirror.split_once('=').ok_or_else(|| {
                Failure::Name(format!(
                    "--mirror {mirror:?} is not of the form HOST=MIRROR"
                ))
            })?;
            if Host::parse(from)? == *host {
                return Host::parse(to);
            }
        }
        Ok(host.clone())
    }
}

/// What is asked for, each repository once.
fn by_repository(sources: Vec<Source>) -> Vec<Vec<Source>> {
    let mut repositories: Vec<Vec<Source>> = Vec::new();
    for source in sources {
        let name = source.name();
        match repositories.iter_mut().find(|same| same[0].name() == name) {
            Some(same) => same.push(source),
            None => repositories.push(vec![source]),
        }
    }
    repositories
}

/// The login that was typed, or set in the environment.
fn given(
    side: &str,
    user: &Option<Typed>,
    password_file: &Option<PathBuf>,
) -> Result<Option<Credentials>, Failure> {
    let variable = |what: &str| std::env::var(format!("LIGHTHOUSE_{side}_{what}")).ok();
    let Some(user) = user
        .as_ref()
        .map(|user| user.0.clone())
        .or_else(|| variable("USER"))
    else {
        return Ok(None);
    };
    if let Some((user, password)) = user.split_once(':') {
        return Ok(Some(Credentials::password(user, password)));
    }
    let password = match password_file {
        Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim_end().to_owned()),
        None => variable("PASSWORD"),
    };
    let flag = side.to_lowercase();
    let password = password.ok_or_else(|| {
        Failure::Name(format!(
            "there is no password for {user}: set LIGHTHOUSE_{side}_PASSWORD, or name a file \
             with --{flag}-password-file"
        ))
    })?;
    Ok(Some(Credentials::password(user, password)))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|cause| Failure::disk(path, cause))
}
