//! The calls of six services as one set, over any of their resources.

use rr_contract::wire::FieldMask;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::filter_service_client::FilterServiceClient;
use rr_contract::wire::management::meter_service_client::MeterServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::rule_service_client::RuleServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::{self as wire, Document, document};
use tonic::Status;
use tonic::transport::Channel;

use super::super::world::by;
use crate::document::Resource as _;
use crate::noun::Noun;

/// Somebody who calls, in one organization.
pub(in crate::tests) struct Calls {
    pub(in crate::tests) channel: Channel,
    pub(in crate::tests) token: String,
    pub(in crate::tests) org: String,
}

/// What a list call is asked for.
#[derive(Debug, Clone, Default)]
pub(in crate::tests) struct Ask {
    pub(in crate::tests) page_size: i32,
    pub(in crate::tests) page_token: String,
    pub(in crate::tests) filter: String,
    pub(in crate::tests) order_by: String,
}

macro_rules! calls {
    ($(
        $noun:ident $field:ident $plural:ident in $client:ident,
        $create:ident $create_request:ident,
        $get:ident $get_request:ident,
        $list:ident $list_request:ident,
        $update:ident $update_request:ident,
        $delete:ident $delete_request:ident $($cascade:ident)?;
    )*) => {
        impl Calls {
            pub(in crate::tests) async fn create(&self, document: Document) -> Result<(Document, u64), Status> {
                match document.resource {
                    $(Some(document::Resource::$noun(given)) => {
                        let request = wire::$create_request { org: self.org.clone(), $field: Some(given), ..Default::default() };
                        let mut client = $client::new(self.channel.clone());
                        let answer = client.$create(by(&self.token, request)).await?.into_inner();
                        Ok((answer.$field.expect("is there").wrap(), answer.revision))
                    })*
                    other => panic!("no call for {other:?}"),
                }
            }

            pub(in crate::tests) async fn get(
                &self,
                noun: Noun,
                reference: &str,
                revision: u64,
            ) -> Result<Document, Status> {
                match noun {
                    $(Noun::$noun => {
                        let (org, $field) = (self.org.clone(), reference.to_owned());
                        let request = wire::$get_request { org, $field, revision };
                        let mut client = $client::new(self.channel.clone());
                        let answer = client.$get(by(&self.token, request)).await?.into_inner();
                        Ok(answer.$field.expect("is there").wrap())
                    })*
                    other => panic!("no call for {other:?}"),
                }
            }

            pub(in crate::tests) async fn list(&self, noun: Noun, ask: Ask) -> Result<(Vec<Document>, String), Status> {
                let Ask { page_size, page_token, filter, order_by } = ask;
                let org = self.org.clone();
                match noun {
                    $(Noun::$noun => {
                        let request = wire::$list_request { org, page_size, page_token, filter, order_by };
                        let mut client = $client::new(self.channel.clone());
                        let answer = client.$list(by(&self.token, request)).await?.into_inner();
                        let items = answer.$plural.into_iter().map(|item| item.wrap()).collect();
                        Ok((items, answer.next_page_token))
                    })*
                    other => panic!("no call for {other:?}"),
                }
            }

            pub(in crate::tests) async fn update(
                &self,
                name: &str,
                document: Document,
                update_mask: Option<FieldMask>,
            ) -> Result<(Document, u64), Status> {
                let (org, name) = (self.org.clone(), name.to_owned());
                match document.resource {
                    $(Some(document::Resource::$noun(given)) => {
                        let request = wire::$update_request { org, name, $field: Some(given), update_mask, ..Default::default() };
                        let mut client = $client::new(self.channel.clone());
                        let answer = client.$update(by(&self.token, request)).await?.into_inner();
                        Ok((answer.$field.expect("is there").wrap(), answer.revision))
                    })*
                    other => panic!("no call for {other:?}"),
                }
            }

            /// `along` is not looked at where nothing can go along.
            pub(in crate::tests) async fn delete(
                &self,
                noun: Noun,
                reference: &str,
                etag: String,
                along: &[String],
            ) -> Result<u64, Status> {
                match noun {
                    $(Noun::$noun => {
                        let (org, $field) = (self.org.clone(), reference.to_owned());
                        let request = wire::$delete_request {
                            org, $field, etag, $($cascade: along.to_vec(),)? ..Default::default()
                        };
                        let mut client = $client::new(self.channel.clone());
                        Ok(client.$delete(by(&self.token, request)).await?.into_inner().revision)
                    })*
                    other => panic!("no call for {other:?}"),
                }
            }
        }
    };
}

calls! {
    Target target targets in TargetServiceClient,
    create_target CreateTargetRequest, get_target GetTargetRequest, list_targets ListTargetsRequest,
    update_target UpdateTargetRequest, delete_target DeleteTargetRequest cascade;

    Credential credential credentials in CredentialServiceClient,
    create_credential CreateCredentialRequest, get_credential GetCredentialRequest,
    list_credentials ListCredentialsRequest, update_credential UpdateCredentialRequest,
    delete_credential DeleteCredentialRequest cascade;

    Proxy proxy proxies in ProxyServiceClient,
    create_proxy CreateProxyRequest, get_proxy GetProxyRequest, list_proxies ListProxiesRequest,
    update_proxy UpdateProxyRequest, delete_proxy DeleteProxyRequest;

    Rule rule rules in RuleServiceClient,
    create_rule CreateRuleRequest, get_rule GetRuleRequest, list_rules ListRulesRequest,
    update_rule UpdateRuleRequest, delete_rule DeleteRuleRequest;

    Filter filter filters in FilterServiceClient,
    create_filter CreateFilterRequest, get_filter GetFilterRequest, list_filters ListFiltersRequest,
    update_filter UpdateFilterRequest, delete_filter DeleteFilterRequest;

    Meter meter meters in MeterServiceClient,
    create_meter CreateMeterRequest, get_meter GetMeterRequest, list_meters ListMetersRequest,
    update_meter UpdateMeterRequest, delete_meter DeleteMeterRequest;
}
