//! Fills in a publication: which generation, which leaf, how long it lives.

use jiff::Timestamp;

use super::acknowledgement::Acknowledgements;
use super::assess::Change;
use super::authority::cut;
use super::clock::{Clock, earlier, later};
use super::config::Config;
use super::desired::Want;
use super::step::{Issue, LeafSource, Publication, Step};
use super::view::{BACKDATE, LeafSecret, Objects, Presence, Validity};

/// In seconds. A number further ahead is no generation of ours, whoever wrote it: it must not use up the numbers left.
const TEN_YEARS: u64 = 10 * 366 * 86_400;

/// What publications are drawn up from.
pub(super) struct Draft<'a> {
    pub(super) objects: &'a Objects,
    pub(super) acknowledgements: &'a Acknowledgements,
    pub(super) clock: &'a Clock,
    pub(super) config: &'a Config,
}

impl Draft<'_> {
    pub(super) fn server(&self, want: &Want, retiring: Option<Timestamp>, change: Change) -> Step {
        let known = self.acknowledgements.highest_generation();
        let mut publication = self.publication(&self.objects.server, want, known, change);
        publication.retiring = retiring;
        Step::Server(publication)
    }

    pub(super) fn client(&self, want: &Want, change: Change) -> Step {
        let known = self.objects.authentication.epoch.unwrap_or(0);
        Step::Client(self.publication(&self.objects.client, want, known, change))
    }

    fn publication(&self, secret: &LeafSecret, want: &Want, known: u64, change: Change) -> Publication {
        let now = self.clock.issuing();
        let leaf = if change.issue {
            LeafSource::Issue(Issue {
                issuer: want.signer.id.clone(),
                crossed: want.crossed,
                validity: self.validity(want),
            })
        } else {
            LeafSource::Keep
        };
        Publication {
            leaf,
            bundle: want.bundle.clone(),
            generation: self.generation(secret.generation.unwrap_or(0).max(known)),
            published: now,
            retiring: None,
            keep_reference_keys: secret.reference_keys && !want.drop_reference_keys,
            replace: matches!(secret.presence, Presence::Unwritable(_)),
            cause: change.cause,
        }
    }

    fn validity(&self, want: &Want) -> Validity {
        let now = self.clock.issuing();
        let wanted = Validity {
            not_before: earlier(now, BACKDATE),
            not_after: later(now, self.config.leaf_lifetime),
        };
        cut(wanted, &[&want.signer])
    }

    /// At least the Unix time, so that generations grow even when the Secret that held the last one is gone.
    fn generation(&self, known: u64) -> u64 {
        let seconds = u64::try_from(self.clock.issuing().as_second()).unwrap_or(0);
        let plausible = if known > seconds.saturating_add(TEN_YEARS) { 0 } else { known };
        plausible.saturating_add(1).max(seconds)
    }
}
