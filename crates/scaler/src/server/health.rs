//! What `grpc.health.v1` answers, of the whole process (the empty name) and of the scaler's own service: what `/readyz` says.

use std::time::Duration;

use keda_kaito_runtime::readiness::Readiness;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The names that are asked about.
const NAMES: [&str; 2] = ["", super::call::SERVICE];
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps both names up to date until shutdown; then neither serves.
pub async fn follow(reporter: HealthReporter, readiness: Readiness, shutdown: CancellationToken) {
    let mut told = None;
    loop {
        let serves = readiness.is_ready() && !shutdown.is_cancelled();
        // Whoever watches hears of each status that is set.
        if told.replace(serves) != Some(serves) {
            let status = if serves {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            for name in NAMES {
                reporter.set_service_status(name, status).await;
            }
        }
        if shutdown.is_cancelled() {
            return;
        }
        shutdown.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}
