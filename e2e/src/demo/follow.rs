//! Tells what happens to one InferenceSet while an act plays: its numbers when they change, its Events as they come.
//! It only reads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinHandle;

use super::story::Story;
use crate::bed::Bed;
use crate::cases::objects::{Kind, number};
use crate::keda;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A line is repeated after this long even if nothing changed, so that the terminal is never silent for long.
const REPEAT_AFTER: Duration = Duration::from_secs(15);
/// Numbers move all the time; between two lines at least this long.
const PAUSE: Duration = Duration::from_secs(4);

/// Follows until it is dropped.
#[derive(Debug)]
pub(super) struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    pub(super) fn start(bed: &Bed, story: &Arc<Story>, namespace: &str, name: &str) -> Self {
        let (bed, story) = (bed.clone(), Arc::clone(story));
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self(tokio::spawn(async move {
            let mut told = Told::default();
            loop {
                // What cannot be read now is read a second later.
                if let Ok(line) = status(&bed, &namespace, &name).await {
                    told.status(&story, line);
                }
                told.events(&bed, &story, &namespace, &name).await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }))
    }
}

#[derive(Default)]
struct Told {
    last: Option<(Instant, String)>,
    events: BTreeSet<(String, String)>,
}

impl Told {
    fn status(&mut self, story: &Story, line: String) {
        let due = self.last.as_ref().is_none_or(|(at, last)| {
            let age = at.elapsed();
            age >= REPEAT_AFTER || (age >= PAUSE && *last != line)
        });
        if due {
            story.tell(&line);
            self.last = Some((Instant::now(), line));
        }
    }

    async fn events(&mut self, bed: &Bed, story: &Story, namespace: &str, name: &str) {
        for about in [name.to_owned(), format!("keda-hpa-{name}")] {
            let events = keda::events(&bed.client, namespace, &about).await.unwrap_or_default();
            for (reason, message) in events {
                if self.events.insert((reason.clone(), message.clone())) {
                    story.tell(&format!("    event on {about}: {reason}: {}", shortened(&message)));
                }
            }
        }
    }
}

async fn status(bed: &Bed, namespace: &str, name: &str) -> Result<String> {
    let set = bed.get(Kind::INFERENCE_SET, namespace, name).await?;
    let pods = bed.fleet.pods_of(namespace, name).await?;
    let waiting: f64 = pods.iter().map(|pod| pod.waiting).sum();
    let running: f64 = pods.iter().map(|pod| pod.running).sum();
    let targets = match keda::hpa(&bed.client, namespace, name).await {
        Ok(hpa) => keda::targets(&hpa),
        Err(_) => "none yet".to_owned(),
    };
    Ok(format!(
        "replicas {} ({} ready)   waiting {waiting:.0}   running {running:.0}   HPA {targets}",
        number(&set, "/spec/replicas").unwrap_or(1),
        number(&set, "/status/readyReplicas").unwrap_or(0),
    ))
}

fn shortened(message: &str) -> String {
    const MOST: usize = 160;
    if message.chars().count() <= MOST {
        return message.to_owned();
    }
    let begin: String = message.chars().take(MOST).collect();
    format!("{begin}…")
}
