use std::io::Write as _;

use super::{
    super::pretended::{Answer, Pretended},
    *,
};

const INSPECT: &str = "GET /containers/ab12/json";
const TOP: &str = "GET /containers/ab12/top";
const CREATE: Answer = ("POST /containers/ab12/exec", 201, r#"{"Id":"e1"}"#);
const START: &str = "POST /exec/e1/start";
const LOOK: &str = "GET /exec/e1/json";

const RUNS: Answer = (INSPECT, 200, r#"{"Id":"ab12","State":{"Running":true}}"#);
const NO_RUNNER: Answer = (TOP, 200, r#"{"Processes":[["1","sleep 1000"]]}"#);

#[test]
fn users_are_found_by_name() {
    let users = "root:x:0:0::/:/bin/sh\nnobroken\napp2:x:8:8::/:\napp:x:1000:1000::/:\n";
    assert_eq!(user_id(users, "app"), Some(1000));
    assert_eq!(user_id(users, "nobroken"), None);
    assert_eq!(user_id(users, "nobody"), None);
}

/// What is prepared with a program that is gone: nothing can be copied in.
async fn prepare_with(engine: &Pretended, selector: &str) -> Result<Standing, AdoptError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut text = [0; 64];
    text[..6].copy_from_slice(b"\x7fELF\x02\x01");
    text[18] = 0x3e;
    file.write_all(&text).unwrap();
    let program = Program::open(file.path()).unwrap();
    drop(file);
    let order = Order {
        container: "ab12".into(),
        name: "c".parse().unwrap(),
        managers: vec!["127.0.0.1:1".into()],
        selector: selector.parse().unwrap(),
        program: Arc::new(program),
    };
    prepare(&engine.endpoint(), &order).await
}

#[tokio::test]
async fn an_engine_that_does_not_say_what_runs_gets_no_second_runner() {
    let executed = r#"{"Id":"ab12","State":{"Running":true},"ExecIDs":["e1"]}"#;
    let inspected = (INSPECT, 200, executed);
    let broken = r#"{"message":"ps is gone"}"#;
    for answers in [
        [RUNS, (TOP, 500, broken)],
        [RUNS, (TOP, 200, "{}")],
        [RUNS, (TOP, 404, broken)],
        [inspected, (LOOK, 500, broken)],
    ] {
        let engine = Pretended::new(&answers).await;
        let error = prepare_with(&engine, "").await.unwrap_err().to_string();
        assert!(error.contains("what runs in the container"), "{error}");
        let changes = |asked: &String| !asked.starts_with("GET ");
        assert!(!engine.asked().iter().any(changes), "{:?}", engine.asked());
    }
    // Only one that is not known any more has ended.
    let brought = r#"{"Processes":[["1","sleep 9"],["7","/.quorate/quorate runner --name c"]]}"#;
    let engine = Pretended::new(&[inspected, (LOOK, 404, broken), (TOP, 200, brought)]).await;
    let standing = prepare_with(&engine, "").await.unwrap();
    assert!(
        matches!(standing, Standing::Taken { brought: true }),
        "{standing:?}"
    );
}

#[tokio::test]
async fn labels_count_as_the_engine_tells_them_at_the_attempt() {
    let refused = r#"{"State":{"Running":true},"Config":{"Labels":{"quorate.adopt":"false","team":"a"}}}"#;
    let engine = Pretended::new(&[(INSPECT, 200, refused), NO_RUNNER]).await;
    let standing = prepare_with(&engine, "team=a").await.unwrap();
    assert!(matches!(standing, Standing::Unmeant), "{standing:?}");
    let another = r#"{"State":{"Running":true},"Config":{"Labels":{"team":"b"}}}"#;
    let engine = Pretended::new(&[(INSPECT, 200, another), NO_RUNNER]).await;
    let standing = prepare_with(&engine, "team=a").await.unwrap();
    assert!(matches!(standing, Standing::Unmeant), "{standing:?}");
    // This one is meant: the binary is what is missing.
    let error = prepare_with(&engine, "team=b").await.unwrap_err().to_string();
    assert!(error.contains("the binary can't be read"), "{error}");
}

#[tokio::test]
async fn a_volume_that_another_container_has_gets_no_key() {
    const LIST: &str = "GET /containers/json";
    let found = r#"{"State":{"Running":true},"HostConfig":{"ReadonlyRootfs":true},
        "Mounts":[{"Type":"volume","Name":"v","Destination":"/v","RW":true}]}"#;
    let inspected = (INSPECT, 200, found);
    for (having, alone) in [
        (r#"[{"Id":"ab12"}]"#, true),
        (r#"[{"Id":"ab12"},{"Id":"cd34"}]"#, false),
        ("[]", false),
    ] {
        let engine = Pretended::new(&[inspected, NO_RUNNER, (LIST, 200, having)]).await;
        let error = prepare_with(&engine, "").await.unwrap_err().to_string();
        let why = if alone {
            "in /v: the binary can't be read"
        } else {
            "in /v: another container has this volume too"
        };
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_user_whose_file_can_not_be_read_is_told_apart_from_one_that_is_not_in_it() {
    let found = r#"{"State":{"Running":true},"Config":{"User":"app"}}"#;
    let engine = Pretended::new(&[(INSPECT, 200, found), NO_RUNNER]).await;
    let error = prepare_with(&engine, "").await.unwrap_err().to_string();
    assert!(error.contains("/etc/passwd can't be read"), "{error}");
}

async fn start(answers: &[Answer]) -> Result<(), AdoptError> {
    let engine = Pretended::new(answers).await;
    let prepared = Prepared {
        inside: Inside {
            connection: Connection::open(&engine.endpoint()).await.unwrap(),
            container: "ab12".into(),
        },
        command: vec!["/.quorate/quorate".into(), "runner".into()],
        data: "/.quorate/ab12".into(),
        last_words: None,
    };
    prepared.start("token").await
}

#[tokio::test]
async fn a_runner_is_not_taken_for_ended_because_its_engine_does_not_say() {
    let broken = r#"{"message":"busy"}"#;
    let started = (START, 200, "");
    start(&[CREATE, started, (LOOK, 500, broken)]).await.unwrap();
    start(&[CREATE, started, (LOOK, 200, r#"{"Running":true}"#)])
        .await
        .unwrap();
    // It may have been started.
    start(&[CREATE, (START, 504, broken)]).await.unwrap();
    let ended = (LOOK, 200, r#"{"Running":false,"ExitCode":3}"#);
    let error = start(&[CREATE, started, ended]).await.unwrap_err();
    assert!(error.to_string().contains("exit code 3"), "{error}");
    start(&[CREATE, (START, 409, broken)]).await.unwrap_err();
    start(&[(CREATE.0, 409, broken)]).await.unwrap_err();
}
