//! Managers that ask each other over streams in memory.

use std::{
    collections::BTreeSet,
    sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
};

use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, task::JoinSet};

use super::*;

const SOON: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct Double(u64);

impl Question for Double {
    const ID: QuestionId = QuestionId(200);
    type Answer = u64;
}

/// Nobody answers it.
#[derive(Debug, Serialize, Deserialize)]
struct Newer;

impl Question for Newer {
    const ID: QuestionId = QuestionId(201);
    type Answer = ();
}

/// Everybody's listeners, by address.
#[derive(Debug, Default, Clone)]
struct Net(Arc<Mutex<BTreeMap<String, Peers>>>);

#[derive(Debug)]
struct NetDial {
    net: Net,
    me: ManagerId,
}

impl Dial for NetDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let target = self.net.0.lock().unwrap().get(&address).cloned();
        let me = self.me;
        Box::pin(async move {
            let target = target.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move { target.serve(Box::new(theirs), me).await });
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

fn member(id: ManagerId) -> Member {
    let info = PeerInfo {
        peer: format!("peer-{id}"),
        ..PeerInfo::default()
    };
    let incarnation = 10 + id;
    Member { info, incarnation }
}

/// A membership that knows these.
struct Known {
    me: ManagerId,
    ids: BTreeSet<ManagerId>,
}

impl Members for Known {
    fn standing(&self, id: ManagerId) -> Standing {
        if self.ids.contains(&id) {
            let incarnation = member(id).incarnation;
            Standing::Member { incarnation }
        } else {
            Standing::Stranger
        }
    }

    fn others(&self) -> BTreeMap<ManagerId, Member> {
        let others = self.ids.iter().filter(|id| **id != self.me);
        others.map(|id| (*id, member(*id))).collect()
    }
}

/// A manager that doubles numbers, and counts how many.
struct Manager {
    peers: Peers,
    doubled: Arc<AtomicU64>,
    _known: Arc<Known>,
}

fn start(net: &Net, id: ManagerId, ids: &[ManagerId]) -> Manager {
    let Member { info, incarnation } = member(id);
    let dial = NetDial {
        net: net.clone(),
        me: id,
    };
    let peers = Peers::new(Arc::new(dial), Me { id, incarnation });
    let known = Arc::new(Known {
        me: id,
        ids: ids.iter().copied().collect(),
    });
    peers.set_members(&known);
    let doubled = Arc::new(AtomicU64::new(0));
    peers.answer(Lane::FORWARD, &doubled, |doubled, _, Double(number)| async move {
        doubled.fetch_add(1, Ordering::Relaxed);
        number.checked_mul(2).ok_or_else(|| "too large".to_owned())
    });
    net.0.lock().unwrap().insert(info.peer, peers.clone());
    Manager {
        peers,
        doubled,
        _known: known,
    }
}

fn three(net: &Net) -> Vec<Manager> {
    (1..=3).map(|id| start(net, id, &[1, 2, 3])).collect()
}

#[tokio::test]
async fn every_other_manager_is_asked_and_who_does_not_answer_is_named() {
    let net = Net::default();
    let mut managers = three(&net);
    let found = managers[0].peers.ask_others(&Double(4), SOON).await;
    assert_eq!(found.answered, [(2, 8), (3, 8)].into());
    assert!(found.unanswered.is_empty());
    assert_eq!(
        managers[0].doubled.load(Ordering::Relaxed),
        0,
        "nobody asks himself"
    );

    drop(managers.remove(1));
    net.0.lock().unwrap().remove("peer-2");
    let again = start(&net, 1, &[1, 2, 3]);
    let found = again.peers.ask_others(&Double(5), SOON).await;
    assert_eq!((found.answered, found.unanswered), ([(3, 10)].into(), vec![2]));
}

#[tokio::test]
async fn many_questions_share_a_connection_and_each_gets_its_own_answer() {
    let net = Net::default();
    let managers = three(&net);
    let mut asking = JoinSet::new();
    for number in 0..500 {
        let peers = managers[0].peers.clone();
        asking.spawn(async move { (number, peers.ask(2, &Double(number), SOON).await) });
    }
    while let Some(answered) = asking.join_next().await {
        let (number, answer) = answered.unwrap();
        assert_eq!(answer, Ok(2 * number));
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_the_connection_goes_on() {
    let net = Net::default();
    let managers = three(&net);
    let refused = managers[0].peers.ask(2, &Double(u64::MAX), SOON).await;
    assert_eq!(refused, Err(AskError::Refused("too large".into())));
    // An older manager knows fewer questions.
    let unknown = managers[0].peers.ask(2, &Newer, SOON).await;
    assert!(
        matches!(&unknown, Err(AskError::Refused(why)) if why.contains("question 201")),
        "{unknown:?}"
    );
    // What is answered on one lane is not answered on another.
    let other_lane = managers[0]
        .peers
        .control(2, &member(2))
        .ask(&Double(1), SOON)
        .await;
    assert!(matches!(other_lane, Err(AskError::Refused(_))), "{other_lane:?}");
    assert_eq!(managers[0].peers.ask(2, &Double(3), SOON).await, Ok(6));
}

#[tokio::test]
async fn nothing_is_answered_once_its_owner_is_gone() {
    let net = Net::default();
    let mut managers = three(&net);
    let gone = managers.remove(1);
    let Manager {
        peers: _still,
        doubled,
        _known,
    } = gone;
    drop(doubled);
    let answer = managers[0].peers.ask(2, &Double(3), SOON).await;
    assert_eq!(answer, Err(AskError::Refused("this manager is stopping".into())));
}

#[tokio::test]
async fn who_is_no_member_or_has_lost_its_data_gets_no_answer() {
    let net = Net::default();
    let managers = three(&net);
    let asked = managers[0].peers.ask(9, &Double(1), SOON).await;
    assert!(matches!(asked, Err(AskError::NotSent(_))), "{asked:?}");
    // It believes to be a member.
    let stranger = start(&net, 4, &[1, 2, 3, 4]);
    let refused = stranger.peers.ask(2, &Double(1), SOON).await;
    assert!(
        matches!(&refused, Err(AskError::NotSent(why)) if why.contains("manager 4 is not a member")),
        "{refused:?}"
    );
    let me = Me {
        id: 3,
        incarnation: 99,
    };
    let dial = NetDial {
        net: net.clone(),
        me: 3,
    };
    let wiped = Peers::new(Arc::new(dial), me);
    let link = wiped.link(Lane::FORWARD, 2, member(2));
    let refused = link.ask(&Double(1), SOON).await;
    assert!(
        matches!(&refused, Err(AskError::NotSent(why)) if why.contains("its data were lost")),
        "{refused:?}"
    );
    assert_eq!(managers[1].doubled.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_lane_can_be_taken_over_as_a_stream() {
    let net = Net::default();
    let managers = three(&net);
    let owner = managers[1].doubled.clone();
    managers[1]
        .peers
        .take(Lane::SNAPSHOT, &owner, |_, from, mut stream| async move {
            let mut got = [0; 3];
            stream.read_exact(&mut got).await.unwrap();
            stream
                .write_all(&[got[0], got[2], u8::try_from(from).unwrap()])
                .await
                .unwrap();
        });
    let mut stream = managers[2]
        .peers
        .connect(Lane::SNAPSHOT, 2, &member(2))
        .await
        .unwrap();
    stream.write_all(&[7, 8, 9]).await.unwrap();
    let mut back = [0; 3];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, [7, 9, 3]);
}
