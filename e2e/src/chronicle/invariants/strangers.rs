//! N6: ScaledObjects and Secrets that are not ours are neither changed nor deleted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Figures, MANAGED_BY, MANAGERS, PRODUCT, SECRETS, Seen, Violation, managers};
use crate::cases::objects::spec_of_scaled_object;
use crate::chronicle::history::History;

pub(super) fn check(history: &History, figures: &mut Figures) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut known: BTreeMap<(&str, String), Value> = BTreeMap::new();
    for seen in history.of("ScaledObject").chain(history.of("Secret")) {
        let key = (seen.kind, seen.full_name());
        let what = match (&seen.object, known.get(&key)) {
            (None, None) => continue,
            (None, Some(_)) => {
                known.remove(&key);
                "is gone".to_owned()
            }
            (Some(_), None) if is_ours(seen) => continue,
            (Some(object), before) => {
                let touching = managers(seen).into_iter().find(|manager| MANAGERS.contains(manager));
                let now = own(seen.kind, object);
                let changed = before.is_some_and(|before| *before != now);
                known.insert(key, now);
                match (touching, changed) {
                    (Some(manager), _) => format!("has fields of {manager}"),
                    (None, true) => "has changed".to_owned(),
                    (None, false) => continue,
                }
            }
        };
        found.push(Violation {
            invariant: "N6",
            at: seen.at,
            name: seen.name.clone(),
            what: format!("the {} {}, which is not ours, {what}", seen.kind, seen.full_name()),
        });
    }
    figures.strangers = known.len();
    found
}

fn is_ours(seen: &Seen) -> bool {
    match seen.kind {
        "Secret" => SECRETS.contains(&seen.name.as_str()),
        _ => seen.text(MANAGED_BY) == PRODUCT,
    }
}

/// What its author wrote; KEDA adds a label, a finalizer and the status.
fn own(kind: &str, object: &Value) -> Value {
    let part = |pointer: &str| object.pointer(pointer).cloned();
    let (uid, annotations, owners) = (
        part("/metadata/uid"),
        part("/metadata/annotations"),
        part("/metadata/ownerReferences"),
    );
    match kind {
        "Secret" => json!([
            uid,
            annotations,
            owners,
            part("/data"),
            part("/type"),
            part("/metadata/labels")
        ]),
        _ => json!([uid, annotations, owners, spec_of_scaled_object(object)]),
    }
}
