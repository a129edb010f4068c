//! What all operations of the API's description have in common, put in at one place: ids that are unique, a sentence for each
//! response, the problems that any of them may answer with, and what wants no key. Must never say of one operation what its
//! handler does not do.
pub(super) mod page;

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{Content, HeaderBuilder, KnownFormat, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use tenure_wire::problem::MEDIA_TYPE;

const EVENT_STREAM: &str = "text/event-stream";

/// Paths that answer whoever asks.
pub(super) const OPEN: [&str; 2] = ["/health", "/health/ready"];

pub(super) fn completed(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let open = OPEN.contains(&path.as_str());
        for operation in operations(item) {
            name(operation);
            parameters(operation);
            if open {
                operation.security = Some(Vec::new());
            }
            answers(operation, open);
            streams(operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

/// Unique in the document: the tag and the handler's name, or what the handler states where its tag has such a one already.
fn name(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
    if let Some(id) = &mut operation.operation_id
        && *id != tag
    {
        *id = format!("{tag}_{id}");
    }
}

/// A parameter is there or it is not: there is no null in a query or a header.
fn parameters(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
            && let SchemaType::Array(types) = &mut schema.schema_type
        {
            types.retain(|one| *one != Type::Null);
            if let [only] = types.as_slice() {
                schema.schema_type = SchemaType::Type(only.clone());
            }
        }
    }
}

fn answers(operation: &mut Operation, open: bool) {
    let responses = &mut operation.responses.responses;
    if !open {
        responses.insert("4XX".to_owned(), problem("Refused: the problem says why and what to do").into());
        responses.insert("5XX".to_owned(), problem("Not done for now, or failed: the problem says which").into());
    }
    for response in responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = "Done".to_owned();
        }
    }
}

/// What a stream brings is told event by event: each has a name and an index, and its data is the JSON of what the handler states.
fn streams(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && let Some(RefOr::T(stream)) = response.content.get_mut(EVENT_STREAM)
            && let Some(data) = stream.schema.take()
        {
            let data = serde_json::to_value(data).expect("invariant: a schema is JSON");
            let data = ObjectBuilder::new()
                .schema_type(Type::String)
                .content_media_type("application/json")
                .extensions(Some(Extensions::from_iter([("contentSchema", data)])));
            let text = || ObjectBuilder::new().schema_type(Type::String);
            let event = ObjectBuilder::new()
                .property("id", text().description(Some("Its ledger index, to resume after; a piece has none")))
                .property("event", text())
                .property("data", data)
                .required("data");
            stream.schema = Some(event.into());
        }
    }
}

fn problem(sentence: &str) -> Response {
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .minimum(Some(0))
        .build();
    let wait = HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds until it may succeed")).build();
    ResponseBuilder::new()
        .description(sentence)
        .content(MEDIA_TYPE, Content::new(Some(Ref::from_schema_name("Problem"))))
        .header("Retry-After", wait)
        .build()
}
