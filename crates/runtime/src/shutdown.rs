//! Turns SIGTERM and SIGINT into a cancelled token; a second signal asks for an immediate end.
//! What a program does while it stops is its own business.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// The signals a process is asked to stop with.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen; from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The operating system refuses the handlers. Needs a tokio runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Closes readiness and cancels the token at the first signal; resolves at the second.
    pub async fn second(&mut self, readiness: &Readiness, shutdown: &CancellationToken) {
        let name = self.next().await;
        tracing::info!(signal = name, "asked to stop");
        begin(readiness, shutdown);
        let name = self.next().await;
        tracing::warn!(signal = name, "asked to stop a second time, ending at once");
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Closes readiness, then cancels the token: whoever routes work here learns it before the listeners stop.
pub(crate) fn begin(readiness: &Readiness, shutdown: &CancellationToken) {
    readiness
        .gate("shutdown", "the process is stopping")
        .close("the process is stopping");
    shutdown.cancel();
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::begin;
    use crate::readiness::Readiness;

    #[test]
    fn stopping_closes_readiness_and_cancels_the_token() {
        let readiness = Readiness::default();
        readiness.gate("cache", "lists").open();
        assert!(readiness.is_ready());
        let shutdown = CancellationToken::new();
        begin(&readiness, &shutdown);
        assert!(shutdown.is_cancelled());
        assert_eq!(readiness.closed()[0].name, "shutdown");
    }
}
