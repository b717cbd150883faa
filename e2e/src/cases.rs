//! What the cluster tests have in common: objects of any kind by name, waiting with a deadline, an independent record of
//! every change of a replica count. No test lives here.

pub mod cluster;
pub mod documents;
pub mod events;
pub mod namespace;
pub mod observer;
pub mod until;
