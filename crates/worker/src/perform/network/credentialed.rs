//! A request that is sent with a secret. The value comes with the call and lies in memory alone, outside every jail; it is put into
//! one header, and taken out of all that comes back before anything of that is cut. Must never: follow a redirect to another place,
//! or give an answer that it could not look through.
use super::super::{Abort, CallContext, CallResult, PerformResult, invalid, read_arguments};
use super::{FetchSettings, HttpRequest, Shown, request};
use data_encoding::BASE64;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tenure_wire::frame::{Credential, Placement};
use tenure_wire::scrub::Scrubber;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Where a template has the value.
const HERE: &str = "{secret}";

pub(in crate::perform) async fn credentialed_request(
    context: &CallContext,
    mut arguments: Value,
    credential: Option<Box<Credential>>,
    deadline: Instant,
) -> PerformResult {
    let Some(credential) = credential else {
        return Err(refused("the daemon sent no secret with it"));
    };
    if let Some(fields) = arguments.as_object_mut() {
        fields.remove("secret");
        fields.remove("placement");
    }
    let wanted: HttpRequest = read_arguments(arguments)?;
    let (name, value) = header(&credential)?;
    if wanted.headers.keys().any(|stated| stated.eq_ignore_ascii_case(name.as_str())) {
        return Err(invalid(format!("the header `{name}` is the one that the secret goes into; leave it out")));
    }
    let scrubber = Scrubber::of([(credential.secret.as_str(), credential.value.reveal().as_bytes())]);
    let settings = FetchSettings { header: Some((name, value)), shown: Shown::Without(scrubber.clone()), secret: true };
    let mut result = request(context, wanted, settings, deadline).await;
    match &mut result {
        Ok(call_result) | Err(Abort::Ended(call_result)) => scrubber.value(&mut call_result.result),
        Err(Abort::Gone | Abort::Broken(_)) => {}
    }
    result
}

pub(in crate::perform) fn refused(why: impl Into<String>) -> Abort {
    Abort::Ended(CallResult::failed("secret_refused", why))
}

/// The one header that holds the value. What is said of a value never repeats it.
pub(in crate::perform) fn header(credential: &Credential) -> Result<(HeaderName, HeaderValue), Abort> {
    let value = credential.value.reveal();
    let (name, text) = match &credential.placement {
        Placement::Basic { basic_user } if basic_user.contains(':') => {
            return Err(invalid("a user of a basic authorization has no colon"));
        }
        Placement::Basic { basic_user } => {
            let pair = Zeroizing::new(format!("{basic_user}:{value}"));
            (AUTHORIZATION, Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes()))))
        }
        Placement::Header { header, template } => {
            let name: HeaderName = header.parse().map_err(|_| invalid(format!("{header:?} is no header's name")))?;
            if super::is_ours(&name) {
                return Err(invalid(format!("the header `{name}` is set by the worker alone")));
            }
            let usual = if name == AUTHORIZATION { "Bearer {secret}" } else { HERE };
            let template = template.as_deref().unwrap_or(usual);
            if template.matches(HERE).count() != 1 {
                return Err(invalid(format!("the template has {HERE} once")));
            }
            (name, Zeroizing::new(template.replace(HERE, value)))
        }
    };
    let mut header = HeaderValue::from_str(&text).map_err(|_| {
        refused("the secret's value cannot stand in a header: it has a line break or another control character")
    })?;
    header.set_sensitive(true);
    Ok((name, header))
}

/// An answer in another encoding cannot be looked through.
pub(in crate::perform) fn can_be_looked_through(headers: &HeaderMap) -> Result<(), Abort> {
    let encoded =
        headers.get_all(CONTENT_ENCODING).iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(refused(
            "the server answered in a compressed form, which cannot be looked through for the secret; the request was made, and its answer is dropped",
        ));
    }
    Ok(())
}
