//! The listener that says why: `/explain` for programs, `/` for people. It is for one machine's loopback only, shows every
//! tenant's decisions, reads memory and changes nothing.

mod answer;
mod listener;
mod story;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use keda_kaito_runtime::error::ConfigError;

pub(crate) use answer::key;
pub use listener::{Explainer, MAX_CONNECTIONS};

/// Checks where the listener is to be.
///
/// # Errors
/// The address can be reached from elsewhere.
pub fn validate(address: SocketAddr) -> Result<(), ConfigError> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(ConfigError::new(format!(
        "--explain-address {address} is not a loopback address: whoever reaches it sees every tenant's decisions; use 127.0.0.1 or [::1]"
    )))
}
