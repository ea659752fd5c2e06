//! What the holder of an API token may do.

use crate::model::Role;

/// How far a call reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Looks at the cluster.
    Read,
    /// Changes containers, agents, engines, configs, or sends messages.
    Write,
    /// Changes who is part of the cluster: managers, tokens, snapshots.
    Admin,
}

impl Role {
    /// Whether a holder of this role may do `action` on any object. An agent may do nothing by
    /// its role alone: what it may do depends on whose object it is, which the agent API decides.
    pub fn allows(self, action: Action) -> bool {
        match (self, action) {
            (Role::Admin, _) => true,
            (Role::Operator, Action::Read | Action::Write) => true,
            (Role::Viewer, Action::Read) => true,
            (Role::Operator | Role::Viewer | Role::Agent, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_reaches_as_far_as_the_table_says() {
        for (role, expected) in [
            (Role::Admin, [true, true, true]),
            (Role::Operator, [true, true, false]),
            (Role::Viewer, [true, false, false]),
            (Role::Agent, [false, false, false]),
        ] {
            assert_eq!(
                [Action::Read, Action::Write, Action::Admin].map(|action| role.allows(action)),
                expected
            );
        }
    }
}
