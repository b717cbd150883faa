//! The one write that comes next. Each is a compare-and-swap on the object it names, made by certmgr.

use std::fmt;

use jiff::Timestamp;

use super::phase::Phase;
use super::view::{RootId, Validity};

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Writes the Secret with the authorities; `replace` deletes it first.
    Authority {
        write: AuthorityWrite,
        replace: bool,
        cause: Cause,
    },
    /// Writes the server Secret.
    Server(Publication),
    /// Writes the client Secret.
    Client(Publication),
    /// Applies the ClusterTriggerAuthentication with this credential epoch.
    Authentication { epoch: u64, cause: Cause },
}

/// What becomes of the authorities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthorityWrite {
    /// The first authority: a new key.
    Create { validity: Validity },
    /// A next authority beside those that stay trusted.
    Prepare {
        next: NextAuthority,
        /// Signed by the present signer; without it the signer's key is dropped and the client certificate recorded.
        cross: Option<Validity>,
        /// The roots that stay trusted until the end.
        keep: Vec<RootId>,
        /// The requested reason acted on with this.
        reason: Option<String>,
    },
    /// The cross certificate is issued again.
    Cross { validity: Validity },
    /// The former authority's key goes; the last client certificate under it is recorded.
    EraseKey,
    /// The next authority becomes the only one.
    Promote,
    /// What is usable is written again, and nothing else; a next authority only if `next`.
    Rewrite { next: bool },
}

/// Where the next authority comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NextAuthority {
    /// A new key and a common name of its own.
    New(Validity),
    /// The stored signer, which nobody trusts yet.
    Stored,
}

/// What the server or client Secret shall hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Publication {
    pub leaf: LeafSource,
    /// The whole trust bundle.
    pub bundle: Vec<RootId>,
    pub generation: u64,
    pub published: Timestamp,
    /// Client certificates that started at this time or earlier are retiring; server Secret only.
    pub retiring: Option<Timestamp>,
    /// Whether the Go reference's own keys stay.
    pub keep_reference_keys: bool,
    /// Deletes the Secret first.
    pub replace: bool,
    pub cause: Cause,
}

/// Where a published leaf comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LeafSource {
    /// Certificate and key stay as they are.
    Keep,
    /// A new key and certificate.
    Issue(Issue),
}

/// What a new leaf looks like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issue {
    pub issuer: RootId,
    /// Whether the cross certificate goes along.
    pub crossed: bool,
    pub validity: Validity,
}

/// Why something is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was never there.
    First,
    /// The old leaf is old.
    Renewal,
    /// The rotation reaches this phase.
    Rotation(Phase),
    /// Something was wrong with it; the sentence says what.
    Repair(String),
}

impl Step {
    /// Why this is written.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        match self {
            Self::Authority { cause, .. } | Self::Authentication { cause, .. } => cause,
            Self::Server(publication) | Self::Client(publication) => &publication.cause,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => formatter.write_str("first issue"),
            Self::Renewal => formatter.write_str("renewal"),
            Self::Rotation(phase) => write!(formatter, "rotation, phase {phase}"),
            Self::Repair(what) => write!(formatter, "repair: {what}"),
        }
    }
}
