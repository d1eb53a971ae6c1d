//! Node tokens: statements that a region signed. The secret never comes here.

use rr_contract::seal::node_token::NodeTokenStatement;
use rr_contract::wire::fleet;

use super::{Caller, ServiceError, Services, fields};
use crate::compile::under;
use crate::store::{self, micros, node::NodeTokenEntry};

impl Services {
    /// Registers a token; answers the pin of the authority that its nodes are to trust.
    pub(crate) async fn node_token_create(
        &self,
        caller: &Caller,
        region: &str,
        statement: Option<fleet::NodeTokenStatement>,
    ) -> Result<[u8; 32], ServiceError> {
        let statement = fields::required("statement", statement)?;
        let region = self.region_show(region).await?;
        let statement = NodeTokenStatement::parse(statement, &region.statement()?)
            .map_err(|invalid| under("statement", &invalid))?;
        if statement.expires_at() <= self.seams.clock.now() {
            return Err(ServiceError::field("statement.expires_at", "is past"));
        }
        let expires_at = micros(statement.expires_at());
        let entry = NodeTokenEntry {
            id: statement.id().to_string(),
            region: region.id,
            statement: statement.to_wire(),
        };
        let author = caller.author();
        self.store
            .write(author.clone(), move |txn| {
                Box::pin(async move {
                    store::node::token_create(txn, &entry, expires_at, &author.token)
                        .await
                        .map_err(ServiceError::taken("node token", &entry.id))
                })
            })
            .await?;
        Ok(self.authority_pin)
    }
}
