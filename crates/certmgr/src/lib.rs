//! certmgr issues and rotates the credentials between KEDA and the scaler. What comes next is decided in
//! `keda_kaito_core::credentials`; here objects are read, certificates inspected and issued, and writes made.

pub mod args;
pub mod run;

mod cluster;
mod command;
mod controller;
mod error;
pub mod events;
mod inspect;
mod issue;
mod metrics;
mod pem;
mod reconcile;
pub mod rotate;
pub mod status;
mod stored;
mod traces;
mod waiting;
mod write;

#[cfg(test)]
mod tests;
