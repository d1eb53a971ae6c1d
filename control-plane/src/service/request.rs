//! Records of requests, to be read: with the names of what they name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pbjson_types::Timestamp;
use prost::Message as _;
use rr_contract::model::time;
use rr_contract::wire::fleet::Record;
use rr_contract::wire::management;

use super::directory::is_global;
use super::record_filter::{self, RecordFilter};
use super::{OrgCaller, Page, PageRequest, ServiceError, Services, fields};
use crate::noun::Noun;
use crate::store::{self, StoreError, request::RequestFilter, request_row, time_of};

/// The most that a tail shows of what came since it looked.
const SHOWN: u64 = 200;

impl Services {
    /// Newest first.
    pub(crate) async fn request_list(
        &self,
        at: &OrgCaller,
        request: &management::ListRequestsRequest,
    ) -> Result<Page<request_row::Model>, ServiceError> {
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let behind = match page.cursor::<2>()? {
            Some([at, id]) => {
                let at = at.parse().map_err(|_| {
                    ServiceError::field(
                        "page_token",
                        "is not valid: pass the `next_page_token` of the previous page",
                    )
                })?;
                Some((at, id.to_owned()))
            }
            None => None,
        };
        let filter = RequestFilter {
            after: fields::time_row("after", request.after.as_ref())?,
            before: fields::time_row("before", request.before.as_ref())?,
            behind,
            ..self.request_filter(at, &request.proxy, &request.filter).await?
        };
        let rows = store::request::list(&self.store, filter, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.received_at.to_string(), row.id.clone()]))
    }

    /// What a call asks for, with the ids of what it names.
    pub(crate) async fn request_filter(
        &self,
        at: &OrgCaller,
        proxy: &str,
        text: &str,
    ) -> Result<RequestFilter, ServiceError> {
        let org = at.org.id.as_str();
        let proxy = match proxy {
            "" => None,
            reference => Some(self.show::<management::Proxy>(at, reference, 0).await?.row.id),
        };
        let RecordFilter { statuses, codes, paths, rule, region, caller, node, labels } =
            record_filter::parse(text)?;
        let ids = async |noun: Noun, reference: Option<String>| -> Result<_, ServiceError> {
            let Some(reference) = reference else { return Ok(None) };
            // One that is gone is still in records, by its id.
            if reference.starts_with(noun.prefix()) {
                return Ok(Some(vec![reference]));
            }
            let within = if is_global(noun) { "" } else { org };
            let found = store::resource::find(&self.store, noun, within, &reference).await?;
            Ok(Some(found.into_iter().map(|row| row.id).collect()))
        };
        Ok(RequestFilter {
            org: org.to_owned(),
            proxy,
            callers: ids(Noun::Credential, caller).await?,
            rules: ids(Noun::Rule, rule).await?,
            regions: ids(Noun::Region, region).await?,
            labels,
            statuses,
            codes,
            paths,
            node,
            ..RequestFilter::default()
        })
    }

    /// The number of the newest record, of whatever organization.
    pub(crate) async fn request_newest(&self) -> Result<i64, ServiceError> {
        Ok(store::request::newest(&self.store).await?)
    }

    /// Those that came behind `cursor`, in their order, and how many before them are left out. Moves the cursor.
    pub(crate) async fn request_news(
        &self,
        at: &OrgCaller,
        filter: RequestFilter,
        cursor: &mut i64,
    ) -> Result<(Vec<management::Request>, u64), ServiceError> {
        let newest = self.request_newest().await?;
        if newest == *cursor {
            return Ok((Vec::new(), 0));
        }
        let (rows, all) = store::request::arrived(&self.store, filter, (*cursor, newest), SHOWN).await?;
        let skipped = all - rows.len() as u64;
        let requests = self.requests_shown(at, rows).await?;
        *cursor = newest;
        Ok((requests, skipped))
    }

    /// By id.
    pub(crate) async fn request_show(
        &self,
        at: &OrgCaller,
        id: &str,
    ) -> Result<request_row::Model, ServiceError> {
        store::request::by_id(&self.store, &at.org.id, id)
            .await?
            .ok_or_else(|| ServiceError::NotFound { noun: "request", name: id.to_owned() })
    }

    /// Records as readers get them. Names are looked up for all of them together, a statement for each noun. No token
    /// that is limited to some resources reads records, so every name may be told.
    pub(crate) async fn requests_shown(
        &self,
        at: &OrgCaller,
        rows: Vec<request_row::Model>,
    ) -> Result<Vec<management::Request>, ServiceError> {
        let mut wanted: BTreeMap<Noun, BTreeSet<String>> = BTreeMap::new();
        let mut read = Vec::with_capacity(rows.len());
        for row in rows {
            let record =
                Record::decode(row.record.as_slice()).map_err(|_| StoreError::Damaged("request record"))?;
            for (noun, id) in named(&record, &row.region) {
                wanted.entry(noun).or_default().insert(id.to_owned());
            }
            read.push((row, record));
        }
        let callers: BTreeSet<&str> =
            read.iter().map(|(_, record)| record.caller_credential.as_str()).collect();
        let mut labels: HashMap<String, management::Credential> = HashMap::new();
        let mut names: HashMap<String, String> = HashMap::new();
        for (noun, ids) in wanted {
            // Whatever else a node wrote there would be looked up as a name.
            let ids: Vec<String> = ids.into_iter().filter(|id| id.starts_with(noun.prefix())).collect();
            let within = if is_global(noun) { "" } else { &at.org.id };
            let rows = store::resource::find_all(&self.store, noun, within, &ids).await?;
            if noun == Noun::Credential {
                let callers = rows.iter().filter(|row| callers.contains(row.id.as_str())).cloned().collect();
                let found = store::resource::with_documents(&self.store, callers).await?;
                labels.extend(found.into_iter().map(|stored| (stored.row.id, stored.document)));
            }
            names.extend(rows.into_iter().map(|row| (row.id, row.name)));
        }
        let shown = |(row, record): (request_row::Model, Record)| management::Request {
            names: named(&record, &row.region)
                .filter_map(|(_, id)| Some((id.to_owned(), names.get(id)?.clone())))
                .collect(),
            caller_tags: labels.get(&record.caller_credential).map(|it| it.tags.clone()).unwrap_or_default(),
            caller_metadata: labels
                .get(&record.caller_credential)
                .map(|it| it.metadata.clone().into_iter().collect())
                .unwrap_or_default(),
            record: Some(record),
            node: row.node,
            region: row.region,
            stored_at: stored_at(row.stored_at),
        };
        Ok(read.into_iter().map(shown).collect())
    }
}

fn stored_at(row: i64) -> Option<Timestamp> {
    Some(time::timestamp(time_of(row)))
}

/// The ids that a record names, each with its noun.
fn named<'a>(record: &'a Record, region: &'a str) -> impl Iterator<Item = (Noun, &'a str)> {
    let single = [
        (Noun::Proxy, record.proxy.as_str()),
        (Noun::Credential, record.caller_credential.as_str()),
        (Noun::Target, record.target.as_str()),
        (Noun::Credential, record.upstream_credential.as_str()),
        (Noun::Region, region),
    ];
    let outcomes = record.rules.iter().chain(&record.observed).map(|it| (Noun::Rule, it.rule.as_str()));
    let matched = record.matched_rules.iter().map(|id| (Noun::Rule, id.as_str()));
    let meters = record.meters.iter().map(|it| (Noun::Meter, it.meter.as_str()));
    single.into_iter().chain(outcomes).chain(matched).chain(meters).filter(|(_, id)| !id.is_empty())
}
