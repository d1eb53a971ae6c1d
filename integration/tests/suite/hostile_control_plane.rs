//! A control plane in the wrong hands: whoever holds its database, its authority or the way to it, against real nodes and a real
//! `rrctl`. Each attack is refused, and people see why; without its guard, or done by whoever may do it, the same goes through.
//!
//! What such an attacker can do all the same is in `docs/security.md` and not here.

mod ciphertexts;
mod middle;
mod regions;
mod replay;
mod retarget;
mod rotation;
mod stage;
