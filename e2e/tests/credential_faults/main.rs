//! Whatever becomes of the credentials, the scaler serves: Secrets damaged in every way, replicas that cannot load them or are
//! cut off, clocks that are wrong, strangers at the port. Two scaler replicas, KEDA polling, a client of our own calling all
//! the time. This needs a bed of its own; `cargo xtask test` gives it one.

#![expect(clippy::print_stderr, reason = "figures for whoever reads the output of a test")]

mod certmgr;
mod clocks;
mod damage;
mod healing;
mod keys;
mod load;
mod material;
mod replicas;
mod stage;
mod strangers;
