//! Named tasks a process cannot live without: the first to end ends all.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// A timer that is nearly always the next of a thread's runtime: sooner than most waits for another machine, and rare enough to
/// cost nothing.
const BEAT: Duration = Duration::from_millis(500);

/// What an essential task may return: nothing, or a result whose error explains the end.
pub trait Outcome: Send + 'static {
    /// The reason the task ended, if it failed.
    fn into_result(self) -> anyhow::Result<()>;
}

impl Outcome for () {
    fn into_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<E: Into<anyhow::Error> + Send + 'static> Outcome for Result<(), E> {
    fn into_result(self) -> anyhow::Result<()> {
        self.map_err(Into::into)
    }
}

/// A set of essential tasks. Dropping it aborts them.
#[derive(Debug)]
pub struct Essential {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
    shutdown: CancellationToken,
}

impl Essential {
    /// A set whose tasks may end once `shutdown` is cancelled, and not before.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            shutdown,
        }
    }

    /// Starts a task; `name` appears in the log line and the error when it ends too early.
    pub fn spawn<T: Outcome>(&mut self, name: impl Into<String>, task: impl Future<Output = T> + Send + 'static) {
        let handle = self.tasks.spawn(async move { task.await.into_result() });
        self.names.insert(handle.id(), name.into());
    }

    /// Starts a task on a thread with a runtime of its own, for work of many small steps: no other thread is woken for its
    /// steps, and what else the process does takes no turn from it. What the task spawns runs there too.
    pub fn spawn_on_thread<T: Outcome>(&mut self, name: &'static str, task: impl Future<Output = T> + Send + 'static) {
        self.spawn(name, on_thread(name, task));
    }

    /// Waits until every task has ended. If one ends before shutdown, the token is cancelled. From the cancellation on
    /// the others have `grace` to end by themselves; then they are aborted.
    ///
    /// # Errors
    /// A task ended, failed or panicked before shutdown, or failed or panicked during it.
    pub async fn join(mut self, grace: Duration) -> anyhow::Result<()> {
        anyhow::ensure!(!self.tasks.is_empty(), "no essential task was started");
        let mut failure = None;
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            Some(ended) = self.tasks.join_next_with_id() => {
                failure = Some(self.too_early(ended));
                self.shutdown.cancel();
            }
        }
        let drained = tokio::time::timeout(grace, async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let (name, result) = self.name(ended);
                if let Err(error) = result {
                    tracing::warn!(task = name, error = %format_args!("{error:#}"), "essential task failed while stopping");
                    failure.get_or_insert_with(|| error.context(format!("essential task {name:?} failed while stopping")));
                }
            }
        })
        .await;
        if drained.is_err() {
            let stuck: Vec<_> = self.names.values().map(String::as_str).collect();
            tracing::warn!(
                tasks = stuck.join(", "),
                "essential tasks did not stop in time and are aborted"
            );
        }
        failure.map_or(Ok(()), Err)
    }

    fn too_early(&mut self, ended: Ended) -> anyhow::Error {
        let (name, result) = self.name(ended);
        let error = match result {
            Ok(()) => anyhow::anyhow!("essential task {name:?} ended"),
            Err(error) => error.context(format!("essential task {name:?} failed")),
        };
        tracing::error!(task = name, error = %format_args!("{error:#}"), "essential task ended, stopping the process");
        error
    }

    fn name(&mut self, ended: Ended) -> (String, anyhow::Result<()>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(error.into())),
        };
        (self.names.remove(&id).unwrap_or_default(), result)
    }
}

async fn on_thread<T: Outcome>(name: &str, task: impl Future<Output = T> + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // While no timer is pending, each that is set has tokio wake the runtime by a system call, from its own thread too.
    let _beating = runtime.spawn(async {
        loop {
            tokio::time::sleep(BEAT).await;
        }
    });
    let (ended, end) = oneshot::channel();
    let work = move || ended.send(runtime.block_on(task).into_result());
    let _detached = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
    end.await.context("its thread panicked")?
}

type Ended = Result<(Id, anyhow::Result<()>), JoinError>;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::Essential;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn first_task_to_end_stops_the_others_and_is_named() {
        for (outcome, expected) in [
            ("return", "essential task \"x\" ended"),
            ("fail", "no tea"),
            ("panic", "panicked"),
        ] {
            let shutdown = CancellationToken::new();
            let mut tasks = Essential::new(shutdown.clone());
            let others = shutdown.clone();
            tasks.spawn("other", async move { others.cancelled().await });
            match outcome {
                "return" => tasks.spawn("x", async {}),
                "fail" => tasks.spawn("x", async { Err::<(), _>(anyhow::anyhow!("no tea")) }),
                _ => tasks.spawn::<()>("x", async { panic!("out of tea") }),
            }
            let error = format!("{:#}", tasks.join(GRACE).await.unwrap_err());
            assert!(error.contains("\"x\"") && error.contains(expected), "{outcome}: {error}");
            assert!(shutdown.is_cancelled(), "{outcome}");
        }
    }

    #[tokio::test]
    async fn task_on_a_thread_of_its_own_ends_the_others_as_any_does() {
        for (fails, expected) in [(false, "\"x\" ended"), (true, "panicked")] {
            let shutdown = CancellationToken::new();
            let mut tasks = Essential::new(shutdown.clone());
            let (here, stop) = (std::thread::current().id(), shutdown.clone());
            tasks.spawn_on_thread("polite", async move { stop.cancelled().await });
            tasks.spawn_on_thread("x", async move {
                let there = tokio::spawn(async { std::thread::current().id() }).await.unwrap();
                assert!(there != here && !fails);
            });
            let error = format!("{:#}", tasks.join(GRACE).await.unwrap_err());
            assert!(error.contains("\"x\"") && error.contains(expected), "{error}");
            assert!(shutdown.is_cancelled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_may_end_once_shutdown_is_asked_for() {
        let shutdown = CancellationToken::new();
        let mut tasks = Essential::new(shutdown.clone());
        let stop = shutdown.clone();
        tasks.spawn("polite", async move { stop.cancelled().await });
        shutdown.cancel();
        tasks.join(GRACE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn task_that_does_not_stop_is_aborted_after_the_grace() {
        let shutdown = CancellationToken::new();
        let mut tasks = Essential::new(shutdown.clone());
        tasks.spawn("stubborn", std::future::pending::<()>());
        shutdown.cancel();
        let started = Instant::now();
        tasks.join(GRACE).await.unwrap();
        assert_eq!(started.elapsed(), GRACE);
    }

    #[tokio::test]
    async fn failure_while_stopping_is_reported() {
        let shutdown = CancellationToken::new();
        let mut tasks = Essential::new(shutdown.clone());
        tasks.spawn("clumsy", async { Err::<(), _>(anyhow::anyhow!("spilled")) });
        shutdown.cancel();
        let error = tasks.join(GRACE).await.unwrap_err();
        assert!(format!("{error:#}").contains("spilled"), "{error:#}");
    }

    #[tokio::test]
    async fn set_without_tasks_is_a_mistake() {
        assert!(Essential::new(CancellationToken::new()).join(GRACE).await.is_err());
    }
}
