//! Visits every state that can follow from a world, driving the real `plan`, and counts what goes wrong.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::super::clock::later;
use super::super::{
    Acknowledgement, Acknowledgements, Callers, Clock, LeafSource, Objects, Phase, Plan, Presence, Replica, Step, plan,
};
use super::super::{AuthoritySecret, LeafSecret};
use super::apply::{DAY, apply, config};
use super::world::{Handshake, Published, Reading, Served, Stalled, World};

/// What the explored world is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// When the first client leaf of the world started.
    pub(super) first: Timestamp,
    /// KEDA reads the bundle before the certificate.
    pub(super) bundle_first: bool,
    /// Replicas claim to hold every generation.
    pub(super) replicas_lie: bool,
    /// Replicas claim to see no caller.
    pub(super) callers_hidden: bool,
    /// A second certmgr ignores the lease and stalls between deciding and writing.
    pub(super) second_certmgr: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) handshakes: usize,
    pub(super) failures: usize,
    /// States in which a caller that is told to read its credentials again finds none that would do.
    pub(super) told_in_vain: usize,
    pub(super) example: Option<World>,
    /// Phases in which the objects were seen.
    pub(super) phases: Vec<Phase>,
    /// States from which the rotation can still come to its end, and how many there are in all.
    pub(super) can_finish: usize,
}

impl Setting {
    pub(super) fn honest(first: Timestamp) -> Self {
        Self {
            first,
            bundle_first: false,
            replicas_lie: false,
            callers_hidden: false,
            second_certmgr: false,
        }
    }

    /// Everything has been out for long: ages never protect what the acknowledgements do not.
    fn now(&self) -> Timestamp {
        later(self.first, 10 * DAY)
    }

    fn plan(&self, world: &World) -> Plan {
        let mut objects = world.objects.clone();
        for secret in [&mut objects.server, &mut objects.client] {
            secret.published = secret.published.map(|_| self.first);
        }
        plan(&objects, &self.acknowledgements(world), &Clock::agreed(self.now()), &config())
    }

    fn acknowledgements(&self, world: &World) -> Acknowledgements {
        let callers = Callers {
            since: self.first,
            lowest_epoch: world.callers.iter().filter_map(|caller| caller.shown.1).min(),
            oldest_client: world.callers.iter().map(|caller| self.started(caller.shown.0)).min(),
        };
        let unseen = Callers {
            since: self.first,
            lowest_epoch: None,
            oldest_client: None,
        };
        let replica = |index: usize| {
            let held = if self.replicas_lie {
                world.objects.server.generation.unwrap_or(0)
            } else {
                world.held(index).generation
            };
            Replica {
                name: format!("replica {index}"),
                acknowledgement: Some(Acknowledgement {
                    trusted: Some(held),
                    served: Some(held),
                    retired_connections: Some(0),
                    callers: Some(if self.callers_hidden {
                        unseen.clone()
                    } else {
                        callers.clone()
                    }),
                }),
            }
        };
        Acknowledgements::Known(vec![replica(0), replica(1)])
    }

    fn started(&self, leaf: u8) -> Timestamp {
        later(self.first, std::time::Duration::from_secs(60) * u32::from(leaf))
    }

    /// Carries out a step in the world: history, versions, and a start of its own for each client leaf.
    fn carry_out(&self, world: &mut World, step: &Step) {
        apply(&mut world.objects, step);
        world.versions[target(step)] += 1;
        match step {
            Step::Authority { .. } | Step::Authentication { .. } => {}
            Step::Server(_) => world.servers.extend(Served::of(&world.objects)),
            Step::Client(publication) => {
                if let (LeafSource::Issue(_), Ok(leaf)) = (&publication.leaf, &mut world.objects.client.leaf) {
                    leaf.validity.not_before = self.started(world.leaves);
                    world.leaves += 1;
                }
                world.clients.push(Published::of(&world.objects, self.first));
            }
        }
    }

    fn successors(&self, world: &World) -> Vec<World> {
        let mut next = Vec::new();
        let planned = self.plan(world).step;
        if let Some(step) = &planned {
            let mut after = world.clone();
            self.carry_out(&mut after, step);
            next.push(after);
        }
        if self.second_certmgr {
            self.second(world, planned, &mut next);
        }
        for replica in 0..2 {
            for version in world.replicas[replica] + 1..world.servers.len() {
                let mut after = world.clone();
                after.replicas[replica] = version;
                next.push(after);
            }
        }
        self.refreshes(world, &mut next);
        if world.faults > 0 {
            next.extend(deletions(world));
        }
        for world in &mut next {
            world.settle();
        }
        next
    }

    fn second(&self, world: &World, planned: Option<Step>, next: &mut Vec<World>) {
        let Some(Stalled { step, version }) = &world.stalled else {
            next.extend(planned.map(|step| {
                let mut after = world.clone();
                let version = world.versions[target(&step)];
                after.stalled = Some(Stalled { step, version });
                after
            }));
            return;
        };
        let mut after = world.clone();
        after.stalled = None;
        next.push(after.clone());
        if world.versions[target(step)] == *version {
            self.carry_out(&mut after, step);
            next.push(after);
        }
    }

    /// The informer moves on, or a caller reads one more parameter from it. A managed caller that begins to read may
    /// have been told the new epoch.
    fn refreshes(&self, world: &World, next: &mut Vec<World>) {
        for seen in 1..world.clients.len() {
            let mut after = world.clone();
            after.clients.drain(..seen);
            next.push(after);
        }
        for index in 0..world.callers.len() {
            let caller = world.callers[index];
            let told = caller.epoch.and(world.objects.authentication.epoch);
            let mut epochs = vec![caller.epoch];
            epochs.extend((caller.reading == Reading::Idle && told != caller.epoch).then_some(told));
            for epoch in epochs {
                let mut after = world.clone();
                after.callers[index] = caller.read(world.clients[0], epoch, self.bundle_first);
                next.push(after);
            }
        }
    }

    /// Visits everything, or stops at the first failure. A rotation is finished when nothing is left to write, one authority is left, and it is new.
    pub(super) fn explore(&self, start: &World) -> Found {
        let mut found = Found::default();
        let mut ids: HashMap<World, usize> = HashMap::from([(start.clone(), 0)]);
        let mut before: Vec<Vec<usize>> = vec![Vec::new()];
        let mut ends = Vec::new();
        let mut queue = VecDeque::from([(start.clone(), 0)]);
        while let Some((world, number)) = queue.pop_front() {
            self.check(&world, &mut found);
            if found.failures > 0 {
                break;
            }
            let decided = self.plan(&world);
            if !found.phases.contains(&decided.phase) {
                found.phases.push(decided.phase);
            }
            let renewed = world.objects.authority.current != start.objects.authority.current;
            if decided.step.is_none() && decided.phase == Phase::Stable && renewed {
                ends.push(number);
            }
            for after in self.successors(&world) {
                let known = ids.len();
                let next = *ids.entry(after.clone()).or_insert(known);
                if next == known {
                    before.push(Vec::new());
                    queue.push_back((after, next));
                }
                before[next].push(number);
            }
        }
        found.states = ids.len();
        found.can_finish = reaching(&before, ends);
        found
    }

    fn check(&self, world: &World, found: &mut Found) {
        if is_told_in_vain(&world.objects) {
            found.told_in_vain += 1;
        }
        for caller in &world.callers {
            for replica in 0..2 {
                found.handshakes += 1;
                if caller.calls(world.held(replica)) == Handshake::Fails {
                    found.failures += 1;
                    found.example.get_or_insert_with(|| world.clone());
                }
            }
        }
    }
}

/// Callers with a retiring certificate are told to read again, and would read one that is retiring too.
fn is_told_in_vain(objects: &Objects) -> bool {
    let Ok(leaf) = &objects.client.leaf else { return false };
    objects.server.retiring.is_some_and(|last| leaf.validity.not_before <= last)
}

fn target(step: &Step) -> usize {
    match step {
        Step::Authority { .. } => 0,
        Step::Server(_) => 1,
        Step::Client(_) => 2,
        Step::Authentication { .. } => 3,
    }
}

/// One of the three Secrets disappears. Replicas keep what they hold; KEDA reads nothing.
fn deletions(world: &World) -> Vec<World> {
    let mut lost = vec![world.clone(), world.clone(), world.clone()];
    lost[0].objects.authority = AuthoritySecret::absent();
    lost[1].objects.server = LeafSecret::absent();
    lost[2].objects.client = LeafSecret::absent();
    lost[2].clients.push(None);
    let present = [
        &world.objects.authority.presence,
        &world.objects.server.presence,
        &world.objects.client.presence,
    ];
    let mut present = present.into_iter().map(|presence| *presence == Presence::Present);
    lost.retain(|_| present.next().unwrap());
    for world in &mut lost {
        world.faults -= 1;
    }
    lost
}

fn reaching(before: &[Vec<usize>], ends: Vec<usize>) -> usize {
    let mut reached = vec![false; before.len()];
    let mut open = ends;
    let mut count = 0;
    while let Some(number) = open.pop() {
        if !std::mem::replace(&mut reached[number], true) {
            count += 1;
            open.extend(&before[number]);
        }
    }
    count
}
