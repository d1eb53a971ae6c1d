//! Who is given a region's next key, and who is left out: judged here, by what the region itself signed.
//!
//! The control plane only lists. A node is believed by the vouch of its token, a token by the region's signature, and whoever
//! was left out once stays so by the list in the key file.

use std::collections::BTreeSet;

use anyhow::Result;
use rr_contract::seal::grant::Recipient;
use rr_contract::seal::region_key::{RegionKeys, RegionStatement};
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::region_key_service_client::RegionKeyServiceClient;

use crate::connect::Connection;
use crate::flags::page;
use crate::print::{few, note, time};
use crate::{fault, print};

/// What was said on the command line.
pub(super) struct Wishes<'a> {
    /// Ids of nodes and tokens to leave out.
    pub(super) exclude: &'a [String],
    /// Ids of tokens that stay trusted although a node that joined with them is left out.
    pub(super) trust_token: &'a [String],
}

/// Everybody of a region.
pub(super) struct Holders {
    given: Vec<(mg::KeyHolder, Recipient)>,
    left_out: Vec<(mg::KeyHolder, Vec<u8>, &'static str)>,
}

/// Everybody of a region, as the control plane lists them.
pub(super) async fn list(connection: Connection, region: &str) -> Result<Vec<mg::KeyHolder>> {
    let mut stub = RegionKeyServiceClient::new(connection);
    page::all(async |page_size, page_token| {
        let ask = mg::ListKeyHoldersRequest { region: region.to_owned(), page_size, page_token };
        let reply = stub.list_key_holders(ask).await?.into_inner();
        Ok((reply.holders, reply.next_page_token))
    })
    .await
}

impl Holders {
    /// Judges each, and notes in the keys who is left out from now on.
    pub(super) fn judge(
        listed: Vec<mg::KeyHolder>,
        keys: &mut RegionKeys,
        statement: &RegionStatement,
        wishes: &Wishes<'_>,
    ) -> Result<Self> {
        // The region signed the id of a token; that of a node is what the control plane says.
        let is = |holder: &mg::KeyHolder, id: &String| *id == id_of(holder) || *id == token_of(holder);
        let is_named = |holder: &mg::KeyHolder| wishes.exclude.iter().any(|id| is(holder, id));
        let is_unknown = |id: &&String| !listed.iter().any(|holder| is(holder, id));
        let unknown: Vec<String> = wishes.exclude.iter().filter(is_unknown).cloned().collect();
        if !unknown.is_empty() {
            return Err(fault::usage(
                &format!("no node and no live token of the region is {}", few(&unknown)),
                "`rrctl node list --region REGION` and `rrctl node token list REGION` show them; a token with which no machine can join, and none has, needs no --exclude",
            ));
        }
        let mut judged = Vec::with_capacity(listed.len());
        let mut unproven = Vec::new();
        for holder in listed {
            match recipient(&holder, statement) {
                Ok(recipient) => judged.push((holder, Some(recipient))),
                Err(_) if is_named(&holder) || holder.revoked_at.is_some() => judged.push((holder, None)),
                Err(why) => unproven.push(format!("{} {why}", id_of(&holder))),
            }
        }
        if !unproven.is_empty() {
            return Err(fault::usage(
                &format!("the region does not stand behind the key of {}", few(&unproven)),
                "join such a node anew with a token of `rrctl node token create`, or leave it out with --exclude ID",
            ));
        }
        exclude(&judged, keys, wishes, is_named);
        let mut holders = Self { given: Vec::new(), left_out: Vec::new() };
        for (holder, recipient) in judged {
            let key = public_key(&holder);
            let why = match &recipient {
                _ if holder.revoked_at.is_some() => Some("revoked"),
                _ if is_named(&holder) => Some("named by --exclude"),
                Some(recipient) if keys.excludes(recipient) => {
                    Some("left out before, or joined with a token that is left out")
                }
                None => Some("its key is not proven"),
                Some(_) => None,
            };
            match (recipient, why) {
                (Some(recipient), None) => holders.given.push((holder, recipient)),
                (_, why) => holders.left_out.push((holder, key, why.unwrap_or_default())),
            }
        }
        Ok(holders)
    }

    /// Tells who gets the key and who does not.
    pub(super) fn show(&self) {
        for (holder, _) in &self.given {
            note(&format!("gets the key    {}", told(holder)));
        }
        for (holder, _, why) in &self.left_out {
            note(&format!("is left out     {}  {why}", told(holder)));
        }
    }

    /// How many get the key, and how many do not.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.given.len(), self.left_out.len())
    }

    /// The newest key, sealed to each that gets it.
    pub(super) fn grants(&self, keys: &RegionKeys) -> Vec<fleet::RegionKeyGrant> {
        self.given.iter().map(|(_, recipient)| keys.grant(recipient)).collect()
    }

    /// Public keys of those that do not.
    pub(super) fn left_out(&self) -> Vec<Vec<u8>> {
        self.left_out.iter().map(|(_, key, _)| key.clone()).collect()
    }
}

/// Whoever knows the text of a token can vouch for any key: with a node, its token is left out, and whoever joined with it.
fn exclude(
    judged: &[(mg::KeyHolder, Option<Recipient>)],
    keys: &mut RegionKeys,
    wishes: &Wishes<'_>,
    is_named: impl Fn(&mg::KeyHolder) -> bool,
) {
    let trusted: BTreeSet<&str> = wishes.trust_token.iter().map(String::as_str).collect();
    for (holder, recipient) in judged {
        if !(is_named(holder) || holder.revoked_at.is_some()) {
            continue;
        }
        let Some(recipient) = recipient else { continue };
        keys.exclude(recipient);
        let token = recipient.token_id();
        if !trusted.contains(token.to_string().as_str()) {
            keys.exclude_token(token);
        }
    }
}

fn recipient(holder: &mg::KeyHolder, statement: &RegionStatement) -> Result<Recipient, String> {
    let token = holder.token.clone().ok_or("joined with a token that is not known any more")?;
    let found = match &holder.proof {
        Some(proof) => Recipient::node(token, proof, statement),
        None => Recipient::token(token, statement),
    };
    found.map_err(|error| error.to_string())
}

fn public_key(holder: &mg::KeyHolder) -> Vec<u8> {
    let of_node = holder.proof.as_ref().map(|proof| proof.node_key.clone());
    of_node.or_else(|| holder.token.as_ref().map(|token| token.open_key.clone())).unwrap_or_default()
}

fn token_of(holder: &mg::KeyHolder) -> &str {
    holder.token.as_ref().map(|token| token.token.as_str()).unwrap_or_default()
}

fn id_of(holder: &mg::KeyHolder) -> String {
    if holder.node.is_empty() { token_of(holder).to_owned() } else { holder.node.clone() }
}

fn told(holder: &mg::KeyHolder) -> String {
    let key: String = public_key(holder).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    if holder.node.is_empty() {
        return format!(
            "{}  key {key}…  token, {} left",
            id_of(holder),
            print::count(holder.uses_left.into(), "use")
        );
    }
    format!("{}  key {key}…  node, seen {}", holder.node, time(holder.last_seen_at.as_ref()))
}
