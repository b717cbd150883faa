//! The queue of changes: in order, and only the latest per object, so that a slow reader catches up instead of replaying.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use futures::task::AtomicWaker;
use kube::Resource;
use tokio::sync::Notify;

use super::Change;

/// Distinct objects in the queue. Only a reader that stands still while objects come and go reaches it; then the watch
/// waits for the reader.
const MAX_QUEUED: usize = 131_072;

/// Changes not yet read, oldest first. It ends when the watch has ended.
pub struct Changes<K> {
    queue: Arc<Queue<K>>,
}

/// Writing side.
pub(super) struct Push<K> {
    queue: Arc<Queue<K>>,
}

struct Queue<K> {
    state: Mutex<State<K>>,
    readable: AtomicWaker,
    writable: Notify,
}

/// An object recreated under its name is another object: its predecessor's deletion is not overwritten.
type Key = (Option<String>, Option<String>, Option<String>);

struct State<K> {
    order: VecDeque<Key>,
    latest: HashMap<Key, Change<K>>,
    read: bool,
    written: bool,
}

pub(super) fn channel<K>() -> (Push<K>, Changes<K>) {
    let queue = Arc::new(Queue {
        state: Mutex::new(State {
            order: VecDeque::new(),
            latest: HashMap::new(),
            read: true,
            written: true,
        }),
        readable: AtomicWaker::new(),
        writable: Notify::new(),
    });
    (
        Push {
            queue: Arc::clone(&queue),
        },
        Changes { queue },
    )
}

impl<K> Changes<K> {
    /// The next change; `None` once the watch has ended and everything is read. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Change<K>> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    fn poll_change(&self, cx: &Context<'_>) -> Poll<Option<Change<K>>> {
        self.queue.readable.register(cx.waker());
        let mut state = self.queue.lock();
        while let Some(key) = state.order.pop_front() {
            if let Some(change) = state.latest.remove(&key) {
                drop(state);
                self.queue.writable.notify_one();
                return Poll::Ready(Some(change));
            }
        }
        if state.written { Poll::Pending } else { Poll::Ready(None) }
    }
}

impl<K> Stream for Changes<K> {
    type Item = Change<K>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_change(cx)
    }
}

impl<K> Drop for Changes<K> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.read = false;
        state.order.clear();
        state.latest.clear();
        drop(state);
        self.queue.writable.notify_one();
    }
}

impl<K: Resource> Push<K> {
    /// Queues a change, replacing an unread one of the same object. Waits while the queue is full.
    pub(super) async fn push(&self, change: Change<K>) {
        let meta = change.object().meta();
        let key = (meta.namespace.clone(), meta.name.clone(), meta.uid.clone());
        loop {
            {
                let mut state = self.queue.lock();
                if !state.read {
                    return;
                }
                let known = state.latest.contains_key(&key);
                if known || state.latest.len() < MAX_QUEUED {
                    if !known {
                        state.order.push_back(key.clone());
                    }
                    state.latest.insert(key, change);
                    break;
                }
            }
            self.queue.writable.notified().await;
        }
        self.queue.readable.wake();
    }
}

impl<K> Drop for Push<K> {
    fn drop(&mut self) {
        self.queue.lock().written = false;
        self.queue.readable.wake();
    }
}

impl<K> Queue<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> fmt::Debug for Changes<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = self.queue.lock().latest.len();
        formatter.debug_struct("Changes").field("queued", &queued).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::{Change, channel};

    fn map(name: &str, uid: &str, version: &str) -> Arc<ConfigMap> {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.metadata.uid = Some(uid.to_owned());
        map.metadata.resource_version = Some(version.to_owned());
        Arc::new(map)
    }

    fn version(change: &Change<ConfigMap>) -> &str {
        change.object().metadata.resource_version.as_deref().unwrap()
    }

    #[tokio::test]
    async fn unread_change_is_replaced_by_a_later_one_of_the_same_object() {
        let (push, mut changes) = channel();
        push.push(Change::Applied(map("a", "1", "1"))).await;
        push.push(Change::Applied(map("b", "2", "2"))).await;
        push.push(Change::Applied(map("a", "1", "3"))).await;
        assert_eq!(version(&changes.next().await.unwrap()), "3");
        assert_eq!(version(&changes.next().await.unwrap()), "2");
        assert!(changes.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn deletion_of_a_predecessor_is_kept_beside_its_successor() {
        let (push, mut changes) = channel();
        push.push(Change::Deleted(map("a", "1", "1"))).await;
        push.push(Change::Applied(map("a", "2", "2"))).await;
        assert!(matches!(changes.next().await, Some(Change::Deleted(_))));
        assert!(matches!(changes.next().await, Some(Change::Applied(_))));
    }

    #[tokio::test]
    async fn reader_is_woken_and_sees_the_end() {
        let (push, mut changes) = channel();
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while changes.next().await.is_some() {
                read += 1;
            }
            read
        });
        for n in 0..100 {
            push.push(Change::Applied(map("a", &n.to_string(), "1"))).await;
            tokio::task::yield_now().await;
        }
        drop(push);
        assert_eq!(reader.await.unwrap(), 100);
    }

    #[tokio::test]
    async fn nothing_is_kept_once_nobody_reads() {
        let (push, changes) = channel();
        push.push(Change::Applied(map("a", "1", "1"))).await;
        drop(changes);
        push.push(Change::Applied(map("b", "2", "2"))).await;
        assert!(push.queue.lock().latest.is_empty());
    }
}
