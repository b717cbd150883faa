//! The body of a watch, event by event: passed on, or held, doubled, swapped, joined by others, or lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::Body as UpstreamBody;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::book::{Then, WatchFault};
use super::forward::Body;
use super::request::Request;
use super::{Shared, lock};

/// An event whose successor does not come goes alone after this.
const HELD: Duration = Duration::from_secs(1);

/// The body as the watcher gets it.
pub(super) fn follow(shared: Arc<Shared>, asked: Request, body: UpstreamBody, cut: CancellationToken) -> Body {
    let (passed, frames) = mpsc::channel(1);
    let version = shared.version.subscribe();
    let born = lock(&shared.book).newest();
    let watching = Watching {
        shared,
        asked,
        born,
        passed: passed.clone(),
        cut,
        seen: 0,
        held: None,
    };
    tokio::spawn(async move {
        // A watcher that has left wants nothing any more; dropping the body tells the API server.
        tokio::select! {
            () = passed.closed() => {}
            () = watching.run(body, version) => {}
        }
    });
    let frames = futures::stream::unfold(frames, async |mut frames| {
        let bytes: Bytes = frames.recv().await?;
        Some((Ok(Frame::data(bytes)), frames))
    });
    StreamBody::new(frames).boxed_unsync()
}

struct Watching {
    shared: Arc<Shared>,
    asked: Request,
    passed: mpsc::Sender<Bytes>,
    cut: CancellationToken,
    /// The newest rule when it was opened.
    born: u64,
    /// The newest rule whose injection has been looked at.
    seen: u64,
    /// Waits for its successor, to go after it.
    held: Option<Bytes>,
}

impl Watching {
    async fn run(mut self, body: UpstreamBody, mut version: watch::Receiver<u64>) {
        let mut lines = Lines {
            body: body.into_data_stream(),
            buffer: BytesMut::new(),
        };
        loop {
            version.mark_unchanged();
            if self.inject().await {
                return;
            }
            tokio::select! {
                line = lines.next() => match line {
                    Some(Ok(line)) => self.event(line).await,
                    ended => return self.end(ended.is_some()).await,
                },
                _changed = version.changed() => {}
                () = tokio::time::sleep(HELD), if self.held.is_some() => {
                    if let Some(held) = self.held.take() {
                        self.pass(held).await;
                    }
                }
            }
        }
    }

    /// True when the watch is over.
    async fn inject(&mut self) -> bool {
        let injections = lock(&self.shared.book).injections(&self.asked, &mut self.seen);
        for (bytes, then) in injections {
            self.pass(bytes).await;
            match then {
                Then::GoOn => {}
                Then::End => return true,
                Then::Reset => {
                    self.cut.cancel();
                    std::future::pending::<()>().await;
                }
            }
        }
        false
    }

    async fn event(&mut self, line: Bytes) {
        let fault = lock(&self.shared.book).on_event(&self.asked, self.born);
        match fault {
            Some(WatchFault::Silence) => {}
            Some(WatchFault::Repeat) => {
                self.pass(line.clone()).await;
                self.pass(line).await;
            }
            Some(WatchFault::Swap) if self.held.is_none() => self.held = Some(line),
            Some(WatchFault::Swap | WatchFault::Inject(..)) | None => {
                self.pass(line).await;
                if let Some(held) = self.held.take() {
                    self.pass(held).await;
                }
            }
        }
    }

    /// The API server has ended the watch, or its connection broke.
    async fn end(&self, broken: bool) {
        let fault = lock(&self.shared.book).on_event(&self.asked, self.born);
        let silent = fault == Some(WatchFault::Silence);
        if broken && !silent {
            self.cut.cancel();
        }
        if broken || silent {
            std::future::pending::<()>().await;
        }
    }

    async fn pass(&self, bytes: Bytes) {
        // Whoever has left is noticed elsewhere.
        drop(self.passed.send(bytes).await);
    }
}

struct Lines<S> {
    body: S,
    buffer: BytesMut,
}

impl<S, E> Lines<S>
where
    S: futures::Stream<Item = Result<Bytes, E>> + Unpin,
{
    /// The next line with its end; `None` at the end of the body. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Result<Bytes, E>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return Some(Ok(self.buffer.split_to(end + 1).freeze()));
            }
            match self.body.next().await? {
                Ok(bytes) => self.buffer.extend_from_slice(&bytes),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
