//! Calls of InstallationService.

use rr_contract::wire::fleet::Kind;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::installation_service_server::InstallationService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz;
use crate::service::PageRequest;
use crate::store::change::RevisionEntry;

#[tonic::async_trait]
impl InstallationService for Api {
    async fn get_installation(
        &self,
        request: Request<wire::GetInstallationRequest>,
    ) -> Result<Response<wire::GetInstallationResponse>, Status> {
        let result = async {
            self.enter(&request, authz::GET_INSTALLATION).await?;
            let head = self.services.installation_show().await?;
            Ok(wire::GetInstallationResponse {
                id: head.installation.to_string(),
                lineage: head.lineage.to_vec(),
                revision: head.revision,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            })
        };
        self.answer(authz::GET_INSTALLATION, result.await)
    }

    async fn list_revisions(
        &self,
        request: Request<wire::ListRevisionsRequest>,
    ) -> Result<Response<wire::ListRevisionsResponse>, Status> {
        let result = async {
            self.enter(&request, authz::LIST_REVISIONS).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.revision_list(&page).await?;
            Ok(wire::ListRevisionsResponse {
                revisions: page.items.into_iter().map(encode).collect(),
                next_page_token: page.next,
            })
        };
        self.answer(authz::LIST_REVISIONS, result.await)
    }
}

fn encode(entry: RevisionEntry) -> wire::Revision {
    let changes = entry.changes.into_iter().map(|change| wire::Change {
        kind: noun(change.kind).to_owned(),
        org: change.org,
        id: change.id,
        removed: change.hash.is_none(),
    });
    wire::Revision {
        revision: encode::number(entry.revision.rev),
        at: encode::at(entry.revision.at),
        author: entry.revision.author,
        call: entry.revision.call,
        changes: changes.collect(),
    }
}

fn noun(kind: i32) -> &'static str {
    match Kind::try_from(kind) {
        Ok(Kind::Org) => "org",
        Ok(Kind::Target) => "target",
        Ok(Kind::Credential) => "credential",
        Ok(Kind::Proxy) => "proxy",
        Ok(Kind::Rule) => "rule",
        Ok(Kind::Filter) => "filter",
        Ok(Kind::Meter) => "meter",
        Ok(Kind::Unspecified) | Err(_) => "unknown",
    }
}
