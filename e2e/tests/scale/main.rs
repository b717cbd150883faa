//! The programs in numbers, as the API server counts them in its audit log: thousands of InferenceSets, requests at rest and
//! at work, and two of a program at once. It needs a bed of its own with an audit log and without KEDA, KAITO and the
//! fleet, which would write too: `cargo xtask test` gives it one.

mod fleet;
mod leaders;
mod requests;
mod size;
mod support;
mod tunnel;
