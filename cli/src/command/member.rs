//! `rrctl member`: the users of an organization and their roles.

use anyhow::Result;
use clap::Subcommand;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::member_service_client::MemberServiceClient;

use crate::flags::change::{Condition, Mask};
use crate::flags::page::Listing;
use crate::flags::role::{self, OrgRole};
use crate::print::{Row, at_revision, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Adds a user to the organization, with a role that is not above your own.
    Add {
        /// Name or id of the user.
        user: String,
        /// Role of the member.
        #[arg(long, value_enum)]
        role: OrgRole,
    },
    /// Lists the members of the organization.
    List(Listing),
    /// Shows a member.
    Show {
        /// Name or id of the member or the user.
        member: String,
    },
    /// Changes the role of a member.
    Update {
        /// Name or id.
        member: String,
        /// New role.
        #[arg(long, value_enum)]
        role: OrgRole,
        #[command(flatten)]
        condition: Condition,
    },
    /// As `update`, as it was written before.
    #[command(hide = true)]
    SetRole {
        /// Name or id.
        member: String,
        /// New role.
        #[arg(value_enum)]
        role: OrgRole,
        #[command(flatten)]
        condition: Condition,
    },
    /// Removes a member from the organization. Refused for the last owner.
    Remove {
        /// Name or id.
        member: String,
        #[command(flatten)]
        condition: Condition,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let mut stub = MemberServiceClient::new(session.endpoint.connect().await?);
        let print = session.print;
        match self {
            Self::Add { user, role } => {
                let member = mg::Member { user, role: role.to_wire().into(), ..mg::Member::default() };
                let ask = mg::CreateMemberRequest { org, member: Some(member) };
                let done = stub.create_member(ask).await?.into_inner();
                let member = done.member.unwrap_or_default();
                print.written(&member, &format!("added member {}", member.name), done.revision)
            }
            Self::List(listing) => {
                let list = async || {
                    listing
                        .all(async |page_size, page_token| {
                            let (org, filter, order_by) =
                                (org.clone(), listing.filter.clone(), listing.order_by.clone());
                            let ask = mg::ListMembersRequest { org, page_size, page_token, filter, order_by };
                            let reply = stub.list_members(ask).await?.into_inner();
                            Ok((reply.members, reply.next_page_token))
                        })
                        .await
                };
                listing.print(print, "member", list).await
            }
            Self::Show { member } => {
                let reply = stub.get_member(mg::GetMemberRequest { org, member }).await?.into_inner();
                print.one(&reply.member.unwrap_or_default())
            }
            Self::Update { member: name, role, condition }
            | Self::SetRole { member: name, role, condition } => {
                let mut mask = Mask::default();
                mask.name("role");
                let member =
                    mg::Member { role: role.to_wire().into(), etag: condition.etag, ..mg::Member::default() };
                let update_mask = mask.finish()?;
                let ask = mg::UpdateMemberRequest { org, name, member: Some(member), update_mask };
                let done = stub.update_member(ask).await?.into_inner();
                let member = done.member.unwrap_or_default();
                print.written(&member, &format!("updated member {}", member.name), done.revision)
            }
            Self::Remove { member, condition } => {
                let what = format!("removed member {member}");
                let ask = mg::DeleteMemberRequest { org, member, etag: condition.etag };
                let done = stub.delete_member(ask).await?.into_inner();
                print.done(&at_revision(&what, done.revision), &done)
            }
        }
    }
}

impl Row for mg::Member {
    const COLUMNS: &'static [&'static str] = &["name", "id", "user id", "role", "since"];
    const WIDE: &'static [&'static str] = &["id", "user id"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            self.user.clone(),
            role::name(self.role()),
            time(self.created_at.as_ref()),
        ]
    }
}
