//! Nodes that joined, and what they last reported. Entity alone: no queries here.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "node")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub region: String,
    pub token: String,
    pub build: String,
    pub node_key: Vec<u8>,
    pub joined_at: i64,
    pub last_seen_at: i64,
    pub certificate_not_after: i64,
    pub status: Vec<u8>,
    /// The replica that holds its stream; empty when none does.
    pub replica: String,
    /// Of its last Hello, in hex: new at each start of its process.
    pub boot_id: String,
    /// Must-understand features of its last Hello, with spaces between.
    pub features: String,
    /// Until when the replica's word on it holds.
    pub leased_until: i64,
    /// Where it connects from.
    pub address: String,
    /// An operator took it out of service.
    pub draining: bool,
    /// BLAKE3 of the certificate signing request that it joined with; none of a node that joined before this was kept.
    pub csr_hash: Option<Vec<u8>>,
    /// By which its token vouched for `node_key` and `csr_hash`; none likewise.
    pub vouch: Option<Vec<u8>>,
    /// Serial of the certificate that was issued to it last; none of a node that joined before serials were kept and has not
    /// renewed since.
    pub serial: Option<Vec<u8>>,
    /// Serial of the one before, which the node showed for it.
    pub serial_before: Option<Vec<u8>>,
    /// When the last one was issued, and to which address.
    pub issued_at: i64,
    pub issued_to: String,
    /// The serial that a copy of it showed last; none did.
    pub copy_serial: Option<Vec<u8>>,
    /// Where that came from, and when.
    pub copy_from: String,
    pub copy_at: i64,
    /// When it was revoked; none: it was not.
    pub revoked_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
