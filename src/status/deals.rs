//! Filecoin deals, which only the network knows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use indicatif::ProgressBar;

use super::look::{Image, Standing};
use crate::cid::Cid;
use crate::estuary::Deal;
use crate::fault::Fault;
use crate::ipfs::Network;

/// Questions under way at a time.
const AT_A_TIME: usize = 8;

/// What a network is asked for, some images at a time.
pub struct Deals<'n> {
    network: &'n Network,
    progress: &'n ProgressBar,
    /// The deals of each content that an answer came for.
    pub known: HashMap<Cid, Vec<Deal>>,
    /// What kept the rest from being asked.
    fault: Option<Fault>,
}

impl<'n> Deals<'n> {
    /// Nothing was asked yet.
    pub fn new(network: &'n Network, progress: &'n ProgressBar) -> Deals<'n> {
        Deals {
            network,
            progress,
            known: HashMap::new(),
            fault: None,
        }
    }

    /// Why not all deals are known, if so.
    pub fn note(&self) -> Option<String> {
        let fault = self.fault.as_ref()?;
        Some(format!("not all deals are known: {fault}"))
    }

    /// Asks for the deals of all parts that the network has. The first failure ends it for good: a
    /// network that is down is not waited for a thousand times.
    pub fn ask(&mut self, images: &[Image]) {
        if self.fault.is_some() {
            return;
        }
        let parts = images.iter().flat_map(|image| &image.parts);
        let there = parts.filter(|part| {
            let there = [Standing::Pinned, Standing::Stored];
            there.contains(&part.standing)
        });
        let cids: BTreeSet<Cid> = there.filter_map(|part| part.cid).collect();
        let cids: Vec<Cid> = cids.into_iter().collect();
        let (network, progress) = (self.network, self.progress);
        let (next, asked) = (AtomicUsize::new(0), Mutex::new(self));
        let answer = |cid: &Cid| {
            let answer = network.deals(cid);
            // Nothing below panics while it is locked.
            let Ok(mut asked) = asked.lock() else {
                return false;
            };
            match answer {
                Ok(deals) => drop(asked.known.insert(*cid, deals)),
                Err(fault) => asked.fault = Some(fault),
            }
            let (count, all) = (asked.known.len(), cids.len());
            progress.set_message(format!("asking for deals: {count} of {all}"));
            asked.fault.is_none()
        };
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME.min(cids.len()) {
                scope.spawn(|| {
                    while let Some(cid) = cids.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if !answer(cid) {
                            break;
                        }
                    }
                });
            }
        });
    }
}
