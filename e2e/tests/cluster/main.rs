//! Tests against the real control plane, KEDA and KAITO, with the three programs running: `cargo xtask test`. They run
//! beside each other, each in namespaces of its own, and disturb no program.

mod expect;
mod hpa_model;
mod lifecycle;
mod quick_start;
mod scripted;
