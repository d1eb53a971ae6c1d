//! The installation's one row: its id, its lineage, its newest revision and the authority that nodes trust.

use rr_contract::model::id::InstallationId;
use rr_contract::seam::{Entropy, draw};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};

use super::entity::head;
use super::row::{Reader, row_of};
use super::{Store, StoreError};

/// The installation, and where its history stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Part of the context of every sealed secret.
    pub(crate) installation: InstallationId,
    /// The history that revisions count in.
    pub(crate) lineage: [u8; 16],
    /// The newest revision.
    pub(crate) revision: u64,
    /// Head of the audit chain at that revision.
    pub(crate) audit: [u8; 32],
    /// The oldest revision whose resources are kept as they were.
    pub(crate) floor: u64,
    /// The pin of the authority that nodes trust; none before the first start got so far.
    pub(crate) authority: Option<[u8; 32]>,
}

/// The head as it is now; none in an empty database.
pub(crate) async fn head(db: &impl Reader) -> Result<Option<Head>, StoreError> {
    let row = head::Entity::find_by_id(1_i32)
        .limit(1)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read head"))?;
    row.map(Head::try_from).transpose()
}

impl Store {
    /// The head, read on a connection that does not write: an error where it is behind what was acknowledged.
    pub(crate) async fn newest(&self) -> Result<Head, StoreError> {
        let acknowledged = self.fence().acknowledged();
        let head = head(self).await?.ok_or(StoreError::Damaged("head"))?;
        self.fence().compare(acknowledged, row_of(head.revision)?, &head.audit)?;
        Ok(head)
    }

    /// The head; made where there is none, by whichever replica comes first.
    pub(crate) async fn installation(&self, entropy: &dyn Entropy) -> Result<Head, StoreError> {
        if let Some(head) = head(self).await? {
            return Ok(head);
        }
        let row = head::ActiveModel {
            id: Set(1),
            installation: Set(InstallationId::from_random(draw(entropy)).to_string()),
            lineage: Set(draw::<16>(entropy).to_vec()),
            head: Set(0),
            audit: Set(vec![0; 32]),
            floor: Set(0),
            authority: Set(None),
            seen_at: Set(None),
        };
        self.note(move |txn| {
            Box::pin(async move {
                head::Entity::insert(row)
                    .on_conflict(OnConflict::column(head::Column::Id).do_nothing().to_owned())
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("write head"))
            })
        })
        .await
        .map_err(|error: StoreError| error)?;
        head(self).await?.ok_or(StoreError::Damaged("head"))
    }

    /// Keeps the pin of the first authority for good, and returns the one that is kept.
    pub(crate) async fn trust(&self, pin: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.note(move |txn| {
            Box::pin(async move {
                head::Entity::update_many()
                    .col_expr(head::Column::Authority, Expr::value(pin.to_vec()))
                    .filter(head::Column::Id.eq(1_i32))
                    .filter(head::Column::Authority.is_null())
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("write authority"))
            })
        })
        .await
        .map_err(|error: StoreError| error)?;
        head(self).await?.and_then(|head| head.authority).ok_or(StoreError::Damaged("head"))
    }
}

impl TryFrom<head::Model> for Head {
    type Error = StoreError;

    fn try_from(row: head::Model) -> Result<Self, StoreError> {
        let damaged = StoreError::Damaged("head");
        let authority = row.authority.map(<[u8; 32]>::try_from).transpose();
        let (Ok(installation), Ok(lineage), Ok(revision), Ok(audit), Ok(floor), Ok(authority)) = (
            row.installation.parse(),
            row.lineage.try_into(),
            u64::try_from(row.head),
            row.audit.try_into(),
            u64::try_from(row.floor),
            authority,
        ) else {
            return Err(damaged);
        };
        Ok(Self { installation, lineage, revision, audit, floor, authority })
    }
}
