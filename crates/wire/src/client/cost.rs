//! What model calls cost, over the wire.
use super::{Client, Error, path};
use crate::api::cost::{CostBy, Costs};
use crate::api::moment::Moment;

impl Client {
    /// The dearest first; of one agent's calls alone where one is named.
    pub async fn costs(
        &self,
        by: CostBy,
        since: Option<Moment>,
        agent: Option<String>,
        limit: u32,
    ) -> Result<Costs, Error> {
        let query = [
            ("by", Some(by.as_str().to_string())),
            ("since", since.map(|since| since.to_string())),
            ("agent", agent),
            ("limit", Some(limit.to_string())),
        ];
        self.get(&path(&["cost"], &query)).await
    }
}
