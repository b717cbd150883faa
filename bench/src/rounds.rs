//! Things timed side by side: in every round each takes its turn, so that a busy neighbour or a change of clock speed
//! meets all of them; what is reported is the median over the rounds. Time is the thread's own: what other processes take of
//! the machine does not count.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 21;
/// One turn, long enough for the clock and short enough for a round to see one state of the machine.
const TURN: Duration = Duration::from_millis(20);

/// Seconds per call of every subject, round by round.
pub(crate) struct Timings(Vec<Vec<f64>>);

/// Times the subjects against each other.
pub(crate) fn side_by_side(subjects: &mut [&mut dyn FnMut()]) -> Timings {
    let calls: Vec<u32> = subjects.iter_mut().map(|subject| calls_per_turn(*subject)).collect();
    let round = |_| {
        let turns = subjects.iter_mut().zip(&calls);
        turns
            .map(|(subject, calls)| turn(*subject, *calls) / f64::from(*calls))
            .collect()
    };
    Timings((0..ROUNDS).map(round).collect())
}

impl Timings {
    /// Median seconds per call of one subject.
    pub(crate) fn seconds(&self, subject: usize) -> f64 {
        median(self.0.iter().filter_map(|round| round.get(subject).copied()).collect())
    }

    /// Median of how many times longer one subject took than another in the same round.
    pub(crate) fn ratio(&self, longer: usize, shorter: usize) -> f64 {
        let ratio = |round: &Vec<f64>| Some(round.get(longer)? / round.get(shorter)?);
        median(self.0.iter().filter_map(ratio).collect())
    }
}

fn calls_per_turn(subject: &mut dyn FnMut()) -> u32 {
    let mut calls = 1;
    while turn(subject, calls) < TURN.as_secs_f64() && calls < 1 << 30 {
        calls *= 2;
    }
    calls
}

fn turn(subject: &mut dyn FnMut(), calls: u32) -> f64 {
    let begun = thread_seconds();
    for _ in 0..calls {
        subject();
    }
    thread_seconds() - begun
}

/// CPU time of this thread.
pub(crate) fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of one process")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies; not a number when there are none.
pub(crate) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (values.len() as f64 * share) as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}
