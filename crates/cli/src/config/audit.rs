//! `[audit]` of tenure.toml: where committed records go on to.
use std::path::PathBuf;

use serde::Deserialize;
use tenure_daemon::sink::Target;

use super::absolute;
use crate::failure::{Exit, Failure};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    sink_file: Option<PathBuf>,
    sink_webhook: Option<String>,
    sink_secret_file: Option<PathBuf>,
}

impl Audit {
    /// # Errors
    /// An address that records may not go to, or one without a secret.
    pub(super) fn targets(self) -> Result<Vec<Target>, Failure> {
        let wrong = |what: String| Failure::new(Exit::Usage, what).next("see docs/proof.md, Sinks");
        let file = self.sink_file.map(|path| absolute(&path).map(Target::File)).transpose()?;
        let webhook = match (self.sink_webhook, self.sink_secret_file) {
            (None, None) => None,
            (Some(url), Some(secret)) => Some(Target::Webhook { url, secret: absolute(&secret)? }),
            (Some(_), None) => return Err(wrong("`audit.sink_webhook` wants `audit.sink_secret_file`".to_string())),
            (None, Some(_)) => return Err(wrong("`audit.sink_secret_file` is of no `audit.sink_webhook`".to_string())),
        };
        if let Some(webhook) = &webhook {
            webhook.check().map_err(|refused| wrong(format!("`audit.sink_webhook`: {refused}")))?;
        }
        Ok(file.into_iter().chain(webhook).collect())
    }
}
