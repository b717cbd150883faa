//! What the process uses over a minute, and how old the samples of healthy pods get meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use super::{INTERVAL, Running, Stage};
use crate::figures::{Figures, Goal};
use crate::machine;
use crate::rounds::quantile;
use crate::scrapes;

const MEASURED: Duration = Duration::from_secs(60);
/// Go's reference needs this much CPU for one scrape, in seconds.
const REFERENCE: f64 = 4.3e-3;

/// What a scenario asks of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goals {
    pub(super) cpu: Goal,
    pub(super) rss: Goal,
    /// Whether CPU per scrape is held against the reference's.
    pub(super) per_scrape: bool,
}

impl Stage {
    /// What the process uses over a minute, and how old the samples of healthy pods get meanwhile.
    pub(super) async fn use_of(&self, scaler: &Running, figures: &mut Figures, goals: Goals) -> Result<()> {
        let (before, answers, begun) = (scaler.program.usage()?, self.pods.answers(), Instant::now());
        let mut ages = Vec::new();
        while begun.elapsed() < MEASURED {
            ages.extend(self.pods.ages());
            sleep(Duration::from_secs(1)).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let after = scaler.program.usage()?;
        let scrapes = f64::from(self.pods.answers() - answers);
        let used = after.cpu_seconds() - before.cpu_seconds();
        figures.add("ready after", scaler.ready.as_secs_f64(), "s", Goal::None);
        figures.add("every healthy pod scraped after", scaler.heard.as_secs_f64(), "s", Goal::None);
        figures.add("CPU", 100.0 * used / seconds, "% of one core", goals.cpu);
        let kernel = (after.system_seconds - before.system_seconds) / used;
        figures.add("of that in the kernel", 100.0 * kernel, "%", Goal::None);
        figures.add("scrapes answered", scrapes / seconds, "/s", Goal::None);
        if goals.per_scrape {
            let each = used / scrapes;
            let pods = self.pods.address().port();
            let least = tokio::task::spawn_blocking(move || scrapes::least_at_pace(pods)).await??;
            figures.add("CPU per scrape, all else included", 1e6 * each, "µs", Goal::None);
            figures.add("connect, write, read, close: the limit", 1e6 * least, "µs", Goal::None);
            figures.add("a scrape takes longer than the limit by", each / least, "×", Goal::None);
            figures.add(
                "less than the reference's 4.3 ms by",
                REFERENCE / each,
                "×",
                Goal::AtLeast(50.0),
            );
        }
        figures.add("resident memory", after.rss_mib, "MiB", goals.rss);
        figures.add("resident memory, most", after.peak_rss_mib, "MiB", Goal::None);
        figures.add("age of samples p50", quantile(ages.clone(), 0.5), "s", Goal::None);
        let one_interval = Goal::AtMost(INTERVAL + 1.0);
        figures.add("age of samples p99", quantile(ages.clone(), 0.99), "s", one_interval);
        // Older than this, a target has missed two rounds.
        let two_intervals = Goal::AtMost(2.0 * INTERVAL + 1.0);
        figures.add("age of samples, most", quantile(ages, 0.999_999_9), "s", two_intervals);
        figures.add("load of the machine over the last minute", machine::load()?, "", Goal::None);
        Ok(())
    }
}
