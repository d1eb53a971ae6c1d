//! What a file may not say of a caller, and nodes take all the same from a control plane that kept it from before.
//!
//! The same as the control plane checks where a credential is written. Checks nothing that the model checks.

use rr_contract::model::caller::check_header;
use rr_contract::model::invalid::Violations;

use super::document::Caller;
use super::fault::Faults;
use super::node::Node;

/// Notes what is wrong with a caller.
pub(super) fn check(caller: &Caller, node: &Node, faults: &mut Faults) {
    let mut own = Violations::default();
    check_header("caller.header", &caller.header, &mut own);
    if let Err(invalid) = own.finish(|| Some(())) {
        faults.invalid(node, &invalid);
    }
}
