//! A state without a manager around it, made by commands as in life.

use super::*;
use crate::command::Proposal;

#[derive(Default)]
pub(in crate::session) struct Paper {
    pub state: State,
}

impl Paper {
    /// Containers 1 to `count`, each with a session of start 1.
    pub fn with_containers(count: u64) -> Self {
        let mut paper = Self::default();
        for n in 1..=count {
            let id = ContainerId(n);
            paper.apply(Command::Container(ContainerCommand::Register {
                id,
                name: format!("c{n}").parse().unwrap(),
                labels: Labels::default(),
            }));
            paper.apply(sessions::connect(id, 1));
        }
        paper
    }

    pub fn apply(&mut self, command: Command) -> Revision {
        let revision = self.state.revision() + 1;
        let proposal = Proposal {
            at: Millis(revision),
            key: None,
            command,
        };
        let reply = self.state.apply(revision, 1, &proposal);
        assert!(reply.result.is_ok(), "{reply:?}");
        revision
    }

    /// An agent with one argument, placed in a container, and its epoch.
    pub fn agent(&mut self, n: u64, container: ContainerId, arg: &str) -> (AgentId, Revision) {
        let id = AgentId(n);
        let spec = serde_json::json!({ "name": format!("a{n}"), "command": "sh", "args": [arg] });
        let spec = serde_json::from_value(spec).unwrap();
        self.apply(Command::Agent(AgentCommand::Deploy { id, spec }));
        (id, self.place(id, container))
    }

    pub fn place(&mut self, agent: AgentId, container: ContainerId) -> Revision {
        let version = self.state.agent(agent).unwrap().version;
        let placement = Placement {
            agent,
            version,
            container,
        };
        let epoch = self.apply(Command::Agent(AgentCommand::Place(vec![placement])));
        assert_eq!(self.state.agent(agent).unwrap().container, Some(container));
        epoch
    }

    pub fn want(&mut self, id: AgentId, desired: Desired) {
        let condition = Condition::Any;
        self.apply(Command::Agent(AgentCommand::SetDesired {
            id,
            desired,
            condition,
        }));
    }

    pub fn report(&mut self, container: ContainerId, agent: AgentId, epoch: Revision, state: AgentState) {
        self.apply(Command::Agent(AgentCommand::Report {
            container,
            boot: 1,
            reports: vec![report(agent, epoch, state)],
        }));
    }

    pub fn remove(&mut self, id: ContainerId) {
        let condition = Condition::Any;
        self.apply(Command::Container(ContainerCommand::Remove { id, condition }));
    }
}
