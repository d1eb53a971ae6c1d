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
use crate::store::record_store::each;
use crate::store::request::BEGUN;
use crate::store::{self, RecordStore, StoreError, request::RequestFilter, request_row, time_of};

/// The most that a tail shows of what came since it looked.
const SHOWN: u64 = 200;
/// How large these become together: whoever does not read them has them kept here.
const SHOWN_BYTES: usize = 256 * 1024;
/// How many callers a word may stand for, where records are not beside the words.
const CALLERS: u64 = 10_000;

/// How far a tail is, in each store of records: they number records by themselves.
pub(crate) type Newest = BTreeMap<String, i64>;

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
        let mut filter = RequestFilter {
            after: fields::time_row("after", request.after.as_ref())?,
            before: fields::time_row("before", request.before.as_ref())?,
            behind,
            ..self.request_filter(at, &request.proxy, &request.filter).await?
        };
        let stores = self.holding(&mut filter).await?;
        let mut rows = each(&stores, |store| store.list(filter.clone(), page.limit())).await?.concat();
        if stores.len() > 1 {
            // As each of them has it. What is cut off here comes first in the next page, for all go on behind one record.
            rows.sort_by(|a, b| (b.received_at, &b.id).cmp(&(a.received_at, &a.id)));
            rows.dedup_by(in_place);
            rows.truncate(usize::try_from(page.limit()).unwrap_or(usize::MAX));
        }
        Ok(page.cut_by_bytes(rows, shown_bytes, |row| vec![row.received_at.to_string(), row.id.clone()]))
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
            reference => Some(match self.show::<management::Proxy>(at, reference, 0).await {
                Ok(found) => found.row.id,
                // One that is gone is still in records, by its id.
                Err(ServiceError::NotFound { .. })
                    if store::request::was_served(&self.store, org, reference).await? =>
                {
                    reference.to_owned()
                }
                Err(error) => return Err(error),
            }),
        };
        let RecordFilter { statuses, codes, paths, rule, region, caller, node, labels } =
            record_filter::parse(text)?;
        let ids = async |noun: Noun, reference: Option<String>| -> Result<_, ServiceError> {
            let Some(reference) = reference else { return Ok(None) };
            // As above. Whose it was is not asked: records are of this organization.
            if reference.starts_with(noun.prefix()) {
                return Ok(Some(vec![reference]));
            }
            let within = if is_global(noun) { "" } else { org };
            let found = store::resource::find(&self.store, noun, within, &reference).await?;
            let id = found.map(|row| row.id).ok_or_else(|| {
                let word = if noun == Noun::Credential { "caller" } else { noun.text() };
                let text = format!(
                    "names {word} {reference:?}, which is not there: see its list, or name one that is gone by its id"
                );
                ServiceError::field("filter", text)
            })?;
            Ok(Some(vec![id]))
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

    /// The stores of records that a filter needs. A filter that goes to another database than the central one names callers by
    /// their ids alone: their words are not there.
    pub(super) async fn holding(&self, filter: &mut RequestFilter) -> Result<Vec<RecordStore>, ServiceError> {
        let stores = self.records.holding(filter.regions.as_deref()).await?;
        if stores.iter().all(RecordStore::is_central) {
            return Ok(stores);
        }
        for (field, value) in std::mem::take(&mut filter.labels) {
            let with = store::resource::credentials_with(&self.store, &field, &value, CALLERS + 1).await?;
            if with.len() as u64 > CALLERS {
                return Err(ServiceError::field(
                    "filter",
                    format!(
                        "holds {field} = {value}, which more than {CALLERS} callers have: ask for a region whose records are in the central database, or for one caller"
                    ),
                ));
            }
            filter.callers = Some(match filter.callers.take() {
                Some(callers) => callers.into_iter().filter(|id| with.contains(id)).collect(),
                None => with,
            });
        }
        Ok(stores)
    }

    /// The numbers of the newest records of all stores that answer, of whatever organization: also of those that the tail
    /// does not need yet, for a region may go there.
    pub(crate) async fn request_newest(&self) -> Result<Newest, ServiceError> {
        let mut newest = Newest::new();
        for store in self.records.answering() {
            // One that is needed is an error when it is looked for news in it.
            if let Ok(number) = store.newest().await {
                newest.insert(store.name().to_owned(), number);
            }
        }
        Ok(newest)
    }

    /// Those that came behind `cursor`, in their order, and how many before them are left out. Moves the cursor.
    pub(crate) async fn request_news(
        &self,
        at: &OrgCaller,
        mut filter: RequestFilter,
        cursor: &mut Newest,
    ) -> Result<(Vec<management::Request>, u64), ServiceError> {
        let stores = self.holding(&mut filter).await?;
        let numbers = each(&stores, |store| store.newest()).await?;
        let mut behind = cursor.clone();
        let mut read = Vec::new();
        for (store, newest) in stores.iter().zip(numbers) {
            // One that did not answer when the tail began is followed from now on.
            let after = *behind.entry(store.name().to_owned()).or_insert(newest);
            if newest != after {
                read.push((store, (after, newest)));
                behind.insert(store.name().to_owned(), newest);
            }
        }
        let (mut rows, mut all) = (Vec::new(), 0);
        for (store, between) in read {
            let found = store.arrived(filter.clone(), between, SHOWN).await;
            let (found, count) = found.map_err(|error| store.blamed(error))?;
            rows.extend(found);
            all += count;
        }
        if stores.len() > 1 {
            // Stable, so that those of one store stay as they came.
            rows.sort_by_key(|row| row.stored_at);
        }
        let mut bytes = 0;
        let fits = |row: &request_row::Model| {
            bytes += shown_bytes(row);
            bytes <= SHOWN_BYTES
        };
        let fitting = rows.iter().rev().map(fits).take_while(|fits| *fits).count().max(1);
        let shown = usize::try_from(SHOWN).unwrap_or(usize::MAX).min(fitting);
        rows.drain(..rows.len().saturating_sub(shown));
        let skipped = all - rows.len() as u64;
        let requests = self.requests_shown(at, rows).await?;
        *cursor = behind;
        Ok((requests, skipped))
    }

    /// By id.
    pub(crate) async fn request_show(
        &self,
        at: &OrgCaller,
        id: &str,
    ) -> Result<request_row::Model, ServiceError> {
        let mut begun = None;
        for store in self.records.answering() {
            let found = store.by_id(&at.org.id, id).await;
            match found.map_err(|error| store.blamed(error))? {
                Some(row) if row.count == BEGUN => begun = Some(row),
                Some(row) => return Ok(row),
                None => {}
            }
        }
        // It, or its end, may be where nobody answers.
        self.records.holding(None).await?;
        begun.ok_or_else(|| ServiceError::NotFound { noun: "request", name: id.to_owned() })
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

/// How large a record becomes, about: with the names of what it names.
fn shown_bytes(row: &request_row::Model) -> usize {
    row.record.len() + 512
}

/// Of a record that comes behind another whether it is of the same request, whose place the other takes: where a region went to
/// another store while a request was under way, its beginning is in one and its end in the other.
fn in_place(row: &mut request_row::Model, before: &mut request_row::Model) -> bool {
    let is_same = (row.received_at, &row.id) == (before.received_at, &before.id);
    if is_same && before.count == BEGUN {
        std::mem::swap(row, before);
    }
    is_same
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
