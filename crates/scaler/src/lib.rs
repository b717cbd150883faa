//! The scaler: scrapes model pods, keeps what it saw, and answers KEDA from memory. Decisions are made in `core`.

pub mod args;
pub mod decide_command;

mod address;
mod pod;
mod scrape;
mod tls;
