//! Names in Redis.

use crate::model::Revision;

/// A kind of object that has keys and a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Containers, listed by id.
    Container,
    /// Agents, listed by name.
    Agent,
    /// Engines, listed by id.
    Engine,
    /// Which agent is placed where, listed by the agent's name.
    Placement,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Container, Self::Agent, Self::Engine, Self::Placement];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Agent => "agent",
            Self::Engine => "engine",
            Self::Placement => "placement",
        }
    }
}

/// The keys of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub prefix: String,
    pub cluster: String,
}

impl Keys {
    pub fn new(prefix: &str, cluster: &str) -> Self {
        Self {
            prefix: format!("{prefix}:{cluster}:"),
            cluster: cluster.to_owned(),
        }
    }

    pub fn meta(&self) -> String {
        format!("{}meta", self.prefix)
    }

    pub fn list(&self, kind: Kind) -> String {
        format!("{}{}s", self.prefix, kind.name())
    }
}

/// A revision as texts in Redis are compared: all of one length, so that no digit is lost to a number.
pub(super) fn stamp(revision: Revision) -> String {
    format!("{revision:020}")
}

/// A place in a list: what the list is in the order of, a space, the id.
pub(super) fn member(order: &str, id: &str) -> String {
    format!("{order} {id}")
}

/// Where a list goes on after what stands at `order`. A `!` comes after the space and before every
/// character of a name.
pub(super) fn after(order: Option<&str>) -> String {
    order.map_or_else(|| "-".to_owned(), |order| format!("[{order}!"))
}

/// Ids are shown in base 32, whose letters are not in the order of its digits.
pub fn order_of(id: u64) -> String {
    format!("{id:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_the_state() {
        let mut names = ["web", "web-1", "web.a", "web0", "webb", "a", "z9"];
        names.sort_unstable();
        let members: Vec<_> = names.iter().map(|name| member(name, "a-x")).collect();
        assert!(members.is_sorted());
        for pair in names.windows(2) {
            let bound = after(Some(pair[0]));
            assert!(member(pair[0], "a-z").as_str() < &bound[1..]);
            assert!(member(pair[1], "a-a").as_str() > &bound[1..]);
        }
        let ids = [0, 9, 10, 0xff, u64::MAX].map(order_of);
        assert!(ids.is_sorted());
        assert!(stamp(9) < stamp(10) && stamp(u64::MAX).len() == 20);
    }
}
