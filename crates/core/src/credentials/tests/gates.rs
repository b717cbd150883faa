//! What keeps a phase from being left.

use jiff::Timestamp;

use super::super::{Acknowledgement, Acknowledgements, BACKDATE, Callers, Clock, Objects, Phase, Plan, Replica, plan};
use super::apply::{DAY, apply, config, stable, start};
use super::said::said;
use super::table::content;

/// A rotation that has come to `phase` and has nothing left to write in it, two days later.
fn at(phase: Phase) -> (Objects, Timestamp) {
    let mut objects = stable(start());
    objects.authority.requested = Some("test".to_owned());
    let mut now = start();
    for _ in 0..20 {
        let blind = plan(
            &objects,
            &Acknowledgements::Unknown("test".to_owned()),
            &Clock::agreed(now),
            &config(),
        );
        if blind.phase == phase && blind.step.is_none() {
            return (objects, now + 2 * DAY);
        }
        let decided = plan(&objects, &content(&objects, now), &Clock::agreed(now), &config());
        match decided.step {
            Some(step) => apply(&mut objects, &step),
            None => now += 2 * DAY,
        }
    }
    panic!("{phase} was not reached: {objects:#?}");
}

fn decide(objects: &Objects, now: Timestamp, replicas: Vec<Replica>) -> Plan {
    // Marking old client certificates is no gate.
    let mut objects = objects.clone();
    let acknowledgements = Acknowledgements::Known(replicas);
    let mut decided = plan(&objects, &acknowledgements, &Clock::agreed(now), &config());
    if let Some(super::super::Step::Server(publication)) = &decided.step
        && publication.retiring.is_some()
    {
        let step = decided.step.clone().unwrap();
        let generation = objects.server.generation;
        apply(&mut objects, &step);
        objects.server.generation = generation;
        decided = plan(&objects, &acknowledgements, &Clock::agreed(now), &config());
    }
    decided
}

fn replica(name: &str, objects: &Objects, now: Timestamp, change: fn(&mut Acknowledgement)) -> Replica {
    let Acknowledgements::Known(mut replicas) = content(objects, now) else {
        panic!("unknown")
    };
    let mut replica = replicas.remove(0);
    replica.name = name.to_owned();
    change(replica.acknowledgement.as_mut().unwrap());
    replica
}

type Change = fn(&mut Acknowledgement);

fn callers(acknowledgement: &mut Acknowledgement) -> &mut Callers {
    acknowledgement.callers.as_mut().unwrap()
}

#[test]
fn one_replica_that_does_not_acknowledge_blocks_each_phase() {
    let old = |said: &mut Acknowledgement| {
        said.trusted = Some(1);
        said.served = Some(1);
    };
    let unserved: Change = |said| said.served = Some(1);
    let silent: Change = |said| said.callers = None;
    let fresh: Change = |said| callers(said).since = start() + 200 * DAY;
    let epoch: Change = |said| callers(said).lowest_epoch = Some(1);
    let certificate: Change = |said| callers(said).oldest_client = Some(start() - BACKDATE);
    let open: Change = |said| said.retired_connections = Some(3);
    let cases: [(Phase, Change, &str); 13] = [
        (Phase::Trust, old, "to trust generation"),
        (Phase::Trust, unserved, "to serve generation"),
        (Phase::Serve, old, "to trust generation"),
        (Phase::Serve, unserved, "to serve generation"),
        (Phase::Identify, old, "to trust generation"),
        (Phase::Identify, silent, "to say who calls it"),
        (Phase::Identify, fresh, "to have known its callers for long enough"),
        (Phase::Identify, epoch, "to see no caller of an epoch before"),
        (
            Phase::Identify,
            certificate,
            "to see no client certificate of the old authority",
        ),
        (Phase::Retire, old, "to trust generation"),
        (Phase::Retire, silent, "to say who calls it"),
        (
            Phase::Retire,
            open,
            "to drain connections opened under the old authority; it has 3",
        ),
        (
            Phase::Retire,
            certificate,
            "to see no client certificate of the old authority",
        ),
    ];
    for (phase, change, expected) in cases {
        let (objects, now) = at(phase);
        let good = replica("good", &objects, now, |_| {});
        let bad = replica("bad", &objects, now, change);
        let passed = decide(&objects, now, vec![good.clone()]);
        assert!(passed.step.is_some(), "{phase} with a good replica: {}", said(&passed));
        let blocked = decide(&objects, now, vec![good, bad]);
        let sentence = said(&blocked);
        assert!(blocked.step.is_none(), "{phase}: {sentence}");
        assert!(
            sentence.contains(&format!("replica \"bad\" {expected}")),
            "{phase}: {sentence}"
        );
    }
}

#[test]
fn running_replica_without_a_lease_blocks() {
    for phase in [Phase::Trust, Phase::Serve, Phase::Identify, Phase::Retire] {
        let (objects, now) = at(phase);
        let mute = Replica {
            name: "mute".to_owned(),
            acknowledgement: None,
        };
        let sentence = said(&decide(&objects, now, vec![mute]));
        assert!(sentence.contains("replica \"mute\" to write its Lease"), "{sentence}");
    }
}

#[test]
fn without_replicas_only_the_callers_are_unknown() {
    for (phase, waits) in [
        (Phase::Trust, false),
        (Phase::Serve, false),
        (Phase::Identify, true),
        (Phase::Retire, true),
    ] {
        let (objects, now) = at(phase);
        let decided = decide(&objects, now, Vec::new());
        assert_eq!(decided.step.is_none(), waits, "{phase}: {}", said(&decided));
    }
}

#[test]
fn callers_are_not_waited_for_once_the_last_old_certificate_has_ended() {
    let (objects, now) = at(Phase::Identify);
    let end = objects.authority.retiring.unwrap().not_after;
    let old: Change = |said| callers(said).oldest_client = Some(start() - BACKDATE);
    // Leaves of this age are renewed first; that is not what is asked here.
    let relaxed = super::super::Config {
        leaf_renew_after: 400 * DAY,
        leaf_lifetime: 500 * DAY,
        ..config()
    };
    let mut objects = objects;
    objects.server.leaf.as_mut().unwrap().validity.not_after = start() + 600 * DAY;
    objects.client.leaf.as_mut().unwrap().validity.not_after = start() + 600 * DAY;
    for (moment, passes) in [(end - DAY, false), (end, true)] {
        let acknowledgements = Acknowledgements::Known(vec![replica("a", &objects, now, old)]);
        let mut seen = objects.clone();
        seen.server.retiring = seen.authority.retiring.map(|last| last.not_before);
        let decided = plan(&seen, &acknowledgements, &Clock::agreed(moment), &relaxed);
        assert_eq!(decided.step.is_some(), passes, "{moment}: {}", said(&decided));
    }
}

#[test]
fn clocks_that_disagree_freeze_the_rotation_and_spare_the_living() {
    for phase in [Phase::Stable, Phase::Trust, Phase::Serve, Phase::Identify, Phase::Retire] {
        let (mut objects, now) = if phase == Phase::Stable {
            (stable(start()), start() + 61 * DAY)
        } else {
            at(phase)
        };
        let server = if phase == Phase::Stable {
            now - 20 * DAY
        } else {
            now + 400 * DAY
        };
        for clock in [
            Clock {
                own: now,
                server: Some(server),
            },
            Clock {
                own: server,
                server: Some(now),
            },
            Clock { own: now, server: None },
        ] {
            let acknowledgements = content(&objects, now);
            let decided = plan(&objects, &acknowledgements, &clock, &config());
            assert!(decided.step.is_none(), "{phase} {clock:?}: {}", said(&decided));
            assert!(
                said(&decided).contains("our clock and the API server's to agree"),
                "{}",
                said(&decided)
            );
        }
        objects.server = super::super::LeafSecret::absent();
        let clock = Clock {
            own: server,
            server: Some(now),
        };
        let decided = plan(&objects, &content(&objects, now), &clock, &config());
        let Some(super::super::Step::Server(publication)) = decided.step else {
            panic!("{phase}: a deleted Secret is not repaired");
        };
        assert_eq!(
            publication.published, now,
            "{phase}: issued at another time than the cluster's"
        );
    }
}
