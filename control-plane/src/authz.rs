//! Permissions: one table of every call of the management port, with the role that it takes.
//!
//! Reads nothing and knows no request; `api/caller.rs` asks it before anything else happens.
//! A test fails when a call of the schemas is missing here.

use rr_contract::wire::management::Role;

/// Where a call acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The whole installation.
    Installation,
    /// One region, which the request names.
    Region,
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
    /// Operator of the region, admin of the organization that it is dedicated to, or operator of the installation.
    InRegion,
    /// Operator of the installation.
    Operator,
}

/// The role that a call takes, and at which level: one row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permission {
    /// As `ProxyService.CreateProxy`.
    pub(crate) call: &'static str,
    pub(crate) level: Level,
    pub(crate) least: Least,
}

macro_rules! table {
    ($($name:ident = $call:literal, $level:expr, $least:expr;)*) => {
        $(pub(crate) const $name: Permission = Permission { call: $call, level: $level, least: $least };)*
        /// All permissions.
        pub(crate) const TABLE: &[Permission] = &[$($name),*];
    };
}

use Least::{Anybody, AnybodyOrBootstrap, InOrg, InOrgOrOperator, InRegion, Operator};
use Level::{Installation, Org, Own, Region};
use Role::{Admin, Editor, Owner, Viewer};

table! {
    // Sealing needs the installation's id.
    GET_INSTALLATION = "InstallationService.GetInstallation", Installation, Anybody;

    GET_AUTHORITY = "AuthorityService.GetAuthority", Installation, Operator;
    ADD_AUTHORITY_ROOT = "AuthorityService.AddAuthorityRoot", Installation, Operator;
    SWITCH_AUTHORITY_ROOT = "AuthorityService.SwitchAuthorityRoot", Installation, Operator;
    REMOVE_AUTHORITY_ROOT = "AuthorityService.RemoveAuthorityRoot", Installation, Operator;

    CREATE_ORG = "OrgService.CreateOrg", Installation, Operator;
    GET_ORG = "OrgService.GetOrg", Org, InOrgOrOperator(Viewer);
    // The service lists the organizations that the caller may see.
    LIST_ORGS = "OrgService.ListOrgs", Own, Anybody;
    // The service tells which fields only an operator may change.
    UPDATE_ORG = "OrgService.UpdateOrg", Org, InOrgOrOperator(Admin);
    DELETE_ORG = "OrgService.DeleteOrg", Org, InOrgOrOperator(Owner);
    UNDELETE_ORG = "OrgService.UndeleteOrg", Installation, Operator;

    CREATE_USER = "UserService.CreateUser", Installation, Operator;
    GET_USER = "UserService.GetUser", Installation, Operator;
    LIST_USERS = "UserService.ListUsers", Installation, Operator;
    UPDATE_USER = "UserService.UpdateUser", Installation, Operator;
    DELETE_USER = "UserService.DeleteUser", Installation, Operator;

    // The service compares the role that is given with the giver's.
    CREATE_MEMBER = "MemberService.CreateMember", Org, InOrgOrOperator(Admin);
    GET_MEMBER = "MemberService.GetMember", Org, InOrgOrOperator(Viewer);
    LIST_MEMBERS = "MemberService.ListMembers", Org, InOrgOrOperator(Viewer);
    UPDATE_MEMBER = "MemberService.UpdateMember", Org, InOrgOrOperator(Admin);
    DELETE_MEMBER = "MemberService.DeleteMember", Org, InOrgOrOperator(Admin);

    CREATE_REGION = "RegionService.CreateRegion", Installation, Operator;
    // The service hides regions that are dedicated to other organizations.
    GET_REGION = "RegionService.GetRegion", Installation, Anybody;
    LIST_REGIONS = "RegionService.ListRegions", Installation, Anybody;
    UPDATE_REGION = "RegionService.UpdateRegion", Installation, Operator;
    DELETE_REGION = "RegionService.DeleteRegion", Installation, Operator;

    LIST_KEY_HOLDERS = "RegionKeyService.ListKeyHolders", Region, InRegion;
    ROTATE_REGION_KEY = "RegionKeyService.RotateRegionKey", Region, InRegion;
    RENEW_REGION_KEY = "RegionKeyService.RenewRegionKey", Region, InRegion;
    // Ciphertext of every organization of the region: whoever can open it has the region's key.
    LIST_SEALED_SECRETS = "RegionKeyService.ListSealedSecrets", Region, InRegion;
    REWRAP_SECRETS = "RegionKeyService.RewrapSecrets", Region, InRegion;
    LIST_SECRET_VERSIONS = "RegionKeyService.ListSecretVersions", Region, InRegion;
    ATTEST_REGION = "RegionKeyService.AttestRegion", Region, InRegion;
    RETIRE_REGION_KEYS = "RegionKeyService.RetireRegionKeys", Region, InRegion;

    CREATE_NODE_TOKEN = "NodeTokenService.CreateNodeToken", Region, InRegion;
    GET_NODE_TOKEN = "NodeTokenService.GetNodeToken", Region, InRegion;
    LIST_NODE_TOKENS = "NodeTokenService.ListNodeTokens", Region, InRegion;
    DELETE_NODE_TOKEN = "NodeTokenService.DeleteNodeToken", Region, InRegion;
    // The service shows a caller the nodes of the regions that it operates.
    LIST_NODES = "FleetService.ListNodes", Own, Anybody;
    GET_NODE = "FleetService.GetNode", Own, Anybody;
    WATCH_NODES = "FleetService.WatchNodes", Own, Anybody;
    DRAIN_NODE = "FleetService.DrainNode", Own, Anybody;
    REVOKE_NODE = "FleetService.RevokeNode", Own, Anybody;
    QUERY_ACCOUNTS = "FleetService.QueryAccounts", Own, Anybody;
    LIST_REGION_STATES = "FleetService.ListRegionStates", Own, Anybody;
    // Of the regions that the caller can see, so that every writer can wait for its revision.
    WAIT_FOR_REVISION = "FleetService.WaitForRevision", Own, Anybody;
    EXPLAIN_RESOURCE = "FleetService.ExplainResource", Org, InOrgOrOperator(Viewer);
    ADOPT_REVISION = "FleetService.AdoptRevision", Region, InRegion;
    RELEASE_REVISION = "FleetService.ReleaseRevision", Region, InRegion;

    CREATE_TARGET = "TargetService.CreateTarget", Org, InOrg(Editor);
    GET_TARGET = "TargetService.GetTarget", Org, InOrg(Viewer);
    LIST_TARGETS = "TargetService.ListTargets", Org, InOrg(Viewer);
    UPDATE_TARGET = "TargetService.UpdateTarget", Org, InOrg(Editor);
    DELETE_TARGET = "TargetService.DeleteTarget", Org, InOrg(Editor);
    // No operator without a role there: it would use the secret of an organization.
    TEST_TARGET = "TargetService.TestTarget", Org, InOrg(Editor);
    LIST_TARGET_TESTS = "TargetService.ListTargetTests", Org, InOrg(Viewer);

    CREATE_CREDENTIAL = "CredentialService.CreateCredential", Org, InOrg(Editor);
    GET_CREDENTIAL = "CredentialService.GetCredential", Org, InOrg(Viewer);
    LIST_CREDENTIALS = "CredentialService.ListCredentials", Org, InOrg(Viewer);
    UPDATE_CREDENTIAL = "CredentialService.UpdateCredential", Org, InOrg(Editor);
    // A seal is bytes that a region's key opens: those who may replace it see it, and nobody else.
    GET_SEALED_SECRET = "CredentialService.GetSealedSecret", Org, InOrg(Editor);
    RESEAL_SECRET = "CredentialService.ResealSecret", Org, InOrg(Editor);
    REPLACE_SECRET = "CredentialService.ReplaceSecret", Org, InOrg(Editor);
    ROLL_CREDENTIAL = "CredentialService.RollCredential", Org, InOrg(Editor);
    DELETE_CREDENTIAL = "CredentialService.DeleteCredential", Org, InOrg(Editor);

    CREATE_PROXY = "ProxyService.CreateProxy", Org, InOrg(Editor);
    GET_PROXY = "ProxyService.GetProxy", Org, InOrg(Viewer);
    LIST_PROXIES = "ProxyService.ListProxies", Org, InOrg(Viewer);
    UPDATE_PROXY = "ProxyService.UpdateProxy", Org, InOrg(Editor);
    DELETE_PROXY = "ProxyService.DeleteProxy", Org, InOrg(Editor);

    CREATE_RULE = "RuleService.CreateRule", Org, InOrg(Editor);
    GET_RULE = "RuleService.GetRule", Org, InOrg(Viewer);
    LIST_RULES = "RuleService.ListRules", Org, InOrg(Viewer);
    UPDATE_RULE = "RuleService.UpdateRule", Org, InOrg(Editor);
    DELETE_RULE = "RuleService.DeleteRule", Org, InOrg(Editor);

    CREATE_FILTER = "FilterService.CreateFilter", Org, InOrg(Editor);
    GET_FILTER = "FilterService.GetFilter", Org, InOrg(Viewer);
    LIST_FILTERS = "FilterService.ListFilters", Org, InOrg(Viewer);
    UPDATE_FILTER = "FilterService.UpdateFilter", Org, InOrg(Editor);
    DELETE_FILTER = "FilterService.DeleteFilter", Org, InOrg(Editor);

    CREATE_METER = "MeterService.CreateMeter", Org, InOrg(Editor);
    GET_METER = "MeterService.GetMeter", Org, InOrg(Viewer);
    LIST_METERS = "MeterService.ListMeters", Org, InOrg(Viewer);
    UPDATE_METER = "MeterService.UpdateMeter", Org, InOrg(Editor);
    DELETE_METER = "MeterService.DeleteMeter", Org, InOrg(Editor);

    APPLY = "ApplyService.Apply", Org, InOrg(Editor);
    APPLY_ONCE = "ApplyService.ApplyOnce", Org, InOrg(Editor);

    LIST_REVISIONS = "RevisionService.ListRevisions", Installation, Operator;
    GET_REVISION = "RevisionService.GetRevision", Installation, Operator;
    DIFF_REVISIONS = "RevisionService.DiffRevisions", Org, InOrg(Viewer);
    ROLLBACK_ORG = "RevisionService.RollbackOrg", Org, InOrg(Admin);

    LIST_AUDIT_ENTRIES = "AuditService.ListAuditEntries", Org, InOrg(Admin);
    LIST_INSTALLATION_AUDIT_ENTRIES = "AuditService.ListInstallationAuditEntries", Installation, Operator;
    EXPORT_AUDIT = "AuditService.ExportAudit", Installation, Operator;
    LIST_REFUSED_ATTEMPTS = "AuditService.ListRefusedAttempts", Installation, Operator;

    LIST_NOTIFICATIONS = "NotificationService.ListNotifications", Org, InOrg(Viewer);
    GET_NOTIFICATION = "NotificationService.GetNotification", Org, InOrg(Viewer);
    MARK_NOTIFICATIONS_READ = "NotificationService.MarkNotificationsRead", Org, InOrg(Editor);
    WATCH_NOTIFICATIONS = "NotificationService.WatchNotifications", Org, InOrg(Viewer);
    LIST_INSTALLATION_NOTIFICATIONS =
        "NotificationService.ListInstallationNotifications", Installation, Operator;
    MARK_INSTALLATION_NOTIFICATIONS_READ =
        "NotificationService.MarkInstallationNotificationsRead", Installation, Operator;
    // The service takes the organizations that the caller is a member of, and the installation from operators only.
    LIST_MY_NOTIFICATIONS = "NotificationService.ListMyNotifications", Own, Anybody;
    MARK_MY_NOTIFICATIONS_READ = "NotificationService.MarkMyNotificationsRead", Own, Anybody;

    LIST_REQUESTS = "RequestService.ListRequests", Org, InOrg(Viewer);
    TAIL_REQUESTS = "RequestService.TailRequests", Org, InOrg(Viewer);
    // Shows what rules say, and no more of the organization than its editors see. No operator without a role there.
    PERMIT_TRIAL = "RequestService.PermitTrial", Org, InOrg(Editor);
    GET_REQUEST = "RequestService.GetRequest", Org, InOrg(Viewer);
    QUERY_METRICS = "MetricsService.QueryMetrics", Org, InOrg(Viewer);

    // The service compares the granted roles with those of the maker.
    CREATE_TOKEN = "TokenService.CreateToken", Own, AnybodyOrBootstrap;
    // The service shows a caller the tokens that it may see.
    GET_TOKEN = "TokenService.GetToken", Own, Anybody;
    LIST_TOKENS = "TokenService.ListTokens", Own, Anybody;
    DELETE_TOKEN = "TokenService.DeleteToken", Own, Anybody;
    GET_SELF = "TokenService.GetSelf", Own, Anybody;
}

/// The caller, as its token tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Token id.
    pub(crate) token: String,
    /// User id; empty for a service.
    pub(crate) user: String,
    /// The name of the user or the token.
    pub(crate) name: String,
    /// It is the first token of the installation, good for one call.
    pub(crate) bootstrap: bool,
    pub(crate) operator: bool,
    /// Roles by org id.
    pub(crate) orgs: Vec<(String, Role)>,
    /// Regions that it operates, by id.
    pub(crate) regions: Vec<String>,
    /// The only calls that the token is for, as `ProxyService.*`; empty means all.
    pub(crate) calls: Vec<String>,
    /// The only resources that the token is for, by id; empty means all.
    pub(crate) resources: Vec<String>,
    /// Microseconds since 1970.
    pub(crate) expires_at: Option<i64>,
    /// Where the call came from.
    pub(crate) address: String,
    /// The user agent of the calling program.
    pub(crate) user_agent: String,
}

impl Principal {
    /// The highest role in an organization.
    pub(crate) fn role_in(&self, org: &str) -> Option<Role> {
        self.orgs.iter().filter(|(id, _)| id == org).map(|(_, role)| *role).max()
    }

    /// The id that rows have as the creator of a resource.
    pub(crate) fn maker(&self) -> &str {
        if self.user.is_empty() { &self.token } else { &self.user }
    }

    /// Whether the token is for this call.
    pub(crate) fn is_for(&self, call: &str) -> bool {
        if !self.resources.is_empty() && !concerns_resources(call) {
            return false;
        }
        let within = |allowed: &String| match allowed.strip_suffix(".*") {
            Some(service) => service_of(call) == service,
            None => allowed == call,
        };
        // Every token may ask what it is.
        self.calls.is_empty() || call == GET_SELF.call || self.calls.iter().any(within)
    }
}

/// `ProxyService` of `ProxyService.CreateProxy`.
pub(crate) fn service_of(call: &str) -> &str {
    call.split('.').next().unwrap_or_default()
}

/// Whether a token that is limited to some resources may make a call: one that checks which resource it is about, or one
/// about no resource of an organization.
fn concerns_resources(call: &str) -> bool {
    // All calls of these services.
    let services = [
        GET_TARGET,
        GET_CREDENTIAL,
        GET_PROXY,
        GET_RULE,
        GET_FILTER,
        GET_METER,
        // The service refuses it itself, and says why.
        APPLY,
    ];
    let calls = [
        GET_INSTALLATION,
        GET_ORG,
        LIST_ORGS,
        GET_REGION,
        LIST_REGIONS,
        ROLLBACK_ORG,
        CREATE_TOKEN,
        GET_SELF,
    ];
    services.iter().any(|it| service_of(it.call) == service_of(call))
        || calls.iter().any(|it| it.call == call)
}

/// The organization or region that a request names, which decides about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    Nothing,
    /// An organization, by id.
    Org(&'a str),
    /// A region, by id, and the organization that it is dedicated to.
    Region(&'a str, Option<&'a str>),
}

/// Why a call is not permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The caller has no role in the organization and is no operator, who sees all of them: it must look as if the
    /// organization did not exist.
    Invisible,
    /// The role of the caller is not sufficient.
    Least(Least),
    /// The bootstrap token does not do this.
    Bootstrap,
    /// The token is for other calls.
    Call,
}

/// Whether a principal may make a call about what the request names.
pub(crate) fn permit(principal: &Principal, permission: Permission, named: Named<'_>) -> Result<(), Denied> {
    if principal.bootstrap && permission.least != AnybodyOrBootstrap {
        return Err(Denied::Bootstrap);
    }
    let role = match named {
        Named::Org(org) => principal.role_in(org),
        Named::Nothing | Named::Region(..) => None,
    };
    let in_region = match named {
        Named::Region(region, dedicated) => {
            principal.regions.iter().any(|id| id == region)
                || dedicated.and_then(|org| principal.role_in(org)) >= Some(Admin)
        }
        Named::Nothing | Named::Org(_) => false,
    };
    let allowed = match permission.least {
        Anybody | AnybodyOrBootstrap => true,
        Operator => principal.operator,
        InOrg(least) => role.is_some_and(|role| role >= least),
        InOrgOrOperator(least) => principal.operator || role.is_some_and(|role| role >= least),
        InRegion => principal.operator || in_region,
    };
    match (allowed, permission.level) {
        (true, _) if !principal.is_for(permission.call) => Err(Denied::Call),
        (true, _) => Ok(()),
        (false, Org) if role.is_none() && !principal.operator => Err(Denied::Invisible),
        (false, _) => Err(Denied::Least(permission.least)),
    }
}

#[cfg(test)]
mod tests;
