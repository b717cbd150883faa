//! The credentials between KEDA and the scaler: what certmgr sees of them, which phase of a rotation that is, and the
//! one write that comes next. Certificates are read and issued elsewhere; here they are issuers, times and names.

mod acknowledgement;
mod assess;
mod authority;
mod clock;
mod config;
mod desired;
mod gate;
mod phase;
mod plan;
mod publish;
mod schedule;
mod step;
mod view;

pub use acknowledgement::{Acknowledgement, Acknowledgements, Callers, Replica};
pub use clock::{Clock, LARGEST_SKEW};
pub use config::{Config, ConfigError};
pub use gate::{Need, Wait};
pub use phase::Phase;
pub use plan::{Plan, plan};
pub use schedule::{Schedule, schedule};
pub use step::{AuthorityWrite, Cause, Issue, LeafSource, NextAuthority, Publication, Step};
pub use view::{
    Authentication, AuthoritySecret, BACKDATE, Flaw, Leaf, LeafSecret, MAX_ROOTS, Objects, Presence, Root, RootId, Validity,
};

#[cfg(test)]
mod tests;
