//! `StreamIsActive`: says true when a workload becomes active. KEDA acts on nothing else, and repeating it costs a write each.

use std::time::Duration;

use keda_kaito_externalscaler::IsActiveResponse;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Between two looks; a look costs microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A stream that says true on each change from inactive to active, and at once if it is active now. `look` returns nothing
/// while nothing is known, which is no change. It ends when `closing` is cancelled.
pub(super) fn transitions(
    look: impl Fn() -> Option<bool> + Send + 'static,
    closing: CancellationToken,
) -> ReceiverStream<Result<IsActiveResponse, Status>> {
    // One answer in waiting: a subscriber that does not read it needs no second one.
    let (tx, rx) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut active = false;
        loop {
            if let Some(now) = look() {
                let begins = now && !active;
                active = now;
                if begins && tx.send(Ok(IsActiveResponse { result: true })).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = closing.cancelled() => return,
                () = tx.closed() => return,
            }
        }
    });
    ReceiverStream::new(rx)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};

    use tokio_stream::StreamExt;

    use super::*;

    const UNKNOWN: u8 = 0;
    const INACTIVE: u8 = 1;
    const ACTIVE: u8 = 2;

    #[tokio::test(start_paused = true)]
    async fn true_is_said_once_for_each_time_a_workload_becomes_active() {
        let state = Arc::new(AtomicU8::new(ACTIVE));
        let seen = Arc::clone(&state);
        let closing = CancellationToken::new();
        let look = move || match seen.load(Ordering::SeqCst) {
            UNKNOWN => None,
            known => Some(known == ACTIVE),
        };
        let mut stream = transitions(look, closing.clone());
        assert!(stream.next().await.unwrap().unwrap().result);
        for quiet in [ACTIVE, UNKNOWN, ACTIVE, INACTIVE] {
            state.store(quiet, Ordering::SeqCst);
            let said = tokio::time::timeout(Duration::from_secs(3), stream.next()).await;
            assert!(said.is_err(), "{quiet} is no start");
        }
        state.store(ACTIVE, Ordering::SeqCst);
        assert!(stream.next().await.unwrap().unwrap().result);
        closing.cancel();
        assert!(stream.next().await.is_none(), "the connection is about to end");
    }
}
