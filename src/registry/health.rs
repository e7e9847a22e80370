//! Health: what `/debug/health` says, and what the log says when it changes (distribution's
//! `health` configuration).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Errand, Finding, Job, Jobs, Probe};
use crate::config::{self, Check};
use crate::oci::Response;

/// How gateways are checked if the configuration does not say how the store is.
const GATEWAY_CHECK: Check = Check {
    interval: Duration::from_secs(10),
    threshold: 3,
};

/// The configured checks, and how they went lately.
#[derive(Debug)]
pub(super) struct Health(Vec<Checked>);

#[derive(Debug)]
struct Checked {
    probe: Probe,
    check: Check,
    /// When it was last begun; a check that has not ended is not begun again.
    begun_at: Option<Duration>,
    is_running: bool,
    /// What it found when it last ended well.
    finding: Option<Finding>,
    failures: u32,
    cause: String,
}

impl Health {
    /// The checks of the configuration, none of them made yet.
    /// Gateways are checked in any case, since clients are sent to them.
    pub fn new(health: &config::Health, has_network: bool, gateways: usize) -> Health {
        let driver = health.storage_driver;
        let disk = driver.iter().map(|check| (Probe::Disk, *check));
        let network = driver.filter(|_| has_network);
        let network = network.iter().map(|check| (Probe::Network, *check));
        let each = driver.unwrap_or(GATEWAY_CHECK);
        let gateways = (0..gateways).map(|n| (Probe::Gateway(n), each));
        let file = health
            .file
            .iter()
            .map(|file| (Probe::File(file.clone()), file.check));
        let http = health
            .http
            .iter()
            .map(|http| (Probe::Http(http.clone()), http.check));
        let tcp = health
            .tcp
            .iter()
            .map(|tcp| (Probe::Tcp(tcp.clone()), tcp.check));
        let all = disk
            .chain(network)
            .chain(gateways)
            .chain(file)
            .chain(http)
            .chain(tcp)
            .map(|(probe, check)| Checked {
                probe,
                check,
                begun_at: None,
                is_running: false,
                finding: None,
                failures: 0,
                cause: String::new(),
            });
        Health(all.collect())
    }

    /// The checks that are due.
    pub fn due(&mut self, now: Duration) -> Jobs {
        let is_due = |checked: &&mut Checked| {
            let waited = checked
                .begun_at
                .map(|begun_at| now.saturating_sub(begun_at));
            !checked.is_running && waited.is_none_or(|waited| waited >= checked.check.interval)
        };
        let begin = |checked: &mut Checked| {
            checked.begun_at = Some(now);
            checked.is_running = true;
            Job::Errand(Errand::Check(checked.probe.clone()))
        };
        self.0.iter_mut().filter(is_due).map(begin).collect()
    }

    /// Takes in how a check went.
    pub fn take_in(&mut self, probe: &Probe, result: Result<Finding, String>) {
        let Some(checked) = self.0.iter_mut().find(|checked| checked.probe == *probe) else {
            return;
        };
        checked.is_running = false;
        let failed_before = checked.has_failed();
        match result {
            Ok(finding) => {
                checked.failures = 0;
                if checked.finding.as_ref() != Some(&finding) {
                    if let Finding::NotForClients(why) = &finding {
                        let name = checked.name();
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
        match (failed_before, checked.has_failed()) {
            (false, true) => log::error!(
                "health check of {} fails: {}",
                checked.name(),
                checked.cause
            ),
            (true, false) => log::info!("health check of {} succeeds again", checked.name()),
            _ => {}
        }
    }

    /// Whether that gateway answered its last check as one to which clients can be sent.
    pub fn takes_clients(&self, gateway: usize) -> bool {
        let checks = self
            .0
            .iter()
            .find(|checked| checked.probe == Probe::Gateway(gateway));
        checks
            .is_some_and(|checked| checked.failures == 0 && checked.finding == Some(Finding::Well))
    }

    /// 200 and an empty object while all is well, else 503 and the cause of each failure.
    pub fn report(&self) -> Response {
        let failed = self.0.iter().filter(|checked| checked.has_failed());
        let causes: BTreeMap<String, &str> = failed
            .map(|checked| (checked.name(), checked.cause.as_str()))
            .collect();
        let status = if causes.is_empty() { 200 } else { 503 };
        Response::json(status, &serde_json::json!(causes))
    }
}

impl Checked {
    fn has_failed(&self) -> bool {
        self.failures > 0 && self.failures >= self.check.threshold
    }

    /// What distribution calls it.
    fn name(&self) -> String {
        match &self.probe {
            Probe::Disk => "storagedriver".into(),
            Probe::Network => "network".into(),
            Probe::Gateway(n) => format!("gateway {n}"),
            Probe::File(file) => file.file.display().to_string(),
            Probe::Http(http) => http.uri.clone(),
            Probe::Tcp(tcp) => tcp.addr.clone(),
        }
    }
}
