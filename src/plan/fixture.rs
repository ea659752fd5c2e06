//! States for tests, made by commands as in life.

use crate::{
    command::{AgentCommand, Command, ContainerCommand, Proposal, Reply},
    model::{AgentId, AgentSpec, Capabilities, ContainerId, Labels, Millis, Resources, Revision, Selector},
    state::State,
};

pub(crate) const fn container_id(n: u64) -> ContainerId {
    ContainerId(n)
}

#[derive(Default)]
pub(crate) struct Fixture {
    pub state: State,
    pub revision: Revision,
}

impl Fixture {
    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        self.revision += 1;
        let proposal = Proposal {
            at: Millis(self.revision),
            key: None,
            command,
        };
        self.state.apply(self.revision, 1, &proposal)
    }

    /// A ready container `c<n>` with labels such as `zone=a,gpu=yes`.
    pub(crate) fn ready(&mut self, n: u64, labels: &str, cpu_millis: u64) {
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels = Labels::lenient(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let id = ContainerId(n);
        self.apply(Command::Container(ContainerCommand::Register {
            id,
            name: format!("c{n}").parse().unwrap(),
            labels: labels.clone(),
        }));
        self.apply(Command::Container(ContainerCommand::Connect {
            id,
            boot: 1,
            address: "127.0.0.1:1".into(),
            engine_container: None,
            labels,
            capabilities: Capabilities::default(),
            resources: Resources {
                cpu_millis,
                memory_bytes: 1 << 30,
            },
        }))
        .result
        .unwrap();
    }

    /// An agent `a<n>` that waits.
    pub(crate) fn agent(&mut self, n: u64, constraints: &str, cpu_millis: u64) {
        assert!(constraints.is_empty() || constraints.parse::<Selector>().is_ok());
        let spec = AgentSpec {
            constraints: constraints.into(),
            resources: Resources {
                cpu_millis,
                memory_bytes: 0,
            },
            ..spec(&format!("a{n}"))
        };
        self.apply(Command::Agent(AgentCommand::Deploy { id: AgentId(n), spec }))
            .result
            .unwrap();
    }
}

pub(crate) fn spec(name: &str) -> AgentSpec {
    serde_json::from_value(serde_json::json!({"name": name, "command": "/bin/true"})).unwrap()
}
