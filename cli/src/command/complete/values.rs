//! Values for a word that is typed: names from the control plane, contexts of this machine, words that never change.
//!
//! Silent where there is an error: a line that is typed is no place for one. A control plane that does not answer in a second
//! gives none.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::Result;
use clap_complete::engine::CompletionCandidate;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::member_service_client::MemberServiceClient;
use rr_contract::wire::management::notification_service_client::NotificationServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::revision_service_client::RevisionServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use rr_contract::wire::management::user_service_client::UserServiceClient;

use super::super::fleet::EXPLAINED;
use super::super::{credential, filter, meter, node, preview, proxy, region, rule, target};
use crate::connect::Connection;
use crate::context::Folder;
use crate::flags::page::{Listing, ORDERS};
use crate::harmless;
use crate::session::{Global, Session};

/// How many are offered, at most.
const MOST: i32 = 1000;
/// How many of a list that grows without end.
const NEWEST: i32 = 20;
/// A key press waits no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Formats of the output.
const FORMATS: [&str; 6] = ["table", "wide", "json", "yaml", "name", "jsonpath="];

/// What an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Org,
    Region,
    Target,
    Credential,
    /// A credential that callers present.
    Caller,
    /// A credential that is injected.
    Upstream,
    Proxy,
    Rule,
    Filter,
    Meter,
    Node,
    User,
    Member,
    Token,
    Preview,
    Notification,
    Revision,
    Context,
    /// A field that a list is ordered by.
    Order,
    /// A format of the output.
    Format,
    /// A resource with its kind before it, as `proxy/pay`.
    OneOf(&'static [&'static str]),
    /// The same, or a kind alone, for `explain`.
    Explained,
    /// A resource of the kind that was typed before.
    OfKind,
}

/// The values that begin with what was typed.
pub(super) fn beginning(wanted: Wanted, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let line: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    let found = match fixed(wanted, typed) {
        Some(found) => found,
        None => asked(wanted, typed, &line),
    };
    // A name that is none could be taken for a flag, or for more than one word.
    let is_word = |value: &String| !value.starts_with('-') && *value == harmless::one_line(value);
    found
        .into_iter()
        .filter(is_word)
        .filter(|value| value.starts_with(typed))
        .map(CompletionCandidate::new)
        .collect()
}

/// Values that nobody has to be asked for.
fn fixed(wanted: Wanted, typed: &str) -> Option<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Some(match wanted {
        Wanted::Format => words(&FORMATS),
        Wanted::Order => words(&ORDERS),
        Wanted::Explained if !typed.contains('/') => {
            EXPLAINED.iter().map(|(kind, _)| (*kind).to_owned()).collect()
        }
        Wanted::Context => {
            let contexts = Folder::of_user().ok().flatten().and_then(|folder| folder.read().ok());
            contexts.map(|all| all.contexts.into_keys().collect()).unwrap_or_default()
        }
        _ => return None,
    })
}

/// Values of the control plane.
fn asked(wanted: Wanted, typed: &str, line: &[String]) -> Vec<String> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(wanted, typed, line)).await });
    found.ok().and_then(Result::ok).unwrap_or_default()
}

async fn ask(wanted: Wanted, typed: &str, line: &[String]) -> Result<Vec<String>> {
    let session = Session::open(Global::of_line(line.iter().map(Into::into)))?;
    let connection = session.endpoint.connect().await?;
    match wanted {
        Wanted::OneOf(kinds) => with_kinds(&connection, &session, kinds, typed).await,
        Wanted::Explained => {
            let kinds = EXPLAINED.map(|(kind, _)| kind);
            with_kinds(&connection, &session, &kinds, typed).await
        }
        Wanted::OfKind => match line.iter().rev().find_map(|word| of_kind(word)) {
            Some(wanted) => names(wanted, &connection, &session).await,
            None => Ok(Vec::new()),
        },
        wanted => names(wanted, &connection, &session).await,
    }
}

/// The resources of a kind, in one or in several.
fn of_kind(word: &str) -> Option<Wanted> {
    let (kind, _) = EXPLAINED.iter().find(|(one, all)| *one == word || *all == word)?;
    Some(match *kind {
        "org" => Wanted::Org,
        "target" => Wanted::Target,
        "credential" => Wanted::Credential,
        "proxy" => Wanted::Proxy,
        "rule" => Wanted::Rule,
        "filter" => Wanted::Filter,
        _ => Wanted::Meter,
    })
}

/// Resources of several kinds, each with its kind before it; of the kind alone that was typed.
async fn with_kinds(
    connection: &Connection,
    session: &Session,
    kinds: &[&str],
    typed: &str,
) -> Result<Vec<String>> {
    let kind_typed = typed.split_once('/').map(|(kind, _)| kind);
    let mut found = Vec::new();
    for kind in kinds.iter().filter(|kind| kind_typed.is_none_or(|typed| typed == **kind)) {
        let Some(wanted) = of_kind(kind) else { continue };
        let names = names(wanted, connection, session).await?;
        found.extend(names.into_iter().map(|name| format!("{kind}/{name}")));
    }
    Ok(found)
}

/// Names of what there is, or ids of what has no name.
async fn names(wanted: Wanted, connection: &Connection, session: &Session) -> Result<Vec<String>> {
    let (connection, all) = (connection.clone(), Listing::default());
    macro_rules! names {
        ($items:expr) => {
            $items.await?.into_iter().map(|it| it.name).collect()
        };
    }
    Ok(match wanted {
        Wanted::Region => names!(region::list(connection)),
        Wanted::Node => node::list(connection, "", false, false).await?.into_iter().map(|it| it.id).collect(),
        Wanted::Target => names!(target::list(connection, &session.org()?, &all)),
        Wanted::Credential => names!(credential::list(connection, &session.org()?, &all)),
        Wanted::Caller | Wanted::Upstream => {
            let is_wanted = |it: &mg::Credential| match it.usage {
                Some(Usage::Caller(_)) => wanted == Wanted::Caller,
                Some(Usage::Upstream(_)) => wanted == Wanted::Upstream,
                None => false,
            };
            let found = credential::list(connection, &session.org()?, &all).await?;
            found.into_iter().filter(is_wanted).map(|it| it.name).collect()
        }
        Wanted::Proxy => names!(proxy::list(connection, &session.org()?, &all)),
        Wanted::Rule => names!(rule::list(connection, &session.org()?, &all)),
        Wanted::Filter => names!(filter::list(connection, &session.org()?, &all)),
        Wanted::Meter => names!(meter::list(connection, &session.org()?, &all)),
        Wanted::Preview => preview::names(&connection, &session.org()?).await?,
        Wanted::Org => {
            let ask = mg::ListOrgsRequest { page_size: MOST, ..Default::default() };
            let found = OrgServiceClient::new(connection).list_orgs(ask).await?.into_inner().orgs;
            found.into_iter().map(|it| it.name).collect()
        }
        Wanted::User => {
            let ask = mg::ListUsersRequest { page_size: MOST, ..Default::default() };
            let found = UserServiceClient::new(connection).list_users(ask).await?.into_inner().users;
            found.into_iter().map(|it| it.name).collect()
        }
        Wanted::Member => {
            let ask = mg::ListMembersRequest { org: session.org()?, page_size: MOST, ..Default::default() };
            let found = MemberServiceClient::new(connection).list_members(ask).await?.into_inner().members;
            found.into_iter().map(|it| it.name).collect()
        }
        Wanted::Token => {
            let ask = mg::ListTokensRequest { page_size: MOST, ..Default::default() };
            let found = TokenServiceClient::new(connection).list_tokens(ask).await?.into_inner().tokens;
            found.into_iter().filter(|it| it.revoked_at.is_none()).map(|it| it.name).collect()
        }
        Wanted::Notification => {
            let org = session.org()?;
            let ask = mg::ListNotificationsRequest { org, page_size: NEWEST, ..Default::default() };
            let mut stub = NotificationServiceClient::new(connection);
            let found = stub.list_notifications(ask).await?.into_inner().notifications;
            found.into_iter().map(|it| it.id).collect()
        }
        Wanted::Revision => {
            let ask = mg::ListRevisionsRequest { page_size: NEWEST, ..Default::default() };
            let found = RevisionServiceClient::new(connection).list_revisions(ask).await?.into_inner();
            found.revisions.into_iter().map(|it| it.revision.to_string()).collect()
        }
        Wanted::Context
        | Wanted::Order
        | Wanted::Format
        | Wanted::OneOf(_)
        | Wanted::Explained
        | Wanted::OfKind => Vec::new(),
    })
}
