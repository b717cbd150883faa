//! Pure decisions of keda-kaito-scaler: no I/O, no clock, nothing spawned.
//!
//! Reading order: names and Kubernetes types; what users write (policy) and what is rendered from it;
//! what the scaler reads, knows and decides; the phases of the credentials.

pub mod names;

pub mod crd;

pub mod duration;
pub mod exposition;
pub mod families;
pub mod policy;
pub mod trigger;
