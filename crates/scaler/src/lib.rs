//! The scaler: scrapes model pods, keeps what it saw, and answers KEDA from memory. Decisions are made in `core`.

pub mod args;
pub mod callers;
pub mod clock;
pub mod cluster_time;
pub mod decide_command;
pub mod explain_command;

pub mod address;
pub mod engine;
pub mod explain;
pub mod index;
pub mod lease;
pub mod metrics;
pub mod pod;
pub mod registry;
pub mod reporter;
pub mod run;
pub mod scheduler;
pub mod scrape;
pub mod server;
pub mod service;
pub mod status;
pub mod tls;
pub mod warnings;
pub mod watches;
pub mod workspace;

mod decision_span;

#[cfg(test)]
mod fake_cluster;
