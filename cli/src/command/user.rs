//! `rrctl user`: the accounts of people. Operators only.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::user_service_client::UserServiceClient;

use crate::connect::Connection;
use crate::flags::change::{Condition, Mask};
use crate::flags::page::Listing;
use crate::print::{Row, at_revision, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a user. A user who is neither a member nor an operator may do nothing.
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists all users.
    List(Listing),
    /// Shows a user.
    Show {
        /// Name or id.
        user: String,
    },
    /// Changes a user.
    Update {
        /// Name or id.
        user: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        condition: Condition,
    },
    /// Disables a user: the tokens of the user are refused until the user is enabled again.
    Disable {
        /// Name or id.
        user: String,
    },
    /// Enables a user: the tokens of the user work again.
    Enable {
        /// Name or id.
        user: String,
    },
    /// Deletes a user with memberships and tokens. Refused for the last owner of an organization.
    Delete {
        /// Name or id.
        user: String,
        #[command(flatten)]
        condition: Condition,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Name for people; any text.
    #[arg(long)]
    display_name: Option<String>,
    /// E-mail address of the user.
    #[arg(long)]
    email: Option<String>,
    /// Whether the user is an operator of the installation.
    #[arg(long)]
    operator: Option<bool>,
}

impl Settings {
    fn put(self, user: &mut mg::User, mask: &mut Mask) {
        mask.put("display_name", &mut user.display_name, self.display_name);
        mask.put("email", &mut user.email, self.email);
        mask.put("operator", &mut user.operator, self.operator);
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let connection = session.endpoint.connect().await?;
        let mut stub = UserServiceClient::new(connection.clone());
        let print = session.print;
        let mut mask = Mask::default();
        let (name, user) = match self {
            Self::Create { name, settings } => {
                let mut user = mg::User { name, ..mg::User::default() };
                settings.put(&mut user, &mut mask);
                let ask = mg::CreateUserRequest { user: Some(user) };
                let done = stub.create_user(ask).await?.into_inner();
                let user = done.user.unwrap_or_default();
                return print.written(&user, &format!("created user {}", user.name), done.revision);
            }
            Self::List(listing) => {
                return listing.print(print, "user", async || list(connection.clone(), &listing).await).await;
            }
            Self::Show { user } => {
                let reply = stub.get_user(mg::GetUserRequest { user }).await?.into_inner();
                return print.one(&reply.user.unwrap_or_default());
            }
            Self::Delete { user, condition } => {
                let what = format!("deleted user {user}");
                let ask = mg::DeleteUserRequest { user, etag: condition.etag };
                let done = stub.delete_user(ask).await?.into_inner();
                return print.done(&at_revision(&what, done.revision), &done);
            }
            Self::Update { user: name, settings, condition } => {
                let mut user = mg::User { etag: condition.etag, ..mg::User::default() };
                settings.put(&mut user, &mut mask);
                (name, user)
            }
            Self::Disable { user } => {
                mask.name("disabled");
                (user, mg::User { disabled: true, ..mg::User::default() })
            }
            Self::Enable { user } => {
                mask.name("disabled");
                (user, mg::User::default())
            }
        };
        let ask = mg::UpdateUserRequest { name, user: Some(user), update_mask: mask.finish()? };
        let done = stub.update_user(ask).await?.into_inner();
        let user = done.user.unwrap_or_default();
        print.written(&user, &format!("updated user {}", user.name), done.revision)
    }
}

/// All users that match.
pub(crate) async fn list(connection: Connection, which: &Listing) -> Result<Vec<mg::User>> {
    let mut stub = UserServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (filter, order_by) = (which.filter.clone(), which.order_by.clone());
            let ask = mg::ListUsersRequest { page_size, page_token, filter, order_by };
            let reply = stub.list_users(ask).await?.into_inner();
            Ok((reply.users, reply.next_page_token))
        })
        .await
}

impl Row for mg::User {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "operator", "disabled", "email", "created", "display name"];
    const WIDE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            self.operator.to_string(),
            self.disabled.to_string(),
            self.email.clone(),
            time(self.created_at.as_ref()),
            self.display_name.clone(),
        ]
    }
}
