//! What is done beside all exchanges: checks of our health, and tidying up.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Network, Pump};
use crate::config::{HttpCheck, TcpCheck};
use crate::fault::Fault;
use crate::registry::{Errand, Event, Finding, Probe};

/// How long a check may take if the configuration does not say.
const CHECK_TIME_MAX: Duration = Duration::from_secs(10);

impl Pump {
    /// Carries an errand out; what happened, if the registry has to know.
    pub fn run(&self, errand: Errand) -> Option<Event> {
        match errand {
            Errand::Check(probe) => {
                let result = self.check(&probe);
                Some(Event::Checked(probe, result))
            }
            Errand::Survey => Some(Event::Surveyed(self.survey())),
            Errand::Travel(digest, voyage) => Some(self.travel(digest, voyage)),
            Errand::Drop(digest, voyage) => Some(self.drop_copy(digest, voyage)),
            Errand::Purge { age, dry_run } => {
                match self.spool.purge(age, dry_run) {
                    Ok(purged) if purged.is_empty() => {}
                    Ok(purged) if dry_run => log::info!("would purge uploads: {purged:?}"),
                    Ok(purged) => log::info!("purged {} abandoned uploads", purged.len()),
                    Err(fault) => log::error!("purging abandoned uploads: {fault}"),
                }
                None
            }
        }
    }

    fn check_network(
        &self,
        check: impl FnOnce(&Network) -> Result<Finding, Fault>,
    ) -> Result<Finding, String> {
        let Some(network) = &self.network else {
            return Ok(Finding::Well);
        };
        check(network).map_err(|fault| fault.to_string())
    }

    fn check(&self, probe: &Probe) -> Result<Finding, String> {
        let well = |()| Finding::Well;
        match probe {
            Probe::Disk => {
                let probed = self.root.probe().map(well);
                probed.map_err(|fault| fault.to_string())
            }
            Probe::Network => self.check_network(|network| network.check().map(well)),
            Probe::Gateway(place) => self.check_network(|network| network.check_gateway(*place)),
            Probe::File(file) if file.file.exists() => Err("the file exists".into()),
            Probe::File(_) => Ok(Finding::Well),
            Probe::Http(http) => check_http(http).map(well),
            Probe::Tcp(tcp) => check_tcp(tcp).map(well),
        }
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
