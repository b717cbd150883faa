//! Everything that can be wrong with the objects at rest, and the first write that puts it right.

use jiff::Timestamp;

use super::super::{AuthoritySecret, Clock, Flaw, LeafSecret, Objects, Presence, plan};
use super::apply::{DAY, apply, config, id, leaf, root, stable, start};
use super::said::said;
use super::table::content;

type Fault = fn(&mut Objects);

fn unusable() -> Flaw {
    Flaw::Unusable("truncated".to_owned())
}

const AT_REST: &[(&str, Fault, &str)] = &[
    ("nothing", |_| {}, "stable: nothing"),
    (
        "server deleted",
        |o| o.server = LeafSecret::absent(),
        "stable: server issue A, trust A (the Secret was deleted)",
    ),
    (
        "client deleted",
        |o| o.client = LeafSecret::absent(),
        "stable: client issue A, trust A (the Secret was deleted)",
    ),
    (
        "server truncated",
        |o| o.server.leaf = Err(unusable()),
        "stable: server issue A, trust A (truncated)",
    ),
    (
        "client truncated",
        |o| o.client.leaf = Err(unusable()),
        "stable: client issue A, trust A (truncated)",
    ),
    (
        "server emptied",
        |o| o.server.leaf = Err(Flaw::Absent),
        "stable: server issue A, trust A (the certificate was removed)",
    ),
    (
        "server of a foreign authority",
        |o| o.server.leaf = Ok(leaf("X", start())),
        "stable: server issue A, trust A (the certificate was issued by X)",
    ),
    (
        "server expired",
        |o| o.server.leaf = Ok(leaf("A", start() - 90 * DAY)),
        "stable: server issue A, trust A (the certificate is expired at 2026-03-01T00:00:00Z)",
    ),
    (
        "server from the future",
        |o| o.server.leaf = Ok(leaf("A", start() + DAY)),
        "stable: server issue A, trust A (the certificate is not valid before 2026-03-01T23:00:00Z)",
    ),
    (
        "names changed",
        |o| o.server.leaf.as_mut().unwrap().outdated = Some("the name x".to_owned()),
        "stable: server issue A, trust A (renewal)",
    ),
    (
        "bundle truncated",
        |o| o.client.bundle = Err(unusable()),
        "stable: client keep, trust A (the trust bundle is truncated)",
    ),
    (
        "foreign root added",
        |o| o.server.bundle.as_mut().unwrap().push(root("X", start())),
        "stable: server keep, trust A (the trust bundle holds other roots)",
    ),
    (
        "foreign root instead",
        |o| o.server.bundle = Ok(vec![root("X", start())]),
        "stable: server keep, trust A (the trust bundle holds other roots)",
    ),
    (
        "annotations removed",
        |o| o.server.published = None,
        "stable: server keep, trust A (our annotations were removed)",
    ),
    (
        "server of a wrong type",
        |o| o.server.presence = Presence::Unwritable("wrong type".to_owned()),
        "stable: server keep, trust A replacing (wrong type)",
    ),
    (
        "server of a wrong type without a leaf",
        |o| {
            o.server.presence = Presence::Unwritable("wrong type".to_owned());
            o.server.leaf = Err(Flaw::Absent);
        },
        "stable: server issue A, trust A replacing (wrong type)",
    ),
    (
        "authentication deleted",
        |o| {
            o.authentication.exists = false;
            o.authentication.as_wanted = false;
            o.authentication.epoch = None;
        },
        "stable: authentication (first)",
    ),
    (
        "authentication edited",
        |o| o.authentication.as_wanted = false,
        "stable: authentication (the ClusterTriggerAuthentication was changed)",
    ),
    (
        "epoch edited",
        |o| o.authentication.epoch = Some(7),
        "stable: authentication (to stable)",
    ),
    (
        "kind gone",
        |o| o.authentication.served = false,
        "stable: waits for the API server to serve ClusterTriggerAuthentication",
    ),
    (
        "authority deleted",
        |o| o.authority = AuthoritySecret::absent(),
        "stable: authority prepare new beside A (the Secret was deleted)",
    ),
    (
        "authority's key truncated",
        |o| {
            o.authority.signer = None;
            o.authority.flaw = Some("ca.key is truncated".to_owned());
        },
        "stable: authority prepare new beside A (ca.key is truncated)",
    ),
    (
        "authority of a wrong type",
        |o| o.authority.presence = Presence::Unwritable("wrong type".to_owned()),
        "stable: authority rewrite without next replacing (wrong type)",
    ),
    (
        "authority replaced by a foreign one",
        |o| {
            o.authority.current = vec![root("X", start())];
            o.authority.signer = Some(id("X"));
        },
        "stable: authority prepare stored beside A (nobody trusts the stored authority X)",
    ),
    (
        "everything deleted",
        |o| {
            o.authority = AuthoritySecret::absent();
            o.server = LeafSecret::absent();
            o.client = LeafSecret::absent();
        },
        "stable: authority create (first)",
    ),
    (
        "authority expired with everything under it",
        |o| {
            o.authority.current = vec![root("A", start() - 730 * DAY)];
            o.server.leaf = Ok(leaf("A", start() - 90 * DAY));
            o.client.leaf = Ok(leaf("A", start() - 90 * DAY));
        },
        "stable: authority create (no authority with a usable private key is stored)",
    ),
];

#[test]
fn every_fault_at_rest_is_put_right() {
    for (name, fault, expected) in AT_REST {
        let mut objects = stable(start());
        fault(&mut objects);
        let decided = plan(&objects, &content(&objects, start()), &Clock::agreed(start()), &config());
        assert_eq!(said(&decided), *expected, "{name}");
    }
}

/// Every fault, in every state a rotation passes through, is over after a bounded number of writes.
#[test]
fn no_fault_in_a_rotation_leads_to_endless_writes() {
    let mut objects = stable(start());
    objects.authority.requested = Some("test".to_owned());
    let mut passed = 0;
    for day in 0..4 {
        let now = start() + day * DAY;
        let clock = Clock::agreed(now);
        loop {
            for (name, fault, _) in AT_REST {
                let mut broken = objects.clone();
                fault(&mut broken);
                let writes = writes_until_rest(&mut broken, now);
                assert!(writes <= 12, "{name}: {writes} writes from {objects:#?}");
            }
            passed += 1;
            let decided = plan(&objects, &content(&objects, now), &clock, &config());
            let Some(step) = decided.step else { break };
            apply(&mut objects, &step);
        }
    }
    assert!(passed > 12, "{passed} states");
    assert_eq!(objects.authority.signer, Some(id("B")));
}

fn writes_until_rest(objects: &mut Objects, now: Timestamp) -> usize {
    let silent = super::super::Acknowledgements::Unknown("test".to_owned());
    let mut writes = 0;
    while let Some(step) = plan(objects, &silent, &Clock::agreed(now), &config()).step {
        apply(objects, &step);
        writes += 1;
        if writes > 20 {
            break;
        }
    }
    writes
}

#[test]
fn senseless_generations_do_not_use_up_the_numbers() {
    let mut objects = stable(start());
    objects.client.generation = Some(u64::MAX);
    objects.client.leaf = Err(unusable());
    let decided = plan(&objects, &content(&objects, start()), &Clock::agreed(start()), &config());
    let Some(super::super::Step::Client(publication)) = decided.step else {
        panic!("not repaired")
    };
    assert_eq!(i64::try_from(publication.generation), Ok(start().as_second()));
}
