//! The page `certmgr status` prints, part by part: a name, what there is to say, further lines below it.

use std::fmt::Write;

use jiff::Timestamp;
use keda_kaito_core::credentials::{
    Acknowledgement, Acknowledgements, Flaw, Leaf, LeafSecret, Phase, Plan, Root, RootId, Schedule, Validity,
};

use crate::cluster::Snapshot;
use crate::inspect::Inspected;

/// What is being written, and from what.
pub(super) struct Page<'a> {
    pub(super) text: String,
    inspected: &'a Inspected,
    snapshot: &'a Snapshot,
}

impl<'a> Page<'a> {
    pub(super) fn new(inspected: &'a Inspected, snapshot: &'a Snapshot) -> Self {
        Self {
            text: String::new(),
            inspected,
            snapshot,
        }
    }

    pub(super) fn phase(&mut self, decided: &Plan) {
        let phase = decided.phase;
        let steps = Phase::ALL.len() - 1;
        let step = Phase::ALL.iter().position(|other| *other == phase).filter(|step| *step > 0);
        let step = step
            .map(|step| format!(" (step {step} of {steps} of a rotation)"))
            .unwrap_or_default();
        self.line("phase", &format!("{phase}: {}{step}", phase.meaning()));
        let authority = &self.inspected.objects.authority;
        if let Some(reason) = authority
            .requested
            .as_ref()
            .filter(|_| authority.requested != authority.recorded)
        {
            self.line("asked for", &format!("a rotation, {reason:?}, not begun yet"));
        } else if let Some(reason) = &authority.recorded {
            let tense = if authority.next.is_some() {
                "this rotation"
            } else {
                "the last rotation asked for"
            };
            self.line("reason", &format!("{tense}: {reason:?}"));
        }
    }

    pub(super) fn authorities(&mut self) {
        let inspected = self.inspected;
        let authority = &inspected.objects.authority;
        if authority.current.is_empty() && authority.next.is_none() {
            self.line("authority", "none");
        }
        for root in &authority.current {
            let signs = authority.signer.as_ref() == Some(&root.id);
            let signs = if signs { "signs" } else { "its private key is gone" };
            self.line("authority", &self.authority(root, signs));
        }
        if let Some(next) = &authority.next {
            let crossed = if authority.crossed {
                "signed by the former one too"
            } else {
                "not cross-signed"
            };
            self.line("next", &self.authority(next, crossed));
        }
        if let Some(flaw) = &authority.flaw {
            self.line("", &format!("wrong: {flaw}"));
        }
    }

    pub(super) fn published(&mut self) {
        let inspected = self.inspected;
        let objects = &inspected.objects;
        self.secret("server", &objects.server, "lets in callers of");
        self.secret("client", &objects.client, "accepts a server of");
        let seen = &objects.authentication;
        let state = match (seen.served, seen.exists, seen.as_wanted, seen.epoch) {
            (false, ..) => "the API server does not serve ClusterTriggerAuthentication".to_owned(),
            (_, false, ..) => "there is no ClusterTriggerAuthentication".to_owned(),
            (_, _, false, _) => "the ClusterTriggerAuthentication was changed by somebody".to_owned(),
            (.., None) => "reads the client Secret, without a credential epoch".to_owned(),
            (.., Some(epoch)) if Some(epoch) == objects.client.generation => {
                format!("told of generation {epoch}, the present one")
            }
            (.., Some(epoch)) => format!("told of generation {epoch}, not yet of the present one"),
        };
        self.line("keda", &state);
    }

    pub(super) fn replicas(&mut self) {
        match &self.snapshot.acknowledgements {
            Acknowledgements::Unknown(why) => self.line("replicas", &format!("not known: {why}")),
            Acknowledgements::Known(replicas) if replicas.is_empty() => self.line("replicas", "none is running"),
            Acknowledgements::Known(replicas) => {
                for replica in replicas {
                    let Some(said) = &replica.acknowledgement else {
                        self.line("replica", &format!("{}: says nothing, it has no Lease", replica.name));
                        continue;
                    };
                    let acknowledged = acknowledged(said, self.inspected.objects.server.generation);
                    self.line("replica", &format!("{}: {acknowledged}", replica.name));
                    self.line("", &callers(said));
                }
            }
        }
        if let Some(skew) = self.snapshot.clock.skew() {
            let apart = format!("ours and the API server's are {:.1} s apart", skew.as_secs_f64().abs());
            self.line("clocks", &apart);
        }
    }

    pub(super) fn next(&mut self, decided: &Plan, due: Schedule) {
        if let Some(step) = &decided.step {
            self.line("to write", &format!("{}: {}", crate::events::object(step), step.cause()));
        }
        for wait in &decided.waits {
            self.line("waits for", &wait.to_string());
        }
        for (what, moment) in [
            ("the server certificate is renewed", due.server),
            ("the client certificate is renewed", due.client),
            ("the authority is replaced", due.authority),
        ] {
            if let Some(moment) = moment {
                self.line("due", &format!("{what} {}", self.distance(moment)));
            }
        }
    }

    fn secret(&mut self, name: &str, secret: &LeafSecret, trusts: &str) {
        let generation = secret.generation.map_or_else(
            || "of no generation".to_owned(),
            |generation| format!("generation {generation}"),
        );
        let leaf = secret.leaf.as_ref().map_or_else(Flaw::to_string, |leaf| self.leaf(leaf));
        self.line(name, &format!("{generation}, {leaf}"));
        let bundle = secret.bundle.as_ref().map_or_else(Flaw::to_string, |roots| {
            let names: Vec<_> = roots.iter().map(|root| self.name(&root.id)).collect();
            names.join(", ")
        });
        self.line("", &format!("{trusts} {bundle}"));
        if secret.retiring.is_some() {
            self.line("", "callers with an older client certificate are told to read it again");
        }
    }

    fn leaf(&self, leaf: &Leaf) -> String {
        let cross = if leaf.crossed { ", with the cross certificate" } else { "" };
        format!("issued by {}{cross}, {}", self.name(&leaf.issuer), self.left(&leaf.validity))
    }

    fn authority(&self, root: &Root, state: &str) -> String {
        format!(
            "{} ({}), {state}, {}",
            self.name(&root.id),
            root.id,
            self.left(&root.validity)
        )
    }

    /// The common name, or the digest where there is none.
    fn name(&self, id: &RootId) -> String {
        let known = self.inspected.roots.get(id).map(|root| root.common_name.clone());
        known.filter(|name| !name.is_empty()).unwrap_or_else(|| id.to_string())
    }

    fn left(&self, validity: &Validity) -> String {
        let end = validity.not_after;
        if end <= self.snapshot.clock.own {
            return format!("expired at {end}");
        }
        format!("{} left, until {end}", span(self.snapshot.clock.own, end))
    }

    fn distance(&self, moment: Timestamp) -> String {
        if moment <= self.snapshot.clock.own {
            return format!("now, since {moment}");
        }
        format!("in {}, at {}", span(self.snapshot.clock.own, moment), to_the_second(moment))
    }

    fn line(&mut self, name: &str, what: &str) {
        // A String takes everything.
        let written = writeln!(self.text, "{name:<10} {what}");
        debug_assert!(written.is_ok(), "a String takes everything");
    }
}

/// Whole days, or hours, minutes, seconds where there is less than one of the larger.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    for (unit, length) in [("days", 86_400), ("hours", 3600), ("minutes", 60)] {
        if seconds >= 2 * length {
            return format!("{} {unit}", seconds / length);
        }
    }
    format!("{seconds} seconds")
}

fn acknowledged(said: &Acknowledgement, published: Option<u64>) -> String {
    let current = |held: Option<u64>| held.is_some() && held >= published;
    if current(said.trusted) && current(said.served) {
        return format!("holds generation {}, the present one", number(said.served));
    }
    format!(
        "behind: trusts by generation {}, serves generation {}",
        number(said.trusted),
        number(said.served)
    )
}

fn callers(said: &Acknowledgement) -> String {
    let open = said.retired_connections.filter(|open| *open > 0);
    let open = open
        .map(|open| format!("; {open} retired connections still open"))
        .unwrap_or_default();
    let Some(callers) = &said.callers else {
        return format!("does not say who calls{open}");
    };
    let oldest = callers
        .oldest_client
        .map_or_else(|| "none".to_owned(), |moment| moment.to_string());
    let epoch = number(callers.lowest_epoch);
    let since = to_the_second(callers.since);
    format!("callers since {since}: lowest epoch {epoch}, oldest client certificate valid from {oldest}{open}")
}

fn to_the_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}
