//! The parts of a descriptor set that the schemas are read from, with the routes of `google.api.http`.
//!
//! Numbers are those of `google/protobuf/descriptor.proto` and `google/api/http.proto`. The types of
//! `prost-types` would do but for the routes: they drop what they do not know.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct FileSet {
    #[prost(message, repeated, tag = "1")]
    pub(super) files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct File {
    #[prost(string, tag = "2")]
    pub(super) package: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) messages: Vec<Type>,
    #[prost(message, repeated, tag = "5")]
    pub(super) enums: Vec<Choice>,
    #[prost(message, repeated, tag = "6")]
    pub(super) services: Vec<Group>,
    #[prost(message, optional, tag = "9")]
    pub(super) source: Option<Source>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Source {
    #[prost(message, repeated, tag = "1")]
    pub(super) places: Vec<Place>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Place {
    #[prost(int32, repeated, tag = "1")]
    pub(super) path: Vec<i32>,
    #[prost(string, tag = "3")]
    pub(super) leading: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) fields: Vec<Member>,
    #[prost(message, repeated, tag = "3")]
    pub(super) nested: Vec<Type>,
    #[prost(message, repeated, tag = "4")]
    pub(super) enums: Vec<Choice>,
    #[prost(message, optional, tag = "7")]
    pub(super) options: Option<TypeOptions>,
    #[prost(message, repeated, tag = "8")]
    pub(super) oneofs: Vec<OneOf>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TypeOptions {
    #[prost(bool, tag = "7")]
    pub(super) map_entry: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OneOf {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Member {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "3")]
    pub(super) number: i32,
    #[prost(int32, tag = "4")]
    pub(super) label: i32,
    #[prost(int32, tag = "5")]
    pub(super) kind: i32,
    #[prost(string, tag = "6")]
    pub(super) type_name: String,
    #[prost(int32, optional, tag = "9")]
    pub(super) oneof: Option<i32>,
    #[prost(string, tag = "10")]
    pub(super) json: String,
    #[prost(bool, tag = "17")]
    pub(super) optional: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Choice {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<ChoiceValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ChoiceValue {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Group {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) methods: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Method {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) input: String,
    #[prost(string, tag = "3")]
    pub(super) output: String,
    #[prost(message, optional, tag = "4")]
    pub(super) options: Option<MethodOptions>,
    #[prost(bool, tag = "6")]
    pub(super) server_streams: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MethodOptions {
    #[prost(message, optional, tag = "72295728")]
    pub(super) http: Option<HttpRule>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpRule {
    #[prost(string, tag = "2")]
    pub(super) get: String,
    #[prost(string, tag = "3")]
    pub(super) put: String,
    #[prost(string, tag = "4")]
    pub(super) post: String,
    #[prost(string, tag = "5")]
    pub(super) delete: String,
    #[prost(string, tag = "6")]
    pub(super) patch: String,
    #[prost(string, tag = "7")]
    pub(super) body: String,
    #[prost(message, repeated, tag = "11")]
    pub(super) more: Vec<HttpRule>,
}
