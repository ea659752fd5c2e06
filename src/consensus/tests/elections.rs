//! What elections must not do.

use super::*;

/// A leader that was killed may have lost entries of its term which the others acknowledged. Going on in
/// that term it gave their places to other entries, and one manager's state differed from then on.
#[tokio::test]
async fn a_leader_that_comes_back_does_not_lead_on_in_its_old_term() {
    let net = Net::default();
    let first = || First::Form([(1, info(1))].into());
    let dir = Arc::new(TempDir::new().unwrap());
    let one = Manager::start(&net, 1, 101, dir, first()).await;
    one.put("k", "v").await.unwrap();
    let term = one.consensus.status().term;
    let dir = one.stop(&net).await;
    let again = Manager::start(&net, 1, 101, dir, first()).await;
    again.put("k", "w").await.unwrap();
    let now = again.consensus.status().term;
    assert!(now > term, "it leads in term {now}, and led in {term} before");
}
