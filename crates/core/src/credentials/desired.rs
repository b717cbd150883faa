//! What each phase wants in the server and client Secrets.

use super::clock::Clock;
use super::phase::{Phase, crosses};
use super::view::{Objects, Root, RootId};

/// What one of the two Secrets shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want {
    /// A leaf that is there may come from any of these.
    pub(super) issuers: Vec<RootId>,
    /// A new leaf comes from this one.
    pub(super) signer: Root,
    /// The leaf's chain carries the cross certificate.
    pub(super) crossed: bool,
    pub(super) bundle: Vec<RootId>,
    /// A bundle that changes comes with a new leaf: whoever shows the leaf has read the bundle.
    pub(super) proves_bundle: bool,
    /// The Go reference's own keys have had their time.
    pub(super) drop_reference_keys: bool,
}

/// What the server and the client Secret shall hold in `phase`; `None` when no authority can sign.
pub(super) fn desired(objects: &Objects, phase: Phase, clock: &Clock) -> Option<(Want, Want)> {
    let alive = |root: &&Root| clock.invalidity(&root.validity).is_none();
    let authority = &objects.authority;
    let signer = authority.signing_root().filter(alive);
    let Some(next) = authority.next.as_ref().filter(alive) else {
        let signer = signer?;
        let only = [signer.id.clone()];
        let want = Want::of(&only, signer, &only).dropping();
        return Some((want.clone(), want));
    };
    let old: Vec<_> = authority.current.iter().filter(alive).map(|root| root.id.clone()).collect();
    let only_next = [next.id.clone()];
    let both: Vec<_> = old.iter().chain(&only_next).cloned().collect();
    // Where the old key is gone, a leaf that had to be issued again is the new authority's.
    let before = match signer {
        Some(signer) => Want::of(&old, signer, &both),
        None => Want::of(&both, next, &both),
    };
    let after = Want::of(&only_next, next, &both);
    let alone = Want::of(&only_next, next, &only_next).dropping();
    let crossed = Want {
        crossed: authority.crossed && !old.is_empty(),
        ..after.clone()
    };
    let proving = Want {
        proves_bundle: signer.is_some(),
        ..before.clone()
    };
    Some(match phase {
        Phase::Stable | Phase::Prepare | Phase::Trust => (before, proving),
        Phase::Serve if crosses(objects) => (crossed, before),
        Phase::Identify if !crosses(objects) => (before, after),
        Phase::Serve | Phase::Identify => (crossed, after),
        Phase::Retire => (alone, after),
        Phase::Clean => (alone.clone(), alone),
    })
}

impl Want {
    fn of(issuers: &[RootId], signer: &Root, bundle: &[RootId]) -> Self {
        Self {
            issuers: issuers.to_vec(),
            signer: signer.clone(),
            crossed: false,
            bundle: bundle.to_vec(),
            proves_bundle: false,
            drop_reference_keys: false,
        }
    }

    fn dropping(mut self) -> Self {
        self.drop_reference_keys = true;
        self
    }
}
