//! The way from nothing to credentials, through a renewal and through a rotation, write by write.

use jiff::Timestamp;

use super::super::clock::later;
use super::super::config::SHORTEST_AGE;
use super::super::{Acknowledgement, Acknowledgements, AuthoritySecret, Callers, Clock, Objects, Replica, plan, schedule};
use super::apply::{DAY, apply, config, id, leaf, life, nothing, root, stable, start};
use super::said::said;

/// One replica that holds whatever is published and sees only new callers.
pub(super) fn content(objects: &Objects, now: Timestamp) -> Acknowledgements {
    let generation = objects.server.generation;
    let callers = Callers {
        since: later(start(), DAY / 24) - DAY,
        lowest_epoch: objects.authentication.epoch,
        oldest_client: Some(now),
    };
    Acknowledgements::Known(vec![Replica {
        name: "a".to_owned(),
        acknowledgement: Some(Acknowledgement {
            trusted: generation,
            served: generation,
            retired_connections: Some(0),
            callers: Some(callers),
        }),
    }])
}

/// Carries out everything that can be done at `now`, in words.
fn carried_out(objects: &mut Objects, now: Timestamp) -> Vec<String> {
    let mut done = Vec::new();
    loop {
        let plan = plan(objects, &content(objects, now), &Clock::agreed(now), &config());
        done.push(said(&plan));
        let Some(step) = plan.step else { return done };
        apply(objects, &step);
    }
}

#[test]
fn credentials_are_issued_authority_first_and_keda_is_told_last() {
    let done = carried_out(&mut nothing(), start());
    assert_eq!(
        done,
        [
            "stable: authority create (first)",
            "stable: server issue A, trust A (first)",
            "stable: client issue A, trust A (first)",
            "stable: authentication (first)",
            "stable: nothing",
        ]
    );
}

#[test]
fn leaves_are_renewed_at_their_age_and_only_keda_is_told_of_its_own() {
    let mut objects = stable(start());
    assert_eq!(carried_out(&mut objects, start() + 59 * DAY), ["stable: nothing"]);
    let before = objects.clone();
    assert_eq!(
        carried_out(&mut objects, start() + 60 * DAY),
        [
            "stable: server issue A, trust A (renewal)",
            "stable: client issue A, trust A (renewal)",
            "stable: authentication (to stable)",
            "stable: nothing",
        ]
    );
    assert!(objects.authentication.epoch > before.authentication.epoch);
    assert!(objects.server.generation > before.server.generation);
}

#[test]
fn authority_is_rotated_at_half_its_life_gate_by_gate() {
    let mut objects = stable(start());
    let half = start() + 365 * DAY;
    assert_eq!(carried_out(&mut objects, half - DAY).last().unwrap(), "stable: nothing");
    assert_eq!(
        carried_out(&mut objects, half),
        [
            "stable: authority prepare new crossed beside A (to prepare)",
            "prepare: server keep, trust A+B (to prepare)",
            "trust: client issue A, trust A+B (to trust)",
            "trust: authentication (to trust)",
            "trust: waits for the minimum age, until 2027-03-01T00:10:00Z",
        ]
    );
    let aged = half + DAY / 144;
    assert_eq!(
        carried_out(&mut objects, aged),
        [
            "trust: server issue B crossed, trust A+B (to serve)",
            "serve: authority erase key (to identify)",
            "identify: client issue B, trust A+B (to identify)",
            "identify: authentication (to identify)",
            "identify: waits for the minimum age, until 2027-03-02T00:10:00Z",
        ]
    );
    assert_eq!(
        carried_out(&mut objects, aged + DAY),
        [
            "identify: server keep, trust A+B retiring (to identify)",
            "identify: server keep, trust B (to retire)",
            "retire: client keep, trust B (to clean)",
            "clean: authentication (to clean)",
            "clean: authority promote (to stable)",
            "stable: nothing",
        ]
    );
    assert_eq!(objects.authority.signer, Some(id("B")));
}

#[test]
fn what_is_due_by_age_happens_then_and_not_before() {
    let mut objects = stable(start());
    let due = schedule(&objects, &config());
    for (secret, moment) in [("server", due.server), ("client", due.client)] {
        let moment = moment.unwrap();
        let early = carried_out(&mut objects.clone(), moment - SHORTEST_AGE);
        assert_eq!(early, ["stable: nothing"], "{secret}");
        let done = carried_out(&mut objects.clone(), moment);
        assert!(done.iter().any(|step| step.contains(&format!("{secret} issue"))), "{done:?}");
    }
    let rotation = due.authority.unwrap();
    for leaf in [&mut objects.server.leaf, &mut objects.client.leaf] {
        leaf.as_mut().unwrap().validity = life(rotation, config().leaf_lifetime);
    }
    assert_eq!(
        carried_out(&mut objects.clone(), rotation - SHORTEST_AGE),
        ["stable: nothing"]
    );
    assert!(carried_out(&mut objects, rotation).remove(0).contains("prepare new"));
    assert_eq!(schedule(&objects, &config()).authority, None, "one rotation at a time");
}

#[test]
fn each_reason_for_a_rotation_is_acted_on_once() {
    let mut objects = stable(start());
    objects.authority.requested = Some("key may have leaked".to_owned());
    let first = carried_out(&mut objects, start()).remove(0);
    assert_eq!(first, "stable: authority prepare new crossed beside A (to prepare)");
    for day in 1..=3 {
        carried_out(&mut objects, start() + day * DAY);
    }
    assert_eq!(carried_out(&mut objects, start() + 4 * DAY), ["stable: nothing"]);
    objects.authority.requested = Some("again".to_owned());
    assert_ne!(carried_out(&mut objects, start() + 4 * DAY), ["stable: nothing"]);
}

#[test]
fn lost_authority_is_replaced_by_an_acknowledged_switch() {
    let mut objects = stable(start());
    objects.authority = AuthoritySecret::absent();
    let mut done = carried_out(&mut objects, start() + DAY);
    done.extend(carried_out(&mut objects, start() + 2 * DAY));
    done.extend(carried_out(&mut objects, start() + 4 * DAY));
    assert_eq!(
        done,
        [
            "stable: authority prepare new beside A (the Secret was deleted)",
            "prepare: server keep, trust A+B (to prepare)",
            "trust: client keep, trust A+B (to trust)",
            "trust: authentication (to trust)",
            "trust: waits for the minimum age, until 2026-03-02T00:10:00Z",
            "trust: client issue B, trust A+B (to identify)",
            "identify: authentication (to identify)",
            "identify: waits for the minimum age, until 2026-03-04T00:00:00Z",
            "identify: server keep, trust A+B retiring (to identify)",
            "identify: server issue B, trust A+B (to serve)",
            "serve: server keep, trust A+B retiring (to serve)",
            "serve: server keep, trust B (to retire)",
            "retire: client keep, trust B (to clean)",
            "clean: authentication (to clean)",
            "clean: authority promote (to stable)",
            "stable: nothing",
        ]
    );
}

/// The Go reference's objects: two authorities without a usable key, own keys in the Secrets, nothing of ours.
fn reference() -> Objects {
    let issued = start() - 100 * DAY;
    let mut objects = nothing();
    for (secret, name) in [(&mut objects.server, "R"), (&mut objects.client, "S")] {
        secret.presence = super::super::Presence::Present;
        secret.leaf = Ok(leaf(name, start()));
        secret.bundle = Ok(vec![root(name, issued)]);
        secret.reference_keys = true;
    }
    objects.server.reference_layout = true;
    objects.authentication.exists = true;
    objects
}

#[test]
fn credentials_of_the_reference_are_joined_then_switched_then_cleaned_up() {
    let mut objects = reference();
    let mut done = carried_out(&mut objects, start());
    assert!(objects.server.reference_keys && objects.client.reference_keys);
    done.extend(carried_out(&mut objects, start() + DAY));
    done.extend(carried_out(&mut objects, start() + 3 * DAY));
    assert_eq!(
        done,
        [
            "stable: authority prepare new beside R+S (to prepare)",
            "prepare: server keep, trust R+S+A (to prepare)",
            "trust: client keep, trust R+S+A (to trust)",
            "trust: authentication (the ClusterTriggerAuthentication was changed)",
            "trust: waits for the minimum age, until 2026-03-01T00:10:00Z",
            "trust: client issue A, trust R+S+A (to identify)",
            "identify: authentication (to identify)",
            "identify: waits for the minimum age, until 2026-03-03T00:00:00Z",
            "identify: server keep, trust R+S+A retiring (to identify)",
            "identify: server issue A, trust R+S+A (to serve)",
            "serve: server keep, trust R+S+A retiring (to serve)",
            "serve: server keep, trust A (to retire)",
            "retire: client keep, trust A (to clean)",
            "clean: authentication (to clean)",
            "clean: authority promote (to stable)",
            "stable: nothing",
        ]
    );
    assert!(!objects.server.reference_keys && !objects.client.reference_keys);
}
