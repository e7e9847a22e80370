//! Copies of the catalog: one a day, for what only the database knows.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::work::{Core, Next};
use crate::fault::Fault;
use crate::store::backup::{self, Daily};

/// How often it is looked whether a day has begun.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Starts the loop.
pub fn start(core: &Arc<Core>) -> Result<(), Fault> {
    let shared = Arc::clone(core);
    let mut is_told = false;
    core.run_loop("copying the catalog", core.bell(), move || {
        let made = backup::daily(shared.store()?.view(), SystemTime::now())?;
        match made {
            Daily::Made(copy) => log::info!("the catalog was copied to {}", copy.display()),
            Daily::TooLarge { size, free } if !is_told => {
                is_told = true;
                log::warn!(
                    "the catalog is not copied each day: it has {size} bytes, and {free} are free; \
                     copy it to another disk with `registry backup`"
                );
            }
            Daily::There(_) | Daily::TooLarge { .. } => {}
        }
        Ok(Next::Within(INTERVAL))
    })
}
