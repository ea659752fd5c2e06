//! Walking through a list, page by page, while others add to it.

use quorate::client::types::{AgentView, ConfigView};
use quorate::client::{Client, ClientError, Page};

/// A list that was walked from its beginning to its end.
#[derive(Debug)]
pub struct Walk<T> {
    /// Everything that was on its pages, in their order.
    pub items: Vec<T>,
    /// The revision of the last page.
    pub revision: u64,
}

/// The configs whose names begin with `prefix`, and go on with a number.
pub async fn configs(client: &Client, prefix: &str, limit: usize) -> Result<Walk<ConfigView>, ClientError> {
    let mut walk = Walk {
        items: Vec::new(),
        revision: 0,
    };
    let mut after = None;
    loop {
        let page = Page {
            limit: Some(limit),
            after,
            ..Page::default()
        };
        let list = client.configs(&page).await?;
        walk.revision = list.revision;
        let ours = list
            .items
            .into_iter()
            .filter(|config| of_prefix(&config.name, prefix).is_some());
        walk.items.extend(ours);
        after = list.next;
        if after.is_none() {
            return Ok(walk);
        }
    }
}

/// All agents.
pub async fn agents(client: &Client, limit: usize) -> Result<Walk<AgentView>, ClientError> {
    let mut walk = Walk {
        items: Vec::new(),
        revision: 0,
    };
    let mut after = None;
    loop {
        let page = Page {
            limit: Some(limit),
            after,
            ..Page::default()
        };
        let list = client.agents(&page).await?;
        walk.revision = list.revision;
        walk.items.extend(list.items);
        after = list.next;
        if after.is_none() {
            return Ok(walk);
        }
    }
}

/// The number in a name made of `prefix` and one.
pub fn of_prefix(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.parse().ok()
}
