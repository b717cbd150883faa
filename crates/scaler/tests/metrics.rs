//! docs/metrics.md and the program say the same about its metrics. Without the test harness: it starts itself as the program.

keda_kaito_runtime::documented_metrics!(keda_kaito_scaler, include_str!("../../../docs/metrics.md"));
