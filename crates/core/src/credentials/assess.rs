//! Whether one of the two Secrets holds what is wanted, and if not, what to write and why.

use jiff::Timestamp;

use super::clock::{Clock, later};
use super::config::Config;
use super::desired::Want;
use super::phase::Phase;
use super::step::Cause;
use super::view::{Flaw, Leaf, LeafSecret, Presence};

/// What has to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Whether a new leaf is issued; else the present one is kept.
    pub(super) issue: bool,
    pub(super) cause: Cause,
}

/// One Secret beside what is wanted of it.
pub(super) struct Assessment<'a> {
    pub(super) secret: &'a LeafSecret,
    pub(super) want: &'a Want,
    /// The annotation that marks retiring client certificates.
    pub(super) retiring: Option<Timestamp>,
    pub(super) phase: Phase,
    /// Whether the objects show that credentials were published before.
    pub(super) published_before: bool,
    pub(super) clock: &'a Clock,
    pub(super) config: &'a Config,
}

impl Assessment<'_> {
    /// The change that makes the Secret conform.
    pub(super) fn change(&self) -> Option<Change> {
        let (issue, cause) = match &self.secret.leaf {
            Err(flaw) => (true, Some(self.missing(flaw))),
            Ok(leaf) => match self.leaf(leaf) {
                Some(cause) => (true, Some(cause)),
                None => (false, self.rest()),
            },
        };
        let cause = match &self.secret.presence {
            Presence::Unwritable(why) => Some(Cause::Repair(why.clone())),
            Presence::Absent | Presence::Present => cause,
        }?;
        let proves = self.want.proves_bundle && !self.secret.trusts_exactly(&self.want.bundle);
        Some(Change {
            issue: issue || proves,
            cause,
        })
    }

    fn missing(&self, flaw: &Flaw) -> Cause {
        match (flaw, &self.secret.presence) {
            (Flaw::Absent, Presence::Absent) if self.published_before => Cause::Repair("the Secret was deleted".to_owned()),
            (Flaw::Absent, _) if self.secret.generation.is_none() => Cause::First,
            (Flaw::Absent, _) => Cause::Repair("the certificate was removed".to_owned()),
            (Flaw::Unusable(why), _) => Cause::Repair(why.clone()),
        }
    }

    fn leaf(&self, leaf: &Leaf) -> Option<Cause> {
        if let Some(why) = self.clock.invalidity(&leaf.validity) {
            return Some(Cause::Repair(format!("the certificate is {why}")));
        }
        if !self.want.issuers.contains(&leaf.issuer) {
            let foreign = || Cause::Repair(format!("the certificate was issued by {}", leaf.issuer));
            return Some(self.in_rotation().unwrap_or_else(foreign));
        }
        if self.want.crossed && !leaf.crossed {
            return Some(Cause::Repair("the cross certificate was removed".to_owned()));
        }
        let own = self.want.signer.id == leaf.issuer;
        (own && (leaf.outdated.is_some() || self.renewal_due(leaf))).then_some(Cause::Renewal)
    }

    fn rest(&self) -> Option<Cause> {
        if !self.secret.trusts_exactly(&self.want.bundle) {
            let flaw = match &self.secret.bundle {
                Err(flaw) => format!("the trust bundle is {flaw}"),
                Ok(_) => "the trust bundle holds other roots".to_owned(),
            };
            return Some(self.in_rotation().unwrap_or(Cause::Repair(flaw)));
        }
        if self.secret.generation.is_none() || self.secret.published.is_none() {
            return Some(Cause::Repair("our annotations were removed".to_owned()));
        }
        let marked = self.secret.retiring != self.retiring;
        let left_over = self.want.drop_reference_keys && self.secret.reference_keys;
        (marked || left_over || self.secret.reference_layout).then_some(Cause::Rotation(self.phase))
    }

    fn in_rotation(&self) -> Option<Cause> {
        (self.phase != Phase::Stable).then_some(Cause::Rotation(self.phase))
    }

    /// Old enough, and a new leaf would live longer: one that was cut at its issuer's end gains nothing.
    fn renewal_due(&self, leaf: &Leaf) -> bool {
        let end = later(self.clock.own, self.config.leaf_lifetime);
        let longer = end.min(self.want.signer.validity.not_after) > leaf.validity.not_after;
        longer && self.clock.agrees() && self.clock.passed(renewal(leaf, self.config))
    }
}

/// When a leaf is renewed: at its age, or two thirds into a life cut short, earlier by its share of the jitter.
pub(super) fn renewal(leaf: &Leaf, config: &Config) -> Timestamp {
    let issued = leaf.validity.issued();
    let life = leaf.validity.not_after.duration_since(issued).unsigned_abs();
    let share = f64::from(leaf.spread) / f64::from(u32::MAX);
    let age = config
        .leaf_renew_after
        .saturating_sub(config.leaf_renew_jitter.mul_f64(share));
    later(issued, age.min(life / 3 * 2))
}
