//! What comes in from outside: bodies, queries and paths, bounded before anything looks at their meaning.
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tenure_wire::problem::Code;
use tenure_wire::scrub::Scrubber;
use tokio::time::timeout;

use super::lookup::quoted;
use super::problem::Failure;

/// A body has at most so many bytes.
pub(super) const BYTES_MAX: usize = tenure_wire::api::BODY_BYTES_MAX;
/// Objects and arrays nest at most so deep.
pub(super) const DEPTH_MAX: usize = 64;
const ARRIVAL_MAX: Duration = Duration::from_secs(20);

/// The whole body as text.
pub(super) struct Text(pub(super) String);

/// The whole body as JSON of a known shape.
pub(super) struct Json<T>(pub(super) T);

/// As `Json`, where an empty body stands for the default.
pub(super) struct JsonOrNothing<T>(pub(super) T);

/// The whole body as it is, of at most `MAX` bytes.
pub(super) struct Content<const MAX: usize>(pub(super) Bytes);

/// The query string, unknown parameters refused.
pub(super) struct Params<T>(pub(super) T);

/// The one variable segment of a path, or all of them as a tuple.
pub(super) struct Segment<T = String>(pub(super) T);

async fn read(body: Body, parts: &Parts, max: usize) -> Result<Bytes, Failure> {
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(too_large(max));
    }
    let collected = timeout(ARRIVAL_MAX, Limited::new(body, max).collect()).await;
    let collected = collected
        .map_err(|_| Code::BodyTooSlow.problem(format!("it was not there after {} seconds", ARRIVAL_MAX.as_secs())))?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large(max)),
        Err(error) => Err(Code::BodyTooSlow.problem(format!("the body broke off: {error}")).into()),
    }
}

fn too_large(max: usize) -> Failure {
    Code::BodyTooLarge.problem(format!("a body has at most {max} bytes here")).into()
}

/// What a body may say that it is.
const JSON: &[&str] = &["application/json"];
const MANIFEST: &[&str] =
    &["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "application/json", "text/plain"];

/// A body that says nothing of itself is taken for what is wanted; one that says that it is something else is not.
fn check_type(parts: &Parts, wanted: &[&str]) -> Result<(), Failure> {
    let mut stated = parts.headers.get_all(CONTENT_TYPE).iter();
    let Some(first) = stated.next() else { return Ok(()) };
    let text = first.to_str().unwrap_or_default();
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let is_wanted = wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(media.trim()));
    let is_utf8 = parameters.split(';').all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            matches!(value.trim().trim_matches('"').to_ascii_lowercase().as_str(), "utf-8" | "utf8" | "us-ascii")
        }
        Some(_) | None => true,
    });
    if is_wanted && is_utf8 && stated.next().is_none() {
        return Ok(());
    }
    let detail = format!("the Content-Type says {}; this takes {}, in UTF-8", quoted(text), wanted.join(", "));
    Err(Code::MediaTypeWrong.problem(detail).into())
}

async fn text(request: Request, wanted: &[&str]) -> Result<String, Failure> {
    let (parts, body) = request.into_parts();
    check_type(&parts, wanted)?;
    let bytes = clean(&parts, read(body, &parts, BYTES_MAX).await?);
    String::from_utf8(bytes.into()).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Code::BodyNotUtf8.problem(format!("the byte at offset {place} is not UTF-8")).into()
    })
}

/// Without the value of any secret, but where one is brought to the vault: what people and agents say is kept and told.
fn clean(parts: &Parts, bytes: Bytes) -> Bytes {
    match parts.extensions.get::<Scrubber>() {
        Some(scrubber) if !parts.uri.path().starts_with("/v1/secrets") && scrubber.finds(&bytes) => {
            scrubber.payload(bytes.to_vec()).into()
        }
        Some(_) | None => bytes,
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    if depth(text) > DEPTH_MAX {
        return Err(Code::BodyTooDeep.problem(format!("it nests deeper than {DEPTH_MAX}")).into());
    }
    // Else a list would be read as an object's fields in their order, which nobody has ever promised.
    if text.trim_start().starts_with('[') {
        return Err(Code::BodyWrong.problem("it is a JSON array, and an object is wanted").into());
    }
    serde_json::from_str(text).map_err(|error| {
        let code = match error.classify() {
            serde_json::error::Category::Data => Code::BodyWrong,
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => Code::BodyNotJson,
        };
        code.problem(error.to_string()).into()
    })
}

/// How deep brackets nest outside of strings; of a text that is no JSON it says nothing worse.
pub(super) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Text, Failure> {
        text(request, MANIFEST).await.map(Text)
    }
}

impl<S: Send + Sync, const MAX: usize> FromRequest<S> for Content<MAX> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Content<MAX>, Failure> {
        let (parts, body) = request.into_parts();
        check_type(&parts, &["application/octet-stream", "application/json"])?;
        read(body, &parts, MAX).await.map(Content)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>, Failure> {
        json(&text(request, JSON).await?).map(Json)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonOrNothing<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<JsonOrNothing<T>, Failure> {
        let text = text(request, JSON).await?;
        if text.trim().is_empty() { Ok(JsonOrNothing(T::default())) } else { json(&text).map(JsonOrNothing) }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Failure> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Params(params)),
            Err(rejection) => Err(Code::ParameterWrong.problem(rejection.body_text()).into()),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segment<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment<T>, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Segment(segment)),
            Err(rejection) => Err(Code::ParameterWrong.problem(rejection.body_text()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use serde_json::Value;

    fn code(failure: &Failure) -> Code {
        failure.0.code
    }

    fn request(bytes: impl Into<Body>) -> Request {
        Request::new(bytes.into())
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert_eq!(depth(r#"{"a": "[[[", "b\"{": [1, {"c": []}]}"#), 4);
        assert_eq!(depth("]]]]["), 1);
    }

    #[tokio::test]
    async fn a_deep_body_is_refused_before_it_is_parsed_and_one_at_the_bound_is_read() {
        let nest = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(Json::<Value>::from_request(request(nest(DEPTH_MAX)), &()).await.is_ok());
        let deep = Json::<Value>::from_request(request(nest(100_000)), &()).await.err().unwrap();
        assert_eq!(code(&deep), Code::BodyTooDeep);
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        #[expect(dead_code, reason = "only whether it can be read matters")]
        name: Option<String>,
    }

    #[tokio::test]
    async fn an_array_is_no_object_and_a_body_is_what_it_says_that_it_is() {
        let typed = |media: &'static str, body: &'static str| {
            let mut request = request(body);
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
            request
        };
        let array = Json::<Named>::from_request(request("[\"x\"]"), &()).await.err().unwrap();
        assert_eq!(code(&array), Code::BodyWrong);
        let array = JsonOrNothing::<Named>::from_request(request(" [\"x\"]"), &()).await.err().unwrap();
        assert_eq!(code(&array), Code::BodyWrong);
        for media in ["application/json", "Application/JSON; charset=UTF-8"] {
            assert!(Json::<Named>::from_request(typed(media, "{\"name\":\"x\"}"), &()).await.is_ok(), "{media}");
        }
        for media in ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=latin1", "x"] {
            let refused = Json::<Named>::from_request(typed(media, "{}"), &()).await.err().unwrap();
            assert_eq!(code(&refused), Code::MediaTypeWrong, "{media}");
        }
        assert!(Text::from_request(typed("application/yaml", "a: 1"), &()).await.is_ok());
        let form = Text::from_request(typed("multipart/form-data; boundary=x", "a: 1"), &()).await.err().unwrap();
        assert_eq!(code(&form), Code::MediaTypeWrong);
    }

    #[tokio::test]
    async fn a_huge_a_torn_and_a_foreign_body_each_get_their_code() {
        let huge = Text::from_request(request(vec![b' '; BYTES_MAX + 1]), &()).await.err().unwrap();
        assert_eq!(code(&huge), Code::BodyTooLarge);
        let foreign = Text::from_request(request(vec![b'a', 0xff]), &()).await.err().unwrap();
        assert_eq!(code(&foreign), Code::BodyNotUtf8);
        let torn = Json::<Value>::from_request(request("{\"a\":"), &()).await.err().unwrap();
        assert_eq!(code(&torn), Code::BodyNotJson);
        assert!(Text::from_request(request(vec![b' '; BYTES_MAX]), &()).await.is_ok());
    }
}
