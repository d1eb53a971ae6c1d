//! Users and the members of organizations. Nobody gives a role above their own, and an organization always has an owner.

use rr_contract::model::time;
use rr_contract::wire::FieldMask;
use rr_contract::wire::management::{Member, Role, Token, User};

use super::draft::{Draft, change, stage};
use super::etag::same_etag;
use super::fields::{self, Chosen};
use super::removal::remove;
use super::resource::{ListRequest, show};
use super::scope::{Scope, live_org};
use super::{Caller, OrgCaller, Page, Reason, ServiceError, Services};
use crate::document::{MaskPath, Part};
use crate::noun::Noun;
use crate::store::{self, Reader, Stored, Txn, Written};
use crate::word;

impl Services {
    /// Makes a resource of the installation.
    pub(crate) async fn user_create(
        &self,
        caller: Caller,
        user: Option<User>,
    ) -> Result<Written<Stored<User>>, ServiceError> {
        let mut wire = fields::required("user", user)?;
        fields::unset_id("user.id", &wire.id)?;
        wire.id = Noun::User.id(self.random());
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let draft = Draft { wire, secret: None, before: None };
                    stage(txn, caller.installation(), None, draft).await
                })
            })
            .await?;
        Ok(written)
    }

    /// By name or id.
    pub(crate) async fn user_show(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<Stored<User>, ServiceError> {
        show(&self.store, caller.installation(), reference, 0).await
    }

    /// All of them.
    pub(crate) async fn user_list(
        &self,
        caller: &Caller,
        request: ListRequest,
    ) -> Result<Page<Stored<User>>, ServiceError> {
        self.list_in(caller.installation(), request, None).await
    }

    /// Changes the fields that the mask names.
    pub(crate) async fn user_update(
        &self,
        caller: Caller,
        reference: String,
        user: Option<User>,
        mask: Option<FieldMask>,
    ) -> Result<Written<Stored<User>>, ServiceError> {
        let wire = fields::required("user", user)?;
        let chosen = Chosen::of(mask, &wire)?;
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<User>(txn, caller.installation(), &reference, 0).await?;
                    if chosen.contains(&MaskPath::<User>::DISABLED) && wire.disabled {
                        stays_owned_everywhere(txn, &found.row.id).await?;
                    }
                    change(txn, caller.installation(), None, found, wire, &chosen).await
                })
            })
            .await?;
        Ok(written)
    }

    /// Takes a user away, with memberships and tokens.
    pub(crate) async fn user_delete(
        &self,
        caller: Caller,
        reference: String,
        etag: String,
    ) -> Result<Written<()>, ServiceError> {
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<User>(txn, caller.installation(), &reference, 0).await?;
                    same_etag(&found, &etag)?;
                    stays_owned_everywhere(txn, &found.row.id).await?;
                    remove(txn, caller.installation(), Noun::User, found.row, &[]).await.map(drop)
                })
            })
            .await?;
        Ok(written)
    }

    /// Takes a user into an organization.
    pub(crate) async fn member_create(
        &self,
        at: OrgCaller,
        member: Option<Member>,
    ) -> Result<Written<Stored<Member>>, ServiceError> {
        let mut wire = fields::required("member", member)?;
        fields::unset_id("member.id", &wire.id)?;
        fields::same_org("member.org", &wire.org, &at.org)?;
        at.org.id.clone_into(&mut wire.org);
        wire.id = Noun::Member.id(self.random());
        may_give(&at, wire.role())?;
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let user = store::resource::find(txn, Noun::User, "", &wire.user).await?;
                    let Some(user) = user else {
                        return Err(ServiceError::field(
                            "member.user",
                            format!("names user {:?}, which was not found", wire.user),
                        ));
                    };
                    wire.name.clone_from(&user.name);
                    let draft = Draft { wire, secret: None, before: None };
                    stage(txn, unnarrowed(&at).scope(&at.org.id), Some(&org.document), draft).await
                })
            })
            .await?;
        Ok(written)
    }

    /// Gives a member another role.
    pub(crate) async fn member_update(
        &self,
        at: OrgCaller,
        reference: String,
        member: Option<Member>,
        mask: Option<FieldMask>,
    ) -> Result<Written<Stored<Member>>, ServiceError> {
        let wire = fields::required("member", member)?;
        let chosen = Chosen::of(mask, &wire)?;
        may_give(&at, wire.role())?;
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let found = member_of(txn, &at, &reference).await?;
                    may_give(&at, found.document.role())?;
                    if wire.role() < Role::Owner {
                        stays_owned(txn, &found).await?;
                    }
                    let unnarrowed = unnarrowed(&at);
                    change(txn, unnarrowed.scope(&at.org.id), Some(&org.document), found, wire, &chosen).await
                })
            })
            .await?;
        Ok(written)
    }

    /// Takes a member out of an organization.
    pub(crate) async fn member_delete(
        &self,
        at: OrgCaller,
        reference: String,
        etag: String,
    ) -> Result<Written<()>, ServiceError> {
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    live_org(txn, &at.org.id).await?;
                    let found = member_of(txn, &at, &reference).await?;
                    same_etag(&found, &etag)?;
                    may_give(&at, found.document.role())?;
                    stays_owned(txn, &found).await?;
                    remove(txn, at.scope(), Noun::Member, found.row, &[]).await.map(drop)
                })
            })
            .await?;
        Ok(written)
    }

    /// Of one organization.
    pub(crate) async fn member_list(
        &self,
        at: &OrgCaller,
        request: ListRequest,
    ) -> Result<Page<Stored<Member>>, ServiceError> {
        self.list_in(unnarrowed(at).scope(&at.org.id), request, None).await
    }

    /// By the user's name or id, or the member's.
    pub(crate) async fn member_show(
        &self,
        at: &OrgCaller,
        reference: &str,
    ) -> Result<Stored<Member>, ServiceError> {
        member_of(&self.store, at, reference).await
    }
}

/// A principal that a token for some resources does not narrow: membership is not one of them.
struct Unnarrowed(crate::authz::Principal);

impl Unnarrowed {
    fn scope<'a>(&'a self, id: &'a str) -> Scope<'a> {
        Scope { org: id, principal: &self.0, ceilings: None }
    }
}

fn unnarrowed(at: &OrgCaller) -> Unnarrowed {
    Unnarrowed(crate::authz::Principal { resources: Vec::new(), ..at.caller.principal.clone() })
}

async fn member_of(
    db: &impl Reader,
    at: &OrgCaller,
    reference: &str,
) -> Result<Stored<Member>, ServiceError> {
    let mut reference = reference.to_owned();
    if reference.starts_with(Noun::User.prefix())
        && let Some(user) = store::resource::by_id(db, Noun::User, &reference).await?
    {
        reference = user.name;
    }
    show(db, unnarrowed(at).scope(&at.org.id), &reference, 0).await
}

/// A caller neither gives nor takes a role above its own. Operators may, or an organization whose owners left could not
/// be helped.
fn may_give(at: &OrgCaller, role: Role) -> Result<(), ServiceError> {
    let principal = &at.caller.principal;
    if principal.operator || principal.role_in(&at.org.id) >= Some(role) {
        return Ok(());
    }
    Err(ServiceError::GrantTooWide(format!(
        "you have a lower role than {} in {}, so you can neither give nor take that role",
        word::role(role),
        at.org.name
    )))
}

/// Every organization that a user owns keeps another owner.
async fn stays_owned_everywhere(txn: &Txn, user: &str) -> Result<(), ServiceError> {
    for (part, noun, id) in store::resource::users(txn, Noun::User, user).await? {
        if part != Part::User || noun != Noun::Member {
            continue;
        }
        let Some(row) = store::resource::by_id(txn, Noun::Member, &id).await? else { continue };
        let member: Stored<Member> = store::resource::with_document(txn, row).await?;
        stays_owned(txn, &member).await?;
    }
    Ok(())
}

/// Whether a token is an owner's that does anything: neither revoked nor past its end, and not narrowed.
pub(super) fn owns(token: &Token, org: &str, now: i64) -> bool {
    let past = token.expires_at.as_ref().and_then(|at| time::system_time(at).ok()).map(store::micros);
    token.grants.iter().any(|grant| grant.org == org && grant.role() == Role::Owner)
        && token.revoked_at.is_none()
        && past.is_none_or(|end| now < end)
        && token.calls.is_empty()
        && token.resources.is_empty()
}

/// An organization keeps an owner: another member, or a service whose token is one.
async fn stays_owned(txn: &Txn, going: &Stored<Member>) -> Result<(), ServiceError> {
    if going.document.role() != Role::Owner {
        return Ok(());
    }
    stays_owned_without(txn, &going.row.org, &going.row).await
}

/// The same, whatever it is that goes.
pub(super) async fn stays_owned_without(
    txn: &Txn,
    org: &str,
    going: &store::resource_row::Model,
) -> Result<(), ServiceError> {
    let rows = store::resource::all(txn, Noun::Member, org).await?;
    let members: Vec<Stored<Member>> = store::resource::with_documents(txn, rows).await?;
    for member in members {
        if member.row.id == going.id || member.document.role() != Role::Owner {
            continue;
        }
        let user = store::resource::read::<User>(txn, "", &member.document.user).await?;
        if user.is_some_and(|user| !user.document.disabled) {
            return Ok(());
        }
    }
    for (part, noun, id) in store::resource::users(txn, Noun::Org, org).await? {
        if part != Part::Granted || noun != Noun::Token {
            continue;
        }
        let Some(row) = store::resource::by_id(txn, Noun::Token, &id).await? else { continue };
        let token: Stored<Token> = store::resource::with_document(txn, row).await?;
        if going.id != token.row.id && owns(&token.document, org, txn.now()) {
            return Ok(());
        }
    }
    Err(ServiceError::Refused {
        reason: Reason::LastOwner,
        text: format!("{:?} is the last owner of {org}: add another owner first", going.name),
        preconditions: Vec::new(),
    })
}
