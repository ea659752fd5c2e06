//! States for tests, made by commands as in life.

use crate::{
    command::{AgentCommand, Command, ContainerCommand, EngineCommand, Proposal, Reply},
    model::{
        AgentId, AgentSpec, Capabilities, ContainerId, EngineId, Found, FoundState, HealthStatus, Labels,
        Millis, Resources, Revision, Strategy,
    },
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

    /// What an engine says of the health of the container `c<n>`.
    pub(crate) fn health(&mut self, n: u64, health: HealthStatus) {
        let engine = EngineId(1);
        // Again and again: the first time counts.
        self.apply(Command::Engine(EngineCommand::Add {
            id: engine,
            name: "e".parse().unwrap(),
            url: "unix:///nowhere".parse().unwrap(),
        }));
        let known = (**self.state.container(container_id(n)).unwrap()).clone();
        self.apply(Command::Container(ContainerCommand::Connect {
            id: known.id,
            boot: known.boot,
            address: "127.0.0.1:1".into(),
            engine_container: Some(format!("ab{n}")),
            labels: known.labels.clone(),
            capabilities: known.capabilities,
            resources: known.resources,
        }));
        let found = Found {
            id: ContainerId(99),
            container: format!("ab{n}"),
            name: known.name,
            image: String::new(),
            labels: known.labels,
            networks: None,
            health: Some(health),
            state: FoundState::Running,
            detail: String::new(),
        };
        let observe = ContainerCommand::Observe {
            engine,
            as_of: 0,
            found: vec![found],
        };
        self.apply(Command::Container(observe)).result.unwrap();
    }

    /// An agent `a<n>` that waits.
    pub(crate) fn agent(&mut self, n: u64, constraints: &str, cpu_millis: u64) {
        self.agent_by(n, Strategy::default(), constraints, cpu_millis);
    }

    /// One whose container is chosen by another strategy.
    pub(crate) fn agent_by(&mut self, n: u64, strategy: Strategy, constraints: &str, cpu_millis: u64) {
        let spec = AgentSpec {
            strategy,
            constraints: constraints.parse().unwrap(),
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
