//! Roles on the command line and in tables.

use std::str::FromStr;

use clap::ValueEnum;
use rr_contract::wire::management as mg;

use crate::print::plain;

/// Roles in an organization.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrgRole {
    /// Reads the resources of an organization.
    Viewer,
    /// Changes targets, credentials, proxies, rules, filters and meters.
    Editor,
    /// Also changes the organization and its members, and reads its audit.
    Admin,
    /// May do everything in an organization.
    Owner,
}

impl OrgRole {
    pub(crate) const fn to_wire(self) -> mg::Role {
        match self {
            Self::Viewer => mg::Role::Viewer,
            Self::Editor => mg::Role::Editor,
            Self::Admin => mg::Role::Admin,
            Self::Owner => mg::Role::Owner,
        }
    }
}

/// A role and its place: `editor@acme`, `operator`, `region-operator@eu`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    role: mg::Role,
    place: Option<String>,
}

impl FromStr for Granted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, place) = match text.split_once('@') {
            Some((role, place)) => (role, Some(place.to_owned())),
            None => (text, None),
        };
        let role = match role {
            "operator" => mg::Role::Operator,
            "region-operator" => mg::Role::RegionOperator,
            _ => OrgRole::from_str(role, false).map(OrgRole::to_wire).map_err(|_| {
                "a role is viewer, editor, admin or owner, followed by @ORG; operator; or region-operator@REGION"
            })?,
        };
        match (role, place.as_deref()) {
            (mg::Role::Operator, Some(_)) => {
                Err("an operator has the role everywhere; leave out the part after @".into())
            }
            (mg::Role::RegionOperator, None | Some("")) => Err("write it like region-operator@eu".into()),
            (_, Some("")) => Err("nothing is after @; write it like editor@acme".into()),
            _ => Ok(Self { role, place }),
        }
    }
}

impl Granted {
    /// The grant. `org` answers the organization of a role that names none.
    pub(crate) fn into_wire(self, org: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<mg::Grant> {
        let mut grant = mg::Grant { role: self.role.into(), ..mg::Grant::default() };
        match self.role {
            mg::Role::Operator => {}
            mg::Role::RegionOperator => grant.region = self.place.unwrap_or_default(),
            _ => grant.org = self.place.map_or_else(org, Ok)?,
        }
        Ok(grant)
    }
}

/// A role as tables show it.
pub(crate) fn name(role: mg::Role) -> String {
    plain(role.as_str_name(), "ROLE_")
}

/// Grants as tables show them: `editor@acme, operator`.
pub(crate) fn text(grants: &[mg::Grant]) -> String {
    let one = |grant: &mg::Grant| {
        let place = if grant.org.is_empty() { &grant.region } else { &grant.org };
        if place.is_empty() { name(grant.role()) } else { format!("{}@{place}", name(grant.role())) }
    };
    grants.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_shown_as_it_is_typed() {
        for typed in ["viewer@acme", "operator", "region-operator@eu"] {
            let granted: Granted = typed.parse().expect(typed);
            let grant = granted.into_wire(|| anyhow::bail!("not asked")).expect("a grant");
            assert_eq!(text(&[grant]), typed);
        }
        let granted: Granted = "editor".parse().expect("a role");
        assert_eq!(granted.into_wire(|| Ok("acme".into())).expect("a grant").org, "acme");
    }

    #[test]
    fn a_role_in_the_wrong_place_is_refused() {
        for text in ["operator@acme", "region-operator", "region-operator@", "editor@", "king", ""] {
            assert!(text.parse::<Granted>().is_err(), "{text}");
        }
    }
}
