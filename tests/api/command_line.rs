//! The nouns of the command line and their exit codes, against a real manager.

use clap::{CommandFactory, Parser};
use quorate::cli;

use crate::manager::Manager;

#[derive(Debug, Parser)]
#[command(name = "quorate")]
struct Whole {
    #[command(flatten)]
    global: cli::Global,
    #[command(subcommand)]
    noun: cli::Noun,
}

async fn quorate(options: &[&str], line: &str) -> u8 {
    let words = ["quorate"]
        .into_iter()
        .chain(options.iter().copied())
        .chain(line.split(' '));
    let whole = Whole::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    cli::run(whole.global, whole.noun, &mut Whole::command()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_happened() {
    let manager = Manager::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    file("ca.pem", &manager.ca);
    file("admin.token", &manager.token);
    // A dead manager is passed over.
    file(
        "endpoints",
        &format!("https://127.0.0.1:1\n{}\n", manager.endpoint),
    );
    let spec = file("agent.toml", "name = \"web\"\ncommand = \"sleep\"\n");
    let slip = file("slip.toml", "name = \"web\"\ncomand = \"sleep\"\n");
    let here = ["--dir", dir.path().to_str().unwrap()];
    for (line, code) in [
        ("cluster status", 0),
        ("cluster health -o json", 0),
        ("cluster managers -o yaml", 0),
        ("config put a --value x --create", 0),
        ("config put a --value x --create", 4),
        ("config get a", 0),
        ("config get b", 3),
        ("config ls -o wide", 0),
        ("config rm a --if-version 1", 4),
        ("config rm a", 0),
        (&format!("agent deploy -f {spec}"), 0),
        (&format!("agent deploy -f {spec}"), 4),
        (&format!("agent deploy -f {slip}"), 2),
        ("agent deploy --name job --label tier=x -- sleep 1", 0),
        ("agent ls -l tier=x", 0),
        ("agent ls -l a,,b", 2),
        ("agent explain web", 0),
        ("agent stop web", 0),
        ("agent rm web", 0),
        ("agent get web", 3),
        ("container register box --label zone=a", 0),
        ("container ls", 0),
        ("container cordon box --reason disk", 0),
        ("container ls -o wide", 0),
        ("container uncordon box --if-version 1", 4),
        ("container uncordon box", 0),
        ("container cordon nobody", 3),
        ("container get box", 0),
        ("container get box -o yaml", 0),
        ("container stats box", 0),
        ("container stats box --last 1h -o json", 0),
        ("container stats bax", 3),
        ("container rm box", 0),
        ("cluster breaker", 0),
        ("cluster breaker -o json", 0),
        ("cluster breaker lift", 4),
        ("engine add e tcp://127.0.0.1:1", 0),
        ("engine ls", 0),
        ("engine rm e", 0),
        ("token create ci --role viewer --expires 1h", 0),
        ("token ls", 0),
        ("token revoke ci", 0),
        ("token revoke ci", 3),
        ("cluster join-token create --role manager --uses 1", 0),
        ("cluster join-token ls", 0),
        ("cluster remove-manager 9", 3),
        ("completion bash", 0),
    ] {
        assert_eq!(quorate(&here, line).await, code, "{line}");
    }
    let stranger = quorate::security::ApiToken::generate().unwrap().to_string();
    assert_eq!(
        quorate(&[here[0], here[1], "--token", &stranger], "config ls").await,
        7
    );
    manager.stop().await;
    assert_eq!(quorate(&here, "cluster status").await, 5);
    assert_eq!(quorate(&["--dir", "/nowhere"], "cluster status").await, 2);
}
