//! N12: only who holds certmgr's Lease writes credentials. Who wrote is known from the Event every write is followed by.

use std::time::Duration;

use super::{Figures, SECRETS, Seen, Violation};
use crate::chronicle::history::History;

const LEASE: &str = "keda-kaito-scaler-certmgr";
const AUTHOR: &str = "keda-kaito-certmgr";
/// An Event comes after its write, and may be seen before a Lease that is older.
const AROUND: Duration = Duration::from_secs(5);

pub(super) fn check(history: &History, figures: &mut Figures) -> Vec<Violation> {
    let holders: Vec<(Duration, &str)> = history
        .of("Lease")
        .filter(|seen| seen.name == LEASE)
        .map(|seen| (seen.at, seen.text("/spec/holderIdentity")))
        .collect();
    let mut found = Vec::new();
    for seen in history.of("Event").filter(|seen| is_write(seen)) {
        let instance = seen.text("/reportingInstance");
        figures.leaders_writes += 1;
        if !held(&holders, instance, seen.at) {
            found.push(Violation {
                invariant: "N12",
                at: seen.at,
                name: LEASE.to_owned(),
                what: format!(
                    "{instance} wrote {} while it did not hold the Lease: {}",
                    seen.text("/involvedObject/name"),
                    seen.text("/message")
                ),
            });
        }
    }
    found
}

fn is_write(seen: &Seen) -> bool {
    seen.object.is_some()
        && !seen.old
        && seen.text("/reportingComponent") == AUTHOR
        && SECRETS.contains(&seen.text("/involvedObject/name"))
}

fn held(holders: &[(Duration, &str)], instance: &str, at: Duration) -> bool {
    let ends = holders.iter().skip(1).map(|(end, _)| *end).chain([Duration::MAX]);
    // A holder is the instance and a number of the process.
    let is = |holder: &str| holder.rsplit_once('_').is_some_and(|(name, _)| name == instance);
    holders
        .iter()
        .zip(ends)
        .any(|((from, holder), end)| is(holder) && *from <= at + AROUND && end.saturating_add(AROUND) >= at)
}
