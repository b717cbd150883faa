//! What is told while the demo runs: one line at a time, with the seconds since it began. Printing only.
#![expect(clippy::print_stdout, reason = "the demo's output is the terminal")]

use std::time::{Duration, Instant};

/// Prints lines with the time since it began.
#[derive(Debug)]
pub(super) struct Story {
    begun: Instant,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A headline.
    pub(super) fn chapter(&self, text: &str) {
        println!("\n{:>6.1}s  == {text}", self.elapsed().as_secs_f64());
    }

    /// Something that happened.
    pub(super) fn tell(&self, text: &str) {
        println!("{:>6.1}s  {text}", self.elapsed().as_secs_f64());
    }

    /// A line of the summary, without a time.
    #[expect(clippy::unused_self, reason = "every line goes through the story")]
    pub(super) fn sum_up(&self, text: &str) {
        println!("{text}");
    }
}
