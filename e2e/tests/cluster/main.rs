//! Tests against the real control plane, KEDA and KAITO, with the three programs running: `cargo xtask test`. They run
//! beside each other, each in namespaces of its own, and disturb no program.

mod admission;
mod bounds;
mod by_hand;
mod capacity;
mod complaints;
mod explain;
mod faults;
mod first_step;
mod lifecycle;
mod observability;
mod policy;
mod reference;
mod warnings;
