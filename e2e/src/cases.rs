//! What the cluster tests have in common beside the bed itself: objects as JSON, the documents users write, an independent
//! record of every change of a replica count, the programs under test shared by all tests. No test lives here.

pub mod annotations;
pub mod documents;
pub mod expect;
pub mod kubectl;
pub mod objects;
pub mod observer;
pub mod parts;
pub mod running;
pub mod three_nodes;
pub mod times;
