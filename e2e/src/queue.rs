//! A fleet of replicas under load: requests arrive at a steady rate, wait, are served and finish. Time is a parameter,
//! so a run can be replayed exactly. It holds no sockets and no metrics; `fleet` turns its numbers into those.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

/// Requests one replica may keep waiting; more are turned away, so that a forgotten rate cannot fill the memory.
const MAX_WAITING: usize = 50_000;

/// How a replica serves: at most `concurrency` requests at once, each for `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub concurrency: u32,
    pub seconds: f64,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            concurrency: 8,
            seconds: 2.0,
        }
    }
}

/// What one replica is doing now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    pub waiting: u64,
    pub running: u64,
    /// Share of the replica's slots in use, 0 to 1.
    pub kv_usage: f64,
}

/// One request that a replica has finished, with the seconds it waited and was served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion {
    pub replica: u64,
    pub queued: f64,
    pub served: f64,
}

/// What has happened since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    pub arrived: u64,
    pub finished: u64,
    /// Turned away: no replica took requests, or every line was full.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Replica {
    takes_new: bool,
    waiting: VecDeque<Duration>,
    running: u64,
}

/// Ordered by its first field, so the heap yields the earliest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finish {
    at: Duration,
    replica: u64,
    arrived: Duration,
    started: Duration,
}

/// The requests of one service and the replicas that share them. Every call that takes `now` first plays what lies
/// between the previous call and it; a `now` in the past counts as the previous one.
#[derive(Debug, Default)]
pub struct Queue {
    now: Duration,
    gap: Option<Duration>,
    next_arrival: Duration,
    service: Service,
    replicas: BTreeMap<u64, Replica>,
    finishes: BinaryHeap<Reverse<Finish>>,
    completions: Vec<Completion>,
    totals: Totals,
}

impl Queue {
    /// From now on requests arrive `per_second`, evenly spaced; 0 (or less) stops them.
    pub fn set_rate(&mut self, now: Duration, per_second: f64) {
        self.advance(now);
        self.gap = (per_second > 0.0)
            .then(|| Duration::try_from_secs_f64(per_second.recip()).ok())
            .flatten()
            .map(|gap| gap.max(Duration::from_micros(1)));
        self.next_arrival = self.now + self.gap.unwrap_or_default();
    }

    /// From now on requests that start are served like this; those already running finish as they began.
    pub fn set_service(&mut self, now: Duration, service: Service) {
        self.advance(now);
        self.service = service;
        for id in self.replicas.keys().copied().collect::<Vec<_>>() {
            self.start_waiting(id);
        }
    }

    /// The replica takes requests from now on. Unknown ids are added.
    pub fn admit(&mut self, now: Duration, id: u64) {
        self.advance(now);
        self.replicas.entry(id).or_default().takes_new = true;
    }

    /// The replica takes no new requests but finishes the ones it has.
    pub fn close(&mut self, now: Duration, id: u64) {
        self.advance(now);
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.takes_new = false;
        }
    }

    /// The replica is gone; clients send its unfinished requests again, to whoever takes requests.
    pub fn remove(&mut self, now: Duration, id: u64) {
        self.advance(now);
        let Some(gone) = self.replicas.remove(&id) else {
            return;
        };
        self.finishes.retain(|Reverse(finish)| finish.replica != id);
        for _ in 0..gone.running.saturating_add(gone.waiting.len() as u64) {
            self.dispatch();
        }
    }

    /// Plays everything up to `now`.
    pub fn advance(&mut self, now: Duration) {
        loop {
            let arrival = self.gap.map(|_| self.next_arrival);
            let finish = self.finishes.peek().map(|Reverse(finish)| finish.at);
            let Some(next) = [arrival, finish].into_iter().flatten().min() else {
                break;
            };
            if next > now {
                break;
            }
            self.now = next;
            if finish == Some(next) {
                self.finish_one();
            } else {
                self.totals.arrived += 1;
                self.next_arrival += self.gap.unwrap_or_default();
                self.dispatch();
            }
        }
        self.now = self.now.max(now);
    }

    /// The requests finished since the last call, oldest first.
    pub fn take_completions(&mut self) -> Vec<Completion> {
        std::mem::take(&mut self.completions)
    }

    /// What the replica is doing; nothing for one that is unknown.
    #[must_use]
    pub fn load(&self, id: u64) -> Load {
        let Some(replica) = self.replicas.get(&id) else {
            return Load::default();
        };
        Load {
            waiting: replica.waiting.len() as u64,
            running: replica.running,
            kv_usage: if self.service.concurrency == 0 {
                0.0
            } else {
                (replica.running as f64 / f64::from(self.service.concurrency)).min(1.0)
            },
        }
    }

    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether nothing will change until someone calls again.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.gap.is_none() && self.finishes.is_empty()
    }

    fn finish_one(&mut self) {
        let Some(Reverse(finish)) = self.finishes.pop() else {
            return;
        };
        self.totals.finished += 1;
        self.completions.push(Completion {
            replica: finish.replica,
            queued: finish.started.saturating_sub(finish.arrived).as_secs_f64(),
            served: finish.at.saturating_sub(finish.started).as_secs_f64(),
        });
        if let Some(replica) = self.replicas.get_mut(&finish.replica) {
            replica.running = replica.running.saturating_sub(1);
        }
        self.start_waiting(finish.replica);
    }

    /// Hands one request to the replica with the least to do, the lowest id among equals.
    fn dispatch(&mut self) {
        let least = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.takes_new && replica.waiting.len() < MAX_WAITING)
            .min_by_key(|(id, replica)| (replica.waiting.len() as u64 + replica.running, **id))
            .map(|(id, _)| *id);
        let Some(id) = least else {
            self.totals.lost += 1;
            return;
        };
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.waiting.push_back(self.now);
        }
        self.start_waiting(id);
    }

    fn start_waiting(&mut self, id: u64) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        let served = Duration::try_from_secs_f64(self.service.seconds).unwrap_or_default();
        while replica.running < u64::from(self.service.concurrency) {
            let Some(arrived) = replica.waiting.pop_front() else {
                return;
            };
            replica.running += 1;
            self.finishes.push(Reverse(Finish {
                at: self.now.saturating_add(served),
                replica: id,
                arrived,
                started: self.now,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn loaded(rate: f64, replicas: &[u64]) -> Queue {
        let mut queue = Queue::default();
        let service = Service {
            concurrency: 4,
            seconds: 2.0,
        };
        queue.set_service(Duration::ZERO, service);
        for id in replicas {
            queue.admit(Duration::ZERO, *id);
        }
        queue.set_rate(Duration::ZERO, rate);
        queue
    }

    #[test]
    fn a_load_within_capacity_leaves_nobody_waiting() {
        let mut queue = loaded(1.5, &[1]);
        queue.advance(seconds(600));
        assert_eq!(queue.load(1).waiting, 0);
        assert_eq!(queue.load(1).running, 3);
        assert!(queue.take_completions().iter().all(|c| c.queued < 0.001));
    }

    #[test]
    fn a_load_beyond_capacity_grows_the_line_by_the_difference() {
        // Capacity is 4 / 2 s = 2 requests a second; 5 arrive.
        let mut queue = loaded(5.0, &[1]);
        queue.advance(seconds(100));
        let waiting = queue.load(1).waiting;
        assert!((290..=300).contains(&waiting), "{waiting}");
        assert!((queue.load(1).kv_usage - 1.0).abs() < 1e-9);
    }

    #[test]
    fn another_replica_stops_the_line_from_growing_and_a_third_empties_it() {
        let mut queue = loaded(3.9, &[1]);
        queue.advance(seconds(60));
        let alone = queue.load(1).waiting;
        queue.admit(seconds(60), 2);
        queue.advance(seconds(200));
        let shared = queue.load(1).waiting + queue.load(2).waiting;
        assert!(shared <= alone, "{shared} waiting, {alone} before the second came");
        queue.admit(seconds(200), 3);
        queue.advance(seconds(400));
        assert_eq!((1..=3).map(|id| queue.load(id).waiting).sum::<u64>(), 0);
    }

    #[test]
    fn every_request_is_waiting_running_finished_or_lost() {
        let mut queue = loaded(7.0, &[1, 2]);
        queue.advance(seconds(50));
        queue.remove(seconds(50), 2);
        queue.advance(seconds(90));
        let totals = queue.totals();
        let load = queue.load(1);
        assert!(totals.arrived >= 629);
        assert_eq!(totals.arrived, totals.finished + totals.lost + load.waiting + load.running);
        assert_eq!(queue.take_completions().len() as u64, totals.finished);
    }

    #[test]
    fn requests_of_a_removed_replica_go_to_the_others() {
        let mut queue = loaded(4.0, &[1, 2]);
        queue.advance(seconds(10));
        let before = queue.load(1).waiting + queue.load(1).running + queue.load(2).waiting + queue.load(2).running;
        queue.remove(seconds(10), 2);
        assert_eq!(queue.load(1).waiting + queue.load(1).running, before);
        assert_eq!(queue.load(2), Load::default());
    }

    #[test]
    fn a_closed_replica_finishes_what_it_has_and_takes_no_more() {
        let mut queue = loaded(2.0, &[1]);
        queue.advance(seconds(10));
        queue.close(seconds(10), 1);
        queue.advance(seconds(20));
        assert_eq!(queue.load(1), Load::default());
        assert!(queue.totals().lost >= 19);
    }

    #[test]
    fn without_replicas_requests_are_lost_and_not_kept() {
        let mut queue = loaded(10.0, &[]);
        queue.advance(seconds(10));
        assert_eq!(queue.totals().lost, queue.totals().arrived);
        queue.admit(seconds(10), 1);
        assert_eq!(queue.load(1), Load::default());
    }

    #[test]
    fn the_time_in_line_is_counted_when_a_request_finishes() {
        let mut queue = loaded(4.0, &[1]);
        queue.advance(seconds(20));
        let completions = queue.take_completions();
        let last = completions.last().expect("requests have finished");
        assert!(last.queued > 5.0, "{last:?}");
        assert!((last.served - 2.0).abs() < 1e-9);
    }

    #[test]
    fn advancing_in_steps_equals_advancing_at_once() {
        let mut whole = loaded(3.3, &[1, 2]);
        whole.advance(seconds(40));
        let mut steps = loaded(3.3, &[1, 2]);
        for tenth in 0..=400 {
            steps.advance(Duration::from_millis(tenth * 100));
        }
        assert_eq!(steps.totals(), whole.totals());
        assert_eq!(steps.load(1), whole.load(1));
        assert_eq!(steps.take_completions(), whole.take_completions());
    }

    #[test]
    fn stopping_the_load_ends_in_an_idle_fleet() {
        let mut queue = loaded(20.0, &[1]);
        queue.set_rate(seconds(5), 0.0);
        assert!(!queue.is_idle());
        queue.advance(seconds(100));
        assert!(queue.is_idle());
        assert_eq!(queue.load(1), Load::default());
    }

    #[test]
    fn a_line_has_an_end() {
        let mut queue = loaded(100_000.0, &[1]);
        queue.advance(seconds(1));
        assert_eq!(queue.load(1).waiting, MAX_WAITING as u64);
        assert!(queue.totals().lost > 0);
    }
}
