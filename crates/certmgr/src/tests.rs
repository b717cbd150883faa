//! Rehearsals with real certificates and real handshakes over objects kept in memory.

mod calls;
mod chain;
mod damage;
mod handshake;
mod memory;
mod reference;
mod rivals;
mod rotation;
mod status;
mod store;
