//! `rrctl rule`: which requests are allowed.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::rule_service_client::RuleServiceClient;

use crate::command::attached;
use crate::command::names::Names;
use crate::connect::Connection;
use crate::flags::change::{Condition, Consent, Effect, Mask, Owner};
use crate::flags::count;
use crate::flags::matching::{Typed, When};
use crate::flags::page::Listing;
use crate::flags::parent::Parent;
use crate::print::{Printer, at_revision};
use crate::session::Session;

mod row;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a rule. If several rules of a scope match a request, one that denies is enough to refuse it.
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters; made from the id when not given. Cannot be changed.
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
        /// Parent of the rule: proxy/NAME, target/NAME or credential/NAME. Cannot be changed.
        #[arg(long, value_name = "KIND/NAME")]
        on: Parent,
        #[command(flatten)]
        says: Says,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the rules of the organization, those with the highest priority first: of the rules of a scope that decide a
    /// request, the first one is reported.
    List {
        /// Lists only those of this parent: proxy/NAME, target/NAME or credential/NAME.
        #[arg(long, value_name = "KIND/NAME")]
        on: Option<Parent>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Shows a rule.
    Show {
        /// Name or id.
        rule: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes a rule. Conditions change one by one: a flag that is not given leaves its condition as it is.
    Update {
        /// Name or id.
        rule: String,
        #[command(flatten)]
        says: SaysNow,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
    /// Deletes a rule.
    Delete {
        /// Name or id.
        rule: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The effect of a new rule.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Says {
    /// Requests that match are allowed.
    #[arg(long)]
    allow: bool,
    /// Requests that match are refused.
    #[arg(long)]
    deny: bool,
    /// The same in one word, as files have it.
    #[arg(long, hide = true, value_enum)]
    effect: Option<Effect>,
}

/// A new effect, or none.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct SaysNow {
    /// Requests that match are allowed.
    #[arg(long)]
    allow: bool,
    /// Requests that match are refused.
    #[arg(long)]
    deny: bool,
    /// The same in one word, as files have it.
    #[arg(long, hide = true, value_enum)]
    effect: Option<Effect>,
}

#[derive(Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    when: When,
    /// 0 to 1000. Of the rules that decide, the one with the highest priority is reported; it never changes the decision.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1000))]
    priority: Option<u32>,
    /// Text for readers of the rule, and for the caller of a refused request.
    #[arg(long)]
    notes: Option<String>,
    /// Whether it only observes: it decides nothing, and records say what it would have decided.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    observe: Option<bool>,
    #[command(flatten)]
    owner: Owner,
}

fn effect(allow: bool, deny: bool, effect: Option<Effect>) -> Option<i32> {
    let said = match (allow, deny) {
        (_, true) => Some(Effect::Deny),
        (true, false) => Some(Effect::Allow),
        (false, false) => effect,
    };
    said.map(Effect::to_wire)
}

impl Settings {
    /// Sets the fields whose flags were given, and names them in the mask.
    fn put(self, rule: &mut mg::Rule, mask: &mut Mask) -> Result<()> {
        let when = Typed::from(self.when);
        if when.is_given() {
            rule.when = when.over(rule.when.take())?;
            mask.name("when");
        }
        mask.put("priority", &mut rule.priority, self.priority);
        mask.put("notes", &mut rule.notes, self.notes);
        mask.put("observe", &mut rule.observe, self.observe);
        mask.put("owner", &mut rule.owner, self.owner.owner);
        Ok(())
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        if let Self::Create { settings, .. } = &self {
            Typed::from(settings.when.clone()).says_which()?;
        }
        let connection = session.endpoint.connect().await?;
        let mut stub = RuleServiceClient::new(connection.clone());
        let print = session.print;
        let (verb, shown, revision) = match self {
            Self::Create { name, on, says, settings, consent } => {
                let mut rule = mg::Rule { name, parent: Some(on.into()), ..mg::Rule::default() };
                let mut mask = Mask::default();
                mask.put("effect", &mut rule.effect, effect(says.allow, says.deny, says.effect));
                settings.put(&mut rule, &mut mask)?;
                let org = org.clone();
                let ask = consent.with(mg::CreateRuleRequest { org, rule: Some(rule), ..Default::default() });
                let done = stub.create_rule(ask).await?.into_inner();
                ("created", done.rule, done.revision)
            }
            Self::List { on, listing } => {
                let listing = attached::narrowed(&connection, &org, listing, on).await?;
                let (all, limit) = listing.unlimited();
                let rules = async || {
                    let mut rules = list(connection.clone(), &org, &all).await?;
                    if listing.order_by.is_empty() {
                        rules.sort_by(row::by_priority);
                    }
                    rules.truncate(limit);
                    rows(print, &connection, &org, rules).await
                };
                return listing.print(print, "rule", rules).await;
            }
            Self::Show { rule, at } => {
                let ask = mg::GetRuleRequest { org: org.clone(), rule, revision: at };
                ("", stub.get_rule(ask).await?.into_inner().rule, 0)
            }
            Self::Update { rule: name, says, settings, condition, consent } => {
                let mut rule = mg::Rule::default();
                if Typed::from(settings.when.clone()).is_given() {
                    let ask = mg::GetRuleRequest { org: org.clone(), rule: name.clone(), revision: 0 };
                    rule = stub.get_rule(ask).await?.into_inner().rule.unwrap_or_default();
                }
                let mut mask = Mask::default();
                mask.put("effect", &mut rule.effect, effect(says.allow, says.deny, says.effect));
                settings.put(&mut rule, &mut mask)?;
                rule.etag = condition.or(rule.etag);
                let update_mask = mask.finish()?;
                let ask = consent.with(mg::UpdateRuleRequest {
                    org: org.clone(),
                    name,
                    rule: Some(rule),
                    update_mask,
                    ..Default::default()
                });
                let done = stub.update_rule(ask).await?.into_inner();
                ("updated", done.rule, done.revision)
            }
            Self::Delete { rule, condition, consent } => {
                let what = format!("deleted rule {rule}");
                let ask = consent.with(mg::DeleteRuleRequest {
                    org,
                    rule,
                    etag: condition.etag,
                    ..Default::default()
                });
                let done = stub.delete_rule(ask).await?.into_inner();
                return print.done(&at_revision(&what, done.revision), &done);
            }
        };
        let mut rule = shown.unwrap_or_default();
        if print.is_data() {
            return print.one(&row::Listed::without_names(rule));
        }
        let names = Names::find(&connection, &org, std::slice::from_mut(&mut rule)).await?;
        let what = format!("{verb} rule {}", rule.name);
        print.one(&row::listed(&names, rule))?;
        if !verb.is_empty() {
            print.wrote(&what, revision);
        }
        Ok(())
    }
}

/// Rows of rules; a table names what they belong to.
async fn rows(
    print: Printer,
    connection: &Connection,
    org: &str,
    rules: Vec<mg::Rule>,
) -> Result<Vec<row::Listed>> {
    if print.is_data() {
        return Ok(rules.into_iter().map(row::Listed::without_names).collect());
    }
    let mut rules = rules;
    let names = Names::find(connection, org, &mut rules).await?;
    Ok(rules.into_iter().map(|rule| row::listed(&names, rule)).collect())
}

/// The rules of an organization.
pub(crate) async fn list(connection: Connection, org: &str, which: &Listing) -> Result<Vec<mg::Rule>> {
    let mut stub = RuleServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (org, filter, order_by) = (org.to_owned(), which.filter.clone(), which.order_by.clone());
            let ask = mg::ListRulesRequest { org, page_size, page_token, filter, order_by };
            let reply = stub.list_rules(ask).await?.into_inner();
            Ok((reply.rules, reply.next_page_token))
        })
        .await
}
