//! What it costs to find out who calls.

use rr_contract::api_key::{KeyKind, make};
use rr_contract::runtime::Shutdown;
use rr_contract::runtime::observe::Observability;
use rr_contract::seam::Seams;

use super::*;
use crate::events::Events;
use crate::publish::Publisher;
use crate::store::{Author, StoreError, Written, token_row};
use crate::tests::stores::{on_both, put, write};

/// A token of a user who is a member of so many organizations.
async fn member_of(store: &store::Store, orgs: u8) -> KeyHash {
    let user = Noun::User.id([orgs; 16]);
    let name = format!("u{orgs}");
    let mut puts =
        vec![put("", &user, &name, User { id: user.clone(), name: name.clone(), ..User::default() }, None)];
    for n in 0..orgs {
        let id = Noun::Member.id([orgs.wrapping_mul(16).wrapping_add(n); 16]);
        let role = if n == 0 { Role::Owner } else { Role::Viewer };
        let member = Member { id: id.clone(), user: user.clone(), role: role.into(), ..Member::default() };
        let member = put(&Noun::Org.id([n; 16]), &id, &name, member, None);
        puts.push(store::Put { links: vec![(Part::User, Noun::User, user.clone())], ..member });
    }
    let id = Noun::Token.id([orgs; 16]);
    let token = Token { id: id.clone(), name: name.clone(), user: user.clone(), ..Token::default() };
    puts.push(put("", &id, &id, token, None));
    write(store, puts).await;
    let (_, hash) = make(KeyKind::Token, &[orgs; 32]);
    let row = token_row::Model {
        id,
        hash: hash.as_bytes().to_vec(),
        bootstrap: false,
        expires_at: None,
        created_at: store.now(),
        used_at: None,
        revoked_at: None,
    };
    let written: Result<Written<()>, StoreError> = store
        .write(Author::system("test"), move |txn| {
            Box::pin(async move {
                store::token::create(txn, row);
                Ok(())
            })
        })
        .await;
    written.expect("writes");
    hash
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_up_a_caller_costs_the_same_however_many_organizations_list_it() {
    on_both("principal", async |store, _clock| {
        let events = Events::new(&Observability::quiet("rr-control"));
        let services = Services {
            store: store.clone(),
            records: store::RecordStores::new(store.clone(), Default::default(), Vec::new()),
            seams: Seams::real(),
            authority: crate::authority::fixture(),
            publisher: Publisher::new(store.clone(), events, Seams::real().entropy),
            ceilings: Default::default(),
            tests: crate::service::TestBounds::default(),
            trials: crate::service::TrialBounds::default(),
            stop: Shutdown::new().stop(),
        };
        let mut costs = Vec::new();
        for orgs in [1, 7] {
            let hash = member_of(&store, orgs).await;
            let before = store.reads();
            let principal = services.principal(&hash).await.expect("reads").expect("is known");
            costs.push(store.reads() - before);
            let mut found = principal.orgs.clone();
            found.sort();
            let mut wanted: Vec<_> = (0..orgs)
                .map(|n| (Noun::Org.id([n; 16]), if n == 0 { Role::Owner } else { Role::Viewer }))
                .collect();
            wanted.sort();
            assert_eq!(found, wanted);
        }
        assert_eq!(costs[0], costs[1], "statements for one and for seven");
    })
    .await;
}
