//! What a file may not say of a caller, and nodes take all the same from a control plane that kept it from before.
//!
//! The same as the control plane checks where a credential is written. Checks nothing that the model checks.

use rr_contract::model::caller::check_header;
use rr_contract::model::invalid::Violations;
use rr_contract::model::tls::CaBundle;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::document::Caller;
use super::fault::Faults;
use super::node::Node;

/// Notes what is wrong with a caller.
pub(super) fn check(caller: &Caller, node: &Node, faults: &mut Faults) {
    let mut own = Violations::default();
    check_header("caller.header", &caller.header, &mut own);
    if let Some(number) = caller.certificate.as_ref().and_then(|certificate| no_authority(&certificate.ca)) {
        let what = format!(
            "certificate {number} is of no authority: its basic constraints do not say CA; give those that issue the callers' \
             certificates"
        );
        own.add("caller.certificate.ca", what);
    }
    if let Err(invalid) = own.finish(|| Some(())) {
        faults.invalid(node, &invalid);
    }
}

/// Which of the certificates cannot have issued another one, from 1. What is no certificate is told of by the model.
fn no_authority(ca: &str) -> Option<usize> {
    let is_authority = |der: &[u8]| {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
        matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
    };
    let ca: CaBundle = ca.parse().ok()?;
    ca.certificates().iter().position(|der| !is_authority(der)).map(|at| at + 1)
}
