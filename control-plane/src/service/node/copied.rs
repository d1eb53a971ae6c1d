//! Copies of nodes that came to renew a certificate, as people see them.

use data_encoding::HEXLOWER;
use rr_contract::wire::fleet;

use super::at;
use crate::store::node_row;

/// How long a copy is shown: it comes again sooner.
const COPY_SHOWN: i64 = 2 * 86_400_000_000;

/// What copy of a node was met lately.
pub(super) fn copy(row: &node_row::Model, now: i64) -> Option<fleet::NodeCopy> {
    let shown = row.copy_serial.as_ref().filter(|_| row.copy_at > now.saturating_sub(COPY_SHOWN))?;
    Some(fleet::NodeCopy {
        serial: row.serial.as_deref().map(|serial| HEXLOWER.encode(serial)).unwrap_or_default(),
        issued_to: row.issued_to.clone(),
        issued_at: at(row.issued_at),
        shown: HEXLOWER.encode(shown),
        newcomer: row.copy_from.clone(),
        at: at(row.copy_at),
    })
}
