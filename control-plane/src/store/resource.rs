//! Resources as they are now: by name or id, in lists, with their documents, and by who names them.

use std::collections::HashMap;

use prost::Message as _;
use rr_contract::wire::management::Document;
use sea_orm::sea_query::{Expr, ExprTrait as _, SelectStatement};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait as _, EntityTrait as _, FromQueryResult, Order, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Statement,
};

use super::StoreError;
use super::entity::resource::{Column, Entity, Model};
use super::entity::{blob, label, link};
use super::row::{Reader, is_text};
use crate::document::{Part, Resource};
use crate::noun::Noun;

/// How many values one statement is given: below what it may bind.
pub(super) const BIND: usize = 1000;

/// A resource: its row, and its document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored<R> {
    pub(crate) row: Model,
    /// As history has it.
    pub(crate) document: R,
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sort {
    #[default]
    Name,
    CreatedAt,
    UpdatedAt,
}

/// One condition of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    Name(Compare, String),
    /// The name begins with this.
    NamePrefix(String),
    /// The name does not.
    NotNamePrefix(&'static str),
    Owner(Compare, String),
    /// The label begins with this.
    OwnerPrefix(String),
    CreatedAt(Compare, i64),
    UpdatedAt(Compare, i64),
    /// It names one of these resources, by id.
    Uses(Vec<String>),
    /// A credential that has this word: the field, and the value.
    Label(String, String),
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Compare {
    /// As a statement has it.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// The arguments of a list call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pub(crate) org: String,
    pub(crate) terms: Vec<Term>,
    pub(crate) sort: Sort,
    pub(crate) descending: bool,
    /// The sort key and id that the page before ended with.
    pub(crate) behind: Option<(String, String)>,
    /// Only these ids.
    pub(crate) among: Option<Vec<String>>,
    pub(crate) limit: u64,
}

impl Model {
    /// The value behind which a list with this order is continued.
    pub(crate) fn sort_key(&self, sort: Sort) -> String {
        match sort {
            Sort::Name => self.name.clone(),
            Sort::CreatedAt => self.created_at.to_string(),
            Sort::UpdatedAt => self.updated_at.to_string(),
        }
    }
}

/// A resource, by name or id.
pub(crate) async fn find(
    db: &impl Reader,
    noun: Noun,
    org: &str,
    reference: &str,
) -> Result<Option<Model>, StoreError> {
    if !is_text(reference) {
        return Ok(None);
    }
    let column = if reference.starts_with(noun.prefix()) { Column::Id } else { Column::Name };
    Entity::find()
        .filter(Column::Kind.eq(noun.row()))
        .filter(Column::Org.eq(org))
        .filter(column.eq(reference))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read resource"))
}

/// A resource, by id, of whatever organization.
pub(crate) async fn by_id(db: &impl Reader, noun: Noun, id: &str) -> Result<Option<Model>, StoreError> {
    if !is_text(id) {
        return Ok(None);
    }
    Entity::find_by_id((noun.row(), id.to_owned()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read resource"))
}

/// A resource with its document, by name or id.
pub(crate) async fn read<R: Resource>(
    db: &impl Reader,
    org: &str,
    reference: &str,
) -> Result<Option<Stored<R>>, StoreError> {
    match find(db, R::NOUN, org, reference).await? {
        Some(row) => Ok(Some(with_document(db, row).await?)),
        None => Ok(None),
    }
}

/// The document of a row.
pub(crate) async fn with_document<R: Resource>(
    db: &impl Reader,
    row: Model,
) -> Result<Stored<R>, StoreError> {
    let found = with_documents(db, vec![row]).await?;
    found.into_iter().next().ok_or(StoreError::Damaged("blob"))
}

/// The documents of rows, in their order.
pub(crate) async fn with_documents<R: Resource>(
    db: &impl Reader,
    rows: Vec<Model>,
) -> Result<Vec<Stored<R>>, StoreError> {
    let blobs = blobs(db, rows.iter().map(|row| row.doc.clone()).collect()).await?;
    rows.into_iter()
        .map(|row| {
            let document = blobs
                .get(&row.doc)
                .and_then(|bytes| Document::decode(bytes.as_slice()).ok())
                .and_then(R::unwrap)
                .ok_or(StoreError::Damaged("blob"))?;
            Ok(Stored { row, document })
        })
        .collect()
}

/// The bytes that are stored under each hash.
pub(crate) async fn blobs(
    db: &impl Reader,
    mut hashes: Vec<Vec<u8>>,
) -> Result<HashMap<Vec<u8>, Vec<u8>>, StoreError> {
    hashes.sort_unstable();
    hashes.dedup();
    let mut found = HashMap::with_capacity(hashes.len());
    for hashes in hashes.chunks(BIND) {
        let rows = blob::Entity::find()
            .filter(blob::Column::Hash.is_in(hashes.to_vec()))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read documents"))?;
        found.extend(rows.into_iter().map(|row| (row.hash, row.payload)));
    }
    Ok(found)
}

/// The resources of a noun with these names or ids, in one organization.
pub(crate) async fn find_all(
    db: &impl Reader,
    noun: Noun,
    org: &str,
    references: &[String],
) -> Result<Vec<Model>, StoreError> {
    let mut found = Vec::new();
    for references in references.chunks(BIND) {
        let (ids, names): (Vec<&String>, Vec<&String>) = references
            .iter()
            .filter(|reference| is_text(reference))
            .partition(|reference| reference.starts_with(noun.prefix()));
        let rows = Entity::find()
            .filter(Column::Kind.eq(noun.row()))
            .filter(Column::Org.eq(org))
            .filter(Condition::any().add(Column::Id.is_in(ids)).add(Column::Name.is_in(names)))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read resources"))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The resources of a noun with these ids, in whatever organization.
pub(crate) async fn by_ids(db: &impl Reader, noun: Noun, ids: &[String]) -> Result<Vec<Model>, StoreError> {
    let mut found = Vec::new();
    for ids in ids.chunks(BIND) {
        let ids: Vec<&String> = ids.iter().filter(|id| is_text(id)).collect();
        let rows = Entity::find()
            .filter(Column::Kind.eq(noun.row()))
            .filter(Column::Id.is_in(ids))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read resources"))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The labels that begin with a text, each with its organization.
pub(crate) async fn owners(db: &impl Reader, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
    Entity::find()
        .select_only()
        .columns([Column::Org, Column::Owner])
        .filter(Column::Owner.starts_with(prefix))
        .distinct()
        .order_by_asc(Column::Org)
        .order_by_asc(Column::Owner)
        .into_tuple()
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read labels"))
}

/// Everything of one noun in an organization, in the order of ids.
pub(crate) async fn all(db: &impl Reader, noun: Noun, org: &str) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(Column::Kind.eq(noun.row()))
        .filter(Column::Org.eq(org))
        .order_by_asc(Column::Id)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read resources"))
}

/// A page of a list.
pub(crate) async fn list(db: &impl Reader, noun: Noun, query: Query) -> Result<Vec<Model>, StoreError> {
    let mut select =
        Entity::find().filter(Column::Kind.eq(noun.row())).filter(Column::Org.eq(query.org.as_str()));
    for term in &query.terms {
        select = select.filter(condition(noun, term));
    }
    if let Some(among) = query.among {
        select = select.filter(Column::Id.is_in(among));
    }
    let column = match query.sort {
        Sort::Name => Column::Name,
        Sort::CreatedAt => Column::CreatedAt,
        Sort::UpdatedAt => Column::UpdatedAt,
    };
    if let Some((key, id)) = query.behind {
        let (beyond, equal) = match query.sort {
            Sort::Name if query.descending => (column.lt(key.as_str()), column.eq(key.as_str())),
            Sort::Name => (column.gt(key.as_str()), column.eq(key.as_str())),
            Sort::CreatedAt | Sort::UpdatedAt => {
                let at: i64 = key.parse().map_err(|_| StoreError::Damaged("page token"))?;
                (if query.descending { column.lt(at) } else { column.gt(at) }, column.eq(at))
            }
        };
        let further = if query.descending { Column::Id.lt(id) } else { Column::Id.gt(id) };
        select = select.filter(Condition::any().add(beyond).add(Condition::all().add(equal).add(further)));
    }
    let order = if query.descending { Order::Desc } else { Order::Asc };
    select
        .order_by(column, order.clone())
        .order_by(Column::Id, order)
        .limit(query.limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list resources"))
}

impl Compare {
    pub(super) fn condition<V: Into<sea_orm::Value>>(self, column: impl ColumnTrait, value: V) -> Condition {
        Condition::all().add(self.compared(Expr::col(column.as_column_ref()), value))
    }

    /// The same of any expression.
    pub(super) fn compared<V: Into<sea_orm::Value>>(self, left: Expr, value: V) -> Expr {
        let value = Expr::val(value);
        match self {
            Self::Equal => left.eq(value),
            Self::NotEqual => left.ne(value),
            Self::Less => left.lt(value),
            Self::LessOrEqual => left.lte(value),
            Self::Greater => left.gt(value),
            Self::GreaterOrEqual => left.gte(value),
        }
    }
}

fn condition(noun: Noun, term: &Term) -> Condition {
    match term {
        Term::Name(how, value) => how.condition(Column::Name, value.as_str()),
        // Names hold no character that a pattern would read as its own.
        Term::NamePrefix(prefix) => Condition::all().add(Column::Name.starts_with(prefix.as_str())),
        Term::NotNamePrefix(prefix) => Condition::all().add(Column::Name.starts_with(*prefix).not()),
        Term::Owner(how, value) => how.condition(Column::Owner, value.as_str()),
        Term::OwnerPrefix(prefix) => Condition::all().add(Column::Owner.starts_with(prefix.as_str())),
        Term::CreatedAt(how, at) => how.condition(Column::CreatedAt, *at),
        Term::UpdatedAt(how, at) => how.condition(Column::UpdatedAt, *at),
        Term::Uses(ids) => {
            let users = link::Entity::find()
                .select_only()
                .column(link::Column::Id)
                .filter(link::Column::ToId.is_in(ids.iter().map(String::as_str)))
                .filter(link::Column::Kind.eq(noun.row()));
            Condition::all().add(Column::Id.in_subquery(sea_orm::QueryTrait::into_query(users)))
        }
        Term::Label(field, value) => Condition::all().add(Column::Id.in_subquery(labelled(field, value))),
    }
}

/// The ids of the credentials that have a word.
pub(super) fn labelled(field: &str, value: &str) -> SelectStatement {
    let found = label::Entity::find()
        .select_only()
        .column(label::Column::Credential)
        .filter(label::Column::Field.eq(field))
        .filter(label::Column::Value.eq(value));
    sea_orm::QueryTrait::into_query(found)
}

/// The same, read: so many at the most.
pub(crate) async fn credentials_with(
    db: &impl Reader,
    field: &str,
    value: &str,
    most: u64,
) -> Result<Vec<String>, StoreError> {
    label::Entity::find()
        .select_only()
        .column(label::Column::Credential)
        .filter(label::Column::Field.eq(field))
        .filter(label::Column::Value.eq(value))
        .limit(most)
        .into_tuple()
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read words of credentials"))
}

#[derive(FromQueryResult)]
struct User {
    org: String,
    payload: Vec<u8>,
}

const USERS: &str = r#"SELECT "r"."org" AS "org", "b"."payload" AS "payload" FROM "link" "l" JOIN "resource" "r" ON "r"."kind" = "l"."kind" AND "r"."id" = "l"."id" JOIN "blob" "b" ON "b"."hash" = "r"."doc" WHERE "l"."to_kind" = $1 AND "l"."to_id" = $2 AND "l"."part" = $3 AND "l"."kind" = $4 ORDER BY "r"."id""#;

/// The resources of one noun that refer to a resource as one part, of all organizations, with their documents: one
/// statement however many there are.
pub(crate) async fn users_as<R: Resource>(
    db: &impl Reader,
    part: Part,
    noun: Noun,
    id: &str,
) -> Result<Vec<(String, R)>, StoreError> {
    let values = [noun.row().into(), id.into(), part.row().into(), R::NOUN.row().into()];
    let statement = Statement::from_sql_and_values(db.conn().get_database_backend(), USERS, values);
    let rows = User::find_by_statement(statement)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("find users"))?;
    rows.into_iter()
        .map(|row| {
            let document = Document::decode(row.payload.as_slice()).ok().and_then(R::unwrap);
            Ok((row.org, document.ok_or(StoreError::Damaged("blob"))?))
        })
        .collect()
}

/// All references to a resource: as which part, and by what.
pub(crate) async fn users(
    db: &impl Reader,
    noun: Noun,
    id: &str,
) -> Result<Vec<(Part, Noun, String)>, StoreError> {
    let rows = link::Entity::find()
        .filter(link::Column::ToKind.eq(noun.row()))
        .filter(link::Column::ToId.eq(id))
        .order_by_asc(link::Column::Kind)
        .order_by_asc(link::Column::Id)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("find users"))?;
    rows.into_iter()
        .map(|row| {
            let (Some(part), Some(noun)) = (Part::of_row(row.part), Noun::of_row(row.kind)) else {
                return Err(StoreError::Damaged("link"));
            };
            Ok((part, noun, row.id))
        })
        .collect()
}
