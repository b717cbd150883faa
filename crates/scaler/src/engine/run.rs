//! The loop itself, for as long as one set of watches lasts.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Engine;
use crate::registry::trigger::TriggerRules;
use crate::watches::Watches;

/// Changes come in bursts: they are taken in together.
const GATHER: Duration = Duration::from_millis(50);
/// Without anything due.
const IDLE: Duration = Duration::from_secs(60);

impl Engine {
    /// Runs until a watch ends. What is known and scheduled stays for the next set of watches.
    pub async fn run(&mut self, watches: &mut Watches, rules: &TriggerRules) {
        if !watches.synced().await {
            return;
        }
        self.reindex(watches, rules);
        self.config.cache.open();
        let mut gathered: Option<Instant> = Some(Instant::now());
        loop {
            let now = Instant::now();
            if gathered.is_some_and(|at| at <= now) {
                gathered = None;
                self.refresh_dirty(watches, rules, now);
            }
            self.work(watches, now);
            if !self.dirty.is_empty() && gathered.is_none() {
                gathered = Some(now + GATHER);
            }
            let wake = [self.scheduler.wakes(), gathered].into_iter().flatten().min();
            tokio::select! {
                changed = watches.changed() => match changed {
                    Some(changed) => self.note(&changed, rules),
                    None => return,
                },
                Some(ended) = self.scrapes.join_next_with_id() => self.take(ended, Instant::now()),
                () = sleep_until(wake.unwrap_or(now + IDLE)) => {}
            }
        }
    }

    fn refresh_dirty(&mut self, watches: &Watches, rules: &TriggerRules, now: Instant) {
        for key in std::mem::take(&mut self.dirty) {
            self.guarded("refresh", &key, |engine| engine.refresh(&key, watches, rules, now));
        }
        if self.first_rounds.as_ref().is_some_and(|awaited| awaited.is_empty()) {
            self.config.first_round.open();
        }
        self.config.metrics.over_quota(self.quota.refused());
    }
}
