//! Proxies.

use rr_contract::wire::fleet::{EchoGuard, Effect, Limits, Recording};
use rr_contract::wire::management::Proxy;

use super::mask::{MaskPath, field_path};
use super::{Link, Part, Resource, owned_fields, wrapped};
use crate::noun::Noun;

impl Resource for Proxy {
    wrapped!(Proxy);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Proxy, active).needing_value(),
        field_path!(Proxy, caller_credentials),
        field_path!(Proxy, target),
        field_path!(Proxy, upstream_credential),
        field_path!(Proxy, regions),
        field_path!(Proxy, default_effect),
        field_path!(Proxy, deny_status),
        field_path!(Proxy, opaque_paths),
        field_path!(Proxy, limits),
        field_path!(Proxy, observe),
        field_path!(Proxy, max_request_bytes),
        field_path!(Proxy, max_response_bytes),
        field_path!(Proxy, limits_per_caller),
        field_path!(Proxy, limits_per_address),
        field_path!(Proxy, retry),
        field_path!(Proxy, max_concurrent_requests_per_node),
        field_path!(Proxy, websocket),
        field_path!(Proxy, tunnels_unread),
        field_path!(Proxy, client_certificates),
        field_path!(Proxy, rewrite),
        field_path!(Proxy, cors),
        field_path!(Proxy, forwarded),
        field_path!(Proxy, test_after_change),
        field_path!(Proxy, echo_guard),
        field_path!(Proxy, recording),
        field_path!(Proxy, validation),
        field_path!(Proxy, owner),
    ];

    owned_fields!();

    fn links(&mut self) -> Vec<Link<'_>> {
        let callers = self.caller_credentials.iter_mut().enumerate().map(|(i, to)| Link {
            field: format!("caller_credentials[{i}]"),
            noun: Noun::Credential,
            part: Part::Caller,
            to,
        });
        let regions = self.regions.iter_mut().enumerate().map(|(i, to)| Link {
            field: format!("regions[{i}]"),
            noun: Noun::Region,
            part: Part::Region,
            to,
        });
        let single = [
            Link { field: "target".into(), noun: Noun::Target, part: Part::Target, to: &mut self.target },
            Link {
                field: "upstream_credential".into(),
                noun: Noun::Credential,
                part: Part::Upstream,
                to: &mut self.upstream_credential,
            },
        ];
        callers.chain(single).chain(regions).collect()
    }

    fn inherit(&mut self, limits: Option<Limits>) {
        if self.limits.is_none() {
            self.limits = limits;
        }
    }

    fn settle(&mut self) {
        if self.default_effect == 0 {
            self.default_effect = Effect::Allow.into();
        }
        self.urls.clear();
        self.nodes = 0;
        self.over_ceiling = false;
        self.active.get_or_insert(true);
        if self.deny_status == 0 {
            self.deny_status = 400;
        }
        if self.echo_guard == 0 {
            self.echo_guard = EchoGuard::Mask.into();
        }
        if self.recording == Some(Recording::default()) {
            self.recording = None;
        }
    }
}
