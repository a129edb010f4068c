//! What a call's requests to a server are sent with. It lives as long as its call, outside every jail; no connection keeps it. Must
//! never: let the value come back in what the server says.
use super::super::{Abort, network};
use super::connection::Fault;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::fmt;
use tenure_wire::frame::Credential;
use tenure_wire::scrub::Scrubber;

pub(super) struct Login {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
    scrubber: Scrubber,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Login {
    /// # Errors
    /// The value cannot stand in a header.
    pub(super) fn of(credential: &Credential) -> Result<Login, Abort> {
        let (name, value) = network::header(credential)?;
        let scrubber = Scrubber::of([(credential.secret.as_str(), credential.value.reveal().as_bytes())]);
        Ok(Login { name, value, scrubber })
    }

    /// A message of the server's without the value, before anything of it is read or cut.
    pub(super) fn cleaned<'a>(login: Option<&Login>, message: &'a [u8]) -> Cow<'a, [u8]> {
        login.map_or(Cow::Borrowed(message), |login| login.scrubber.bytes(message))
    }

    pub(super) fn clean(&self, text: &mut String) {
        self.scrubber.string(text);
    }

    pub(super) fn can_look_through(login: Option<&Login>, headers: &HeaderMap) -> Result<(), Fault> {
        match login.map(|_| network::can_be_looked_through(headers)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(Abort::Ended(result))) => Err(Fault::Ended(Box::new(result))),
            Some(Err(Abort::Gone | Abort::Broken(_))) => Err(Fault::Gone),
        }
    }
}
