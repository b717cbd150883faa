//! The scaler: scrapes model pods, keeps what it saw, and answers KEDA from memory. Decisions are made in `core`.

pub mod args;
pub mod decide_command;

pub mod address;
pub mod metrics;
pub mod pod;
pub mod scrape;
pub mod server;
pub mod tls;
