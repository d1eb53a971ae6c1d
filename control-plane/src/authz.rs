//! Who may do what: one table, in which every call of the management port stands.
//!
//! Reads nothing and knows no request; `api/caller.rs` asks it before anything else happens.
//! A test fails when a call of the schemas is missing here.

use rr_contract::wire::management::Role;

/// Where a call acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole installation.
    Installation,
    /// One organization, which the request names.
    Org,
    /// The caller itself.
    Own,
}

/// The least that a caller must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Least {
    /// Anybody with a token.
    Anybody,
    /// Anybody with a token, and the bootstrap token too.
    AnybodyOrBootstrap,
    /// This role in the organization, or a higher one.
    InOrg(Role),
    /// This role in the organization, or operator of the installation.
    InOrgOrOperator(Role),
    /// Operator of the installation.
    Operator,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// As `ProxyService.CreateProxy`.
    pub(crate) call: &'static str,
    pub(crate) scope: Scope,
    pub(crate) least: Least,
}

macro_rules! table {
    ($($name:ident = $call:literal, $scope:expr, $least:expr;)*) => {
        $(pub(crate) const $name: Rule = Rule { call: $call, scope: $scope, least: $least };)*
        /// All rules.
        #[cfg(test)]
        pub(crate) const TABLE: &[Rule] = &[$($name),*];
    };
}

use Least::{Anybody, AnybodyOrBootstrap, InOrg, InOrgOrOperator, Operator};
use Role::{Admin, Editor, Viewer};
use Scope::{Installation, Org, Own};

table! {
    // Whoever seals needs the installation's id.
    GET_INSTALLATION = "InstallationService.GetInstallation", Installation, Anybody;
    LIST_REVISIONS = "InstallationService.ListRevisions", Installation, Operator;

    CREATE_ORG = "OrgService.CreateOrg", Installation, Operator;
    GET_ORG = "OrgService.GetOrg", Org, InOrgOrOperator(Viewer);
    // Lists what the caller may see.
    LIST_ORGS = "OrgService.ListOrgs", Own, Anybody;
    // An operator suspends, an admin renames; the service tells which fields are whose.
    UPDATE_ORG = "OrgService.UpdateOrg", Org, InOrgOrOperator(Admin);

    CREATE_REGION = "RegionService.CreateRegion", Installation, Operator;
    GET_REGION = "RegionService.GetRegion", Installation, Anybody;
    LIST_REGIONS = "RegionService.ListRegions", Installation, Anybody;
    CREATE_NODE_TOKEN = "NodeTokenService.CreateNodeToken", Installation, Operator;
    LIST_NODES = "FleetService.ListNodes", Installation, Operator;

    CREATE_TARGET = "TargetService.CreateTarget", Org, InOrg(Editor);
    GET_TARGET = "TargetService.GetTarget", Org, InOrg(Viewer);
    LIST_TARGETS = "TargetService.ListTargets", Org, InOrg(Viewer);
    UPDATE_TARGET = "TargetService.UpdateTarget", Org, InOrg(Editor);
    DELETE_TARGET = "TargetService.DeleteTarget", Org, InOrg(Editor);

    CREATE_CREDENTIAL = "CredentialService.CreateCredential", Org, InOrg(Editor);
    GET_CREDENTIAL = "CredentialService.GetCredential", Org, InOrg(Viewer);
    LIST_CREDENTIALS = "CredentialService.ListCredentials", Org, InOrg(Viewer);
    REPLACE_SECRET = "CredentialService.ReplaceSecret", Org, InOrg(Editor);
    DELETE_CREDENTIAL = "CredentialService.DeleteCredential", Org, InOrg(Editor);

    CREATE_PROXY = "ProxyService.CreateProxy", Org, InOrg(Editor);
    GET_PROXY = "ProxyService.GetProxy", Org, InOrg(Viewer);
    LIST_PROXIES = "ProxyService.ListProxies", Org, InOrg(Viewer);
    UPDATE_PROXY = "ProxyService.UpdateProxy", Org, InOrg(Editor);
    DELETE_PROXY = "ProxyService.DeleteProxy", Org, InOrg(Editor);

    LIST_REQUESTS = "RequestService.ListRequests", Org, InOrg(Viewer);
    GET_REQUEST = "RequestService.GetRequest", Org, InOrg(Viewer);

    // The service compares what is granted with what the maker has.
    CREATE_TOKEN = "TokenService.CreateToken", Own, AnybodyOrBootstrap;
    GET_SELF = "TokenService.GetSelf", Own, Anybody;
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Token id.
    pub(crate) token: String,
    /// For people.
    pub(crate) name: String,
    /// It is the first token of the installation, good for one call.
    pub(crate) bootstrap: bool,
    pub(crate) operator: bool,
    /// Roles by org id.
    pub(crate) orgs: Vec<(String, Role)>,
    /// Microseconds since 1970.
    pub(crate) expires_at: Option<i64>,
    pub(crate) created_at: i64,
}

impl Principal {
    /// The highest role in an organization.
    pub(crate) fn role_in(&self, org: &str) -> Option<Role> {
        self.orgs.iter().filter(|(id, _)| id == org).map(|(_, role)| *role).max()
    }
}

/// No.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The organization is none of the caller's: it is to look as if there were none.
    Invisible,
    /// Known, and not enough.
    Least(Least),
    /// The bootstrap token does not do this.
    Bootstrap,
}

/// Decides. `org` is the id of the organization that the request names, if its scope is one.
pub(crate) fn permit(principal: &Principal, rule: Rule, org: Option<&str>) -> Result<(), Denied> {
    if principal.bootstrap && rule.least != AnybodyOrBootstrap {
        return Err(Denied::Bootstrap);
    }
    let role = org.and_then(|org| principal.role_in(org));
    let allowed = match rule.least {
        Anybody | AnybodyOrBootstrap => true,
        Operator => principal.operator,
        InOrg(least) => role.is_some_and(|role| role >= least),
        InOrgOrOperator(least) => principal.operator || role.is_some_and(|role| role >= least),
    };
    match (allowed, rule.scope) {
        (true, _) => Ok(()),
        (false, Org) if role.is_none() => Err(Denied::Invisible),
        (false, _) => Err(Denied::Least(rule.least)),
    }
}

#[cfg(test)]
mod tests;
