//! What refers to what: the fields of each resource that hold ids of others.
//!
//! Looks nothing up.

use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;

/// A kind of resource that others refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::command) enum Kind {
    Proxy,
    Target,
    Credential,
    Region,
    Org,
    Token,
    User,
}

/// A resource that refers to others.
pub(in crate::command) trait References {
    fn each(&mut self, visit: impl FnMut(Kind, &mut String));
}

impl References for mg::Proxy {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        visit(Kind::Target, &mut self.target);
        visit(Kind::Credential, &mut self.upstream_credential);
        self.caller_credentials.iter_mut().for_each(|id| visit(Kind::Credential, id));
        self.regions.iter_mut().for_each(|id| visit(Kind::Region, id));
    }
}

impl References for mg::Token {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        each_grant(&mut self.grants, &mut visit);
        visit(Kind::User, &mut self.user);
    }
}

impl References for mg::GetSelfResponse {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        each_grant(&mut self.grants, &mut visit);
        self.token.iter_mut().for_each(|token| each_grant(&mut token.grants, &mut visit));
    }
}

fn each_grant(grants: &mut [mg::Grant], visit: &mut impl FnMut(Kind, &mut String)) {
    for grant in grants {
        match grant.region.is_empty() {
            true => visit(Kind::Org, &mut grant.org),
            false => visit(Kind::Region, &mut grant.region),
        }
    }
}

impl References for mg::Meter {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        visit(Kind::Proxy, &mut self.proxy);
    }
}

macro_rules! of_parent {
    ($message:ident, $module:ident) => {
        impl References for mg::$message {
            fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
                match &mut self.parent {
                    Some(mg::$module::Parent::Proxy(id)) => visit(Kind::Proxy, id),
                    Some(mg::$module::Parent::Target(id)) => visit(Kind::Target, id),
                    Some(mg::$module::Parent::Credential(id)) => visit(Kind::Credential, id),
                    None => {}
                }
            }
        }
    };
}
of_parent!(Rule, rule);
of_parent!(Filter, filter);

impl References for mg::Credential {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        let regions = match &mut self.usage {
            Some(Usage::Caller(caller)) => &mut caller.sealed_regions,
            Some(Usage::Upstream(upstream)) => &mut upstream.sealed_regions,
            None => return,
        };
        regions.iter_mut().for_each(|id| visit(Kind::Region, id));
    }
}

impl References for mg::Org {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        self.allowed_regions.iter_mut().for_each(|id| visit(Kind::Region, id));
    }
}

impl References for mg::Region {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        visit(Kind::Org, &mut self.dedicated_to);
    }
}

impl References for mg::NodeToken {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        visit(Kind::Region, &mut self.region);
        // A user, or a token where a service made it.
        let maker = if self.created_by.starts_with("us_") { Kind::User } else { Kind::Token };
        visit(maker, &mut self.created_by);
    }
}

impl References for mg::RefusedAttempt {
    fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
        visit(Kind::Token, &mut self.token);
        visit(Kind::User, &mut self.user);
    }
}

/// Names of tokens are no part of what was changed.
macro_rules! of_changes {
    ($($message:ident)*) => {
        $(impl References for mg::$message {
            fn each(&mut self, mut visit: impl FnMut(Kind, &mut String)) {
                for change in self.changes.iter_mut().filter(|change| change.kind == "token") {
                    if change.name.is_empty() {
                        change.name.clone_from(&change.id);
                    }
                    visit(Kind::Token, &mut change.name);
                }
            }
        })*
    };
}
of_changes! { Revision AuditEntry }
