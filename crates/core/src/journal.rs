//! What one trigger's decisions were, why, and what became of them: the last ones, equal ones folded into one, within a
//! number and a size. Nothing is decided here, and no decision depends on it.

mod entry;
mod herald;
mod part;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::VecDeque;

use crate::moment::Moment;
use crate::record::{DecisionId, DecisionInput, DecisionRecord};

pub use entry::{Entry, MAX_MOVES, MAX_REPLICAS, Move};
pub use herald::{About, Herald, Hindrance, News};
pub use part::{Part, State};
pub use timeline::{Band, MAX_BANDS, MAX_POINTS, Point};

use timeline::Timeline;

/// How much a journal may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Different decisions in a row; 0 keeps nothing.
    pub entries: usize,
    /// Bytes: half of them for the decisions, half for the points over time. The latest decision is kept whatever it takes,
    /// without its replicas if need be.
    pub bytes: usize,
}

/// What made a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The end of a round of scrapes.
    Round,
    /// A call of KEDA's.
    Call,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Of the latest decision.
    latest: DecisionId,
    /// With the bytes each takes.
    entries: VecDeque<(Box<Entry>, usize)>,
    /// Their sum.
    bytes: usize,
    timeline: Timeline,
}

impl Limits {
    /// Bytes of the decisions.
    fn room(self) -> usize {
        self.bytes - self.bytes / 2
    }
}

impl Journal {
    /// An empty one; the next decision's id follows `before`.
    pub fn new(before: DecisionId) -> Self {
        Self {
            latest: before,
            entries: VecDeque::new(),
            bytes: 0,
            timeline: Timeline::default(),
        }
    }

    /// Of the latest decision.
    pub fn latest(&self) -> DecisionId {
        self.latest
    }

    /// The id that the decision of the next round will have.
    pub fn upcoming(&self) -> DecisionId {
        self.latest.next()
    }

    /// Takes in a decision and returns its id. A round's is always [`Self::upcoming`]; a call's that is like the latest goes by
    /// the latest's.
    pub fn note(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord, occasion: Occasion, limits: Limits) -> DecisionId {
        let like = self.entries.back().is_some_and(|(last, _)| last.is_like(input, record));
        let round = occasion == Occasion::Round;
        if round || !like {
            self.latest = self.latest.next();
        }
        if limits.entries == 0 {
            return self.latest;
        }
        if !like {
            let spare = self.spare(limits);
            self.push(Entry::reusing(spare, self.latest, input, record, MAX_REPLICAS), limits);
        }
        if let Some((last, _)) = self.entries.back_mut() {
            if like {
                last.again(input.now, record);
                last.count = last.count.saturating_add(round.into());
            }
            last.calls = last.calls.saturating_add((!round).into());
        }
        // Its share may have become smaller.
        while self.bytes > limits.room() && self.entries.len() > 1 {
            self.forget_one();
        }
        if round {
            self.timeline.add(input, record, limits.bytes / 2);
        }
        self.latest
    }

    /// The replica count was seen to change: the latest decision is what led to it, or did not.
    pub fn moved(&mut self, at: Moment, from: u32, to: u32) {
        if let Some((last, _)) = self.entries.back_mut() {
            last.moved(Move { from, to, at });
        }
    }

    /// Oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter().map(|(entry, _)| &**entry)
    }

    /// Oldest first.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        self.timeline.points()
    }

    /// The decision that goes by `id`, if it is still kept.
    pub fn find(&self, id: DecisionId) -> Option<&Entry> {
        self.entries().find(|entry| entry.has(id))
    }

    /// Bytes kept on the heap, but for the list of pointers to them.
    pub fn bytes(&self) -> usize {
        self.bytes + self.timeline.bytes()
    }

    /// Forgets the oldest entry where one more like the latest is too many. Returns its replicas.
    fn spare(&mut self, limits: Limits) -> Box<[Part]> {
        let more = self.entries.back().map_or(0, |(_, bytes)| *bytes);
        if self.entries.len() < limits.entries && self.bytes + more <= limits.room() {
            return Box::default();
        }
        self.forget_one().map(|entry| entry.replicas).unwrap_or_default()
    }

    fn forget_one(&mut self) -> Option<Box<Entry>> {
        let (entry, bytes) = self.entries.pop_front()?;
        self.bytes -= bytes;
        Some(entry)
    }

    /// Adds an entry, forgetting the oldest for it.
    fn push(&mut self, mut entry: Entry, limits: Limits) {
        let room = limits.room();
        if entry.bytes() > room {
            entry.forget_replicas();
        }
        let bytes = entry.bytes();
        while !self.entries.is_empty() && (self.entries.len() >= limits.entries || self.bytes + bytes > room) {
            self.forget_one();
        }
        self.bytes += bytes;
        self.entries.push_back((Box::new(entry), bytes));
    }
}
