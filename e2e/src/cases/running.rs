//! The three programs under test, started once per bed and shared by every test in it, in whatever process. Tests that
//! kill or delay programs start their own, in a bed of their own.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bed::{Bed, Look, eventually};
use crate::http_get;
use crate::programs::{Name, Program, Start};

/// From start to ready, three at a time beside a control plane that has only just come up.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// In the shared bed, where tests wait for rounds of scraping. Beds with programs of their own keep the default.
pub const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// Where the scaler in the shared bed says why.
pub const EXPLAIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10453);

const MARK: &str = "run/programs-under-test";

/// The programs, in the order in which they need each other.
pub const ALL: [Name; 3] = [Name::Certmgr, Name::Scaler, Name::Provisioner];

/// How a program is started in every bed, on an address of its own.
#[must_use]
pub fn start(name: Name) -> Start {
    let host = match name {
        Name::Scaler => 10,
        Name::Certmgr => 20,
        Name::Provisioner => 21,
    };
    Start::new(name, IpAddr::V4(Ipv4Addr::new(10, 244, 254, host)))
}

/// Where a program says whether it is ready.
#[must_use]
pub fn health(name: Name) -> SocketAddr {
    start(name).health_address()
}

/// The bed around this process with all three programs running and ready.
///
/// # Errors
/// When there is no bed, or a program does not become ready; its log is in the bed's `logs`.
pub async fn bed() -> Result<Bed> {
    let bed = Bed::from_env().await?;
    let lock = File::create(bed.directory.join(MARK).with_extension("lock"))?;
    lock.lock().context("waiting for another test that starts the programs")?;
    let mark = bed.directory.join(MARK);
    if !mark.exists() {
        let logs = bed.directory.join("logs");
        for name in ALL {
            let start = match name {
                Name::Scaler => start(name)
                    .argument(format!("--scrape-interval={SCRAPE_INTERVAL:?}"))
                    .argument(format!("--explain-address={EXPLAIN}")),
                Name::Certmgr | Name::Provisioner => start(name),
            };
            Program::spawn(&logs, start)?.leave_running();
        }
        fs::write(mark, "")?;
    }
    drop(lock);
    for name in ALL {
        let what = format!("{} is ready", name.as_str());
        eventually(READY_WITHIN, &what, async || {
            let reply = http_get::get(health(name), "/readyz").await?;
            Ok(Look::when(reply.status.is_success(), reply.text()))
        })
        .await?;
    }
    Ok(bed)
}
