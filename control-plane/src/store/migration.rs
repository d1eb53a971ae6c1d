//! The schema's history, in order. One source for both engines.
//!
//! A migration that was released is never edited.

use sea_orm_migration::{MigrationTrait, MigratorTrait};

mod m20261121_first;
mod m20261121_second_fleet;
mod m20261126_fifth_record_count;
mod m20261126_fourth_clock;
mod m20261126_sixth_callers;
mod m20261126_third_node_clash;
mod m20261127_eighth_caller_use;
mod m20261127_eleventh_sums;
mod m20261127_fourteenth_cursor_place;
mod m20261127_ninth_target_test;
mod m20261127_records;
mod m20261127_seventh_shared_secrets;
mod m20261127_tenth_record_search;
mod m20261127_thirteenth_notification_seen;
mod m20261127_twelfth_record_days;
mod m20261128_authority_root;
mod m20261128_fifteenth_outside_cursor;
mod m20261128_node_certificates;
mod m20261128_node_vouch;
mod m20261128_region_attestation;
mod m20261128_region_grant;

pub(super) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_first::Migration),
            Box::new(m20261121_second_fleet::Migration),
            Box::new(m20261126_third_node_clash::Migration),
            Box::new(m20261126_fourth_clock::Migration),
            Box::new(m20261126_fifth_record_count::Migration),
            Box::new(m20261126_sixth_callers::Migration),
            Box::new(m20261127_seventh_shared_secrets::Migration),
            Box::new(m20261127_eighth_caller_use::Migration),
            Box::new(m20261127_ninth_target_test::Migration),
            Box::new(m20261127_tenth_record_search::Migration),
            Box::new(m20261127_eleventh_sums::Migration),
            Box::new(m20261127_twelfth_record_days::Migration),
            Box::new(m20261127_thirteenth_notification_seen::Migration),
            Box::new(m20261127_fourteenth_cursor_place::Migration),
            Box::new(m20261128_fifteenth_outside_cursor::Migration),
            Box::new(m20261128_node_vouch::Migration),
            Box::new(m20261128_region_grant::Migration),
            Box::new(m20261128_node_certificates::Migration),
            Box::new(m20261128_region_attestation::Migration),
            Box::new(m20261128_authority_root::Migration),
        ]
    }
}

/// The same of a database that holds records alone. A migration above that is about tables of such a one has its like here.
pub(super) struct RecordMigrator;

impl MigratorTrait for RecordMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20261127_records::Migration)]
    }
}
