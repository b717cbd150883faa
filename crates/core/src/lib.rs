//! Pure decisions of keda-kaito-scaler: no I/O, no clock, nothing spawned.
//!
//! Reading order: names and Kubernetes types; what users write (policy) and what is rendered from it;
//! what the scaler reads, knows and decides; the phases of the credentials.

pub mod names;

pub mod crd;
pub mod credentials;

pub mod duration;
pub mod exposition;
pub mod families;
pub mod legible;
pub mod policy;
pub mod trigger;

pub mod contest;
pub mod desired;
pub mod drift;
pub mod plan;
pub mod take_over;

pub mod explain;
pub mod fleet;
pub mod history;
pub mod hpa;
pub mod journal;
pub mod moment;
pub mod record;
pub mod window;

mod decide;
mod estimate;
mod exact;
#[cfg(test)]
mod fixture;
mod simple;
#[cfg(test)]
mod simulation;
mod situation;
mod verdict;
