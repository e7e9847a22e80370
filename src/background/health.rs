//! Health: what `/debug/health` says, and what the log says when it changes (distribution's
//! `health` configuration).

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::work::{Core, Next, fault, lock};
use crate::config::{self, Check, FileCheck, HttpCheck, TcpCheck};
use crate::fault::Fault;
use crate::ipfs::{Ipfs, Network};

/// How gateways are checked if the configuration does not say how the store is.
const GATEWAY_CHECK: Check = Check {
    interval: Duration::from_secs(10),
    threshold: 3,
};
/// How long a check may take if the configuration does not say.
const CHECK_TIME_MAX: Duration = Duration::from_secs(10);

/// What is checked.
#[derive(Clone, Debug)]
enum Probe {
    Store,
    Network(Arc<Network>),
    Gateway(usize),
    File(FileCheck),
    Http(HttpCheck),
    Tcp(TcpCheck),
}

/// How the checks of the configuration went lately, and what background work lacks.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    checks: Vec<Checked>,
    /// Work that can't go on, and why.
    work: BTreeMap<&'static str, String>,
}

/// What a check found where nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// All is as it should be.
    Well,
    /// A gateway that only we can read; why, and what to do about it.
    NotForClients(String),
}

#[derive(Debug)]
struct Checked {
    name: String,
    /// Its place among the gateways, if it is one.
    gateway: Option<usize>,
    threshold: u32,
    /// What it found when it last ended well.
    finding: Option<Finding>,
    failures: u32,
    cause: String,
}

impl Health {
    /// The cause of each failure, by what failed; empty while all is well.
    pub fn causes(&self) -> BTreeMap<String, String> {
        let known = lock(&self.0);
        let failed = known.checks.iter().filter(|checked| checked.has_failed());
        let checks = failed.map(|checked| (checked.name.clone(), checked.cause.clone()));
        let work = known.work.iter();
        let work = work.map(|(name, cause)| ((*name).to_owned(), cause.clone()));
        checks.chain(work).collect()
    }

    /// Whether that gateway, by its place in the configuration, answered its last check as one to
    /// which clients can be sent.
    pub fn takes_clients(&self, gateway: usize) -> bool {
        self.found_last(gateway) == Some(Finding::Well)
    }

    /// Whether that gateway answered its last check.
    pub(super) fn answers(&self, gateway: usize) -> bool {
        self.found_last(gateway).is_some()
    }

    /// What the last check of a gateway found; None if it failed, or is still to come.
    fn found_last(&self, gateway: usize) -> Option<Finding> {
        let known = lock(&self.0);
        let mut checks = known.checks.iter();
        let check = checks.find(|checked| checked.gateway == Some(gateway))?;
        check.finding.clone().filter(|_| check.failures == 0)
    }

    /// Some work can't go on for now.
    pub(super) fn work_failed(&self, name: &'static str, fault: &Fault) {
        let cause = fault.to_string();
        let before = lock(&self.0).work.insert(name, cause.clone());
        if before.as_ref() != Some(&cause) {
            log::error!("{name} can't go on, and is tried again: {cause}");
        }
    }

    /// It goes on.
    pub(super) fn work_goes_on(&self, name: &'static str) {
        if lock(&self.0).work.remove(name).is_some() {
            log::info!("{name} goes on");
        }
    }

    fn add(&self, probe: &Probe, threshold: u32) -> usize {
        let (name, gateway) = match probe {
            Probe::Store => ("storagedriver".into(), None),
            Probe::Network(_) => ("network".into(), None),
            Probe::Gateway(place) => (format!("gateway {place}"), Some(*place)),
            Probe::File(file) => (file.file.display().to_string(), None),
            Probe::Http(http) => (http.uri.clone(), None),
            Probe::Tcp(tcp) => (tcp.addr.clone(), None),
        };
        let checks = &mut lock(&self.0).checks;
        checks.push(Checked {
            name,
            gateway,
            threshold,
            finding: None,
            failures: 0,
            cause: String::new(),
        });
        checks.len() - 1
    }

    fn take_in(&self, place: usize, result: Result<Finding, String>) {
        let checked = &mut lock(&self.0).checks[place];
        let failed_before = checked.has_failed();
        match result {
            Ok(finding) => {
                checked.failures = 0;
                if checked.finding.as_ref() != Some(&finding) {
                    if let Finding::NotForClients(why) = &finding {
                        let name = &checked.name;
                        log::warn!("{name}: {why}; blobs come through this registry instead");
                    }
                    checked.finding = Some(finding);
                }
            }
            Err(cause) => {
                checked.failures = checked.failures.saturating_add(1);
                checked.cause = cause;
            }
        }
        let (name, cause) = (&checked.name, &checked.cause);
        match (failed_before, checked.has_failed()) {
            (false, true) => log::error!("health check of {name} fails: {cause}"),
            (true, false) => log::info!("health check of {name} succeeds again"),
            _ => {}
        }
    }
}

impl Checked {
    fn has_failed(&self) -> bool {
        self.failures > 0 && self.failures >= self.threshold
    }
}

/// Starts a loop for each check of the configuration. Gateways are checked in any case, since
/// clients are sent to them.
pub fn start(core: &Arc<Core>, config: &config::Health, ipfs: &Arc<Ipfs>) -> Result<(), Fault> {
    let driver = config.storage_driver;
    let store = driver.map(|check| (Probe::Store, check));
    let networks = driver.into_iter().flat_map(|check| {
        let networks = ipfs.networks.iter().cloned();
        networks.map(move |network| (Probe::Network(network), check))
    });
    let each = driver.unwrap_or(GATEWAY_CHECK);
    let gateways = 0..ipfs.sources.gateways().len();
    let gateways = gateways.map(|place| (Probe::Gateway(place), each));
    let file = config.file.iter().cloned();
    let file = file.map(|file| (Probe::File(file.clone()), file.check));
    let http = config.http.iter().cloned();
    let http = http.map(|http| (Probe::Http(http.clone()), http.check));
    let tcp = config.tcp.iter().cloned();
    let tcp = tcp.map(|tcp| (Probe::Tcp(tcp.clone()), tcp.check));
    let others = file.chain(http).chain(tcp);
    let all = store.into_iter().chain(networks).chain(gateways);
    for (probe, check) in all.chain(others) {
        let place = core.health.add(&probe, check.threshold);
        let (shared, ipfs) = (Arc::clone(core), Arc::clone(ipfs));
        core.run_loop("health", core.bell(), move || {
            let result = run(&probe, &shared, &ipfs);
            shared.health.take_in(place, result);
            Ok(Next::Within(check.interval))
        })?;
    }
    Ok(())
}

/// Asks each network once whether it answers, whatever is checked later: a wrong address would be
/// noticed only with the first push.
pub fn greet(core: &Arc<Core>, ipfs: &Ipfs) -> Result<(), Fault> {
    for network in &ipfs.networks {
        let network = Arc::clone(network);
        core.start("greeting", move |core| {
            let answered = network.check();
            if let (Err(fault), false) = (answered, core.is_stopped()) {
                let name = network.name();
                log::warn!(
                    "{name} does not answer as it should: {fault}; what is pushed stays on this \
                     disk until it does"
                );
            }
        })?;
    }
    Ok(())
}

fn run(probe: &Probe, core: &Core, ipfs: &Ipfs) -> Result<Finding, String> {
    let told = |fault: Fault| fault.to_string();
    let well = |()| Finding::Well;
    match probe {
        Probe::Store => {
            let store = core.store().map_err(told)?;
            let probed = store.probe().map_err(|failure| told(fault(failure)));
            probed.map(well)
        }
        Probe::Network(network) => network.check().map_err(told).map(well),
        Probe::Gateway(place) => {
            let reason = ipfs.sources.gateways()[*place].check().map_err(told)?;
            Ok(reason.map_or(Finding::Well, Finding::NotForClients))
        }
        Probe::File(file) if file.file.exists() => Err("the file exists".into()),
        Probe::File(_) => Ok(Finding::Well),
        Probe::Http(http) => check_http(http).map(well),
        Probe::Tcp(tcp) => check_tcp(tcp).map(well),
    }
}

fn check_http(check: &HttpCheck) -> Result<(), String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(check.timeout.unwrap_or(CHECK_TIME_MAX)))
        .http_status_as_error(false);
    let agent = ureq::Agent::new_with_config(config.build());
    let mut request = agent.head(&check.uri);
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    let status = request
        .call()
        .map_err(|err| err.to_string())?
        .status()
        .as_u16();
    if status == check.status {
        Ok(())
    } else {
        Err(format!("status {status}"))
    }
}

fn check_tcp(check: &TcpCheck) -> Result<(), String> {
    let time_max = check.timeout.unwrap_or(CHECK_TIME_MAX);
    let mut addresses = check
        .addr
        .to_socket_addrs()
        .map_err(|err| err.to_string())?;
    let address = addresses.next().ok_or("the name has no address")?;
    TcpStream::connect_timeout(&address, time_max)
        .map(drop)
        .map_err(|err| err.to_string())
}
