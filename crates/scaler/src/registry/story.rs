//! What is remembered of one trigger's decisions for whoever asks why, and how much memory all of them may take together.
//! No decision depends on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keda_kaito_core::journal::{Herald, Journal, Limits, News, Occasion};
use keda_kaito_core::moment::Moment;
use keda_kaito_core::record::{Answer, DecisionId, DecisionInput, DecisionRecord};

/// KEDA asks every 15 s; who was not asked for so long is not the one whose decisions the HPA follows.
const HEEDED_FOR: Duration = Duration::from_secs(120);
/// News that nobody has taken yet; the herald tells few anyway.
const MAX_NEWS: usize = 4;

/// What may be kept by all journals. Clones share the count of those there are.
#[derive(Clone, Debug)]
pub struct Keeping {
    entries: usize,
    bytes: usize,
    journals: Arc<AtomicUsize>,
}

/// One trigger's.
#[derive(Debug)]
pub struct Story {
    pub journal: Journal,
    pub last_call: Option<LastCall>,
    /// When KEDA was last told a decision.
    heeded: Option<Moment>,
    herald: Herald,
    /// Oldest first.
    news: Vec<News>,
    /// News that made room for newer.
    dropped: u32,
    seat: Seat,
}

/// What KEDA was told last.
#[derive(Clone, Debug)]
pub struct LastCall {
    pub at: Moment,
    pub answer: Answer,
    /// Absent where no decision could be made.
    pub id: Option<DecisionId>,
    pub calls: u64,
}

/// Counts its journal for as long as it lives.
#[derive(Debug)]
struct Seat(Keeping);

impl Default for Keeping {
    /// The defaults of the flags.
    fn default() -> Self {
        Self::new(50, 8 * 1024 * 1024)
    }
}

impl Keeping {
    /// `entries` per trigger, `bytes` over all of them.
    #[must_use]
    pub fn new(entries: usize, bytes: usize) -> Self {
        Self {
            entries,
            bytes,
            journals: Arc::default(),
        }
    }

    /// What one journal may keep now: every one has the same share.
    fn share(&self) -> Limits {
        Limits {
            entries: self.entries,
            bytes: self.bytes / self.journals.load(Ordering::Relaxed).max(1),
        }
    }
}

impl Story {
    /// An empty one; its first decision's id follows `before`.
    #[must_use]
    pub fn new(before: DecisionId, keeping: &Keeping) -> Self {
        keeping.journals.fetch_add(1, Ordering::Relaxed);
        Self {
            journal: Journal::new(before),
            last_call: None,
            heeded: None,
            herald: Herald::default(),
            news: Vec::new(),
            dropped: 0,
            seat: Seat(keeping.clone()),
        }
    }

    /// A round's decision. Returns its id.
    pub fn round(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord) -> DecisionId {
        self.note(input, record, Occasion::Round)
    }

    /// A decision that KEDA is told. Returns its id.
    pub fn call(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord) -> DecisionId {
        let id = self.note(input, record, Occasion::Call);
        self.called(input.now, record.answer.clone(), Some(id));
        self.heeded = Some(input.now);
        id
    }

    /// A call that no decision could be made for, and why.
    pub fn refused(&mut self, now: Moment, why: String) {
        self.called(now, Answer::Unavailable(why), None);
    }

    /// What is worth an Event since this was last asked for, and how much more was that is forgotten.
    pub fn take_news(&mut self) -> (Vec<News>, u32) {
        (std::mem::take(&mut self.news), std::mem::take(&mut self.dropped))
    }

    fn note(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord, occasion: Occasion) -> DecisionId {
        let id = self.journal.note(input, record, occasion, self.seat.0.share());
        let heeded = occasion == Occasion::Call || self.heeded.is_some_and(|at| input.now.since(at) <= HEEDED_FOR);
        if let Some(news) = self.herald.hear(input, record, id, heeded) {
            if self.news.len() >= MAX_NEWS {
                self.news.remove(0);
                self.dropped = self.dropped.saturating_add(1);
            }
            self.news.push(news);
        }
        id
    }

    fn called(&mut self, at: Moment, answer: Answer, id: Option<DecisionId>) {
        let before = self.last_call.as_ref().map_or(0, |call| call.calls);
        self.last_call = Some(LastCall {
            at,
            answer,
            id,
            calls: before.saturating_add(1),
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.journals.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use keda_kaito_core::record::{EXAMPLE_INPUT, decide};

    use super::*;

    /// News each time: another count, and more is wanted.
    fn note(story: &mut Story, spec_replicas: u32, occasion: Occasion) {
        let mut input: DecisionInput<'_> = serde_json::from_str(EXAMPLE_INPUT).unwrap();
        let record = decide(&input);
        input.scale.spec_replicas = spec_replicas;
        let desired = Some(spec_replicas + 1);
        story.note(&input, &DecisionRecord { desired, ..record }, occasion);
    }

    #[test]
    fn news_that_nobody_takes_waits_and_the_oldest_makes_room_and_is_counted() {
        let mut story = Story::new(DecisionId::new(1).unwrap(), &Keeping::default());
        note(&mut story, 1, Occasion::Call);
        note(&mut story, 2, Occasion::Call);
        let (news, dropped) = story.take_news();
        assert_eq!((news.len(), dropped), (2, 0));
        let mut story = Story::new(DecisionId::new(1).unwrap(), &Keeping::default());
        (1..=6).for_each(|count| note(&mut story, count, Occasion::Call));
        let (news, dropped) = story.take_news();
        let told: Vec<_> = news.iter().filter_map(|news| news.message.split(':').next()).collect();
        let newest = [3, 4, 5, 6].map(|count| format!("wants {} replicas, has {count}", count + 1));
        assert_eq!((told, dropped), (newest.iter().map(String::as_str).collect(), 2));
        assert_eq!(story.take_news(), (Vec::new(), 0));
    }
}
