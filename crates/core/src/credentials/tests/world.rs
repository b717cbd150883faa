//! One state of the world around a rotation: the objects, what two replicas have loaded, what KEDA's informer has seen,
//! what two callers hold, and a second certmgr that has decided but not yet written.

use jiff::Timestamp;

use super::super::{Objects, RootId, Step};

/// A set of authorities, one bit each.
pub(super) type Roots = u8;

/// What a replica loads: one version of the server Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Served {
    pub(super) issuer: Roots,
    /// The authorities under which the leaf verifies through the cross certificate.
    pub(super) cross: Roots,
    pub(super) trust: Roots,
    pub(super) generation: u64,
}

/// What KEDA's informer knows: one version of the client Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Published {
    pub(super) issuer: Roots,
    /// Tells one leaf and its key from another; also the minute its certificate starts.
    pub(super) leaf: u8,
    pub(super) bundle: Roots,
}

/// What one cached scaler of KEDA's holds; each parameter may come from another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub(super) certificate: Option<(Roots, u8)>,
    pub(super) key: Option<u8>,
    pub(super) bundle: Option<Roots>,
    /// Absent for a ScaledObject written by hand.
    pub(super) epoch: Option<u64>,
    pub(super) reading: Reading,
    /// What replicas remember of it: the certificate and the epoch it called with last.
    pub(super) shown: (u8, Option<u64>),
}

/// Whose caller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of a ScaledObject of ours: it carries an epoch, and is told new ones.
    Managed,
    /// Of one written by hand.
    ByHand,
}

/// How far a caller is with reading its parameters anew. Until it is done it calls with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    Idle,
    First(Option<Published>, Option<u64>),
    Second(Option<Published>, Option<Published>, Option<u64>),
}

/// A decision that is not yet written, and the version of the object it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stalled {
    pub(super) step: Step,
    pub(super) version: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) objects: Objects,
    /// Resource versions of the three Secrets and the ClusterTriggerAuthentication.
    pub(super) versions: [u32; 4],
    /// Server Secrets a replica may still load, oldest first.
    pub(super) servers: Vec<Served>,
    pub(super) replicas: [usize; 2],
    /// Client Secrets from the informer's on; absent while the Secret was deleted.
    pub(super) clients: Vec<Option<Published>>,
    pub(super) callers: Vec<Caller>,
    /// Client leaves issued so far.
    pub(super) leaves: u8,
    pub(super) stalled: Option<Stalled>,
    /// Deletions that may still happen.
    pub(super) faults: u8,
}

/// What goes wrong when a caller meets a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    Works,
    /// KEDA cannot even try: a parameter is missing, or the key is not the certificate's.
    NotTried,
    Fails,
}

pub(super) fn bit(id: &RootId) -> Roots {
    let letter = id.0.bytes().next().unwrap();
    1 << (letter - b'A')
}

fn bits(objects: &[super::super::Root]) -> Roots {
    objects.iter().map(|root| bit(&root.id)).sum()
}

impl Served {
    pub(super) fn of(objects: &Objects) -> Option<Self> {
        let leaf = objects.server.leaf.as_ref().ok()?;
        let crossed = bits(&objects.authority.current);
        Some(Self {
            issuer: bit(&leaf.issuer),
            cross: if leaf.crossed { crossed } else { 0 },
            trust: bits(objects.server.roots()),
            generation: objects.server.generation?,
        })
    }
}

impl Published {
    pub(super) fn of(objects: &Objects, first: Timestamp) -> Option<Self> {
        let leaf = objects.client.leaf.as_ref().ok()?;
        let age = leaf.validity.not_before.duration_since(first).as_mins();
        Some(Self {
            issuer: bit(&leaf.issuer),
            leaf: u8::try_from(age).unwrap(),
            bundle: bits(objects.client.roots()),
        })
    }
}

impl Caller {
    /// A caller that has called with this version.
    fn calling(seen: Published, epoch: Option<u64>) -> Self {
        Self {
            certificate: Some((seen.issuer, seen.leaf)),
            key: Some(seen.leaf),
            bundle: Some(seen.bundle),
            epoch,
            reading: Reading::Idle,
            shown: (seen.leaf, epoch),
        }
    }

    /// Reads one more parameter from what the informer knows; `told` is the epoch of a read that begins now.
    pub(super) fn read(self, seen: Option<Published>, told: Option<u64>, bundle_first: bool) -> Self {
        let ([certificate, key, bundle], epoch) = match self.reading {
            Reading::Idle => {
                let reading = Reading::First(seen, told);
                return Self { reading, ..self };
            }
            Reading::First(first, epoch) => {
                let reading = Reading::Second(first, seen, epoch);
                return Self { reading, ..self };
            }
            Reading::Second(first, second, epoch) if bundle_first => ([second, seen, first], epoch),
            Reading::Second(first, second, epoch) => ([first, second, seen], epoch),
        };
        let shown = match (certificate, key, bundle) {
            (Some(certificate), Some(key), Some(_)) if certificate.leaf == key.leaf => (key.leaf, epoch),
            _ => self.shown,
        };
        Self {
            certificate: certificate.map(|seen| (seen.issuer, seen.leaf)),
            key: key.map(|seen| seen.leaf),
            bundle: bundle.map(|seen| seen.bundle),
            epoch,
            reading: Reading::Idle,
            shown,
        }
    }

    pub(super) fn calls(&self, replica: &Served) -> Handshake {
        let (Some((issuer, leaf)), Some(key), Some(bundle)) = (self.certificate, self.key, self.bundle) else {
            return Handshake::NotTried;
        };
        if leaf != key {
            return Handshake::NotTried;
        }
        let server_verifies = (replica.issuer | replica.cross) & bundle != 0;
        let client_verifies = issuer & replica.trust != 0;
        if server_verifies && client_verifies {
            Handshake::Works
        } else {
            Handshake::Fails
        }
    }
}

impl World {
    /// A world at rest with these objects and callers.
    pub(super) fn at_rest(objects: Objects, first: Timestamp, callers: &[Kind]) -> Self {
        let published = Published::of(&objects, first);
        let caller = |kind: &Kind| {
            let epoch = objects.authentication.epoch.filter(|_| *kind == Kind::Managed);
            Caller::calling(published.unwrap(), epoch)
        };
        Self {
            versions: [1; 4],
            servers: vec![Served::of(&objects).unwrap()],
            replicas: [0, 0],
            clients: vec![published],
            callers: callers.iter().map(caller).collect(),
            leaves: 1,
            stalled: None,
            faults: 0,
            objects,
        }
    }

    pub(super) fn held(&self, replica: usize) -> &Served {
        &self.servers[self.replicas[replica]]
    }

    /// Forgets versions that nobody can read any more, so that equal worlds compare equal.
    pub(super) fn settle(&mut self) {
        let oldest = *self.replicas.iter().min().unwrap();
        self.servers.drain(..oldest);
        for replica in &mut self.replicas {
            *replica -= oldest;
        }
    }
}
