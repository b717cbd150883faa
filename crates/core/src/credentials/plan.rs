//! The decision: from the objects, the acknowledgements and the time to the one write that comes next, or to what is
//! waited for. It remembers nothing, so that a crash or a lost race only means deciding again.

use jiff::Timestamp;

use super::acknowledgement::Acknowledgements;
use super::assess::{Assessment, Change};
use super::authority;
use super::clock::{Clock, later};
use super::config::Config;
use super::desired::{Want, desired};
use super::gate::{self, Wait};
use super::phase::{Phase, crosses, derive};
use super::publish::Draft;
use super::step::{AuthorityWrite, Cause, NextAuthority, Step};
use super::view::{LeafSecret, Objects, Root};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the objects stand.
    pub phase: Phase,
    /// The one write to make now. After it everything is read again.
    pub step: Option<Step>,
    /// What the next phase waits for, if no write is due.
    pub waits: Vec<Wait>,
}

/// Decides from what was read. `config` has passed its own check.
#[must_use]
pub fn plan(objects: &Objects, acknowledgements: &Acknowledgements, clock: &Clock, config: &Config) -> Plan {
    let phase = derive(objects);
    let write = |step: Step| Plan {
        phase,
        step: Some(step),
        waits: Vec::new(),
    };
    if let Some(step) = authority::repair(objects, clock, config) {
        return write(step);
    }
    let waits = gate::waits(phase, objects, acknowledgements, clock, config);
    let Some((server, client)) = desired(objects, phase, clock) else {
        return Plan {
            phase,
            step: None,
            waits,
        };
    };
    let planner = Planner {
        draft: Draft {
            objects,
            acknowledgements,
            clock,
            config,
        },
        phase,
        server,
        client,
    };
    if let Some(step) = planner.conform() {
        return write(step);
    }
    let step = if waits.is_empty() { planner.advance() } else { None };
    Plan { phase, step, waits }
}

struct Planner<'a> {
    draft: Draft<'a>,
    phase: Phase,
    server: Want,
    client: Want,
}

impl Planner<'_> {
    /// The write that makes the objects what the present phase wants. Bundles come before the leaves that need them:
    /// the server Secret before the client Secret, and both before KEDA is told.
    fn conform(&self) -> Option<Step> {
        let objects = self.draft.objects;
        let retiring = self.retiring();
        let server_before = objects.client.generation.is_some();
        if let Some(change) = self.assess(&objects.server, &self.server, retiring, server_before) {
            return Some(self.draft.server(&self.server, retiring, change));
        }
        let client_before = objects.authentication.epoch.is_some();
        if let Some(change) = self.assess(&objects.client, &self.client, None, client_before) {
            return Some(self.draft.client(&self.client, change));
        }
        self.authentication()
    }

    fn assess(&self, secret: &LeafSecret, want: &Want, retiring: Option<Timestamp>, before: bool) -> Option<Change> {
        let assessment = Assessment {
            secret,
            want,
            retiring,
            phase: self.phase,
            published_before: before,
            clock: self.draft.clock,
            config: self.draft.config,
        };
        assessment.change()
    }

    fn authentication(&self) -> Option<Step> {
        let (seen, client) = (&self.draft.objects.authentication, &self.draft.objects.client);
        let epoch = client.generation?;
        let cause = match seen {
            _ if !seen.served => return None,
            _ if !seen.exists && seen.epoch.is_none() => Cause::First,
            _ if !seen.as_wanted => Cause::Repair("the ClusterTriggerAuthentication was changed".to_owned()),
            _ if seen.epoch != Some(epoch) => Cause::Rotation(self.phase),
            _ => return None,
        };
        Some(Step::Authentication { epoch, cause })
    }

    /// Marks the old client certificates once the new one has been out for long enough. Who is told to read again before
    /// there is a new one has called in vain.
    fn retiring(&self) -> Option<Timestamp> {
        let Draft {
            objects, clock, config, ..
        } = &self.draft;
        if !clock.agrees() {
            return objects.server.retiring;
        }
        let next = objects.authority.next.as_ref().map(|root| &root.id);
        let replaced = objects.client.issuer().is_some_and(|issuer| Some(issuer) == next);
        let aged = || replaced && gate::identified_at(objects, config).is_some_and(|at| clock.passed(at));
        let marking = match self.phase {
            Phase::Identify => aged(),
            Phase::Serve => !crosses(objects) && aged(),
            Phase::Stable | Phase::Prepare | Phase::Trust | Phase::Retire | Phase::Clean => false,
        };
        if marking { gate::cutoff(objects) } else { None }
    }

    /// The write that begins the next phase.
    fn advance(&self) -> Option<Step> {
        let crosses = crosses(self.draft.objects);
        match self.phase {
            Phase::Stable => self.rotate(),
            // Prepare wants what Trust wants, so that conforming has already led into it.
            Phase::Prepare => None,
            Phase::Trust if crosses => self.begin(Phase::Serve, true),
            Phase::Trust => self.begin(Phase::Identify, false),
            Phase::Serve if crosses => Some(authority_step(AuthorityWrite::EraseKey, Phase::Identify)),
            Phase::Identify if !crosses => self.begin(Phase::Serve, true),
            Phase::Serve | Phase::Identify => self.begin(Phase::Retire, true),
            Phase::Retire => self.begin(Phase::Clean, false),
            Phase::Clean => Some(authority_step(AuthorityWrite::Promote, Phase::Stable)),
        }
    }

    fn begin(&self, phase: Phase, server_side: bool) -> Option<Step> {
        let Draft { objects, clock, .. } = &self.draft;
        let (server, client) = desired(objects, phase, clock)?;
        let (secret, want) = if server_side {
            (&objects.server, server)
        } else {
            (&objects.client, client)
        };
        let change = Change {
            issue: secret.issuer().is_none_or(|issuer| !want.issuers.contains(issuer)),
            cause: Cause::Rotation(phase),
        };
        Some(if server_side {
            self.draft.server(&want, None, change)
        } else {
            self.draft.client(&want, change)
        })
    }

    fn rotate(&self) -> Option<Step> {
        let Draft {
            objects, clock, config, ..
        } = &self.draft;
        let authority = &objects.authority;
        let signer = authority.signing_root()?;
        let requested = authority
            .requested
            .clone()
            .filter(|reason| authority.recorded.as_ref() != Some(reason));
        if requested.is_none() && !clock.passed(rotation_due(signer)) {
            return None;
        }
        let validity = authority::validity(clock, config);
        let write = AuthorityWrite::Prepare {
            next: NextAuthority::New(validity),
            cross: Some(authority::cut(validity, &[signer])),
            keep: vec![signer.id.clone()],
            reason: requested,
        };
        Some(authority_step(write, Phase::Prepare))
    }
}

/// When an authority is half through its life.
pub(super) fn rotation_due(root: &Root) -> Timestamp {
    let issued = root.validity.issued();
    let life = root.validity.not_after.duration_since(issued).unsigned_abs();
    later(issued, life / 2)
}

fn authority_step(write: AuthorityWrite, phase: Phase) -> Step {
    Step::Authority {
        write,
        replace: false,
        cause: Cause::Rotation(phase),
    }
}
