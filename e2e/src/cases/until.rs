//! Waiting for something to become true, or to stay true, with a deadline. Nothing here knows what is awaited.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Often enough to measure seconds, seldom enough for dozens of tests beside a control plane on two cores.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks until `probe` succeeds and returns what it found.
///
/// # Errors
/// `what`, the time and the probe's last complaint once `within` has passed.
pub async fn until<T>(what: &str, within: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let complaint = match probe().await {
            Ok(found) => return Ok(found),
            Err(complaint) => complaint,
        };
        if Instant::now() >= deadline {
            bail!("{what}: not within {within:?}: {complaint:#}");
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Looks again and again for as long as `during`.
///
/// # Errors
/// `what`, the time and the probe's first complaint.
pub async fn throughout(what: &str, during: Duration, mut probe: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < during {
        if let Err(complaint) = probe().await {
            bail!("{what}: no longer after {:.1?} of {during:?}: {complaint:#}", begun.elapsed());
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_success_is_returned() {
        let mut looks = 0;
        let found = until("three", Duration::from_secs(9), async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { bail!("{looks}") }
        })
        .await;
        assert_eq!(found.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_tells_the_last_complaint() {
        let never = until("rain", Duration::from_secs(1), async || -> Result<()> { bail!("dry") }).await;
        assert_eq!(never.unwrap_err().to_string(), "rain: not within 1s: dry");
    }

    #[tokio::test(start_paused = true)]
    async fn one_lapse_breaks_a_state_that_should_last() {
        let mut looks = 0;
        let kept = throughout("peace", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 { bail!("war") } else { Ok(()) }
        })
        .await;
        assert_eq!(kept.unwrap_err().to_string(), "peace: no longer after 500.0ms of 5s: war");
    }
}
