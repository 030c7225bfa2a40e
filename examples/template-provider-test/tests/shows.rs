//! The program before a template provider on an embedded chain.
#![allow(clippy::unwrap_used, reason = "a test ends by panic")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bitcoin::consensus::serialize;
use bitcoin_node::Node;
use bitcoin_node::embedded::EmbeddedNode;
use bitcoin_node::generate::{solve, unsolved_block};
use network_helpers_sv2::{ServerIdentity, ServerSecurity};
use noise_sv2::AuthoritySecretKey;
use stratum_runtime::Shutdown;
use stratum_template_provider::{Config, TemplateProvider};

struct Provider {
    node: Arc<EmbeddedNode>,
    server: TemplateProvider,
    key: String,
}

fn provider(is_encrypted: bool) -> Provider {
    let authority = AuthoritySecretKey::from_bytes(&[3; 32]).unwrap();
    let key = authority.public_key().to_string();
    let identity = ServerIdentity::new(authority, ServerIdentity::DEFAULT_VALIDITY);
    let security = match is_encrypted {
        true => ServerSecurity::Noise(identity.into()),
        false => ServerSecurity::Plain,
    };
    let config = Config::new(([127, 0, 0, 1], 0).into(), security);
    let node = Arc::new(EmbeddedNode::default());
    let server = TemplateProvider::start(config, node.clone(), Shutdown::new()).unwrap();
    Provider { node, server, key }
}

async fn mine_block(node: &EmbeddedNode) {
    let template = node.state().borrow().template.clone().unwrap();
    let mut block = unsolved_block(&template, bitcoin::ScriptBuf::new()).unwrap();
    assert!(solve(&mut block));
    let outcome = node.submit_block(serialize(&block).into()).await;
    assert!(outcome.is_stored(), "{outcome:?}");
}

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_template-provider-test"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(arguments: &[&str]) -> (bool, String) {
    let output = start(arguments).wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_and_tips_are_shown() {
    let provider = provider(true);
    let url = format!("{}/{}", provider.server.local_addr(), provider.key);
    let mut program = start(&[&url, "--count", "2", "--seconds", "60"]);
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while !said
        .iter()
        .any(|line: &String| line.contains("is mined now"))
    {
        said.push(lines.next().unwrap().unwrap());
    }
    assert_eq!(said[1], "-> CoinbaseOutputConstraints");
    assert!(
        said[2].contains("for a block to come: 5000000000 sat to spend"),
        "{said:?}"
    );
    let genesis = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
    assert!(said[3].contains(genesis), "{said:?}");
    mine_block(&provider.node).await;
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest[0].contains(", for a block to come"), "{rest:?}");
    assert_eq!(rest.last().unwrap(), "templates shown: 2");
    assert!(program.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_the_clear_is_asked_as_such() {
    let provider = provider(false);
    let address = provider.server.local_addr().to_string();
    let (is_success, said) = run(&[&address, "--plain", "--count", "1"]);
    assert!(is_success, "{said}");
    assert!(said.contains("templates shown: 1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_another_key_is_not_believed() {
    let provider = provider(true);
    let other = AuthoritySecretKey::from_bytes(&[4; 32]).unwrap();
    let url = format!("{}/{}", provider.server.local_addr(), other.public_key());
    let (is_success, said) = run(&[&url, "--seconds", "10"]);
    assert!(!is_success, "{said}");
    assert!(
        said.contains("no connection to the template provider"),
        "{said}"
    );
}
