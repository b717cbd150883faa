//! One decision as it is kept: what it rested on when it was first made, how often it was made again, what became of it.

use serde::{Deserialize, Serialize};

use super::part::{Part, State};
use crate::fleet::ReplicaView;
use crate::history::Lean;
use crate::moment::Moment;
use crate::record::{Answer, Clamp, DecisionId, DecisionInput, DecisionRecord, MetricRecord, ReplicaRecord, WarningReason};
use crate::situation::asked;
use crate::verdict::direction;

/// Replicas kept with a decision; of larger fleets the first ones by name.
pub const MAX_REPLICAS: usize = 32;
/// Changes of the replica count kept with a decision; of more the first ones and the last.
pub const MAX_MOVES: usize = 4;

/// A run of equal decisions. Equal are those with the same counts, direction, reasons to hold, and replicas in the same
/// states; the numbers may differ. `T` is a time: [`Moment`] as kept, a calendar's where it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<T = Moment> {
    /// Of the first; the others count on from it.
    pub id: DecisionId,
    /// Decisions in the run.
    pub count: u32,
    pub since: T,
    /// When the last of them was made.
    pub until: T,
    pub spec_replicas: u32,
    pub status_replicas: u32,
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// As in [`DecisionRecord::desired`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub desired: Option<u32>,
    /// That of the last, where it is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_desired: Option<u32>,
    pub active: bool,
    pub lean: Lean,
    /// The first.
    pub answer: Answer,
    /// The last, where it is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_answer: Option<Answer>,
    /// Of the first; its numbers are of that time.
    pub reason: Box<str>,
    /// As they were at the first.
    pub metrics: Box<[MetricRecord]>,
    /// As they were at the first, at most [`MAX_REPLICAS`].
    pub replicas: Box<[Part]>,
    /// Replicas left out.
    pub more_replicas: u32,
    /// Replicas ordered that have no Workspace and are still awaited.
    pub unborn_pending: u32,
    /// The same, given up.
    pub unborn_lost: u32,
    pub clamps: Box<[Clamp]>,
    pub warnings: Box<[WarningReason]>,
    /// Calls of KEDA's that were answered with it.
    pub calls: u32,
    /// What was then seen to happen to spec.replicas, oldest first.
    pub moves: Vec<Move<T>>,
}

/// A change of spec.replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move<T = Moment> {
    pub from: u32,
    pub to: u32,
    /// When it was seen.
    pub at: T,
}

impl Entry {
    /// A decision made for the first time, with at most `most` replicas.
    pub fn new(id: DecisionId, input: &DecisionInput<'_>, record: &DecisionRecord, most: usize) -> Self {
        Self::reusing(Box::default(), id, input, record, most)
    }

    /// The same, in the memory of the replicas of another that is forgotten: much the same ones as a rule.
    pub(super) fn reusing(
        spare: Box<[Part]>,
        id: DecisionId,
        input: &DecisionInput<'_>,
        record: &DecisionRecord,
        most: usize,
    ) -> Self {
        let scale = &input.scale;
        let mut spare = spare.into_iter();
        let asked: Vec<_> = asked(&input.trigger).collect();
        let part =
            |(view, known): (&ReplicaView<'_>, &ReplicaRecord)| Part::of(spare.next(), view, known.class, &asked, input.now);
        let replicas = input.replicas.iter().zip(&record.replicas).take(most);
        Self {
            id,
            count: 1,
            since: input.now,
            until: input.now,
            spec_replicas: scale.spec_replicas,
            status_replicas: scale.status_replicas,
            min_replicas: scale.min_replicas,
            max_replicas: scale.max_replicas,
            desired: record.desired,
            last_desired: None,
            active: record.active,
            lean: record.lean,
            answer: record.answer.clone(),
            last_answer: None,
            reason: record.reason.as_str().into(),
            metrics: record.metrics.as_slice().into(),
            replicas: replicas.map(part).collect(),
            more_replicas: count(record.replicas.len().saturating_sub(most)),
            unborn_pending: record.unborn_pending,
            unborn_lost: record.unborn_lost,
            clamps: record.clamps.as_slice().into(),
            warnings: record.warnings.iter().map(|warning| warning.reason).collect(),
            calls: 0,
            moves: Vec::new(),
        }
    }

    /// Whether a decision says the same as this one did. After a move nothing is the same.
    pub(super) fn is_like(&self, input: &DecisionInput<'_>, record: &DecisionRecord) -> bool {
        let scale = &input.scale;
        let is_value = |answer: &Answer| matches!(answer, Answer::Value(_));
        let way = |desired: Option<u32>| desired.map(|desired| direction(desired, scale.spec_replicas));
        self.moves.is_empty()
            && (self.spec_replicas, self.status_replicas) == (scale.spec_replicas, scale.status_replicas)
            && (self.min_replicas, self.max_replicas) == (scale.min_replicas, scale.max_replicas)
            && (way(self.desired), self.active, self.lean) == (way(record.desired), record.active, record.lean)
            && is_value(&self.answer) == is_value(&record.answer)
            && *self.clamps == *record.clamps
            && (self.unborn_pending, self.unborn_lost) == (record.unborn_pending, record.unborn_lost)
            && self.is_about_the_same(record)
            && self.warnings.iter().eq(record.warnings.iter().map(|warning| &warning.reason))
    }

    /// Whether metrics and replicas are the same ones and stand alike.
    fn is_about_the_same(&self, record: &DecisionRecord) -> bool {
        let metric = |(known, new): (&MetricRecord, &MetricRecord)| {
            known.lean == new.lean && known.note == new.note && known.high.is_some() == new.high.is_some()
        };
        let replica =
            |(known, new): (&Part, &ReplicaRecord)| known.state == State::of(new.class) && *known.workspace == *new.workspace;
        let replicas = self.replicas.len() + usize::try_from(self.more_replicas).unwrap_or(usize::MAX);
        replicas == record.replicas.len()
            && self.metrics.len() == record.metrics.len()
            && self.metrics.iter().zip(&record.metrics).all(metric)
            && self.replicas.iter().zip(&record.replicas).all(replica)
    }

    /// The same decision once more.
    pub(super) fn again(&mut self, now: Moment, record: &DecisionRecord) {
        self.until = now;
        self.last_desired = record.desired.filter(|desired| Some(*desired) != self.desired);
        let last = self.last_answer.as_ref().unwrap_or(&self.answer);
        if *last != record.answer {
            self.last_answer = Some(record.answer.clone()).filter(|answer| *answer != self.answer);
        }
    }

    pub(super) fn moved(&mut self, step: Move) {
        self.moves.truncate(MAX_MOVES - 1);
        self.moves.push(step);
    }

    pub(super) fn forget_replicas(&mut self) {
        self.more_replicas = self.more_replicas.saturating_add(count(self.replicas.len()));
        self.replicas = Box::default();
    }

    /// Bytes it takes, with all the moves it may come to have.
    pub(super) fn bytes(&self) -> usize {
        let note = |record: &MetricRecord| record.name.capacity() + record.note.as_ref().map_or(0, String::capacity);
        let metric = |record: &MetricRecord| size_of::<MetricRecord>() + note(record);
        let text = |answer: &Answer| match answer {
            Answer::Value(_) => 0,
            Answer::Unavailable(why) => 2 * why.capacity(),
        };
        size_of::<Self>()
            + self.reason.len()
            + text(&self.answer)
            + self.metrics.iter().map(metric).sum::<usize>()
            + self.replicas.iter().map(Part::bytes).sum::<usize>()
            + size_of_val(&*self.clamps)
            + size_of_val(&*self.warnings)
            + MAX_MOVES * size_of::<Move>()
    }

    /// The same with times as others know them.
    pub fn told<T>(&self, time: impl Fn(Moment) -> T) -> Entry<T> {
        let step = |step: &Move| Move {
            from: step.from,
            to: step.to,
            at: time(step.at),
        };
        Entry {
            id: self.id,
            count: self.count,
            since: time(self.since),
            until: time(self.until),
            spec_replicas: self.spec_replicas,
            status_replicas: self.status_replicas,
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
            desired: self.desired,
            last_desired: self.last_desired,
            active: self.active,
            lean: self.lean,
            answer: self.answer.clone(),
            last_answer: self.last_answer.clone(),
            reason: self.reason.clone(),
            metrics: self.metrics.clone(),
            replicas: self.replicas.clone(),
            more_replicas: self.more_replicas,
            unborn_pending: self.unborn_pending,
            unborn_lost: self.unborn_lost,
            clamps: self.clamps.clone(),
            warnings: self.warnings.clone(),
            calls: self.calls,
            moves: self.moves.iter().map(step).collect(),
        }
    }
}

impl<T> Entry<T> {
    /// Which way the HPA is asked to go; nowhere where only the value is known.
    pub fn wish(&self) -> Lean {
        match (&self.answer, self.desired) {
            (Answer::Value(_), Some(desired)) => direction(desired, self.spec_replicas),
            (Answer::Value(_) | Answer::Unavailable(_), _) => Lean::Hold,
        }
    }

    /// The last wish.
    pub fn latest_desired(&self) -> Option<u32> {
        self.last_desired.or(self.desired)
    }

    /// The last answer.
    pub fn latest_answer(&self) -> &Answer {
        self.last_answer.as_ref().unwrap_or(&self.answer)
    }

    /// Whether `id` is one of the run's.
    pub fn has(&self, id: DecisionId) -> bool {
        id.is_within(self.id, self.count.into())
    }
}

impl<T> Move<T> {
    /// Which way it went.
    pub fn direction(&self) -> Lean {
        direction(self.to, self.from)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
