//! What the scaler's replicas say about the credentials they hold and the callers they see.

use jiff::Timestamp;

/// What is known about the replicas.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acknowledgements {
    /// The replicas could not be listed; the sentence says why. Every gate stays shut.
    Unknown(String),
    /// Every Running, not terminating Pod of the scaler, and everyone else with an unexpired Lease.
    Known(Vec<Replica>),
}

/// One replica of the scaler.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub name: String,
    /// What its Lease says; absent when it has none.
    pub acknowledgement: Option<Acknowledgement>,
}

/// What a replica's Lease says.
///
/// Generations only grow in a replica, so an expired Lease still proves them; about callers it proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Acknowledgement {
    /// Generation of the server Secret whose bundle it verifies callers by.
    pub trusted: Option<u64>,
    /// Generation of the server Secret whose leaf it serves.
    pub served: Option<u64>,
    /// Open connections whose client certificates it trusts no more; absent when the Lease has expired or does not say.
    pub retired_connections: Option<u64>,
    /// Absent when the Lease has expired or does not say since when it knows its callers.
    pub callers: Option<Callers>,
}

/// What a replica has seen of its callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Callers {
    /// Since when it has watched them.
    pub since: Timestamp,
    /// The lowest credential epoch among those active; absent when none carries one.
    pub lowest_epoch: Option<u64>,
    /// `notBefore` of the oldest client certificate among those seen; absent when there is none.
    pub oldest_client: Option<Timestamp>,
}

impl Acknowledgements {
    /// The replicas known.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        match self {
            Self::Unknown(_) => &[],
            Self::Known(replicas) => replicas,
        }
    }

    /// The highest generation of the server Secret anyone has held.
    pub(super) fn highest_generation(&self) -> u64 {
        let held = |ack: &Acknowledgement| ack.trusted.max(ack.served);
        let all = self.replicas().iter().filter_map(|replica| replica.acknowledgement.as_ref());
        all.filter_map(held).max().unwrap_or(0)
    }
}
