//! Sources: where content is read again. First the gateways, in the order of the configuration,
//! then the nodes that pin it and can give it themselves; gateways that do not answer come last.

use std::sync::Arc;

use super::{Api, Network, trouble};
use crate::cid::Cid;
use crate::config::{self, Storage, Store};
use crate::fault::{Fault, Trouble};
use crate::gateway::Gateway;
use crate::kubo::Kubo;
use crate::outward::Incoming;

/// Where content is read.
#[derive(Debug)]
pub struct Sources {
    gateways: Vec<Gateway>,
    networks: Vec<Arc<Network>>,
    /// The pattern of Estuary's gateway, the first of them, where the configuration names no
    /// shuttle that it may redirect to.
    own_gateway: Option<String>,
}

impl Sources {
    pub(super) fn new(storage: &Storage, networks: &[Arc<Network>]) -> Sources {
        let (own, also) = match &storage.store {
            Store::Estuary(estuary) => {
                let also = estuary.shuttle_url.iter().cloned().collect();
                (Some(gateway_of(estuary)), also)
            }
            Store::Kubo(kubo) => (kubo.gateway.clone(), Vec::new()),
            Store::Filesystem { .. } | Store::Inmemory => (None, Vec::new()),
        };
        let patterns = own.iter().chain(&storage.gateways);
        let gateways = patterns
            .map(|pattern| Gateway::new(pattern, &also))
            .collect();
        let own_gateway = match &storage.store {
            Store::Estuary(estuary) if estuary.shuttle_url.is_none() => own,
            _ => None,
        };
        Sources {
            gateways,
            networks: networks.to_vec(),
            own_gateway,
        }
    }

    /// The gateways, which clients may be sent to as well.
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// The places of all sources, in the order in which they are asked. `answers` says of a
    /// gateway, by its place, whether it is known to: one that hangs would make every reader wait.
    pub fn places(&self, answers: impl Fn(&usize) -> bool) -> Vec<usize> {
        let count = self.gateways.len();
        let (first, last): (Vec<usize>, Vec<usize>) = (0..count).partition(answers);
        let nodes = count..count + self.nodes().count();
        first.into_iter().chain(nodes).chain(last).collect()
    }

    /// A reader of content from `offset` on, at one of the sources by its place. None if there are
    /// no more.
    pub fn read(
        &self,
        place: usize,
        cid: &Cid,
        size: u64,
        offset: u64,
    ) -> Option<Result<Incoming, Fault>> {
        let read = |gateway: &Gateway| gateway.read(cid, size, offset..size);
        self.ask(place, read, |kubo| kubo.cat(cid, offset..size))
    }

    /// The length of content, as one of the sources tells it.
    pub(super) fn size(&self, place: usize, cid: &Cid) -> Option<Result<u64, Fault>> {
        self.ask(place, |gateway| gateway.size(cid), |kubo| kubo.size(cid))
    }

    fn ask<T>(
        &self,
        place: usize,
        gateway: impl Fn(&Gateway) -> Result<T, Fault>,
        node: impl FnOnce(&Kubo) -> Result<T, Fault>,
    ) -> Option<Result<T, Fault>> {
        let Some(asked) = self.gateways.get(place) else {
            return self.nodes().nth(place - self.gateways.len()).map(node);
        };
        let answer = gateway(asked);
        let is_elsewhere = answer
            .as_ref()
            .is_err_and(|fault| matches!(trouble(fault), Some(Trouble::Missing(_))));
        match &self.own_gateway {
            Some(own) if place == 0 && is_elsewhere => {
                // It may be on one of the shuttles, whose hosts only Estuary knows.
                Some(self.shuttles().and_then(|shuttles| {
                    let own = Gateway::new(own, &shuttles);
                    gateway(&own)
                }))
            }
            _ => Some(answer),
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Kubo> {
        self.networks
            .iter()
            .filter_map(|network| match &network.api {
                Api::Kubo(kubo) => Some(kubo),
                Api::Estuary(_) => None,
            })
    }

    fn shuttles(&self) -> Result<Vec<String>, Fault> {
        let mut estuaries = self
            .networks
            .iter()
            .filter_map(|network| match &network.api {
                Api::Estuary(estuary) => Some(estuary),
                Api::Kubo(_) => None,
            });
        let viewer = estuaries
            .next()
            .map(|estuary| estuary.viewer())
            .transpose()?;
        Ok(viewer
            .map(|viewer| viewer.upload_endpoints)
            .unwrap_or_default())
    }
}

fn gateway_of(estuary: &config::Estuary) -> String {
    let pattern = estuary.gateway_pattern.clone();
    pattern.unwrap_or_else(|| format!("{}/gw/ipfs/{{cid}}", estuary.url))
}

#[cfg(test)]
mod tests {
    use crate::config;
    use crate::ipfs::Ipfs;

    #[test]
    fn who_answers_is_asked_first() {
        let settings = [
            ("REGISTRY_STORAGE_KUBO_API", "http://127.0.0.1:1"),
            ("REGISTRY_STORAGE_GATEWAY_0", "http://127.0.0.1:2"),
            ("REGISTRY_STORAGE_GATEWAY_1", "http://127.0.0.1:3"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (config, _) = config::parse(None, settings.into_iter()).expect("good settings");
        let sources = Ipfs::new(&config.storage).expect("an API").sources;
        let node = 2;
        for (answering, places) in [
            (&[0, 1][..], [0, 1, node]),
            (&[1], [1, node, 0]),
            (&[], [node, 0, 1]),
        ] {
            let found = sources.places(|place| answering.contains(place));
            assert_eq!(found, places, "{answering:?}");
        }
    }
}
