//! Every ordering of writes, loads, torn reads, crashes and deletions during a rotation: no handshake may fail, and the
//! end must stay in reach. A crash between two writes needs no case of its own: a plan remembers nothing.
//! The same exploration must find failures when one of the protections is taken away.

use jiff::Timestamp;

use super::super::{AuthoritySecret, Phase};
use super::apply::{stable, start};
use super::explore::{Found, Setting};
use super::world::{Kind, World};

const BOTH: [Kind; 2] = [Kind::Managed, Kind::ByHand];

fn first() -> Timestamp {
    stable(start()).client.leaf.unwrap().validity.not_before
}

/// A user has asked for a rotation.
fn requested(callers: &[Kind]) -> World {
    let mut objects = stable(start());
    objects.authority.requested = Some("test".to_owned());
    World::at_rest(objects, first(), callers)
}

/// The Secret with the authority is gone.
fn lost(callers: &[Kind]) -> World {
    let mut objects = stable(start());
    objects.authority = AuthoritySecret::absent();
    World::at_rest(objects, first(), callers)
}

fn no_failure(name: &str, found: &Found) {
    println!("{name}: {} states, {} handshakes", found.states, found.handshakes);
    assert_eq!(found.failures, 0, "{name}: {:#?}", found.example);
    assert_eq!(found.told_in_vain, 0, "{name}: callers are told to read again too early");
    assert_eq!(found.can_finish, found.states, "{name}: some states lead nowhere");
}

#[test]
fn no_handshake_fails_in_a_rotation() {
    let found = Setting::honest(first()).explore(&requested(&BOTH));
    no_failure("rotation", &found);
    assert_eq!(found.phases.len(), Phase::ALL.len(), "{:?}", found.phases);
}

#[test]
fn no_handshake_fails_after_the_authority_is_lost() {
    let found = Setting::honest(first()).explore(&lost(&BOTH));
    no_failure("lost authority", &found);
    assert!(found.phases.contains(&Phase::Identify), "{:?}", found.phases);
}

#[test]
fn no_handshake_fails_when_one_secret_is_deleted_at_any_moment() {
    let world = World {
        faults: 1,
        ..requested(&[Kind::ByHand])
    };
    no_failure("rotation with a deletion", &Setting::honest(first()).explore(&world));
}

#[test]
fn no_handshake_fails_with_two_certmgrs_at_once() {
    let setting = Setting {
        second_certmgr: true,
        ..Setting::honest(first())
    };
    for kind in BOTH {
        no_failure("two certmgrs", &setting.explore(&requested(&[kind])));
        no_failure("two certmgrs, lost authority", &setting.explore(&lost(&[kind])));
    }
}

#[test]
fn exploration_finds_failures_without_each_protection() {
    let honest = Setting::honest(first());
    let weakened = [
        (
            "replicas are not waited for",
            requested(&BOTH),
            Setting {
                replicas_lie: true,
                ..honest
            },
        ),
        (
            "callers are not waited for",
            requested(&BOTH),
            Setting {
                callers_hidden: true,
                ..honest
            },
        ),
        (
            "KEDA reads the bundle first",
            lost(&[Kind::ByHand]),
            Setting {
                bundle_first: true,
                ..honest
            },
        ),
    ];
    for (name, world, setting) in weakened {
        let found = setting.explore(&world);
        println!("{name}: a failure within {} states", found.states);
        assert!(found.failures > 0, "{name}");
    }
}
