//! Credentials that rotate while KEDA and a second client call two scaler replicas. This needs a bed of its own, since it
//! decides what runs: `cargo xtask test` gives it one. How often things are repeated can be raised by the environment:
//! `ROTATIONS`, `RENEWALS`.

mod caller;
mod credentials;
mod kills;
mod reference;
mod renewals;
mod rotations;
mod service;
mod stage;
mod taken_over;
mod witness;

use std::time::Duration;

/// For what takes seconds, on a machine with other things to do.
const SOON: Duration = Duration::from_secs(60);

/// How often, unless the environment says otherwise.
fn repetitions(variable: &str, usual: u32) -> u32 {
    let given = std::env::var(variable).ok().and_then(|given| given.parse().ok());
    given.unwrap_or(usual)
}
