//! What certmgr has read of the objects, reduced to what decisions need. No key material, no certificate bytes.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::clock::later;

/// Certificates start to be valid this long before they are issued, for clocks that are slow.
pub const BACKDATE: Duration = Duration::from_secs(3600);
/// More roots than this in one bundle are refused: no rotation needs them, and every handshake pays for them.
pub const MAX_ROOTS: usize = 8;

/// All objects as read at about the same time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Objects {
    pub authority: AuthoritySecret,
    pub server: LeafSecret,
    pub client: LeafSecret,
    pub authentication: Authentication,
}

/// Tells one root certificate from another: a digest of the certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootId(pub String);

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// A root certificate, the private key of which may or may not be at hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    pub id: RootId,
    pub validity: Validity,
}

/// A certificate with its fitting key, fit for its use, under a root we know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    pub issuer: RootId,
    pub validity: Validity,
    /// Whether the chain carries the cross certificate, so that the leaf also verifies under the former root.
    pub crossed: bool,
    /// Spreads renewals: any number that stays the same for this certificate.
    pub spread: u32,
    /// What the certificate lacks by the present configuration, such as a name.
    pub outdated: Option<String>,
}

/// Why a part of an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It is not there.
    Absent,
    /// It is there and wrong; the sentence says how, without secrets.
    Unusable(String),
}

/// Whether an object exists, and whether it can be written in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    Absent,
    Present,
    /// It must be deleted first: its type is wrong, or it is immutable.
    Unwritable(String),
}

/// The Secret with the authorities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthoritySecret {
    pub presence: Presence,
    /// The issuing authority, or those being replaced.
    pub current: Vec<Root>,
    /// The one of `current` whose private key is stored.
    pub signer: Option<RootId>,
    /// The authority being introduced, if its private key is stored too.
    pub next: Option<Root>,
    /// Whether the next authority's certificate signed by the signer (or former signer) is stored.
    pub crossed: bool,
    /// The last client certificate issued under the authorities being replaced.
    pub retiring: Option<Validity>,
    /// Why the user wants a rotation.
    pub requested: Option<String>,
    /// The reason acted on last.
    pub recorded: Option<String>,
    /// What is wrong with the Secret.
    pub flaw: Option<String>,
}

/// The server or the client Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeafSecret {
    pub presence: Presence,
    pub leaf: Result<Leaf, Flaw>,
    pub bundle: Result<Vec<Root>, Flaw>,
    pub generation: Option<u64>,
    /// When the Secret was last changed by us.
    pub published: Option<Timestamp>,
    /// The annotation that marks old client certificates as retiring; server Secret only.
    pub retiring: Option<Timestamp>,
    /// Whether the Go reference's own keys are in it.
    pub reference_keys: bool,
    /// Whether the leaf was found only under the Go reference's keys.
    pub reference_layout: bool,
}

/// The ClusterTriggerAuthentication.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authentication {
    /// Whether the API server knows the kind.
    pub served: bool,
    pub exists: bool,
    /// Whether it names our Secrets, in our order.
    pub as_wanted: bool,
    pub epoch: Option<u64>,
}

impl AuthoritySecret {
    /// A Secret that does not exist.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            presence: Presence::Absent,
            current: Vec::new(),
            signer: None,
            next: None,
            crossed: false,
            retiring: None,
            requested: None,
            recorded: None,
            flaw: None,
        }
    }

    /// The authority whose key is stored and that is not being introduced.
    #[must_use]
    pub fn signing_root(&self) -> Option<&Root> {
        let signer = self.signer.as_ref()?;
        self.current.iter().find(|root| root.id == *signer)
    }
}

impl LeafSecret {
    /// A Secret that does not exist.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            presence: Presence::Absent,
            leaf: Err(Flaw::Absent),
            bundle: Err(Flaw::Absent),
            generation: None,
            published: None,
            retiring: None,
            reference_keys: false,
            reference_layout: false,
        }
    }

    pub(super) fn roots(&self) -> &[Root] {
        self.bundle.as_deref().unwrap_or_default()
    }

    pub(super) fn trusts(&self, id: &RootId) -> bool {
        self.roots().iter().any(|root| root.id == *id)
    }

    /// Whether the bundle is readable and holds these roots and no others.
    pub(super) fn trusts_exactly(&self, ids: &[RootId]) -> bool {
        self.bundle.is_ok() && self.roots().len() == ids.len() && ids.iter().all(|id| self.trusts(id))
    }

    pub(super) fn issuer(&self) -> Option<&RootId> {
        self.leaf.as_ref().ok().map(|leaf| &leaf.issuer)
    }
}

impl Validity {
    /// When the certificate was issued, given that ours are backdated.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        later(self.not_before, BACKDATE)
    }
}

impl fmt::Display for RootId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => formatter.write_str("missing"),
            Self::Unusable(why) => formatter.write_str(why),
        }
    }
}
