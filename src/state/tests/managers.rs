//! Managers' ids.

use super::*;
use crate::command::ClusterCommand;

fn join(bench: &mut StateBench, incarnation: u64) -> u64 {
    let allocate = ClusterCommand::AllocateManager {
        token: JoinTokenId(2),
        incarnation,
    };
    match bench.apply(Command::Cluster(allocate)) {
        Ok(Outcome::ManagerAllocated(id)) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_id_of_a_manager_is_never_given_again() {
    let mut bench = StateBench::new();
    let token = JoinToken {
        id: JoinTokenId(2),
        role: JoinRole::Manager,
        hash: [0; 32],
        expires_at: None,
        uses_left: None,
        version: 0,
    };
    let create = Command::Cluster(ClusterCommand::CreateJoinToken(token));
    bench.apply(create).unwrap();
    let (first, second) = (join(&mut bench, 11), join(&mut bench, 12));
    assert!(bench.state.may_join(first, 11) && !bench.state.may_join(first, 12));
    for gone in [first, second] {
        let retire = Command::Cluster(ClusterCommand::RetireManager(gone));
        bench.apply(retire).unwrap();
    }
    assert!(!bench.state.may_join(first, 11));
    let third = join(&mut bench, 13);
    assert!(third > second && second > first, "{first}, {second}, {third}");
}
