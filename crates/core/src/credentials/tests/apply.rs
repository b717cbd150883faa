//! Carries out steps on views of objects, as certmgr does on the objects themselves.

use std::time::Duration;

use jiff::Timestamp;

use super::super::clock::later;
use super::super::{
    Authentication, AuthoritySecret, AuthorityWrite, BACKDATE, Clock, Config, Leaf, LeafSecret, LeafSource, NextAuthority,
    Objects, Presence, Publication, Root, RootId, Step, Validity,
};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A day that is nobody's birthday.
pub(super) fn start() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

pub(super) fn config() -> Config {
    Config {
        leaf_renew_jitter: Duration::ZERO,
        ..Config::default()
    }
}

pub(super) fn life(issued: Timestamp, span: Duration) -> Validity {
    Validity {
        not_before: issued - BACKDATE,
        not_after: later(issued, span),
    }
}

pub(super) fn root(name: &str, issued: Timestamp) -> Root {
    Root {
        id: id(name),
        validity: life(issued, config().authority_lifetime),
    }
}

pub(super) fn id(name: &str) -> RootId {
    RootId(name.to_owned())
}

pub(super) fn leaf(issuer: &str, issued: Timestamp) -> Leaf {
    Leaf {
        issuer: id(issuer),
        validity: life(issued, config().leaf_lifetime),
        crossed: false,
        spread: 0,
        outdated: None,
    }
}

/// Nothing exists yet.
pub(super) fn nothing() -> Objects {
    Objects {
        authority: AuthoritySecret::absent(),
        server: LeafSecret::absent(),
        client: LeafSecret::absent(),
        authentication: Authentication {
            served: true,
            exists: false,
            as_wanted: false,
            epoch: None,
        },
    }
}

/// What `plan` made of nothing at `now`.
pub(super) fn stable(now: Timestamp) -> Objects {
    let mut objects = nothing();
    let none = super::super::Acknowledgements::Known(Vec::new());
    while let Some(step) = super::super::plan(&objects, &none, &Clock::agreed(now), &config()).step {
        apply(&mut objects, &step);
    }
    objects
}

/// Carries out a step. The authorities are called A, B, C in the order of their creation.
pub(super) fn apply(objects: &mut Objects, step: &Step) {
    match step {
        Step::Authority { write, .. } => apply_authority(objects, write),
        Step::Server(publication) => {
            let roots = known(objects);
            publish(&mut objects.server, publication, &roots);
        }
        Step::Client(publication) => {
            let roots = known(objects);
            publish(&mut objects.client, publication, &roots);
        }
        Step::Authentication { epoch, .. } => {
            objects.authentication = Authentication {
                served: true,
                exists: true,
                as_wanted: true,
                epoch: Some(*epoch),
            };
        }
    }
}

fn apply_authority(objects: &mut Objects, write: &AuthorityWrite) {
    let roots = known(objects);
    let name = ["A", "B", "C", "D"]
        .into_iter()
        .find(|name| roots.iter().all(|root| root.id != id(name)));
    let new = |validity: &Validity| Root {
        id: id(name.unwrap()),
        validity: *validity,
    };
    let client = objects.client.leaf.as_ref().ok().map(|leaf| leaf.validity);
    let authority = &mut objects.authority;
    let fresh = AuthoritySecret {
        presence: Presence::Present,
        requested: authority.requested.clone(),
        recorded: authority.recorded.clone(),
        ..AuthoritySecret::absent()
    };
    match write {
        AuthorityWrite::Create { validity } => {
            *authority = AuthoritySecret {
                signer: Some(new(validity).id),
                current: vec![new(validity)],
                ..fresh
            };
        }
        AuthorityWrite::Prepare {
            next,
            cross,
            keep,
            reason,
        } => {
            let next = match next {
                NextAuthority::New(validity) => new(validity),
                NextAuthority::Stored => authority.signing_root().unwrap().clone(),
            };
            *authority = AuthoritySecret {
                current: keep
                    .iter()
                    .map(|kept| roots.iter().find(|root| root.id == *kept).unwrap().clone())
                    .collect(),
                signer: authority.signer.clone().filter(|_| cross.is_some()),
                next: Some(next),
                crossed: cross.is_some(),
                retiring: if cross.is_some() { None } else { client },
                recorded: reason.clone().or_else(|| fresh.recorded.clone()),
                ..fresh
            };
        }
        AuthorityWrite::Cross { .. } => authority.crossed = true,
        AuthorityWrite::EraseKey => {
            authority.signer = None;
            authority.retiring = client;
        }
        AuthorityWrite::Promote => {
            let next = authority.next.clone().unwrap();
            *authority = AuthoritySecret {
                signer: Some(next.id.clone()),
                current: vec![next],
                ..fresh
            };
        }
        AuthorityWrite::Rewrite { next } => {
            authority.flaw = None;
            authority.presence = Presence::Present;
            authority.next = authority.next.take().filter(|_| *next);
        }
    }
}

fn publish(secret: &mut LeafSecret, publication: &Publication, roots: &[Root]) {
    let leaf = match &publication.leaf {
        LeafSource::Keep => secret.leaf.clone().unwrap(),
        LeafSource::Issue(issue) => Leaf {
            issuer: issue.issuer.clone(),
            validity: issue.validity,
            crossed: issue.crossed,
            spread: 0,
            outdated: None,
        },
    };
    let bundle = publication.bundle.iter();
    *secret = LeafSecret {
        presence: Presence::Present,
        leaf: Ok(leaf),
        bundle: Ok(bundle
            .map(|id| roots.iter().find(|root| root.id == *id).unwrap().clone())
            .collect()),
        generation: Some(publication.generation),
        published: Some(publication.published),
        retiring: publication.retiring,
        reference_keys: publication.keep_reference_keys,
        reference_layout: false,
    };
}

fn known(objects: &Objects) -> Vec<Root> {
    let stored = objects.authority.current.iter().chain(&objects.authority.next);
    let published = objects.server.roots().iter().chain(objects.client.roots());
    stored.chain(published).cloned().collect()
}
