//! The provisioner: keeps a KEDA ScaledObject for each annotated InferenceSet. Decisions are made in `core`.

pub mod args;
pub mod events;
pub mod metrics;
pub mod render;
pub mod run;

mod cluster;
mod controller;
mod discovery;
mod error;
mod queue;
mod reconcile;
mod serving;
