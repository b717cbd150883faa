//! Which phase of a rotation the objects show. It is never remembered: a crash between any two writes resumes here.

use std::fmt;

use super::view::Objects;

/// A phase of the rotation from the authorities A to the authority B.
///
/// With a cross certificate the order is as listed. Without one (A's key is lost, or A is the Go reference's) the new
/// leaf does not verify under A, so that Identify comes before Serve: a caller that shows a B certificate proves that
/// it trusts B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// One authority, nothing under way.
    Stable,
    /// B is stored and not yet published.
    Prepare,
    /// Both sides are told to trust both authorities.
    Trust,
    /// The scaler serves a B leaf.
    Serve,
    /// KEDA shows a B certificate.
    Identify,
    /// The scaler trusts B alone.
    Retire,
    /// KEDA trusts B alone.
    Clean,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 7] = [
        Self::Stable,
        Self::Prepare,
        Self::Trust,
        Self::Serve,
        Self::Identify,
        Self::Retire,
        Self::Clean,
    ];

    /// The name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Prepare => "prepare",
            Self::Trust => "trust",
            Self::Serve => "serve",
            Self::Identify => "identify",
            Self::Retire => "retire",
            Self::Clean => "clean",
        }
    }

    /// What holds in it, in a sentence without a full stop.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Stable => "one authority, nothing under way",
            Self::Prepare => "the next authority is stored and not yet published",
            Self::Trust => "scaler and KEDA are told to trust both authorities",
            Self::Serve => "the scaler serves a certificate of the next authority",
            Self::Identify => "KEDA shows a certificate of the next authority",
            Self::Retire => "the scaler trusts the next authority alone",
            Self::Clean => "KEDA trusts the next authority alone",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Whether A can sign for B: its key is stored, or the cross certificate already is.
pub(super) fn crosses(objects: &Objects) -> bool {
    objects.authority.crossed || objects.authority.signer.is_some()
}

pub(super) fn derive(objects: &Objects) -> Phase {
    let (server, client, authority) = (&objects.server, &objects.client, &objects.authority);
    let Some(next) = authority.next.as_ref().map(|root| &root.id) else {
        return Phase::Stable;
    };
    let erased = authority.signer.is_none();
    let only_next = server.trusts_exactly(std::slice::from_ref(next)) && server.issuer() == Some(next);
    if erased && only_next {
        return if client.trusts_exactly(std::slice::from_ref(next)) {
            Phase::Clean
        } else {
            Phase::Retire
        };
    }
    if crosses(objects) && erased {
        return Phase::Identify;
    }
    if server.issuer() == Some(next) {
        return Phase::Serve;
    }
    if erased && client.issuer() == Some(next) {
        return Phase::Identify;
    }
    if server.trusts(next) || client.trusts(next) {
        return Phase::Trust;
    }
    Phase::Prepare
}
