//! `rrctl notification`: events that need attention.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::notification_service_client::NotificationServiceClient;

use crate::fault;
use crate::flags::page::Newest;
use crate::print::{self, Row, plain, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists notifications, newest first.
    List {
        #[command(flatten)]
        whose: Whose,
        /// Lists only unread ones.
        #[arg(long)]
        unread: bool,
        #[command(flatten)]
        newest: Newest,
    },
    /// Shows a notification of the organization. It stays unread.
    Show {
        /// Id of the notification.
        notification: String,
    },
    /// Marks notifications as read.
    Read {
        #[command(flatten)]
        whose: Whose,
        /// Ids of the notifications.
        #[arg(required = true, value_name = "NOTIFICATION")]
        notifications: Vec<String>,
    },
    /// Prints new notifications of the organization, until Ctrl-C.
    Watch,
}

/// The installation or an organization.
#[derive(Args)]
pub(crate) struct Whose {
    /// Notifications of the installation instead of an organization. Operators only.
    #[arg(long)]
    installation: bool,
}

/// The most notifications that a call marks.
const MARKED: usize = 1000;

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let print = session.print;
        let installation = match &self {
            Self::List { whose, .. } | Self::Read { whose, .. } => whose.installation,
            Self::Show { .. } | Self::Watch => false,
        };
        let org = if installation { String::new() } else { session.org()? };
        let mut stub = NotificationServiceClient::new(session.endpoint.connect().await?);
        match self {
            Self::List { unread, newest, .. } => {
                let found = newest.of(async |page_size, page_token| {
                    if installation {
                        let ask = mg::ListInstallationNotificationsRequest { unread, page_size, page_token };
                        let reply = stub.list_installation_notifications(ask).await?.into_inner();
                        return Ok((reply.notifications, reply.next_page_token));
                    }
                    let ask =
                        mg::ListNotificationsRequest { org: org.clone(), unread, page_size, page_token };
                    let reply = stub.list_notifications(ask).await?.into_inner();
                    Ok((reply.notifications, reply.next_page_token))
                });
                print.list(&found.await?)
            }
            Self::Show { notification } => {
                let reply = stub.get_notification(mg::GetNotificationRequest { org, notification }).await?;
                print.one(&reply.into_inner().notification.unwrap_or_default())
            }
            Self::Read { notifications, .. } => {
                let mut marked = 0;
                for ids in notifications.chunks(MARKED) {
                    let notifications = ids.to_vec();
                    marked += if installation {
                        let ask = mg::MarkInstallationNotificationsReadRequest { notifications };
                        stub.mark_installation_notifications_read(ask).await?.into_inner().marked
                    } else {
                        let ask = mg::MarkNotificationsReadRequest { org: org.clone(), notifications };
                        stub.mark_notifications_read(ask).await?.into_inner().marked
                    };
                }
                print.done(&format!("marked {marked} as read"))
            }
            Self::Watch => {
                let ask = mg::WatchNotificationsRequest { org };
                let mut coming = stub.watch_notifications(ask).await?.into_inner();
                while let Some(reply) = coming.message().await? {
                    print.line(&reply.notification.unwrap_or_default())?;
                    if !print::is_read() {
                        return Ok(());
                    }
                }
                Err(fault::ended("the control plane ended the stream of notifications", "watch again"))
            }
        }
    }
}

impl Row for mg::Notification {
    const COLUMNS: &'static [&'static str] = &["id", "at", "read", "kind", "subject", "title", "message"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            time(self.created_at.as_ref()),
            time(self.read_at.as_ref()),
            plain(self.kind().as_str_name(), "NOTIFICATION_KIND_"),
            self.subject.clone(),
            self.title.clone(),
            self.message.replace('\n', " "),
        ]
    }
}
