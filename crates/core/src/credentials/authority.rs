//! What has to happen to the authorities themselves before anything else: the first one, a lost or foreign one, damage.

use super::clock::{Clock, earlier, later};
use super::config::Config;
use super::phase::Phase;
use super::step::{AuthorityWrite, Cause, NextAuthority, Step};
use super::view::{BACKDATE, Flaw, MAX_ROOTS, Objects, Presence, Root, RootId, Validity};

/// The write that makes the authorities usable, if they are not.
pub(super) fn repair(objects: &Objects, clock: &Clock, config: &Config) -> Option<Step> {
    let authority = &objects.authority;
    let alive = |root: &&Root| clock.invalidity(&root.validity).is_none();
    let damage = damage(objects);
    let signer = authority.signing_root().filter(alive);
    let next = authority.next.as_ref().filter(alive);
    let (write, cause) = match (signer, next) {
        (Some(signer), Some(next)) if !authority.crossed => (
            AuthorityWrite::Cross {
                validity: cut(validity(clock, config), &[signer, next]),
            },
            Cause::Repair("the cross certificate is missing or unusable".to_owned()),
        ),
        (Some(signer), None) if foreign(objects, signer, clock) => (
            AuthorityWrite::Prepare {
                next: NextAuthority::Stored,
                cross: None,
                keep: adoptable(objects, clock),
                reason: None,
            },
            Cause::Repair(format!("nobody trusts the stored authority {}", signer.id)),
        ),
        (Some(_), None) if authority.next.is_some() => (
            AuthorityWrite::Rewrite { next: false },
            Cause::Repair("the next authority has expired".to_owned()),
        ),
        (Some(_), _) | (_, Some(_)) => (AuthorityWrite::Rewrite { next: next.is_some() }, Cause::Repair(damage?)),
        (None, None) => lost(objects, clock, config, damage),
    };
    Some(Step::Authority {
        write,
        replace: matches!(authority.presence, Presence::Unwritable(_)),
        cause,
    })
}

/// The validity of an authority issued now.
pub(super) fn validity(clock: &Clock, config: &Config) -> Validity {
    let now = clock.issuing();
    Validity {
        not_before: earlier(now, BACKDATE),
        not_after: later(now, config.authority_lifetime),
    }
}

/// A validity that ends no later than any of `roots`.
pub(super) fn cut(validity: Validity, roots: &[&Root]) -> Validity {
    let end = roots.iter().map(|root| root.validity.not_after).min();
    Validity {
        not_after: end.map_or(validity.not_after, |end| end.min(validity.not_after)),
        ..validity
    }
}

fn lost(objects: &Objects, clock: &Clock, config: &Config, damage: Option<String>) -> (AuthorityWrite, Cause) {
    let keep = adoptable(objects, clock);
    let validity = validity(clock, config);
    let reference = objects.server.reference_keys || objects.client.reference_keys;
    let known = objects.server.generation.or(objects.client.generation);
    let lost = damage.unwrap_or_else(|| match objects.authority.presence {
        Presence::Absent => "the Secret was deleted".to_owned(),
        Presence::Present | Presence::Unwritable(_) => "no authority with a usable private key is stored".to_owned(),
    });
    if keep.is_empty() {
        let first = known.is_none() && objects.authority.presence == Presence::Absent;
        let cause = if first { Cause::First } else { Cause::Repair(lost) };
        return (AuthorityWrite::Create { validity }, cause);
    }
    let write = AuthorityWrite::Prepare {
        next: NextAuthority::New(validity),
        cross: None,
        keep,
        reason: None,
    };
    let cause = if reference && known.is_none() {
        Cause::Rotation(Phase::Prepare)
    } else {
        Cause::Repair(lost)
    };
    (write, cause)
}

fn damage(objects: &Objects) -> Option<String> {
    match &objects.authority.presence {
        Presence::Unwritable(why) => Some(why.clone()),
        Presence::Absent | Presence::Present => objects.authority.flaw.clone(),
    }
}

/// Whether a stored authority is one that nobody trusts, while credentials under others are alive.
fn foreign(objects: &Objects, signer: &Root, clock: &Clock) -> bool {
    let trusted = objects.server.trusts(&signer.id) || objects.client.trusts(&signer.id);
    !trusted && alive_issuers(objects, clock).any(|issuer| *issuer != signer.id)
}

/// Roots that live credentials depend on. None, when no credentials are alive: then there is nothing to preserve.
fn adoptable(objects: &Objects, clock: &Clock) -> Vec<RootId> {
    if alive_issuers(objects, clock).next().is_none() {
        return Vec::new();
    }
    let stored = objects.authority.current.iter().chain(&objects.authority.next);
    let published = objects.server.roots().iter().chain(objects.client.roots());
    let signer = objects.authority.signer.as_ref();
    let mut kept: Vec<RootId> = Vec::new();
    for root in stored.chain(published) {
        let wanted = clock.invalidity(&root.validity).is_none() && signer != Some(&root.id);
        if wanted && !kept.contains(&root.id) && kept.len() < MAX_ROOTS - 1 {
            kept.push(root.id.clone());
        }
    }
    kept
}

fn alive_issuers<'a>(objects: &'a Objects, clock: &'a Clock) -> impl Iterator<Item = &'a RootId> {
    let leaves = [&objects.server.leaf, &objects.client.leaf].into_iter();
    leaves
        .filter_map(|leaf: &Result<_, Flaw>| leaf.as_ref().ok())
        .filter(|leaf| clock.invalidity(&leaf.validity).is_none())
        .map(|leaf| &leaf.issuer)
}
