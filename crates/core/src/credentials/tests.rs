//! Tests of the decision: one situation at a time (`table`, `faults`, `gates`), and every ordering of what happens
//! around a rotation (`orderings`).

mod apply;
mod explore;
mod faults;
mod gates;
mod orderings;
mod said;
mod table;
mod world;
