//! Where the secret of an upstream credential stands in requests: what records leave out.
//!
//! Tells names alone, of the secret before as well. Opens the seal, if no request has.

use http::HeaderName;
use rr_contract::policy::request::decode;
use rr_contract::seal::Slot;

use super::{Sent, UpstreamCredential};
use crate::values::Values;

/// Where a secret goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    pub(crate) headers: Vec<HeaderName>,
    /// Decoded.
    pub(crate) parameters: Vec<String>,
}

impl UpstreamCredential {
    /// `None`: its seal does not open, so nobody knows.
    pub(crate) fn slots(&self) -> Option<Slots> {
        let mut slots = Slots::default();
        if let Some(used) = self.in_use() {
            match &used.ready()?.sent {
                Sent::Values(values) => slots.put(values),
                Sent::Token(source) => match source.slot()? {
                    Slot::Header { name, prefix: _ } => slots.headers.push(name),
                    Slot::Query { name } => slots.parameters.push(name),
                },
                Sent::Signed(signer, values) => {
                    slots.put(values);
                    slots.headers.extend(signer.names().into_iter().cloned());
                    slots.parameters.extend(signer.parameters().iter().map(|name| (*name).to_owned()));
                }
                Sent::Shown(_) => {}
            }
        }
        // One that does not open is never sent.
        if let Some(before) = self.previous.as_deref().and_then(|previous| previous.credential.slots()) {
            slots.headers.extend(before.headers);
            slots.parameters.extend(before.parameters);
        }
        Some(slots)
    }
}

impl Slots {
    fn put(&mut self, values: &Values) {
        self.headers.extend(values.headers().iter().map(|(name, _)| name.clone()));
        let decoded = |name: &str| String::from_utf8_lossy(&decode(name)).into_owned();
        self.parameters.extend(values.pairs().iter().map(|pair| decoded(&pair.name)));
    }
}
