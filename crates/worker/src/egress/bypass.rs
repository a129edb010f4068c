//! Where the proxy of a test can lack a check, which shows what that is worth. In the product none can: here is no switch, and no
//! feature adds one. The test build of tests/controls has a module of its own in this one's place.
//! Must never: answer anything but that all is checked.
use super::filter::RequestFilter;
use http::HeaderValue;
use tenure_core::network::host::{Host, Misspelt};

/// What one gate leaves out: nothing.
#[derive(Debug, Clone, Default)]
pub struct Bypass {}

/// What the proxy checks of a request before its rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Spelling,
    Request,
}

impl Bypass {
    pub(super) const fn enforces(&self, _check: Check) -> bool {
        true
    }

    /// What of a program's bytes is handed on.
    pub(super) const fn filtered<S>(&self, filter: RequestFilter<S>) -> RequestFilter<S> {
        filter
    }

    /// The authority of a request whose URL has none.
    pub(super) const fn authority<'a>(
        &self,
        stated: Option<&'a str>,
        _host: Option<&'a HeaderValue>,
    ) -> Option<&'a str> {
        stated
    }

    pub(super) const fn reread(&self, _raw: &[u8], why: Misspelt) -> Result<Host, Misspelt> {
        Err(why)
    }
}
