//! What is due by age alone, and when: for whoever wants to know what comes next. Decisions are in `plan`.

use jiff::Timestamp;

use super::assess::renewal;
use super::config::Config;
use super::plan::rotation_due;
use super::view::{LeafSecret, Objects};

/// When age alone leads to a write; absent where there is nothing to grow old, or a rotation is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The authority is replaced.
    pub authority: Option<Timestamp>,
    /// The server certificate is renewed.
    pub server: Option<Timestamp>,
    /// The client certificate is renewed.
    pub client: Option<Timestamp>,
}

/// What is due by age, from the objects as they are.
#[must_use]
pub fn schedule(objects: &Objects, config: &Config) -> Schedule {
    let leaf = |secret: &LeafSecret| secret.leaf.as_ref().ok().map(|leaf| renewal(leaf, config));
    let authority = &objects.authority;
    let resting = authority.signing_root().filter(|_| authority.next.is_none());
    Schedule {
        authority: resting.map(rotation_due),
        server: leaf(&objects.server),
        client: leaf(&objects.client),
    }
}
