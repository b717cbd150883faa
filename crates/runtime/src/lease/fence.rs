//! Writes that only a leader may make. A write is not begun, and not waited for, once others may soon take over.
//! What it cannot stop is a request that was handed to the kernel in the moment before the process was paused: that one is
//! for the API server to refuse, by the version the request names.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::service_fn;

use super::Leader;

/// The call was not made, or not waited for: somebody else may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process does not lead, or cannot be sure that it still does")]
pub struct NotLeading;

impl Leader {
    /// Makes a call that only a leader may make. It is dropped when the lease could not be renewed in time, and so well
    /// before another process can have taken over.
    ///
    /// # Errors
    /// This process does not lead, or ceased to before the call ended: whether the call had an effect is unknown then.
    pub async fn guard<T>(&self, call: impl Future<Output = T>) -> Result<T, NotLeading> {
        let mut until = self.until.clone();
        let mut call = pin!(call);
        loop {
            let end = until.borrow_and_update().checked_sub(self.margin).ok_or(NotLeading)?;
            // After a pause of the whole process I/O may be polled before any timer has fired.
            let call = poll_fn(|cx| {
                if Instant::now() >= end {
                    return Poll::Ready(Err(NotLeading));
                }
                call.as_mut().poll(cx).map(Ok)
            });
            tokio::select! {
                biased;
                output = call => return output,
                renewed = until.changed() => if renewed.is_err() { return Err(NotLeading) },
                () = sleep_until(end) => return Err(NotLeading),
            }
        }
    }
}

/// A client through which only a leader writes; reads pass. Put it around a client that bounds its calls.
#[must_use]
pub fn fenced(client: Client, leader: watch::Receiver<Option<Leader>>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let (client, leader) = (client.clone(), leader.borrow().clone());
        async move {
            if request.method() == Method::GET {
                return client.send(request).await.map_err(tower::BoxError::from);
            }
            let leader = leader.ok_or(NotLeading)?;
            Ok(leader.guard(client.send(request)).await??)
        }
    });
    Client::new(service, namespace)
}
