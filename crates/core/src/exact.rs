//! Values for triggers whose number goes through something we do not compute ourselves (scalingModifiers, metric type
//! Value): the exact value with every serving replica sampled fresh, or none. Also the gate, which is exact by nature.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::situation::Situation;

/// The sum of a gauge over the serving replicas.
pub(crate) fn sum(situation: &Situation<'_, '_>, metric: &str) -> Result<f64, String> {
    everyone_heard(situation)?;
    let mut total = 0.0;
    for view in situation.fleet.serving() {
        let value = view.series.gauge(metric);
        total += value.ok_or_else(|| format!("replica {:?} does not expose {metric:?}", view.workspace))?;
    }
    Ok(total)
}

/// The mean of a gauge over the serving replicas.
pub(crate) fn mean(situation: &Situation<'_, '_>, metric: &str) -> Result<f64, String> {
    sum(situation, metric).map(|total| total / f64::from(situation.fleet.n_serving()))
}

/// The mean of a histogram's observations in the window, over the serving replicas.
pub(crate) fn windowed(situation: &Situation<'_, '_>, metric: &str, window: Duration) -> Result<f64, String> {
    everyone_heard(situation)?;
    let (now, started) = (situation.now, situation.timing.process_started);
    if now.since(started) < window {
        return Err(format!(
            "this process is younger than the window of {} seconds",
            window.as_secs()
        ));
    }
    let begin = now.minus(window);
    let (mut sum, mut count, mut read) = (0.0, 0.0, false);
    for view in situation.fleet.serving() {
        // A replica that began to serve a moment ago has no growth yet and takes no part.
        if let Some(growth) = view.series.delta(metric, begin, started) {
            sum += growth.sum;
            count += growth.count;
            read = true;
        }
    }
    if count > 0.0 {
        return Ok(sum / count);
    }
    let history = situation.history;
    let idle = history.is_current(now, situation.timing) && history.idle_since().is_some_and(|since| since <= begin);
    match (read, idle) {
        (false, _) => Err(format!("no replica has two samples of {metric:?} in the window")),
        (true, true) => Ok(0.0),
        (true, false) => Err(format!(
            "{metric:?} had no observation in the window, and the fleet is not known to be idle"
        )),
    }
}

/// 1 when nothing is pending, else 0.
pub(crate) fn gate(situation: &Situation<'_, '_>) -> f64 {
    if situation.fleet.n_pending() == 0 { 1.0 } else { 0.0 }
}

/// Whether every serving replica has a fresh sample, and there is one.
pub(crate) fn everyone_heard(situation: &Situation<'_, '_>) -> Result<(), String> {
    let fleet = &situation.fleet;
    if fleet.n_silent() > 0 {
        return Err(format!("{} Ready replicas have no fresh sample", fleet.n_silent()));
    }
    if fleet.n_serving() == 0 {
        return Err("no replica serves".to_owned());
    }
    Ok(())
}
