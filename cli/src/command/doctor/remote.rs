//! What the control plane and the nodes say: reachable, trusted, in time with this machine, of one version, healthy.

use std::time::{Instant, SystemTime};

use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use tonic::{Code, Status};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Finding;
use crate::command::names::Names;
use crate::command::{node, region, version};
use crate::connect::Connection;
use crate::flags::role;
use crate::flags::trust::TrustFile;
use crate::print::count;
use crate::session::Session;

/// A clock that is off by more makes times in records, ends of credentials and tokens wrong.
const CLOCK_MOST: i64 = 5;
/// A certificate or a token that ends sooner is told of.
const SOON: i64 = 14 * 86_400;
/// A spool that is fuller loses records soon.
const SPOOL_MOST: u64 = 80;

pub(super) async fn look(session: &Session) -> Vec<Finding> {
    let mut found = Vec::new();
    let began = Instant::now();
    let connection = match session.endpoint.connect().await {
        Ok(connection) => connection,
        Err(error) => {
            found.push(Finding::failed(
                "endpoint",
                format!("{error:#}"),
                "start it, or name another endpoint",
            ));
            return found;
        }
    };
    found.push(Finding::ok("endpoint", format!("answers in {} ms", began.elapsed().as_millis())));
    match session.endpoint.certificate().await {
        Ok(Some(der)) => found.push(certificate(&der, seconds_now())),
        Ok(None) => found.push(Finding::ok("TLS", "none: the endpoint is on this machine")),
        Err(error) => found.push(Finding::failed("TLS", format!("{error:#}"), "")),
    }
    match TokenServiceClient::new(connection.clone()).get_self(mg::GetSelfRequest {}).await {
        Ok(answer) => {
            found.push(clock(
                answer.metadata().get("date").and_then(|date| date.to_str().ok()),
                seconds_now(),
            ));
            let mut oneself = answer.into_inner();
            if let Ok(names) = Names::find(&connection, "", std::slice::from_mut(&mut oneself)).await {
                names.put(&mut oneself);
            }
            found.push(token(&oneself, seconds_now()));
        }
        Err(status) => {
            let remedy =
                if status.code() == Code::Unauthenticated { "`rrctl login` keeps another token" } else { "" };
            found.push(Finding::failed("token", status.message(), remedy));
            return found;
        }
    }
    found.push(versions(connection.clone()).await);
    found.extend(regions(session, connection.clone()).await);
    found.extend(nodes(connection).await);
    found
}

fn seconds_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn days(seconds: i64) -> String {
    count(u64::try_from(seconds / 86_400).unwrap_or_default(), "day")
}

fn certificate(der: &[u8], now: i64) -> Finding {
    let Ok((_, read)) = X509Certificate::from_der(der) else {
        return Finding::failed("TLS", "the certificate cannot be read", "");
    };
    let left = read.validity().not_after.timestamp() - now;
    let text = format!("verified, its certificate ends in {}", days(left));
    if left < SOON {
        Finding::warning("TLS", text, "renew it, and restart the control plane")
    } else {
        Finding::ok("TLS", text)
    }
}

/// This clock against that of the control plane, which says whole seconds.
fn clock(date: Option<&str>, now: i64) -> Finding {
    let there = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
    let Some(there) = there else { return Finding::unknown("clock", "the control plane says no time") };
    let off = now - there.timestamp();
    if off.abs() > CLOCK_MOST {
        let way = if off > 0 { "before" } else { "behind" };
        let text = format!("this machine is {} s {way} the control plane", off.abs());
        return Finding::warning("clock", text, "let both follow NTP");
    }
    Finding::ok("clock", "as that of the control plane")
}

fn token(oneself: &mg::GetSelfResponse, now: i64) -> Finding {
    let token = oneself.token.clone().unwrap_or_default();
    let whose = oneself.user.as_ref().map_or(&token.name, |user| &user.name);
    let text = format!("{whose}: {}", role::text(&oneself.grants));
    match token.expires_at {
        Some(at) if at.seconds - now < SOON => {
            let left = days(at.seconds - now);
            Finding::warning("token", format!("{text}, ends in {left}"), "`rrctl token create` makes another")
        }
        _ => Finding::ok("token", text),
    }
}

async fn versions(connection: Connection) -> Finding {
    let programs = match version::ask(connection).await {
        Ok(programs) => programs,
        Err(error) => return Finding::unknown("versions", format!("{error:#}")),
    };
    let text = |it: &version::Program| format!("{} {}", it.program, it.version);
    let all = programs.iter().map(text).collect::<Vec<_>>().join(", ");
    if programs.iter().any(|it| !it.skew.is_empty()) {
        return Finding::warning("versions", all, "`rrctl version` shows which differ");
    }
    Finding::ok("versions", all)
}

/// The keys that the control plane offers against the fingerprints that were given.
async fn regions(session: &Session, connection: Connection) -> Vec<Finding> {
    const CHECK: &str = "fingerprints";
    let trusted = match TrustFile::read(session.regions_file()).and_then(|file| file.fingerprints()) {
        Ok(trusted) => trusted,
        Err(error) => return vec![Finding::failed(CHECK, format!("{error:#}"), "")],
    };
    let offered = match region::list(connection).await {
        Ok(offered) => offered,
        Err(error) => return vec![Finding::unknown(CHECK, said(&error))],
    };
    let (mut right, mut found) = (Vec::new(), Vec::new());
    for (name, fingerprint) in trusted {
        let Some(region) = offered.iter().find(|region| region.name == name) else {
            let text = format!("region {name} is not there, or not yours to see");
            found.push(Finding::warning(
                CHECK,
                text,
                "take it out of the file of fingerprints if it is gone",
            ));
            continue;
        };
        match crate::flags::trust::vouched(region, fingerprint) {
            Ok(_) => right.push(name),
            Err(error) => {
                found.push(Finding::failed(CHECK, format!("{error:#}"), "ask the operator of the region"))
            }
        }
    }
    if !right.is_empty() {
        found.push(Finding::ok(CHECK, format!("secrets can be sealed to {}", right.join(", "))));
    }
    if found.is_empty() {
        let text = format!("none in {}: no secret can be sealed", session.regions_file().display());
        found.push(Finding::warning(CHECK, text, "ask the operator of a region for its fingerprint"));
    }
    found
}

async fn nodes(connection: Connection) -> Vec<Finding> {
    let nodes = match node::list(connection, "", false, false).await {
        Ok(nodes) => nodes,
        Err(error) => return vec![Finding::unknown("nodes", said(&error))],
    };
    let mut found: Vec<Finding> = nodes.iter().flat_map(of_node).collect();
    let connected = nodes.iter().filter(|node| node.connected).count();
    let text = format!("{connected} of {} connected", nodes.len());
    if connected == nodes.len() && connected > 0 {
        found.insert(0, Finding::ok("nodes", text));
    } else if connected == 0 {
        found.insert(
            0,
            Finding::warning("nodes", text, "none takes changes; `rrctl node why NODE` says more"),
        );
    } else {
        found.insert(0, Finding::warning("nodes", text, "`rrctl node list` shows which"));
    }
    found
}

/// What is wrong with the disk and the spool of a node.
fn of_node(node: &fleet::Node) -> Vec<Finding> {
    let mut found = Vec::new();
    let id = &node.id;
    if node.disk_stalled {
        found.push(Finding::failed(
            "disk",
            format!("that of {id} does not come to an end with what it was to write"),
            "look at the disk of the machine: what runs there is not durable",
        ));
    }
    if node.disk_set_back {
        found.push(Finding::warning(
            "disk",
            format!("that of {id} was set back to an older state"),
            "see `rrctl node why`",
        ));
    }
    let full = (node.spool_bytes.saturating_mul(100)).checked_div(node.spool_quota_bytes).unwrap_or(0);
    if full >= SPOOL_MOST {
        let text = format!("that of {id} is filled to {full} %");
        found.push(Finding::warning(
            "spool",
            text,
            "its records do not get through; `rrctl node accounts` says what is lost",
        ));
    }
    found
}

/// An error, without what it would be like to mend it: the token may not see it, and that is all.
fn said(error: &anyhow::Error) -> String {
    error.downcast_ref::<Status>().map_or_else(|| format!("{error:#}"), |status| status.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_clock_that_is_off_by_more_than_some_seconds_is_told() {
        let date = Some("Sat, 31 Jan 2026 08:00:00 GMT");
        let then = 1_769_846_400;
        assert_eq!(clock(date, then + 5).verdict, Verdict::Ok);
        let found = clock(date, then + 6);
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.found.contains("6 s before"), "{found:?}");
        assert!(clock(date, then - 60).found.contains("60 s behind"));
        assert_eq!(clock(None, then).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_full_spool_and_a_disk_that_hangs_are_told_with_their_node() {
        let node = fleet::Node { id: "nd_1".into(), ..fleet::Node::default() };
        assert!(of_node(&node).is_empty());
        let full = fleet::Node { spool_bytes: 80, spool_quota_bytes: 100, ..node.clone() };
        assert_eq!(of_node(&full)[0].check, "spool");
        assert!(of_node(&fleet::Node { spool_bytes: 79, ..full }).is_empty());
        let hangs = of_node(&fleet::Node { disk_stalled: true, ..node });
        assert_eq!((hangs[0].check, hangs[0].verdict), ("disk", Verdict::Failed));
    }

    #[test]
    fn a_token_that_ends_soon_is_told() {
        let at = |seconds| {
            let expires_at = Some(pbjson_types::Timestamp { seconds, nanos: 0 });
            let token = Some(mg::Token { expires_at, ..mg::Token::default() });
            mg::GetSelfResponse { token, ..mg::GetSelfResponse::default() }
        };
        assert_eq!(token(&at(SOON), 1).verdict, Verdict::Warning);
        assert_eq!(token(&at(SOON + 1), 1).verdict, Verdict::Ok);
        assert_eq!(token(&mg::GetSelfResponse::default(), 1).verdict, Verdict::Ok);
    }
}
