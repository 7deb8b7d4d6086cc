//! A node in provisioning mode, seen from the broker: a real nats-server, a branded binary, and a client of the wire
//! that shares no code with the product.

mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::{DOMAIN, Names, PATIENCE, SILENCE, TOKEN, facts, named, only_node, plain};
use serde_json::{Value, json};
use testbed::authority::Authority;
use testbed::broker::Broker;
use testbed::wire::{Request, Requester};

fn requester(broker: &Broker) -> Requester {
    Requester::connect(broker.address()).unwrap()
}

fn host_name() -> String {
    let output = Command::new("hostname").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_node_introduces_itself_before_it_connects() {
    let bench = plain();
    let mut node = bench.node();
    node.wait_for("info: Wire Lab 1.2.3 (wireplain-disco)");
    assert!(node.wait_for("info: features: ").contains("choria, provisioning, plaintext-brokers"));
    let identity = node.wait_for("info: identity: ");
    assert!(identity.contains(&host_name()) && identity.ends_with("collective: provisioning"), "{identity}");
    node.wait_for("(without TLS)");
    node.wait_for("mode: provisioning, because there is no configuration and the brand's default is on");
}

#[test]
fn a_ping_is_answered_once_by_the_nodes_that_its_filter_means() {
    let bench = plain();
    let broker = bench.broker();
    let _node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    assert!(identity.starts_with(&host_name()));

    let meant = [
        json!({"agent": ["choria_provision"]}),
        json!({"agent": ["/^choria_/", "rpcutil", "discovery"]}),
        json!({"identity": ["elsewhere", identity]}),
        json!({"fact": [{"fact": "os.family", "operator": "==", "value": "debian"}]}),
    ];
    for filter in meant {
        assert_eq!(requester.discover(&filter, PATIENCE).unwrap(), [identity.as_str()], "{filter}");
    }
    let others = [
        json!({"agent": ["choria_provision", "absent"]}),
        json!({"identity": ["elsewhere"]}),
        json!({"cf_class": ["web"]}),
        json!({"fact": [{"fact": "os.family", "operator": "==", "value": "redhat"}]}),
        json!({"compound": [[{"expr": "true"}]]}),
    ];
    for filter in others {
        assert_eq!(requester.discover(&filter, SILENCE).unwrap(), [""; 0], "{filter}");
    }
}

#[test]
fn what_is_hostile_or_malformed_gets_no_reply_and_does_no_harm() {
    let bench = plain();
    let broker = bench.broker();
    let mut node = bench.node().connected();
    let mut requester = requester(&broker);
    let now = testbed::wire::unix_time();
    let spoil = |member: &str, value: Value| -> Request {
        let mut request = Requester::connect(broker.address()).unwrap().discovery(&json!({}));
        request.content["envelope"][member] = value;
        request
    };
    let no_arrays =
        json!({"fact": null, "cf_class": null, "agent": null, "identity": null, "compound": null});
    let spoiled = [
        spoil("requestid", json!("3f1c0a9b-5d2e-4f60-8182-93a4b5c6d7e8")),
        spoil("ttl", json!(29)),
        spoil("time", json!(now - 61)),
        spoil("time", json!(now + 120)),
        spoil("filter", no_arrays),
        spoil("filter", json!({})),
        spoil("collective", json!("mcollective")),
        spoil("callerid", json!("")),
    ];
    for request in &spoiled {
        let replies = requester.broadcast(request, SILENCE).unwrap();
        assert!(replies.is_empty(), "answered {}", request.content);
    }
    let subject = "provisioning.broadcast.agent.discovery";
    let oversized = vec![b'x'; 900 * 1024];
    let deep = "[".repeat(400_000);
    let garbage: [&[u8]; 7] = [b"", b"rubbish", b"{}", b"\xff\xfe\x00", b"null", &oversized, deep.as_bytes()];
    for payload in garbage {
        requester.publish(subject, payload).unwrap();
    }
    only_node(&mut requester);
    node.wait_for("dropped a message: not an acceptable request: payload of 921600 bytes is larger than");
}

#[test]
fn a_node_does_not_listen_in_other_collectives() {
    let bench = plain();
    let broker = bench.broker();
    let _node = bench.node().connected();
    let mut elsewhere = requester(&broker).in_collective("mcollective");
    assert_eq!(elsewhere.discover(&json!({}), SILENCE).unwrap(), [""; 0]);
    only_node(&mut requester(&broker));
}

#[test]
fn the_inventory_has_exactly_the_types_that_a_provisioner_expects() {
    let bench = plain();
    let broker = bench.broker();
    let _node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    let reply = requester.request(&identity, "rpcutil", "inventory", &json!({})).unwrap();
    let expected = json!({
        "action": "inventory",
        "statuscode": 0,
        "statusmsg": "OK",
        "data": {
            "agents": ["choria_provision", "discovery", "rpcutil"],
            "classes": [],
            "collectives": ["provisioning"],
            "data_plugins": [],
            "facts": facts(),
            "machines": [],
            "main_collective": "provisioning",
            "version": "1.2.3",
            "upgradable": false,
        },
    });
    assert_eq!(reply, expected);

    let described = requester.request(&identity, "rpcutil", "agent_inventory", &json!({})).unwrap();
    let provision = &described["data"]["agents"][0];
    assert_eq!((&provision["agent"], &provision["timeout"]), (&json!("choria_provision"), &json!(20)));
    let counted = requester.request(&identity, "rpcutil", "daemon_stats", &json!({})).unwrap();
    assert_eq!(counted["data"]["total"], 4);
    assert_eq!(counted["data"]["replies"], 3);
    assert_eq!(counted["data"]["events"], 1);
}

#[test]
fn a_certificate_is_requested_for_a_key_that_stays_on_the_node() {
    let bench = plain();
    let broker = bench.broker();
    let mut node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    let first = gencsr(&mut requester, &identity, &json!({"token": TOKEN}));
    assert_eq!(first["statusmsg"], "OK");
    let data = &first["data"];
    assert_eq!(data["ssldir"], json!(node.ssl_directory().to_str().unwrap()));
    assert_eq!(subject_of(data["csr"].as_str().unwrap()), format!("CN = {identity}"));

    let key = node.ssl_directory().join("private.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(node.ssl_directory()).unwrap().permissions().mode() & 0o7777, 0o771);
    let csr = node.ssl_directory().join("csr.pem");
    assert_eq!(fs::read_to_string(&csr).unwrap(), data["csr"].as_str().unwrap());
    let of_key = openssl(&["rsa", "-pubout", "-in", path(&key)], "");
    let of_request = openssl(&["req", "-pubkey", "-noout", "-in", path(&csr)], "");
    assert_eq!(of_key, of_request, "the key on disk is not the one that was requested for");
    // The label promises one format, the content is the other: as in the reference, and as helpers expect.
    let handed_out = data["public_key"].as_str().unwrap().replace("PUBLIC KEY", "RSA PUBLIC KEY");
    assert_eq!(openssl(&["rsa", "-RSAPublicKey_in", "-pubout"], &handed_out), of_key);

    // Generated clients send lower-case names; all parts of the subject are used, in this order.
    let parts = json!({
        "token": TOKEN, "cn": "other.example.net",
        "c": "NL", "o": "Acme", "OU": "Fleet", "l": "Delft", "ST": "Zuid-Holland"
    });
    let second = gencsr(&mut requester, &identity, &parts);
    assert_eq!(
        subject_of(second["data"]["csr"].as_str().unwrap()),
        "C = NL, O = Acme, OU = Fleet, L = Delft, ST = Zuid-Holland, CN = other.example.net"
    );
    assert_ne!(openssl(&["rsa", "-pubout", "-in", path(&key)], ""), of_key, "every call makes a new key");
    assert!(!node.log().contains(TOKEN), "the token is in the log");
}

#[test]
fn a_wrong_token_is_refused_and_written_nowhere() {
    let bench = plain();
    let broker = bench.broker();
    let mut node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    for data in [json!({"token": "a-wrong-guess"}), json!({}), json!({"token": format!("{TOKEN} ")})] {
        let reply = gencsr(&mut requester, &identity, &data);
        let expected = json!({
            "action": "gencsr", "statuscode": 1, "statusmsg": "Incorrect provision token supplied", "data": {}
        });
        assert_eq!(reply, expected, "{data}");
    }
    assert!(!node.ssl_directory().exists(), "a refused call left something behind");
    node.wait_for("incorrect provision token from choria=tester.mcollective from ctl.example.net");
    assert!(!node.log().contains("a-wrong-guess"));
    assert_eq!(gencsr(&mut requester, &identity, &json!({"token": TOKEN}))["statuscode"], 0);
}

#[test]
fn guessing_tokens_gets_slow() {
    let bench = plain();
    let broker = bench.broker();
    let _node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    let guess = |requester: &mut Requester| gencsr(requester, &identity, &json!({"token": "guess"}));
    for _ in 0..5 {
        assert_eq!(guess(&mut requester)["statusmsg"], "Incorrect provision token supplied");
    }
    let told = guess(&mut requester);
    assert_eq!(told["statuscode"], 1);
    assert_eq!(told["statusmsg"], "Too many incorrect provision tokens, wait before the next attempt");
}

#[test]
fn a_second_provisioner_does_not_get_a_node_that_a_first_one_has() {
    let bench = plain();
    let broker = bench.broker();
    let _node = bench.node().connected();
    let mut first = requester(&broker);
    let identity = only_node(&mut first);
    // Even a failing call takes the lock.
    assert_eq!(gencsr(&mut first, &identity, &json!({"token": "wrong"}))["statuscode"], 1);
    let mut second = requester(&broker).as_caller("other.example.net", "choria=other.mcollective");
    let refused = gencsr(&mut second, &identity, &json!({"token": TOKEN}));
    assert_eq!(refused["statuscode"], 1);
    assert_eq!(refused["statusmsg"], "Could not obtain provisioning lock");
    assert_eq!(gencsr(&mut first, &identity, &json!({"token": TOKEN}))["statuscode"], 0);
    // What is not guarded still answers everybody.
    assert_eq!(second.request(&identity, "rpcutil", "ping", &json!({})).unwrap()["statuscode"], 0);
}

#[test]
fn inputs_outside_the_interface_description_are_refused() {
    let bench = plain();
    let broker = bench.broker();
    let _node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    let bad = [
        (json!({"token": TOKEN, "cn": "a b"}), "Validation failed: cn "),
        (json!({"token": TOKEN, "cn": "../x"}), "Validation failed: cn "),
        (json!({"token": TOKEN, "cn": format!("{}.b", "a".repeat(80))}), "Validation failed: cn "),
        (json!({"token": TOKEN, "C": "nl"}), "Validation failed: C "),
        (json!({"token": TOKEN, "o": "a,CN=b"}), "Validation failed: O "),
        (json!({"token": "t".repeat(129)}), "Validation failed: token "),
        (json!({"token": TOKEN, "cn": 1}), "Could not parse request data for choria_provision#gencsr: "),
    ];
    for (data, text) in bad {
        let reply = gencsr(&mut requester, &identity, &data);
        assert_eq!(reply["statuscode"], 4, "{data}");
        assert!(reply["statusmsg"].as_str().unwrap().starts_with(text), "{reply}");
    }
    let unknown =
        requester.request(&identity, "choria_provision", "configure", &json!({"token": TOKEN})).unwrap();
    let expected = json!({
        "action": "configure", "statuscode": 2,
        "statusmsg": "Unknown action configure for agent choria_provision", "data": {}
    });
    assert_eq!(unknown, expected);
}

#[test]
fn a_node_tells_when_it_starts_and_when_it_stops() {
    let bench = plain();
    let broker = bench.broker();
    let mut watcher = requester(&broker);
    watcher.subscribe("choria.lifecycle.event.>").unwrap();
    for _ in 0..2 {
        let mut node = bench.node();
        let startup = event(&mut watcher, "startup");
        assert_eq!(startup["data"]["version"], "1.2.3");
        let identity = only_node(&mut requester(&broker));
        assert_eq!(startup["subject"], json!(identity));
        assert_eq!(startup["data"]["identity"], json!(identity));
        assert!(node.terminate().success(), "{}", node.log());
        let shutdown = event(&mut watcher, "shutdown");
        assert_ne!(shutdown["id"], startup["id"]);
        assert_eq!(shutdown["data"].get("version"), None);
    }
}

#[test]
fn a_node_finds_its_brokers_where_its_domain_says_in_the_order_of_their_priority() {
    let bench = named();
    let broker = bench.broker();
    let closed = testbed::broker::free_port().unwrap();
    let records = [(2, "up.wire.example", bench.port()), (1, "down.wire.example", closed)];
    let names = Names::serve(&records);
    let mut node = bench.node_asking(&names);
    node.wait_for(&format!(
        "info: brokers: the SRV records of _choria-provisioner._tcp.{DOMAIN} (without TLS)"
    ));
    node.wait_for(&format!("connected to nats://up.wire.example:{}", bench.port()));
    only_node(&mut requester(&broker));
}

#[test]
fn a_domain_that_names_no_broker_is_asked_again() {
    let bench = named();
    let _broker = bench.broker();
    let nobody = Names::serve(&[]);
    let mut node = bench.node_asking(&nobody);
    node.wait_for(&format!(
        "warning: `_choria-provisioner._tcp.{DOMAIN}` has no SRV record that names a broker; trying on"
    ));
    drop(nobody);
    let _somebody = Names::serve(&[(1, "up.wire.example", bench.port())]);
    node.connected();
}

#[test]
fn a_provisioner_ends_the_server_of_a_node_where_the_brand_has_it() {
    let bench = named();
    let broker = bench.broker();
    let names = Names::serve(&[(1, "up.wire.example", bench.port())]);
    let mut watcher = requester(&broker);
    watcher.subscribe("choria.lifecycle.event.shutdown.>").unwrap();
    let mut node = bench.node_asking(&names).connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    let mut ask = |action: &str, token: &str| {
        requester.request(&identity, "choria_provision", action, &json!({ "token": token })).unwrap()
    };

    let refused = ask("shutdown", "wrong");
    assert_eq!(
        (&refused["statuscode"], &refused["statusmsg"]),
        (&json!(1), &json!("Incorrect provision token supplied"))
    );
    let waiting = ask("reprovision", TOKEN);
    let already = "Server is already in provisioning mode, cannot enable provisioning mode again";
    assert_eq!((&waiting["statuscode"], &waiting["statusmsg"]), (&json!(1), &json!(already)));

    let reply = ask("shutdown", TOKEN);
    assert_eq!(reply["statuscode"], 0, "{reply}");
    let message = reply["data"]["message"].as_str().unwrap();
    let seconds =
        message.strip_prefix("Shutting Choria Server down after ").and_then(|rest| rest.strip_suffix('s'));
    assert!(
        seconds.is_some_and(|seconds| seconds.parse::<u8>().is_ok_and(|seconds| seconds < 10)),
        "{message}"
    );
    assert!(node.wait().success(), "{}", node.log());
    assert!(node.log().contains("info: stopping because of an order to shut down"), "{}", node.log());
    event(&mut watcher, "shutdown");
}

#[test]
fn a_node_has_no_action_that_its_brand_did_not_choose() {
    let bench = plain();
    let broker = bench.broker();
    let mut node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    for action in ["shutdown", "reprovision", "release_update"] {
        let reply =
            requester.request(&identity, "choria_provision", action, &json!({ "token": TOKEN })).unwrap();
        assert_eq!(
            (&reply["statuscode"], &reply["statusmsg"]),
            (&json!(2), &json!(format!("Unknown action {action} for agent choria_provision")))
        );
    }
    assert!(node.terminate().success());
}

#[test]
fn a_node_can_be_called_the_moment_it_tells_that_it_started() {
    let bench = plain();
    let broker = bench.broker();
    let mut provisioner = requester(&broker);
    provisioner.subscribe("choria.lifecycle.event.startup.>").unwrap();
    let _node = bench.node();
    let identity = event(&mut provisioner, "startup")["subject"].as_str().unwrap().to_owned();
    assert_eq!(provisioner.request(&identity, "rpcutil", "ping", &json!({})).unwrap()["statuscode"], 0);
}

#[test]
fn registration_data_is_published_as_a_request_that_wants_no_answer() {
    let bench = plain();
    let broker = bench.broker();
    let mut watcher = requester(&broker);
    watcher.subscribe("provisioning.registration.data").unwrap();
    let _node = bench.node();
    let message = watcher.next(PATIENCE).unwrap().expect("the node did not register");
    let transport: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(transport["headers"]["reply-to"], "dev.null");
    assert!(transport["headers"]["mc_sender"].as_str().unwrap().starts_with(&host_name()));

    let request = testbed::wire::open_request(&message.payload).unwrap();
    let envelope = &request["envelope"];
    assert_eq!(
        (&envelope["agent"], &envelope["collective"]),
        (&json!("registration"), &json!("provisioning"))
    );
    assert_eq!(envelope["requestid"].as_str().unwrap().len(), 32);
    let body: Value = serde_json::from_str(request["message"].as_str().unwrap()).unwrap();
    assert_eq!(body["protocol"], "choria:registration:filecontent:1");
    assert_eq!((&body["file"], &body["updated"]), (&json!("facts.json"), &json!(false)));
}

#[test]
fn a_broker_that_comes_back_finds_the_node_again() {
    let bench = plain();
    let broker = bench.broker();
    let mut node = bench.node().connected();
    only_node(&mut requester(&broker));
    drop(broker);
    node.wait_for("warning: the broker is gone");
    let broker = bench.broker();
    node.wait_for("info: the broker is back");
    only_node(&mut requester(&broker));
    assert!(node.terminate().success());
}

#[test]
fn a_resolver_decides_alone_where_the_node_waits() {
    let bench = lab::resolved();
    let file = bench.directory().join("target-port");
    let _ = fs::remove_file(&file);
    let baked = bench.broker();
    let elsewhere = Broker::start().unwrap();
    let mut node = bench.node();
    node.wait_for("brokers: found by resolver `lab-targets`");
    node.wait_for("resolver `lab-targets` found no brokers: No such file or directory");
    // The baked broker is there and free; a resolver without an answer must not lead to it.
    assert_eq!(requester(&baked).discover(&json!({}), SILENCE).unwrap(), [""; 0]);
    fs::write(&file, elsewhere.port().to_string()).unwrap();
    let _node = node.connected();
    only_node(&mut requester(&elsewhere));
    assert_eq!(requester(&baked).discover(&json!({}), SILENCE).unwrap(), [""; 0]);
}

#[test]
fn agents_of_other_crates_serve_beside_the_built_in_ones_and_cannot_harm_them() {
    let bench = lab::with_agents();
    let said = Command::new(bench.binary()).args(["buildinfo", "--json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["agents"], json!(["choria_provision", "discovery", "hello", "lab_wrong", "rpcutil"]));

    let broker = bench.broker();
    let mut node = bench.node().connected();
    let mut requester = requester(&broker);
    let identity = only_node(&mut requester);
    let found = requester.discover(&json!({"agent": ["hello"]}), SILENCE).unwrap();
    assert_eq!(found, [identity.as_str()]);
    let greeted = requester.request(&identity, "hello", "greet", &json!({"name": "lab"})).unwrap();
    assert_eq!(greeted["data"]["greeting"], format!("Hello lab, from {identity}"));
    let refused = requester.request(&identity, "hello", "greet", &json!({})).unwrap();
    assert_eq!((&refused["statuscode"], &refused["statusmsg"]), (&json!(3), &json!("name is required")));

    let broken = requester.request(&identity, "lab_wrong", "panic", &json!({})).unwrap();
    assert_eq!(broken["statuscode"], 5);
    node.wait_for("agent lab_wrong panicked in panic");
    for _ in 0..6 {
        let hanging = requester.action("lab_wrong", "hang", &json!({}));
        assert!(requester.broadcast(&hanging, Duration::from_millis(50)).unwrap().is_empty());
    }
    node.wait_for("agent lab_wrong gave no answer within 2 s");
    let greeted = requester.request(&identity, "hello", "greet", &json!({"name": "lab"})).unwrap();
    assert_eq!(greeted["statuscode"], 0, "the others are as quick as ever");
}

#[test]
fn after_a_long_outage_the_node_looks_for_brokers_anew() {
    let bench = plain();
    let broker = bench.broker();
    let mut node = bench.node().connected();
    drop(broker);
    node.wait_for("the broker could not be reached again, looking for brokers anew");
    let broker = bench.broker();
    let _node = node.connected();
    only_node(&mut requester(&broker));
}

#[test]
fn a_service_manager_is_told_when_the_node_is_up_and_when_it_stops() {
    let bench = plain();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut text = [0; 256];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    // There is no broker: waiting for one is what the node is up for.
    let mut node = bench.node_notifying(&path);
    assert_eq!(next().trim(), "READY=1");
    assert!(node.terminate().success());
    assert_eq!(next().trim(), "STOPPING=1");
}

#[test]
fn a_node_waits_for_a_broker_that_is_not_there_yet() {
    let bench = plain();
    let mut node = bench.node();
    node.wait_for("; trying on");
    let broker = bench.broker();
    let node = node.connected();
    only_node(&mut requester(&broker));
    drop(node);
    drop(broker);

    let mut patient = bench.node();
    patient.wait_for("; trying on");
    assert!(patient.terminate().success(), "{}", patient.log());
}

#[test]
fn the_status_file_tells_whether_the_broker_is_there() {
    let bench = plain();
    let _ = fs::remove_file(bench.status_file());
    let mut node = bench.node();
    node.wait_for("; trying on");
    let deadline = Instant::now() + PATIENCE;
    // Renamed into place as a whole: whenever it can be read, it can be parsed.
    let status: Value = loop {
        match fs::read(bench.status_file()) {
            Ok(text) => break serde_json::from_slice(&text).unwrap(),
            Err(error) => assert!(Instant::now() < deadline, "no status file: {error}"),
        }
    };
    assert_eq!(status["provisioning_mode"], true);
    assert_eq!(status["connected_server"], "");
    assert!(status["identity"].as_str().unwrap().starts_with(&host_name()));
}

#[test]
fn a_node_that_is_configured_says_so_and_does_not_touch_a_broker() {
    let bench = plain();
    let mut node = bench.node_with("plugin.choria.server.provision = 0\n");
    assert_eq!(node.wait().code(), Some(1));
    let log = node.log();
    assert!(
        log.contains("because the configuration sets `plugin.choria.server.provision` to false"),
        "{log}"
    );
    assert!(!log.contains("connected"), "{log}");
}

#[test]
fn only_a_broker_of_the_pinned_authority_is_spoken_to() {
    let (bench, authority) = lab::pinned();
    let directory = bench.directory();
    let stranger = Authority::new("Somebody else").unwrap().issue(directory, "stranger").unwrap();
    let broker = bench.tls_broker(stranger);
    let mut node = bench.node();
    let refusal = node.wait_for("; trying on");
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");
    assert!(!node.log().contains("info: connected to"));
    drop(broker);

    let trusted = authority.issue(directory, "trusted").unwrap();
    let _broker = bench.tls_broker(trusted);
    let mut node = node.connected();
    assert!(node.terminate().success());
}

#[test]
fn a_broker_without_tls_is_refused_where_the_brand_wants_tls() {
    let (bench, _) = lab::pinned();
    let broker = bench.broker();
    let mut node = bench.node();
    node.wait_for("; trying on");
    assert_eq!(requester(&broker).discover(&json!({}), SILENCE).unwrap(), [""; 0]);
    assert!(!node.log().contains("info: connected to"));
}

#[test]
fn a_brand_that_cannot_be_provisioned_has_nothing_of_it_in_its_binary() {
    let without = lab::without_provisioning();
    let bench = plain();
    // Panic messages name the library's sources, and subjects are literals: both survive stripping.
    for trace in ["/async-nats-", "/rustls-", "choria.lifecycle.event.", "Incorrect provision token supplied"]
    {
        assert!(holds(bench.binary(), trace), "the search for {trace:?} finds nothing anywhere");
        assert!(!holds(&without, trace), "{trace:?} is in a binary without the feature");
    }
    let output = Command::new(&without).args(["server", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("error: this build of wirenone-disco cannot be provisioned and has no server"),
        "{told}"
    );
}

fn holds(binary: &Path, text: &str) -> bool {
    fs::read(binary).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

fn gencsr(requester: &mut Requester, identity: &str, data: &Value) -> Value {
    requester.request(identity, "choria_provision", "gencsr", data).unwrap()
}

/// The next lifecycle event, which must be of this kind and in the form that readers accept.
fn event(watcher: &mut Requester, kind: &str) -> Value {
    let message = watcher.next(PATIENCE).unwrap().expect("no lifecycle event");
    assert_eq!(message.subject, format!("choria.lifecycle.event.{kind}.provision_mode_server"));
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], "io.choria.lifecycle");
    assert_eq!(event["type"], json!(format!("io.choria.lifecycle.v1.{kind}")));
    assert_eq!(event["data"]["protocol"], event["type"]);
    assert_eq!(event["data"]["component"], "provision_mode_server");
    let age = testbed::wire::unix_time().abs_diff(event["data"]["timestamp"].as_u64().unwrap());
    assert!(Duration::from_secs(age) < PATIENCE, "made {age} s ago");
    event
}

/// The subject of a request whose signature is right.
fn subject_of(csr: &str) -> String {
    let subject = openssl(&["req", "-verify", "-noout", "-subject"], csr);
    subject.trim().trim_start_matches("subject=").to_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
