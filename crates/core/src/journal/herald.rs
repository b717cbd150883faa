//! What of a trigger's decisions is worth an Event: a wish for another count, and a cause that holds a wish back and that a
//! user can act on. Said once, not every round; a wish that comes and goes is counted instead.

use std::collections::VecDeque;
use std::time::Duration;

use crate::fleet::Class;
use crate::history::Lean;
use crate::moment::Moment;
use crate::record::{Answer, Clamp, DecisionId, DecisionInput, DecisionRecord, ReplicaRecord};
use crate::verdict::direction;

/// At most [`MOST`] pieces of news within this time; the same wish is news again only after it.
const WITHIN: Duration = Duration::from_secs(600);
const MOST: usize = 6;
/// What lasts is said again after this time: Events are kept for an hour.
const REMIND: Duration = Duration::from_secs(3600);
/// A hindrance that was not told yet may be away for so long and count as the same.
const FLAPS: Duration = Duration::from_secs(60);
/// Most names in one sentence.
const MOST_NAMES: usize = 3;

/// Something a user should be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub about: About,
    /// The decision it comes from.
    pub id: DecisionId,
    /// One sentence, the id included.
    pub message: String,
}

/// What news is about; the Event's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// More replicas are wanted.
    Up,
    /// Fewer replicas are wanted.
    Down,
    /// A wish is held back.
    Held(Hindrance),
}

/// A cause that holds a wish back, and that a user can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// No more replicas are allowed.
    Maximum,
    /// A replica that has never served is on its way.
    NewCapacity,
    /// Replicas that say nothing forbid a move down.
    Unknown,
    /// Nothing safe can be told to KEDA.
    Unavailable,
}

/// What has been said of one trigger.
#[derive(Clone, Debug, Default)]
pub struct Herald {
    /// The wish last told, and the count it was told at.
    wish: Option<(Lean, u32, Moment)>,
    held: Option<Held>,
    /// When news was told, oldest first.
    told: VecDeque<Moment>,
    /// Wishes kept back since.
    untold: u32,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    by: Hindrance,
    since: Moment,
    seen: Moment,
    told: Option<Moment>,
}

impl Herald {
    /// The news in a decision. `heeded` says whether KEDA asks this process for it; of several that decide the same, only that
    /// one tells.
    pub fn hear(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord, id: DecisionId, heeded: bool) -> Option<News> {
        let now = input.now;
        while self.told.front().is_some_and(|told| now.since(*told) >= WITHIN) {
            self.told.pop_front();
        }
        let held = self.hindered(now, hindrance(input, record));
        if !heeded {
            return None;
        }
        self.wished(input, record, id).or_else(|| {
            let since = held.filter(|_| self.may_tell(now))?;
            let by = self.held.as_mut().map(|held| {
                held.told = Some(now);
                held.by
            })?;
            let message = format!("{}; decision {id}", sentence(by, input, record, now.since(since)));
            let about = About::Held(by);
            Some(News { about, id, message })
        })
    }

    fn wished(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord, id: DecisionId) -> Option<News> {
        let (now, spec) = (input.now, input.scale.spec_replicas);
        let desired = record.desired.filter(|_| matches!(record.answer, Answer::Value(_)))?;
        let wish = direction(desired, spec);
        let about = match wish {
            Lean::Up => About::Up,
            Lean::Down => About::Down,
            Lean::Hold => return None,
        };
        let known = |(known, at, told): (Lean, u32, Moment)| (known, at) == (wish, spec) && now.since(told) < WITHIN;
        if self.wish.is_some_and(known) {
            return None;
        }
        self.wish = Some((wish, spec, now));
        if !self.may_tell(now) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        let untold = match std::mem::take(&mut self.untold) {
            0 => String::new(),
            untold => format!(" ({untold} changes of direction before were not told)"),
        };
        let message = format!(
            "wants {desired} replicas, has {spec}: {}; decision {id}{untold}",
            record.reason
        );
        Some(News { about, id, message })
    }

    /// Since when the present hindrance lasts, if that is due to be told.
    fn hindered(&mut self, now: Moment, by: Option<Hindrance>) -> Option<Moment> {
        let Some(by) = by else {
            // It is over only after a while without it.
            let lasts = |held: &Held| if held.told.is_some() { WITHIN } else { FLAPS };
            self.held = self.held.filter(|held| now.since(held.seen) < lasts(held));
            return None;
        };
        let fresh = Held {
            by,
            since: now,
            seen: now,
            told: None,
        };
        let mut held = self.held.filter(|held| held.by == by).unwrap_or(fresh);
        held.seen = now;
        self.held = Some(held);
        let due = match held.told {
            None => now.since(held.since) >= by.patience(),
            Some(told) => now.since(told) >= REMIND,
        };
        due.then_some(held.since)
    }

    fn may_tell(&mut self, now: Moment) -> bool {
        let room = self.told.len() < MOST;
        if room {
            self.told.push_back(now);
        }
        room
    }
}

impl Hindrance {
    /// How long it lasts before it is told.
    fn patience(self) -> Duration {
        match self {
            Self::Maximum => Duration::from_secs(60),
            Self::NewCapacity | Self::Unknown | Self::Unavailable => Duration::from_secs(300),
        }
    }
}

fn hindrance(input: &DecisionInput<'_>, record: &DecisionRecord) -> Option<Hindrance> {
    let has = |clamp| record.clamps.contains(&clamp);
    let at_most = record.desired.is_some_and(|desired| desired <= input.scale.spec_replicas);
    match &record.answer {
        Answer::Unavailable(_) => Some(Hindrance::Unavailable),
        Answer::Value(_) if record.lean == Lean::Up && at_most && has(Clamp::MaxReplicas) => Some(Hindrance::Maximum),
        Answer::Value(_) if has(Clamp::NewCapacity) => Some(Hindrance::NewCapacity),
        Answer::Value(_) if has(Clamp::Unknown) => Some(Hindrance::Unknown),
        Answer::Value(_) => None,
    }
}

fn sentence(by: Hindrance, input: &DecisionInput<'_>, record: &DecisionRecord, lasts: Duration) -> String {
    let (spec, seconds) = (input.scale.spec_replicas, lasts.as_secs());
    match by {
        Hindrance::Maximum => {
            let max = input.scale.max_replicas;
            let reason = &record.reason;
            format!("more than the {max} replicas allowed are wanted for {seconds} seconds: {reason}; raise the maximum to go on")
        }
        Hindrance::NewCapacity => {
            let who = unknown(record);
            format!("more than {spec} replicas are wanted, but for {seconds} seconds {who} has not served yet")
        }
        Hindrance::Unknown => {
            let who = unknown(record);
            format!("fewer than {spec} replicas may do, but for {seconds} seconds nothing is known of {who}")
        }
        Hindrance::Unavailable => {
            let why = match &record.answer {
                Answer::Unavailable(why) => why,
                Answer::Value(_) => &record.reason,
            };
            format!("for {seconds} seconds KEDA cannot be told a count: {why}")
        }
    }
}

/// Names of the replicas that nothing is known of.
fn unknown(record: &DecisionRecord) -> String {
    let silent = |replica: &&ReplicaRecord| matches!(replica.class, Class::Silent { .. } | Class::Pending { .. });
    let mut names: Vec<_> = record
        .replicas
        .iter()
        .filter(silent)
        .map(|replica| format!("{:?}", replica.workspace))
        .collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let mut parts = Vec::new();
    if !names.is_empty() {
        parts.push(format!("replica {}", names.join(", ")));
    }
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    if record.unborn_pending > 0 {
        parts.push(format!("{} without a Workspace", record.unborn_pending));
    }
    if parts.is_empty() {
        return "a replica".to_owned();
    }
    parts.join(" and ")
}
