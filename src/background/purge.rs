//! Purging: upload sessions that nobody has written to for long are ended
//! (`storage.maintenance.uploadpurging`).

use std::sync::Arc;

use super::work::{Core, Next, fault};
use crate::config::UploadPurging;
use crate::fault::Fault;
use crate::store::{sqlite, upload};

/// The most sessions of one round; those beyond it wait for the next.
const COUNT_MAX: u32 = 10_000;

/// Starts the loop.
pub fn start(core: &Arc<Core>, purging: &UploadPurging) -> Result<(), Fault> {
    let (shared, purging) = (Arc::clone(core), purging.clone());
    core.run_loop("purging uploads", core.bell(), move || {
        purge(&shared, &purging)?;
        Ok(Next::Within(purging.interval))
    })
}

fn purge(core: &Core, purging: &UploadPurging) -> Result<(), Fault> {
    let age = i64::try_from(purging.age.as_millis()).unwrap_or(i64::MAX / 2);
    let before = sqlite::now() - age;
    let store = core.store()?;
    let stale = store.read(|tx| upload::list_stale(tx, before, COUNT_MAX));
    let mut purged = Vec::new();
    for session in stale.map_err(fault)? {
        if core.is_stopped() {
            break;
        }
        if purging.dry_run || store.purge_upload(&session.id, before).map_err(fault)? {
            purged.push(session.id);
        }
    }
    match purged.len() {
        0 => {}
        _ if purging.dry_run => log::info!("would purge uploads: {purged:?}"),
        count => log::info!("purged {count} abandoned uploads"),
    }
    Ok(())
}
