//! Process glue that several programs need: arguments, telemetry, admin server, readiness, Kubernetes client,
//! supervised watches, leases, Events. It knows nothing of what the programs are for; it would read the same
//! in another product.

pub mod program;

pub mod args;
pub mod error;
pub mod shutdown;
pub mod telemetry;

pub mod admin;
pub mod metrics;
pub mod readiness;

pub mod client;
pub mod clock;
pub mod crds;
pub mod events;
pub mod lease;
pub mod pace;
pub mod panics;
pub mod requeue;
pub mod watch;

#[cfg(any(test, feature = "fake-api"))]
pub mod documented;
#[cfg(any(test, feature = "fake-api"))]
pub mod fake_api;
