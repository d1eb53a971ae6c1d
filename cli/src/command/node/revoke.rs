//! `rrctl node revoke`: asks, revokes, and says what is left to do.
//!
//! Rotates nothing by itself: the region's key file may be elsewhere.

use anyhow::Result;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;

use crate::flags::plan::Yes;
use crate::print::{at_revision, count, note};
use crate::session::Session;

pub(super) async fn run(session: &Session, node: String, with_token: bool, yes: Yes) -> Result<()> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    let ask = fleet::RevokeNodeRequest { node, with_token, dry_run: true };
    let planned = stub.revoke_node(ask.clone()).await?.into_inner();
    let shown = planned.node.clone().unwrap_or_default();
    if shown.revoked_at.is_none() {
        note(&format!(
            "{} of region {} can read the secrets of {}",
            shown.id,
            shown.region,
            count(planned.credential_count, "credential")
        ));
        yes.ask(&format!("revoke node {} for good", shown.id))?;
    }
    let ask = fleet::RevokeNodeRequest { dry_run: false, ..ask };
    let done = stub.revoke_node(ask).await?.into_inner();
    session.print.done(&said(&done, with_token), &done)
}

/// What was done, what the node could read, and what is left to do.
fn said(done: &fleet::RevokeNodeResponse, with_token: bool) -> String {
    let node = done.node.clone().unwrap_or_default();
    let mut lines = vec![match done.revision {
        0 => format!("node {} was revoked already", node.id),
        revision => at_revision(&format!("revoked node {}", node.id), revision),
    }];
    if done.credential_count == 0 {
        lines.push("no secret is sealed to its region".to_owned());
    } else {
        lines.push(format!("it could read the secrets of {}:", count(done.credential_count, "credential")));
    }
    for it in &done.credentials {
        let or_id =
            |name: &str, id: &str| if name.is_empty() { id.to_owned() } else { format!("{name} ({id})") };
        lines.push(format!("  {}  {}", or_id(&it.org_name, &it.org), or_id(&it.name, &it.credential)));
    }
    let more = done.credential_count.saturating_sub(done.credentials.len() as u64);
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    lines.push(format!(
        "keep from it what is written from now on: `rrctl region rotate-key {} --exclude {} --now --region-key FILE`; then replace these \
         secrets at their upstreams if you do not trust the machine",
        node.region, node.id
    ));
    lines.push(match (done.node_token_live, with_token) {
        (true, _) => format!(
            "node token {}, with which it joined, still lets nodes join: `rrctl node token revoke {} {}`",
            node.node_token, node.region, node.node_token
        ),
        (false, true) => format!("node token {}, with which it joined, is revoked", node.node_token),
        (false, false) => {
            format!("node token {}, with which it joined, lets no node join any more", node.node_token)
        }
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revoked() -> fleet::RevokeNodeResponse {
        let node = fleet::Node {
            id: "nd_1".into(),
            region: "eu".into(),
            node_token: "nt_1".into(),
            ..fleet::Node::default()
        };
        let readable = |org_name: &str, name: &str| fleet::ReadableCredential {
            org: "or_1".into(),
            org_name: org_name.into(),
            credential: "cr_1".into(),
            name: name.into(),
        };
        fleet::RevokeNodeResponse {
            node: Some(node),
            revision: 7,
            credentials: vec![readable("acme", "stripe"), readable("", "")],
            credential_count: 3,
            node_token_live: true,
        }
    }

    #[test]
    fn what_the_node_could_read_and_what_is_left_to_do_is_said() {
        let text = said(&revoked(), false);
        for line in [
            "revoked node nd_1 at revision 7",
            "  acme (or_1)  stripe (cr_1)",
            "  or_1  cr_1",
            "  … and 1 more",
            "`rrctl region rotate-key eu --exclude nd_1 --now --region-key FILE`",
            "`rrctl node token revoke eu nt_1`",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        let again = fleet::RevokeNodeResponse { revision: 0, node_token_live: false, ..revoked() };
        let text = said(&again, true);
        assert!(
            text.contains("was revoked already") && text.contains("nt_1, with which it joined, is revoked")
        );
    }
}
