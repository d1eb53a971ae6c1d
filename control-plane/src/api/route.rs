//! The call that a request is for, over either protocol, and the properties that the port needs before it runs.
//!
//! The transcoder matches routes too, but says neither which one it took nor which methods a path knows.
//! Made of the schemas: a new call needs no edit here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use http::Method;

use super::schema::{Binding, Body, Call, Field, Kind, Message, SCHEMA, Schema, Service};
use crate::authz::{self, Least, Level, Permission, TABLE};
use crate::throttle::Class;

/// Calls that take a whole configuration at once.
const LARGE: [Permission; 2] = [authz::APPLY, authz::APPLY_ONCE];
/// Calls that may bring a secret in the clear.
const SECRETS: [Permission; 3] = [authz::CREATE_CREDENTIAL, authz::REPLACE_SECRET, authz::ROLL_CREDENTIAL];
/// Calls that answer when something has happened, and hold a place for as long.
const WAITING: [Permission; 2] = [authz::WAIT_FOR_REVISION, authz::TEST_TARGET];

/// Of a call that is not in the table, as only a test makes one up: its handler would name no permission.
const UNWRITTEN: Permission =
    Permission { call: "unknown", level: Level::Installation, least: Least::Operator };

/// The routes of the management port.
pub(super) static ROUTES: LazyLock<Routes> = LazyLock::new(|| Routes::of(&SCHEMA));

#[derive(Debug)]
pub(super) struct Routes {
    rest: Vec<Route>,
    grpc: BTreeMap<String, Operation>,
}

/// A call of ours that a request is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) permission: Permission,
    pub(super) class: Class,
    /// The request message.
    pub(super) input: &'static Message,
}

impl Operation {
    /// Whether its request has a place for a secret in the clear, so that its bytes are not left in memory.
    pub(super) fn may_hold_secret(self) -> bool {
        SECRETS.contains(&self.permission)
    }
}

/// One REST route of one call.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) service: &'static Service,
    pub(super) call: &'static Call,
    pub(super) binding: &'static Binding,
    pub(super) input: &'static Message,
    pub(super) schema: &'static Schema,
    operation: Operation,
    segments: Vec<Segment>,
    verb: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// A field of the request, as the schema has it.
    Variable(String),
}

/// Where a request says the etag of the resource that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EtagPlace {
    Query,
    Body,
}

/// The match of a method and a path.
#[derive(Debug)]
pub(super) enum Found {
    Route(&'static Route),
    /// The path is known, with these methods.
    Methods(BTreeSet<&'static str>),
    Nothing,
}

impl Routes {
    /// Those of a schema.
    pub(super) fn of(schema: &'static Schema) -> Self {
        let (mut rest, mut grpc) = (Vec::new(), BTreeMap::new());
        for service in schema.services.iter().filter(|service| service.package.starts_with("requestrocket."))
        {
            let managed = service.calls.iter().any(|call| !call.bindings.is_empty())
                || service.package == "requestrocket.management.v1";
            for call in service.calls.iter().filter(|_| managed) {
                let path = format!("/{}.{}/{}", service.package, service.name, call.name);
                grpc.insert(path, operation(schema, service, call));
                for binding in &call.bindings {
                    rest.push(Route::of(schema, service, call, binding));
                }
            }
        }
        Self { rest, grpc }
    }

    /// All of them, in the order of the schemas.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.rest.iter()
    }

    /// The match of a REST request.
    pub(super) fn find(&'static self, method: &Method, path: &str) -> Found {
        let mut methods = BTreeSet::new();
        for route in self.rest.iter().filter(|route| route.matches(path)) {
            if route.binding.method == *method {
                return Found::Route(route);
            }
            methods.insert(route.binding.method.as_str());
        }
        if methods.is_empty() { Found::Nothing } else { Found::Methods(methods) }
    }

    /// The call of ours at a gRPC path. Others need no token.
    pub(super) fn grpc(&self, path: &str) -> Option<Operation> {
        self.grpc.get(path).copied()
    }

    /// Full names of the services with calls of the management port.
    pub(super) fn services(&self) -> BTreeSet<&str> {
        self.grpc.keys().filter_map(|path| path[1..].split_once('/').map(|(service, _)| service)).collect()
    }
}

impl Route {
    fn of(
        schema: &'static Schema,
        service: &'static Service,
        call: &'static Call,
        binding: &'static Binding,
    ) -> Self {
        let template = binding.template.as_str();
        let (path, verb) = match template.rsplit_once(':') {
            Some((path, verb)) if !verb.contains(['/', '}']) => (path, Some(verb.to_owned())),
            _ => (template, None),
        };
        let segments = path.trim_start_matches('/').split('/');
        let segments = segments
            .map(|segment| match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
                Some(name) => Segment::Variable(name.to_owned()),
                None => Segment::Literal(segment.to_owned()),
            })
            .collect();
        let operation = operation(schema, service, call);
        Self { service, call, binding, input: operation.input, schema, operation, segments, verb }
    }

    fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let (path, verb) = split_verb(path);
        let mut said = path.split('/');
        let all = self.segments.iter().all(|segment| match (segment, said.next()) {
            (Segment::Literal(wanted), Some(said)) => wanted == said,
            (Segment::Variable(_), Some(said)) => !said.is_empty(),
            (_, None) => false,
        });
        all && said.next().is_none() && verb == self.verb.as_deref()
    }

    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    /// Names of the fields that the path gives.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// The fields that the query may give: those of the request that neither path nor body gives, and that
    /// one text can be the value of.
    pub(super) fn query(&self) -> impl Iterator<Item = &'static Field> {
        let (body, input) = (&self.binding.body, self.input);
        self.schema.fields(input).filter(move |field| {
            let elsewhere = match body {
                Body::Whole => true,
                Body::Field(name) => *name == field.name,
                Body::None => false,
            };
            let text = !matches!(field.kind, Kind::Message(_) | Kind::Map(_) | Kind::Object | Kind::Any);
            !elsewhere && text && self.variables().all(|variable| variable != field.name)
        })
    }

    /// Where the etag of the resource belongs that the call changes; none where it takes no etag.
    pub(super) fn etag_place(&self) -> Option<EtagPlace> {
        if !self.changes() {
            return None;
        }
        if self.query().any(|field| field.name == "etag") {
            return Some(EtagPlace::Query);
        }
        let message = match &self.binding.body {
            Body::None => return None,
            Body::Whole => self.input,
            Body::Field(name) => self.message_of(name)?,
        };
        message.field("etag").map(|_| EtagPlace::Body)
    }

    /// Whether the call changes a resource that is there: a resource that it creates has no etag yet.
    fn changes(&self) -> bool {
        match self.binding.method {
            Method::GET => false,
            Method::POST => !matches!(self.binding.body, Body::Field(_)),
            _ => true,
        }
    }

    /// The message that a field of the request holds.
    pub(super) fn message_of(&self, field: &str) -> Option<&'static Message> {
        match &self.input.field(field)?.kind {
            Kind::Message(name) => Some(self.schema.message(name)),
            _ => None,
        }
    }

    /// The path with other names for its variables.
    pub(super) fn template(&self, mut rename: impl FnMut(usize, &str) -> String) -> String {
        let mut path = String::new();
        for (at, segment) in self.segments.iter().enumerate() {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.push_str(text),
                Segment::Variable(name) => {
                    path.push('{');
                    path.push_str(&rename(at, name));
                    path.push('}');
                }
            }
        }
        if let Some(verb) = &self.verb {
            path.push(':');
            path.push_str(verb);
        }
        path
    }

    /// The path without the names of its variables.
    pub(super) fn shape(&self) -> String {
        self.template(|_, _| String::new())
    }
}

/// As the transcoder does it: a colon in the last segment ends the path.
fn split_verb(path: &str) -> (&str, Option<&str>) {
    match path.rsplit_once(':') {
        Some((path, verb)) if !verb.contains('/') => (path, Some(verb)),
        _ => (path, None),
    }
}

fn operation(schema: &'static Schema, service: &Service, call: &Call) -> Operation {
    let stands = |it: &&Permission| it.call.split_once('.') == Some((&service.name, &call.name));
    let permission = TABLE.iter().find(stands).copied().unwrap_or(UNWRITTEN);
    Operation { permission, class: class(permission, call), input: schema.message(&call.input) }
}

fn class(permission: Permission, call: &Call) -> Class {
    if LARGE.contains(&permission) {
        Class::Large
    } else if call.server_streams || WAITING.contains(&permission) {
        Class::Stream
    } else {
        Class::Ordinary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, path: &str) -> Option<&'static str> {
        match ROUTES.find(&method, path) {
            Found::Route(route) => Some(&route.call.name),
            Found::Methods(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn a_request_finds_its_call_and_a_known_path_its_methods() {
        assert_eq!(call(Method::GET, "/v1/orgs/acme/targets/echo"), Some("GetTarget"));
        assert_eq!(call(Method::PATCH, "/v1/orgs/acme/targets/echo"), Some("UpdateTarget"));
        assert_eq!(call(Method::POST, "/v1/orgs/acme/credentials/up:replaceSecret"), Some("ReplaceSecret"));
        for path in ["", "/", "/v1", "/v1/orgs//targets", "/v1/orgs/acme/targets/echo/", "/v1/orgs/acme:x"] {
            assert!(matches!(ROUTES.find(&Method::GET, path), Found::Nothing), "{path}");
        }
        let Found::Methods(methods) = ROUTES.find(&Method::PUT, "/v1/orgs/acme/targets/echo") else {
            panic!("the path is known")
        };
        assert_eq!(methods, ["DELETE", "GET", "PATCH"].into());
    }

    #[test]
    fn the_query_gives_what_path_and_body_do_not() {
        let names = |method: Method, path: &str| -> Vec<&str> {
            let Found::Route(route) = ROUTES.find(&method, path) else { panic!("{path}") };
            route.query().map(|field| field.name.as_str()).collect()
        };
        assert_eq!(names(Method::POST, "/v1/orgs/acme/targets"), ["allow_partial", "allow_mass_removal"]);
        assert_eq!(
            names(Method::PATCH, "/v1/orgs/acme/targets/echo"),
            ["update_mask", "allow_partial", "allow_mass_removal"]
        );
        assert!(names(Method::GET, "/v1/orgs/acme/requests").contains(&"proxy"));
        assert!(!names(Method::GET, "/v1/orgs/acme/proxies/echo/requests").contains(&"proxy"));
    }

    #[test]
    fn a_call_of_ours_stands_in_the_table_and_what_others_serve_does_not() {
        let operation = ROUTES.grpc("/requestrocket.management.v1.OrgService/GetOrg").expect("is ours");
        assert_eq!((operation.permission.call, operation.class), ("OrgService.GetOrg", Class::Ordinary));
        assert!(ROUTES.grpc("/grpc.health.v1.Health/Watch").is_none());
        assert!(ROUTES.services().contains("requestrocket.fleet.v1.FleetService"));
        assert!(!ROUTES.services().contains("requestrocket.fleet.v1.ConfigService"));
    }
}
