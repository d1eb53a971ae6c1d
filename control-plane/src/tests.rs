//! The control plane as its callers and nodes see it, on real ports.

pub(crate) mod postgres;

mod first_start;
mod joining;
mod management;
mod rest;
mod start;
mod stream;
mod world;
