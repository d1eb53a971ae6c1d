//! `rrctl notification`: events that need attention.

use anyhow::Result;
use clap::{Args, Subcommand};
use pbjson_types::Timestamp;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::notification_service_client::NotificationServiceClient;
use serde::Serialize;

use crate::connect::Connection;
use crate::fault;
use crate::flags::moment::Moment;
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
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NOTIFICATION")]
        notifications: Vec<String>,
        /// Marks all that there are when the command begins. What comes meanwhile stays unread.
        #[arg(long)]
        all: bool,
        /// With `--all`: marks only those that came at this time or before, as `1h`, `2026-01-31` or
        /// `2026-01-31T08:00:00Z`.
        #[arg(long, value_name = "WHEN", requires = "all", conflicts_with = "notifications")]
        through: Option<Moment>,
    },
    /// Prints new notifications of the organization, until Ctrl-C.
    Watch,
}

/// The installation, an organization, or whatever is the caller's.
#[derive(Args)]
pub(crate) struct Whose {
    /// Notifications of the installation instead of an organization. Operators only.
    #[arg(long)]
    installation: bool,
    /// Your own: notifications of all organizations that you are a member of, and of the installation where you are an
    /// operator. What you mark as read is read for you alone.
    #[arg(long, conflicts_with = "installation")]
    mine: bool,
}

/// The most notifications that a call marks by id.
const MARKED: usize = 1000;

type Stub = NotificationServiceClient<Connection>;

/// Whose notifications a command is about.
enum Feed {
    /// By name or id.
    Org(String),
    Installation,
    /// The caller's own.
    Mine,
}

/// What a call marks.
enum Marks {
    These(Vec<String>),
    /// All, up to a time.
    Through(Option<Timestamp>),
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let print = session.print;
        let feed = match &self {
            Self::List { whose, .. } | Self::Read { whose, .. } => whose.feed(&session)?,
            Self::Show { .. } | Self::Watch => Feed::Org(session.org()?),
        };
        let mut stub = NotificationServiceClient::new(session.endpoint.connect().await?);
        match self {
            Self::List { unread, newest, .. } => {
                let found = newest.of(async |size, token| feed.page(&mut stub, unread, size, token).await);
                let found = found.await?;
                match feed {
                    Feed::Mine => print.list(&found.into_iter().map(Mine).collect::<Vec<_>>()),
                    Feed::Org(_) | Feed::Installation => print.list(&found),
                }
            }
            Self::Show { notification } => {
                let org = session.org()?;
                let reply = stub.get_notification(mg::GetNotificationRequest { org, notification }).await?;
                print.one(&reply.into_inner().notification.unwrap_or_default())
            }
            Self::Read { all: false, notifications, .. } => {
                let mut marked = 0;
                for ids in notifications.chunks(MARKED) {
                    marked += feed.mark(&mut stub, Marks::These(ids.to_vec())).await?;
                }
                let text = match marked {
                    0 => "marked none: they are read already, or not in this list".to_owned(),
                    marked => format!("marked {marked} as read"),
                };
                print.done(&text, &serde_json::json!({ "marked": marked.to_string() }))
            }
            Self::Read { through, .. } => {
                let through = match through {
                    Some(moment) => Some(moment.ago()),
                    // By the control plane's clock: up to the newest that is there.
                    None => {
                        let (newest, _) = feed.page(&mut stub, true, 1, String::new()).await?;
                        newest.into_iter().next().and_then(|newest| newest.created_at)
                    }
                };
                let marked = feed.mark(&mut stub, Marks::Through(through)).await?;
                print.done(
                    &format!("marked {marked} as read"),
                    &serde_json::json!({ "marked": marked.to_string() }),
                )
            }
            Self::Watch => {
                let ask = mg::WatchNotificationsRequest { org: session.org()? };
                let mut coming = stub.watch_notifications(ask).await?.into_inner();
                let mut stream = print.stream::<mg::Notification>(&[])?;
                while let Some(reply) = coming.message().await? {
                    stream.line(&reply.notification.unwrap_or_default())?;
                    if !print::is_read() {
                        return Ok(());
                    }
                }
                Err(fault::ended("the control plane ended the stream of notifications", "watch again"))
            }
        }
    }
}

impl Whose {
    fn feed(&self, session: &Session) -> Result<Feed> {
        Ok(match (self.mine, self.installation) {
            (true, _) => Feed::Mine,
            (false, true) => Feed::Installation,
            (false, false) => Feed::Org(session.org()?),
        })
    }
}

impl Feed {
    /// A page, and the token of the next.
    async fn page(
        &self,
        stub: &mut Stub,
        unread: bool,
        page_size: i32,
        page_token: String,
    ) -> Result<(Vec<mg::Notification>, String)> {
        match self {
            Self::Org(org) => {
                let ask = mg::ListNotificationsRequest { org: org.clone(), unread, page_size, page_token };
                let reply = stub.list_notifications(ask).await?.into_inner();
                Ok((reply.notifications, reply.next_page_token))
            }
            Self::Installation => {
                let ask = mg::ListInstallationNotificationsRequest { unread, page_size, page_token };
                let reply = stub.list_installation_notifications(ask).await?.into_inner();
                Ok((reply.notifications, reply.next_page_token))
            }
            Self::Mine => {
                let ask = mg::ListMyNotificationsRequest { unread, page_size, page_token };
                let reply = stub.list_my_notifications(ask).await?.into_inner();
                Ok((reply.notifications, reply.next_page_token))
            }
        }
    }

    /// How many were unread.
    async fn mark(&self, stub: &mut Stub, marks: Marks) -> Result<u64> {
        let (notifications, all, through) = match marks {
            Marks::These(ids) => (ids, false, None),
            Marks::Through(through) => (Vec::new(), true, through),
        };
        Ok(match self {
            Self::Org(org) => {
                let ask = mg::MarkNotificationsReadRequest { org: org.clone(), notifications, all, through };
                stub.mark_notifications_read(ask).await?.into_inner().marked
            }
            Self::Installation => {
                let ask = mg::MarkInstallationNotificationsReadRequest { notifications, all, through };
                stub.mark_installation_notifications_read(ask).await?.into_inner().marked
            }
            Self::Mine => {
                let ask = mg::MarkMyNotificationsReadRequest { notifications, all, through };
                stub.mark_my_notifications_read(ask).await?.into_inner().marked
            }
        })
    }
}

impl Row for mg::Notification {
    const COLUMNS: &'static [&'static str] = &["at", "title", "id", "kind", "read", "message", "subject"];
    const WHOLE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        vec![
            time(self.created_at.as_ref()),
            self.title.clone(),
            self.id.clone(),
            plain(self.kind().as_str_name(), "NOTIFICATION_KIND_"),
            time(self.read_at.as_ref()),
            self.message.replace('\n', " "),
            self.subject.clone(),
        ]
    }
}

/// One of the caller's own, with its organization, and whether the caller has marked it.
#[derive(Serialize)]
#[serde(transparent)]
struct Mine(mg::Notification);

impl Row for Mine {
    const COLUMNS: &'static [&'static str] =
        &["at", "org", "title", "id", "kind", "read", "message", "subject"];
    const WHOLE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        let Self(it) = self;
        let org = if it.org.is_empty() { "(installation)" } else { &it.org_name };
        vec![
            time(it.created_at.as_ref()),
            org.to_owned(),
            it.title.clone(),
            it.id.clone(),
            plain(it.kind().as_str_name(), "NOTIFICATION_KIND_"),
            if it.seen { "yes" } else { "no" }.to_owned(),
            it.message.replace('\n', " "),
            it.subject.clone(),
        ]
    }
}
