//! Makes a [`Schema`] of descriptors.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, FileDescriptor,
    MessageDescriptor, MethodDescriptor, ServiceDescriptor, Value,
};

use super::{Binding, Body, Call, Enum, Field, InvalidSchema, Kind, Message, Options, Schema, Service};

/// The package of our options.
const OPTIONS: &str = "requestrocket.options.v1";
/// The numbers that protobuf leaves to an organization's own use.
const OWN: std::ops::RangeInclusive<u32> = 50_000..=99_999;
/// The option with the routes of a method.
const HTTP: &str = "google.api.http";

/// All that the files of a pool declare.
pub(super) fn schema(pool: &DescriptorPool) -> Result<Schema, InvalidSchema> {
    let mut schema = Schema { messages: BTreeMap::new(), enums: BTreeMap::new(), services: Vec::new() };
    for file in pool.files() {
        let comments = Comments::of(&file);
        for message in file.messages() {
            read_message(&mut schema, &message, &comments)?;
        }
        for choice in file.enums() {
            read_enum(&mut schema, &choice, &comments);
        }
        schema.services.extend(file.services().map(|service| read_service(&service, &comments)));
    }
    Ok(schema)
}

fn read_message(
    schema: &mut Schema,
    message: &MessageDescriptor,
    comments: &Comments,
) -> Result<(), InvalidSchema> {
    // They stand where the field of their map does.
    if message.is_map_entry() {
        return Ok(());
    }
    for nested in message.child_messages() {
        read_message(schema, &nested, comments)?;
    }
    for choice in message.child_enums() {
        read_enum(schema, &choice, comments);
    }
    let fields: Result<Vec<Field>, InvalidSchema> =
        declared(message).map(|field| read_field(&field, comments)).collect();
    let read = Message { comment: comments.at(message.path()), fields: fields?, size: OnceLock::new() };
    schema.messages.insert(message.full_name().to_owned(), read);
    Ok(())
}

/// The fields of a message in the order in which the schema has them.
fn declared(message: &MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> + '_ {
    message.descriptor_proto().field.iter().filter_map(|field| message.get_field_by_name(field.name()))
}

fn read_field(field: &FieldDescriptor, comments: &Comments) -> Result<Field, InvalidSchema> {
    let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
    Ok(Field {
        name: field.name().to_owned(),
        json: field.json_name().to_owned(),
        number: field.number(),
        comment: comments.at(field.path()),
        options: read_options(field)?,
        kind: kind(field),
        repeated: field.cardinality() == Cardinality::Repeated && !field.is_map(),
        oneof: oneof.map(|oneof| oneof.name().to_owned()),
    })
}

fn read_options(field: &FieldDescriptor) -> Result<Options, InvalidSchema> {
    let mut read = Options::default();
    let said = field.options();
    let unknown = |number| InvalidSchema::Option { field: field.full_name().to_owned(), number };
    // What no file of the set declares.
    if let Some(option) = said.unknown_fields().find(|option| OWN.contains(&option.number())) {
        return Err(unknown(option.number()));
    }
    for (option, value) in said.extensions().filter(|(option, _)| OWN.contains(&option.number())) {
        let name = (option.package_name() == OPTIONS).then(|| option.name());
        match (name, value) {
            (Some("resource_name"), Value::Bool(yes)) => read.resource_name = *yes,
            (Some("may_be_empty"), Value::Bool(yes)) => read.may_be_empty = *yes,
            (Some("output_only"), Value::Bool(yes)) => read.output_only = *yes,
            (Some("flat"), Value::Bool(yes)) => read.flat = *yes,
            (Some("mask_paths"), Value::String(paths)) => {
                read.mask_paths = paths.split(',').map(str::to_owned).collect();
            }
            _ => return Err(unknown(option.number())),
        }
    }
    Ok(read)
}

fn kind(field: &FieldDescriptor) -> Kind {
    use prost_reflect::Kind as Wire;

    match field.kind() {
        Wire::Double | Wire::Float => Kind::Float,
        Wire::Int64 | Wire::Sint64 | Wire::Sfixed64 => Kind::Int64,
        Wire::Uint64 | Wire::Fixed64 => Kind::Uint64,
        Wire::Int32 | Wire::Sint32 | Wire::Sfixed32 => Kind::Int32,
        Wire::Uint32 | Wire::Fixed32 => Kind::Uint32,
        Wire::Bool => Kind::Bool,
        Wire::String => Kind::Text,
        Wire::Bytes => Kind::Bytes,
        Wire::Enum(choice) => Kind::Enum(choice.full_name().to_owned()),
        Wire::Message(entry) if entry.is_map_entry() => {
            Kind::Map(Box::new(kind(&entry.map_entry_value_field())))
        }
        Wire::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => Kind::Timestamp,
            "google.protobuf.Duration" => Kind::Duration,
            "google.protobuf.FieldMask" => Kind::FieldMask,
            "google.protobuf.Struct" | "google.protobuf.Any" => Kind::Object,
            "google.protobuf.Value" => Kind::Any,
            other => Kind::Message(other.to_owned()),
        },
    }
}

fn read_enum(schema: &mut Schema, choice: &EnumDescriptor, comments: &Comments) {
    let values = choice.enum_descriptor_proto().value.iter();
    let values = values
        .filter_map(|value| choice.get_value_by_name(value.name()))
        .map(|value| (value.name().to_owned(), comments.at(value.path())))
        .collect();
    let read = Enum { comment: comments.at(choice.path()), values };
    schema.enums.insert(choice.full_name().to_owned(), read);
}

fn read_service(service: &ServiceDescriptor, comments: &Comments) -> Service {
    Service {
        package: service.package_name().to_owned(),
        name: service.name().to_owned(),
        comment: comments.at(service.path()),
        calls: service.methods().map(|method| read_call(&method, comments)).collect(),
    }
}

fn read_call(method: &MethodDescriptor, comments: &Comments) -> Call {
    let options = method.options();
    let http = options.extensions().find(|(option, _)| option.full_name() == HTTP);
    let mut bindings = Vec::new();
    if let Some(rule) = http.as_ref().and_then(|(_, rule)| rule.as_message()) {
        bindings.extend(binding(rule));
        let more = rule.get_field_by_name("additional_bindings");
        let more = more.as_deref().and_then(Value::as_list).unwrap_or_default();
        bindings.extend(more.iter().filter_map(Value::as_message).filter_map(binding));
    }
    Call {
        name: method.name().to_owned(),
        comment: comments.at(method.path()),
        input: method.input().full_name().to_owned(),
        output: method.output().full_name().to_owned(),
        server_streams: method.is_server_streaming(),
        bindings,
    }
}

fn binding(rule: &DynamicMessage) -> Option<Binding> {
    use http::Method;

    let text = |name: &str| {
        let value = rule.get_field_by_name(name)?;
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let ways = [
        (Method::GET, "get"),
        (Method::PUT, "put"),
        (Method::POST, "post"),
        (Method::DELETE, "delete"),
        (Method::PATCH, "patch"),
    ];
    let (method, template) =
        ways.into_iter().find_map(|(method, name)| text(name).map(|template| (method, template)))?;
    let body = match text("body") {
        None => Body::None,
        Some(body) if body == "*" => Body::Whole,
        Some(field) => Body::Field(field),
    };
    Some(Binding { method, template, body })
}

/// The comments in front of the declarations of a file, by the path of each in its descriptor.
struct Comments(BTreeMap<Vec<i32>, String>);

impl Comments {
    fn of(file: &FileDescriptor) -> Self {
        let source = file.file_descriptor_proto().source_code_info.as_ref();
        let places = source.map(|source| source.location.as_slice()).unwrap_or_default();
        let comments = places.iter().map(|place| (place.path.clone(), paragraphs(place.leading_comments())));
        Self(comments.filter(|(_, comment)| !comment.is_empty()).collect())
    }

    fn at(&self, path: &[i32]) -> String {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

/// Lines of a comment as the text of one paragraph, or of several where a line is empty.
fn paragraphs(comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines().map(str::trim) {
        if line.is_empty() {
            text.push('\n');
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text.trim().to_owned()
}
