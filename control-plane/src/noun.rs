//! The kinds of resource, one word for each: in rows, ids, texts and the audit.
//!
//! The first seven are sent to nodes and have the numbers that the fleet's schema gives them. A number that was used is
//! never used again.

use std::str::FromStr as _;

use rr_contract::model::id::{
    CredentialId, FilterId, MemberId, MeterId, NodeTokenId, OrgId, ProxyId, RegionId, RuleId, TargetId,
    TokenId, UserId,
};
use rr_contract::model::resource::{Key, ResourceId};

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Noun {
    Org = 1,
    Target = 2,
    Credential = 3,
    Proxy = 4,
    Rule = 5,
    Filter = 6,
    Meter = 7,
    Region = 8,
    User = 9,
    Member = 10,
    Token = 11,
    NodeToken = 12,
}

impl Noun {
    /// In the order in which one may refer to another.
    pub(crate) const ALL: [Self; 12] = [
        Self::Org,
        Self::Target,
        Self::Credential,
        Self::Proxy,
        Self::Rule,
        Self::Filter,
        Self::Meter,
        Self::Region,
        Self::User,
        Self::Member,
        Self::Token,
        Self::NodeToken,
    ];

    /// The nouns that `Apply` and a rollback change.
    pub(crate) const CONFIGURATION: [Self; 6] =
        [Self::Target, Self::Credential, Self::Proxy, Self::Rule, Self::Filter, Self::Meter];

    /// As rows have it.
    pub(crate) const fn row(self) -> i32 {
        self as i32
    }

    /// From a row.
    pub(crate) fn of_row(row: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|noun| noun.row() == row)
    }

    /// Whether nodes are sent it.
    pub(crate) const fn is_published(self) -> bool {
        match self {
            Self::Org
            | Self::Target
            | Self::Credential
            | Self::Proxy
            | Self::Rule
            | Self::Filter
            | Self::Meter => true,
            Self::Region | Self::User | Self::Member | Self::Token | Self::NodeToken => false,
        }
    }

    /// In the schema: `proxy`.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Target => "target",
            Self::Credential => "credential",
            Self::Proxy => "proxy",
            Self::Rule => "rule",
            Self::Filter => "filter",
            Self::Meter => "meter",
            Self::Region => "region",
            Self::User => "user",
            Self::Member => "member",
            Self::Token => "token",
            Self::NodeToken => "node_token",
        }
    }

    /// For people: `node token`.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Org => "organization",
            Self::NodeToken => "node token",
            other => other.text(),
        }
    }

    /// In paths: `proxies`.
    pub(crate) const fn collection(self) -> &'static str {
        match self {
            Self::Org => "orgs",
            Self::Target => "targets",
            Self::Credential => "credentials",
            Self::Proxy => "proxies",
            Self::Rule => "rules",
            Self::Filter => "filters",
            Self::Meter => "meters",
            Self::Region => "regions",
            Self::User => "users",
            Self::Member => "members",
            Self::Token => "tokens",
            Self::NodeToken => "nodeTokens",
        }
    }

    /// The prefix of its ids.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Org => OrgId::PREFIX,
            Self::Target => TargetId::PREFIX,
            Self::Credential => CredentialId::PREFIX,
            Self::Proxy => ProxyId::PREFIX,
            Self::Rule => RuleId::PREFIX,
            Self::Filter => FilterId::PREFIX,
            Self::Meter => MeterId::PREFIX,
            Self::Region => RegionId::PREFIX,
            Self::User => UserId::PREFIX,
            Self::Member => MemberId::PREFIX,
            Self::Token => TokenId::PREFIX,
            Self::NodeToken => NodeTokenId::PREFIX,
        }
    }

    /// An id of bytes that the caller drew at random.
    pub(crate) fn id(self, bytes: [u8; 16]) -> String {
        match self {
            Self::Org => OrgId::from_random(bytes).to_string(),
            Self::Target => TargetId::from_random(bytes).to_string(),
            Self::Credential => CredentialId::from_random(bytes).to_string(),
            Self::Proxy => ProxyId::from_random(bytes).to_string(),
            Self::Rule => RuleId::from_random(bytes).to_string(),
            Self::Filter => FilterId::from_random(bytes).to_string(),
            Self::Meter => MeterId::from_random(bytes).to_string(),
            Self::Region => RegionId::from_random(bytes).to_string(),
            Self::User => UserId::from_random(bytes).to_string(),
            Self::Member => MemberId::from_random(bytes).to_string(),
            Self::Token => TokenId::from_random(bytes).to_string(),
            Self::NodeToken => NodeTokenId::from_random(bytes).to_string(),
        }
    }

    /// The key that nodes know it by; none for a noun that nodes are not sent, or where an id is malformed.
    pub(crate) fn key(self, org: &str, id: &str) -> Option<Key> {
        let org = OrgId::from_str(org).ok()?;
        let id = match self {
            Self::Org => ResourceId::Org,
            Self::Target => ResourceId::Target(id.parse().ok()?),
            Self::Credential => ResourceId::Credential(id.parse().ok()?),
            Self::Proxy => ResourceId::Proxy(id.parse().ok()?),
            Self::Rule => ResourceId::Rule(id.parse().ok()?),
            Self::Filter => ResourceId::Filter(id.parse().ok()?),
            Self::Meter => ResourceId::Meter(id.parse().ok()?),
            Self::Region | Self::User | Self::Member | Self::Token | Self::NodeToken => return None,
        };
        Some(Key::new(org, id))
    }
}

#[cfg(test)]
mod tests {
    use super::Noun;

    #[test]
    fn rows_ids_and_texts_tell_nouns_apart() {
        for noun in Noun::ALL {
            assert_eq!(Noun::of_row(noun.row()), Some(noun));
            assert!(noun.id([7; 16]).starts_with(noun.prefix()));
            for other in Noun::ALL.into_iter().filter(|other| *other != noun) {
                assert_ne!(noun.text(), other.text());
                assert_ne!(noun.prefix(), other.prefix());
                assert_ne!(noun.collection(), other.collection());
            }
        }
        assert_eq!(Noun::of_row(0), None);
    }

    #[test]
    fn what_nodes_are_sent_bears_the_numbers_of_their_schema() {
        use rr_contract::wire::fleet::Kind;

        let kinds =
            [Kind::Org, Kind::Target, Kind::Credential, Kind::Proxy, Kind::Rule, Kind::Filter, Kind::Meter];
        assert!(Noun::ALL.into_iter().filter(|noun| noun.is_published()).count() == kinds.len());
        for (noun, kind) in Noun::ALL.into_iter().zip(kinds) {
            assert!(noun.is_published());
            assert_eq!(noun.row(), i32::from(kind));
            let org = Noun::Org.id([1; 16]);
            let id = if noun == Noun::Org { org.clone() } else { noun.id([2; 16]) };
            let key = noun.key(&org, &id).expect("a key");
            assert_eq!((key.kind(), key.id_text()), (kind, id));
        }
    }
}
