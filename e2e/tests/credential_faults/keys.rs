//! Every private key that ever was in the Secrets, and the search for any of them where it has no business: logs, Events,
//! objects of every kind, what programs show of themselves.

mod patterns;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aho_corasick::AhoCorasick;
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::names::{self, CA_SECRET, CLIENT_SECRET, SERVER_SECRET};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use kube::runtime::watcher;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::task::JoinSet;

use super::material::secrets;

/// Where a key may be.
const HOMES: [(&str, &str); 4] = [
    (CA_SECRET, names::CA_KEY),
    (CA_SECRET, names::NEXT_KEY),
    (SERVER_SECRET, names::TLS_KEY),
    (CLIENT_SECRET, names::TLS_KEY),
];

/// Keys by their DER, with where each was seen first.
type Known = Arc<Mutex<BTreeMap<Vec<u8>, String>>>;

/// Records until it is dropped.
pub(crate) struct Keys {
    known: Known,
    _watch: JoinSet<()>,
}

/// A key where it has no business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leak {
    pub(crate) place: String,
    pub(crate) key: String,
    pub(crate) form: &'static str,
}

impl Keys {
    /// Watches the Secrets from now on.
    pub(crate) fn record(bed: &Bed) -> Self {
        let known = Known::default();
        let mut task = JoinSet::new();
        let (noted, api) = (Arc::clone(&known), secrets(bed));
        task.spawn(async move {
            let mut events = watcher(api, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret)) => note(&noted, &secret),
                    Ok(watcher::Event::Delete(_) | watcher::Event::Init | watcher::Event::InitDone) => {}
                    Err(error) => tracing::warn!(%error, "the watch of Secrets begins again"),
                }
            }
        });
        Self { known, _watch: task }
    }

    /// How many there have been. Waits until the recorder has seen the keys that are there now.
    pub(crate) async fn count(&self, bed: &Bed) -> Result<usize> {
        let current = Known::default();
        for name in [CA_SECRET, SERVER_SECRET, CLIENT_SECRET] {
            note(&current, &secrets(bed).get(name).await?);
        }
        eventually(Duration::from_secs(20), "the recorder has caught up", async || {
            let (known, current) = (lock(&self.known).clone(), lock(&current).clone());
            Ok(Look::when(current.keys().all(|key| known.contains_key(key)), known.len()))
        })
        .await
    }

    /// Every leak there is: in logs, in objects of all kinds, and in `shown`.
    pub(crate) async fn leaks(&self, bed: &Bed, shown: &[(String, String)]) -> Result<Vec<Leak>> {
        let search = Search::new(&lock(&self.known).clone())?;
        let mut leaks = Vec::new();
        let mut bytes = 0;
        for entry in fs::read_dir(bed.directory.join("logs"))? {
            let path = entry?.path();
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            bytes += text.len();
            search.through(&path.display().to_string(), &text, &mut leaks);
        }
        for (place, text) in shown {
            search.through(place, text.as_bytes(), &mut leaks);
        }
        let mut objects = 0;
        let discovery = Discovery::new(bed.client.clone())
            .exclude(&["external.metrics.k8s.io"])
            .run()
            .await?;
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                if !capabilities.supports_operation(verbs::LIST) {
                    continue;
                }
                let api: Api<DynamicObject> = Api::all_with(bed.client.clone(), &resource);
                let list = api
                    .list(&ListParams::default())
                    .await
                    .with_context(|| resource.kind.clone())?;
                objects += list.items.len();
                for object in list.items {
                    search.object(&resource.kind, object, &mut leaks)?;
                }
            }
        }
        let keys = lock(&self.known).len();
        eprintln!(
            "searched {objects} objects and {bytes} bytes of logs for {keys} private keys: {} found",
            leaks.len()
        );
        Ok(leaks)
    }
}

fn note(known: &Known, secret: &Secret) {
    let name = secret.metadata.name.clone().unwrap_or_default();
    for (key, value) in secret.data.iter().flatten() {
        for found in PrivateKeyDer::pem_slice_iter(&value.0).flatten() {
            let der = found.secret_der().to_vec();
            lock(known).entry(der).or_insert_with(|| format!("{name} {key}"));
        }
    }
}

struct Search {
    automaton: AhoCorasick,
    /// Of each pattern: whose, and in which form.
    patterns: Vec<(String, &'static str)>,
}

impl Search {
    fn new(known: &BTreeMap<Vec<u8>, String>) -> Result<Self> {
        ensure!(!known.is_empty(), "no private key was ever seen");
        let (mut texts, mut patterns) = (Vec::new(), Vec::new());
        for (der, label) in known {
            for (form, text) in patterns::of(der) {
                texts.push(text);
                patterns.push((label.clone(), form));
            }
        }
        let automaton = AhoCorasick::new(texts)?;
        Ok(Self { automaton, patterns })
    }

    fn through(&self, place: &str, text: &[u8], leaks: &mut Vec<Leak>) {
        for found in self.automaton.find_iter(text) {
            if let Some((key, form)) = self.patterns.get(found.pattern().as_usize()) {
                leaks.push(Leak {
                    place: place.to_owned(),
                    key: key.clone(),
                    form,
                });
            }
        }
    }

    fn object(&self, kind: &str, mut object: DynamicObject, leaks: &mut Vec<Leak>) -> Result<()> {
        let (namespace, name) = (
            object.metadata.namespace.clone().unwrap_or_default(),
            object.metadata.name.clone(),
        );
        let name = name.unwrap_or_default();
        let place = format!("{kind} {namespace}/{name}");
        if kind == "Secret" {
            let secret: Secret = object.clone().try_parse()?;
            for (key, value) in secret.data.into_iter().flatten() {
                let mut found = Vec::new();
                self.through(&format!("{place} {key}"), &value.0, &mut found);
                let home = namespace == "keda" && HOMES.contains(&(name.as_str(), key.as_str()));
                // At home is only who was there first: no authority's key among the leaves, and none of theirs among it.
                let stranger = |leak: &Leak| !home || leak.key.starts_with(CA_SECRET) != (name == CA_SECRET);
                leaks.extend(found.into_iter().filter(stranger));
            }
            if let Some(all) = object.data.as_object_mut() {
                all.remove("data");
            }
        }
        self.through(&place, &serde_json::to_vec(&object)?, leaks);
        Ok(())
    }
}

fn lock(known: &Known) -> MutexGuard<'_, BTreeMap<Vec<u8>, String>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
