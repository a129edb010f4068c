//! `[approvals]` of tenure.toml: whom to tell what people are asked to allow.
use std::path::PathBuf;

use serde::Deserialize;
use tenure_daemon::sink::Target;

use super::absolute;
use crate::failure::{Exit, Failure};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approvals {
    webhook: Option<String>,
    webhook_secret_file: Option<PathBuf>,
    /// What links to a card begin with, as people reach the daemon.
    link_base: Option<String>,
}

impl Approvals {
    /// # Errors
    /// An address that cards may not go to, or one without a secret.
    pub(super) fn target(self) -> Result<Option<Target>, Failure> {
        let wrong = |what: String| Failure::new(Exit::Usage, what).next("see docs/approvals.md, By webhook");
        let target = match (self.webhook, self.webhook_secret_file, self.link_base) {
            (None, None, None) => return Ok(None),
            (Some(url), Some(secret), link_base) => Target::Approvals { url, secret: absolute(&secret)?, link_base },
            (Some(_), None, _) => {
                return Err(wrong("`approvals.webhook` wants `approvals.webhook_secret_file`".into()));
            }
            (None, _, _) => return Err(wrong("[approvals] names no `webhook`".into())),
        };
        target.check().map_err(|refused| wrong(format!("`approvals`: {refused}")))?;
        Ok(Some(target))
    }
}
