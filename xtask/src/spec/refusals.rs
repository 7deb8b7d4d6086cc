//! Every refusal of a spec, with the whole message that its author reads.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::{Format, Refused, Spec, Surroundings, parse};

/// A certificate of nobody's, made for these tests.
const GOOD_PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBOjCB7aADAgECAhQUpyvkYF1Q2ggf6BMQz9C9D+iWTzAFBgMrZXAwEjEQMA4G
A1UEAwwHVGVzdCBDQTAgFw0yNjExMjIxOTMwMDhaGA8yMTI2MTAyOTE5MzAwOFow
EjEQMA4GA1UEAwwHVGVzdCBDQTAqMAUGAytlcAMhAIYIlHQSk2M4rK6qwD4lZX5l
OOuB0X+ox2yNo+R8fNejo1MwUTAdBgNVHQ4EFgQUcuChVJ/pKgRgjh48Bh9bFeNd
ol4wHwYDVR0jBBgwFoAUcuChVJ/pKgRgjh48Bh9bFeNdol4wDwYDVR0TAQH/BAUw
AwEB/zAFBgMrZXADQQDPdKvpuNI/FD5lvj1vodL8Uq6fH9K02G4j5QuaFzSLz0Ib
SjrwUfpmeOh7dgrYDLxcqzJ/fw4+7b48uR7muwAH
-----END CERTIFICATE-----
";

/// Parses a spec that lies in `folder`, beside the files that specs here refer to.
fn parsed_in(folder: &Path, source: &str) -> anyhow::Result<Spec> {
    for (name, text) in [
        ("key.pem", "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n"),
        ("text.pem", "not PEM at all\n"),
        ("broken.pem", "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n"),
        ("request.pem", "-----BEGIN CERTIFICATE REQUEST-----\nMIGH\n-----END CERTIFICATE REQUEST-----\n"),
        ("good.pem", GOOD_PEM),
        ("good.token", "K7!pVq2-wZ9m#Rt4\n"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::create_dir_all(folder.join("plug")).unwrap();
    fs::write(folder.join("plug/Cargo.toml"), "").unwrap();
    let environment = |name: &str| (name == "GOOD_TOKEN").then(|| OsString::from("K7!pVq2-wZ9m#Rt4"));
    let around = Surroundings { project_version: "0.1.0", environment: &environment };
    parse(&folder.join("test.toml"), source, &around)
}

fn parsed(source: &str) -> anyhow::Result<Spec> {
    parsed_in(tempfile::tempdir().unwrap().path(), source)
}

/// The refusal of a spec, with the folder taken out.
#[track_caller]
fn check(source: &str, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let error = parsed_in(folder.path(), source).expect_err("the spec is refused");
    let refused = error.downcast_ref::<Refused>().expect("the spec itself is what is refused");
    let drawn = refused.draw(false).replace(&format!("{}/", folder.path().display()), "");
    assert_eq!(drawn, expected, "\n{drawn}\n");
    assert!(!drawn.contains("MARKER") && !drawn.contains("4711"), "a token is shown:\n{drawn}");
}

#[test]
fn a_missing_name_is_worded() {
    check(
        r#""#,
        r#"error: `brand.name` is missing
 --> test.toml
  = help: write `name = "acme"` under [brand]; the binary becomes `acme-disco`"#,
    );
}

#[test]
fn a_brand_table_without_a_name_points_at_the_table() {
    check(
        r#"[brand]
vendor = "ACME"
"#,
        r#"error: `brand.name` is missing
 --> test.toml:1:2
  |
1 | [brand]
  |  ^^^^^ in this table
  |
  = help: write `name = "acme"` under [brand]; the binary becomes `acme-disco`"#,
    );
}

#[test]
fn an_unknown_key_offers_the_nearest() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brockers = ["a:1"]
"#,
        r#"error: unknown key `brockers` in [provisioning]
 --> test.toml:8:1
  |
8 | brockers = ["a:1"]
  | ^^^^^^^^ did you mean `brokers`?
  |
  = help: accepted here: `default`, `brokers`, `srv_domain`, `tls`, `ca`, `token`, `registration_data`, `facts`, `status_file`, `agent`, `reprovision`, `shutdown`"#,
    );
}

#[test]
fn an_unknown_table_offers_the_nearest() {
    check(
        r#"[brand]
name = "acme"

[feature]
live = true
"#,
        r#"error: unknown table `feature` at the top
 --> test.toml:4:2
  |
4 | [feature]
  |  ^^^^^^^ did you mean `features`?
  |
  = help: accepted here: `brand`, `paths`, `features`, `client`, `security`, `broker`, `provisioning`, `resolver`, `agents`, `targets`, `packages`, `signing`"#,
    );
}

#[test]
fn an_unknown_key_that_resembles_nothing() {
    check(
        r#"[brand]
name = "acme"
zebra = 1
"#,
        r#"error: unknown key `zebra` in [brand]
 --> test.toml:3:1
  |
3 | zebra = 1
  | ^^^^^ not a key of a spec
  |
  = help: accepted here: `name`, `binary`, `display_name`, `vendor`, `contact`, `url`, `license`, `summary`, `version`, `release`"#,
    );
}

#[test]
fn a_wrong_type() {
    check(
        r#"[brand]
name = "acme"

[features]
live = "yes"
"#,
        r#"error: `features.live` is a string, it must be true or false
 --> test.toml:5:8
  |
5 | live = "yes"
  |        ^^^^^ expected true or false"#,
    );
}

#[test]
fn a_wrong_type_of_a_list_item() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brokers = ["a:1", 2]
"#,
        r#"error: `provisioning.brokers` is a whole number, it must be a string in this list
 --> test.toml:8:19
  |
8 | brokers = ["a:1", 2]
  |                   ^ expected a string in this list"#,
    );
}

#[test]
fn a_value_where_a_table_belongs() {
    check(
        r#"paths = "/x"

[brand]
name = "acme"
"#,
        r#"error: `paths` is a string, it must be a table
 --> test.toml:1:9
  |
1 | paths = "/x"
  |         ^^^^ expected a table"#,
    );
}

#[test]
fn text_that_is_not_toml() {
    check(
        r#"[brand]
name = acme
"#,
        r#"error: the spec is not TOML
 --> test.toml:2:8
  |
2 | name = acme
  |        ^^^^ string values must be quoted, expected literal string"#,
    );
}

#[test]
fn a_brand_name_in_capitals() {
    check(
        r#"[brand]
name = "Acme"
"#,
        r#"error: `brand.name` is refused
 --> test.toml:2:8
  |
2 | name = "Acme"
  |        ^^^^^^ not a brand name
  |
  = help: use a lowercase letter and then up to 30 of `a-z`, `0-9` and `-`"#,
    );
}

#[test]
fn a_brand_name_that_is_too_long() {
    check(
        r#"[brand]
name = "a123456789012345678901234567890x"
"#,
        r#"error: `brand.name` is refused
 --> test.toml:2:8
  |
2 | name = "a123456789012345678901234567890x"
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not a brand name
  |
  = help: use a lowercase letter and then up to 30 of `a-z`, `0-9` and `-`"#,
    );
}

#[test]
fn a_binary_name_with_a_slash() {
    check(
        r#"[brand]
name = "acme"
binary = "acme/disco"
"#,
        r#"error: `brand.binary` is refused
 --> test.toml:3:10
  |
3 | binary = "acme/disco"
  |          ^^^^^^^^^^^^ not a binary name
  |
  = help: use a lowercase letter and then up to 62 of `a-z`, `0-9` and `-`"#,
    );
}

#[test]
fn an_empty_vendor() {
    check(
        r#"[brand]
name = "acme"
vendor = " "
"#,
        r#"error: `brand.vendor` is refused
 --> test.toml:3:10
  |
3 | vendor = " "
  |          ^^^ empty
  |
  = help: write something, or leave the key out for its default"#,
    );
}

#[test]
fn a_vendor_on_two_lines() {
    check(
        r#"[brand]
name = "acme"
vendor = "ACME\nCorp"
"#,
        r#"error: `brand.vendor` has a line break or another control character
 --> test.toml:3:10
  |
3 | vendor = "ACME\nCorp"
  |          ^^^^^^^^^^^^ not one line of text
  |
  = help: write it as one line"#,
    );
}

#[test]
fn a_contact_on_two_lines() {
    check(
        r#"[brand]
name = "acme"
contact = "Fleet\nTeam"
"#,
        r#"error: `brand.contact` has a line break or another control character
 --> test.toml:3:11
  |
3 | contact = "Fleet\nTeam"
  |           ^^^^^^^^^^^^^ not one line of text
  |
  = help: write it as one line"#,
    );
}

#[test]
fn a_summary_on_two_lines() {
    check(
        r#"[brand]
name = "acme"
summary = """
A
B"""
"#,
        r#"error: `brand.summary` has a line break or another control character
 --> test.toml:3:11
  |
3 |   summary = """
  |  ___________^
4 | | A
5 | | B"""
  | |____^ not one line of text
  |
  = help: write it as one line"#,
    );
}

#[test]
fn a_version_with_a_hyphen() {
    check(
        r#"[brand]
name = "acme"
version = "1.4.0-rc1"
"#,
        r#"error: `brand.version` is refused
 --> test.toml:3:11
  |
3 | version = "1.4.0-rc1"
  |           ^^^^^^^^^^^ `-` separates version and release in package names
  |
  = help: write a pre-release with `~`, such as `1.4.0~rc1`; it sorts before 1.4.0"#,
    );
}

#[test]
fn a_version_that_starts_with_a_letter() {
    check(
        r#"[brand]
name = "acme"
version = "v1"
"#,
        r#"error: `brand.version` is refused
 --> test.toml:3:11
  |
3 | version = "v1"
  |           ^^^^ not a version that rpm and deb both take
  |
  = help: start with a digit and use only `A-Z a-z 0-9 . + ~`"#,
    );
}

#[test]
fn a_release_with_an_underscore() {
    check(
        r#"[brand]
name = "acme"
release = "1_2"
"#,
        r#"error: `brand.release` is refused
 --> test.toml:3:11
  |
3 | release = "1_2"
  |           ^^^^^ not a release that rpm and deb both take
  |
  = help: use only `A-Z a-z 0-9 . + ~`, such as `1`"#,
    );
}

#[test]
fn a_relative_path() {
    check(
        r#"[brand]
name = "acme"

[paths]
vardir = "var/lib"
"#,
        r#"error: `paths.vardir` is refused
 --> test.toml:5:10
  |
5 | vardir = "var/lib"
  |          ^^^^^^^^^ not an absolute path
  |
  = help: start with `/`; it is a path on the node"#,
    );
}

#[test]
fn a_path_that_climbs() {
    check(
        r#"[brand]
name = "acme"

[paths]
etcdir = "/etc/../root"
"#,
        r#"error: `paths.etcdir` is refused
 --> test.toml:5:10
  |
5 | etcdir = "/etc/../root"
  |          ^^^^^^^^^^^^^^ `.` and `..` are not taken in a path
  |
  = help: write the path that is meant"#,
    );
}

#[test]
fn a_path_with_an_empty_part() {
    check(
        r#"[brand]
name = "acme"

[paths]
bindir = "/usr//sbin/"
"#,
        r#"error: `paths.bindir` is refused
 --> test.toml:5:10
  |
5 | bindir = "/usr//sbin/"
  |          ^^^^^^^^^^^^^ a path with an empty part
  |
  = help: write one `/` between parts and none at the end"#,
    );
}

#[test]
fn the_root_directory() {
    check(
        r#"[brand]
name = "acme"

[paths]
bindir = "/"
"#,
        r#"error: `paths.bindir` is refused
 --> test.toml:5:10
  |
5 | bindir = "/"
  |          ^^^ the root directory
  |
  = help: name a directory below `/`"#,
    );
}

#[test]
fn a_path_with_a_control_character() {
    check(
        r#"[brand]
name = "acme"

[paths]
logdir = "/var\tlog"
"#,
        r#"error: `paths.logdir` has a line break or another control character
 --> test.toml:5:10
  |
5 | logdir = "/var\tlog"
  |          ^^^^^^^^^^^ not one line of text
  |
  = help: write it as one line"#,
    );
}

#[test]
fn a_path_with_a_space() {
    check(
        r#"[brand]
name = "acme"

[paths]
logdir = "/var/my log"
"#,
        r#"error: `paths.logdir` is refused
 --> test.toml:5:10
  |
5 | logdir = "/var/my log"
  |          ^^^^^^^^^^^^^ ` ` is not taken in a path
  |
  = help: use only `A-Z a-z 0-9 / . _ - + @ ~`"#,
    );
}

#[test]
fn a_system_folder_for_state() {
    check(
        "[brand]\nname = \"acme\"\n\n[paths]\nvardir = \"/var/lib\"\netcdir = \"/acme\"\n",
        r#"error: `paths.vardir` is refused
 --> test.toml:5:10
  |
5 | vardir = "/var/lib"
  |          ^^^^^^^^^^ a folder of the system; purging the package would empty it
  |
  = help: name a folder of the brand's own, such as `/var/lib/acme-disco`

error: `paths.etcdir` is refused
 --> test.toml:6:10
  |
6 | etcdir = "/acme"
  |          ^^^^^^^ a folder of the system; purging the package would empty it
  |
  = help: name a folder of the brand's own, such as `/acme/acme-disco`

error: 2 problems in test.toml"#,
    );
}

#[test]
fn configuration_inside_the_state() {
    check(
        "[brand]\nname = \"acme\"\n\n[paths]\nvardir = \"/opt/acme\"\netcdir = \"/opt/acme/etc\"\n",
        r#"error: `paths.etcdir` lies in `paths.vardir`: /opt/acme/etc
 --> test.toml:5:10
  |
5 | vardir = "/opt/acme"
  |          ^^^^^^^^^^^ purging the package removes the whole of `vardir`
  |
  = help: give the state a folder of its own"#,
    );
}

#[test]
fn plaintext_without_provisioning() {
    check(
        r#"[brand]
name = "acme"

[features]
plaintext-brokers = true
"#,
        r#"error: `features.plaintext-brokers` is on, but `features.provisioning` is off
 --> test.toml:5:21
  |
5 | plaintext-brokers = true
  |                     ^^^^ such a build speaks to no broker at all
  |
  = help: set `provisioning = true` under [features], or leave `plaintext-brokers` out"#,
    );
}

#[test]
fn security_without_tls_needs_the_feature() {
    check(
        r#"[brand]
name = "acme"

[security]
tls = false
"#,
        r#"error: `security.tls` is off, but `features.plaintext-brokers` is off too
 --> test.toml:5:7
  |
5 | tls = false
  |       ^^^^^ this build cannot speak without TLS
  |
  = help: leave TLS on; only a demonstration needs `plaintext-brokers = true` under [features]"#,
    );
}

#[test]
fn provisioning_without_tls_needs_the_feature() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
tls = false
"#,
        r#"error: `provisioning.tls` is off, but `features.plaintext-brokers` is off too
 --> test.toml:8:7
  |
8 | tls = false
  |       ^^^^^ this build cannot speak without TLS
  |
  = help: leave TLS on; only a demonstration needs `plaintext-brokers = true` under [features]"#,
    );
}

#[test]
fn provisioning_by_default_needs_somewhere() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
default = true
"#,
        r#"error: `provisioning.default` is on, but there is nowhere to be provisioned
 --> test.toml:8:11
  |
8 | default = true
  |           ^^^^ a fresh node would wait for ever
  |
  = help: list `brokers`, or name a domain in `srv_domain` or a crate that finds them in [resolver]"#,
    );
}

#[test]
fn provisioning_keys_need_the_feature() {
    check(
        r#"[brand]
name = "acme"

[provisioning]
default = true
brokers = ["a.example:4222"]
token = "K7!pVq2-wZ9m#Rt4"
facts = "/etc/facts.json"
"#,
        r#"error: `provisioning.default` is set, but `features.provisioning` is off
 --> test.toml:5:1
  |
5 | default = true
  | ^^^^^^^ this build would ignore it
  |
  = help: set `provisioning = true` under [features], or leave `default` out

error: `provisioning.brokers` is set, but `features.provisioning` is off
 --> test.toml:6:1
  |
6 | brokers = ["a.example:4222"]
  | ^^^^^^^ this build would ignore it
  |
  = help: set `provisioning = true` under [features], or leave `brokers` out

error: `provisioning.token` is set, but `features.provisioning` is off
 --> test.toml:7:1
  |
7 | token = ******************
  | ^^^^^ this build would ignore it
  |
  = help: set `provisioning = true` under [features], or leave `token` out

error: `provisioning.facts` is set, but `features.provisioning` is off
 --> test.toml:8:1
  |
8 | facts = "/etc/facts.json"
  | ^^^^^ this build would ignore it
  |
  = help: set `provisioning = true` under [features], or leave `facts` out

error: 4 problems in test.toml"#,
    );
}

#[test]
fn a_resolver_needs_the_feature() {
    check(
        r#"[brand]
name = "acme"

[resolver]
crate = "static-targets"
path = "../examples/static-targets"
"#,
        r#"error: [resolver] is set, but `features.provisioning` is off
 --> test.toml:4:2
  |
4 | [resolver]
  |  ^^^^^^^^ a build without provisioning never asks for brokers
  |
  = help: set `provisioning = true` under [features], or leave [resolver] out

error: `resolver.path` has no crate: ../examples/static-targets/Cargo.toml is missing
 --> test.toml:6:8
  |
6 | path = "../examples/static-targets"
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ looked for here, relative to the spec
  |
  = help: name the folder that has the Cargo.toml of the crate

error: 2 problems in test.toml"#,
    );
}

#[test]
fn a_broker_without_a_port() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brokers = ["prov1.acme.example"]
"#,
        r#"error: `provisioning.brokers` is refused
 --> test.toml:8:12
  |
8 | brokers = ["prov1.acme.example"]
  |            ^^^^^^^^^^^^^^^^^^^^ a broker without a port
  |
  = help: write `prov1.acme.example:4222`, if it is the usual one"#,
    );
}

#[test]
fn a_broker_with_a_bad_port() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brokers = ["prov1.acme.example:70000"]
"#,
        r#"error: `provisioning.brokers` is refused
 --> test.toml:8:12
  |
8 | brokers = ["prov1.acme.example:70000"]
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^ `70000` is not a port
  |
  = help: write a number from 1 to 65535 after the last `:`"#,
    );
}

#[test]
fn a_broker_with_a_scheme() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brokers = ["nats://prov1.acme.example:4222"]
"#,
        r#"error: `provisioning.brokers` is refused
 --> test.toml:8:12
  |
8 | brokers = ["nats://prov1.acme.example:4222"]
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a broker is not a URL
  |
  = help: write `host:port` without a scheme; `tls` decides about encryption"#,
    );
}

#[test]
fn a_broker_with_credentials() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brokers = ["user:pw@prov1.acme.example:4222"]
"#,
        r#"error: `provisioning.brokers` is refused
 --> test.toml:8:12
  |
8 | brokers = [*********************************]
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a broker with credentials
  |
  = help: write `host:port`; passwords belong in a file on the node, never in a binary"#,
    );
}

#[test]
fn a_broker_with_an_impossible_host() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brokers = ["prov 1:4222"]
"#,
        r#"error: `provisioning.brokers` is refused
 --> test.toml:8:12
  |
8 | brokers = ["prov 1:4222"]
  |            ^^^^^^^^^^^^^ `prov 1` is not a host
  |
  = help: write a name, an IPv4 address or `[IPv6]`"#,
    );
}

#[test]
fn a_broker_listed_twice() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
brokers = ["a.example:4222", "A.example:4222"]
"#,
        r#"error: the broker `A.example:4222` is listed twice
 --> test.toml:8:30
  |
8 | brokers = ["a.example:4222", "A.example:4222"]
  |                              ^^^^^^^^^^^^^^^^ listed before
  |
  = help: list each broker once"#,
    );
}

#[test]
fn a_command_with_an_open_quote() {
    check(
        r#"[brand]
name = "acme"

[client]
rsync = "rsync -e 'ssh"
"#,
        r#"error: `client.rsync` is refused
 --> test.toml:5:9
  |
5 | rsync = "rsync -e 'ssh"
  |         ^^^^^^^^^^^^^^^ not shell words: a quote is not closed
  |
  = help: close the quote, or write it as \" or '…'"#,
    );
}

#[test]
fn an_empty_command() {
    check(
        r#"[brand]
name = "acme"

[client]
rsync = ""
"#,
        r#"error: `client.rsync` is refused
 --> test.toml:5:9
  |
5 | rsync = ""
  |         ^^ an empty command
  |
  = help: write the command with its options, such as `rsync -aWH`"#,
    );
}

#[test]
fn an_interval_without_a_unit() {
    check(
        r#"[brand]
name = "acme"

[client]
interval = "30"
"#,
        r#"error: `client.interval` is refused
 --> test.toml:5:12
  |
5 | interval = "30"
  |            ^^^^ not a time span
  |
  = help: write a number and one of `s`, `m`, `h`, `d`, such as `30m`"#,
    );
}

#[test]
fn an_interval_of_nothing() {
    check(
        r#"[brand]
name = "acme"

[client]
interval = "0s"
"#,
        r#"error: `client.interval` is refused
 --> test.toml:5:12
  |
5 | interval = "0s"
  |            ^^^^ an interval of nothing
  |
  = help: write how long to wait between dances, such as `30m`"#,
    );
}

#[test]
fn a_splay_in_words() {
    check(
        r#"[brand]
name = "acme"

[client]
splay = "5 minutes"
"#,
        r#"error: `client.splay` is refused
 --> test.toml:5:9
  |
5 | splay = "5 minutes"
  |         ^^^^^^^^^^^ not a time span
  |
  = help: write a number and one of `s`, `m`, `h`, `d`, such as `30m`"#,
    );
}

#[test]
fn a_client_limit_of_zero() {
    check(
        r#"[brand]
name = "acme"

[broker]
max_clients = 0
"#,
        r#"error: `broker.max_clients` is out of range
 --> test.toml:5:15
  |
5 | max_clients = 0
  |               ^ expected a number from 1 to 4294967295"#,
    );
}

#[test]
fn a_ca_that_is_missing() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
ca = "none.pem"
"#,
        r#"error: `provisioning.ca` cannot be read: none.pem: No such file or directory (os error 2)
 --> test.toml:8:6
  |
8 | ca = "none.pem"
  |      ^^^^^^^^^^ relative to the spec
  |
  = help: name a PEM file with the certificate of the provisioning authority"#,
    );
}

#[test]
fn a_ca_with_a_private_key() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
ca = "key.pem"
"#,
        r#"error: `provisioning.ca` has a private key: key.pem
 --> test.toml:8:6
  |
8 | ca = "key.pem"
  |      ^^^^^^^^^ relative to the spec
  |
  = help: take the key out; only certificates are public and may be baked"#,
    );
}

#[test]
fn a_ca_that_is_no_certificate() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
ca = "text.pem"
"#,
        r#"error: `provisioning.ca` has no certificate: text.pem
 --> test.toml:8:6
  |
8 | ca = "text.pem"
  |      ^^^^^^^^^^ relative to the spec
  |
  = help: give a PEM file with `-----BEGIN CERTIFICATE-----`"#,
    );
}

#[test]
fn a_ca_with_a_broken_certificate() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
ca = "broken.pem"
"#,
        r#"error: `provisioning.ca` has a certificate that is not base64 of DER: broken.pem
 --> test.toml:8:6
  |
8 | ca = "broken.pem"
  |      ^^^^^^^^^^^^ relative to the spec
  |
  = help: give the file as the certificate authority wrote it"#,
    );
}

#[test]
fn a_ca_with_another_block() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
ca = "request.pem"
"#,
        r#"error: `provisioning.ca` has a `CERTIFICATE REQUEST` block: request.pem
 --> test.toml:8:6
  |
8 | ca = "request.pem"
  |      ^^^^^^^^^^^^^ relative to the spec
  |
  = help: keep only CERTIFICATE blocks"#,
    );
}

#[test]
fn a_token_variable_that_is_not_set() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = { env = "ACME_TOKEN" }
"#,
        r#"error: the environment variable `ACME_TOKEN` is not set
 --> test.toml:8:9
  |
8 | token = { env = "ACME_TOKEN" }
  |         ^^^^^^^^^^^^^^^^^^^^^^ the token comes from here
  |
  = help: set it for this command, such as by `ACME_TOKEN=… cargo xtask build …` from a secret store"#,
    );
}

#[test]
fn a_token_file_that_is_missing() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = { file = "none.token" }
"#,
        r#"error: the file of the token cannot be read: none.token: No such file or directory (os error 2)
 --> test.toml:8:9
  |
8 | token = { file = "none.token" }
  |         ^^^^^^^^^^^^^^^^^^^^^^^ the token comes from here
  |
  = help: write the token into that file, or name another, relative to the spec"#,
    );
}

#[test]
fn a_token_from_two_places() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = { env = "A", file = "b" }
"#,
        r#"error: `provisioning.token` needs either `env` or `file`
 --> test.toml:8:9
  |
8 | token = { env = "A", file = "b" }
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^ expected a string, { env = "NAME" } or { file = "path" }"#,
    );
}

#[test]
fn a_token_from_nowhere() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = {}
"#,
        r#"error: `provisioning.token` needs either `env` or `file`
 --> test.toml:8:9
  |
8 | token = {}
  |         ^^ expected a string, { env = "NAME" } or { file = "path" }"#,
    );
}

#[test]
fn a_token_from_an_unknown_place() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = { vault = "MARKER" }
"#,
        r#"error: unknown key `vault` in [provisioning.token]
 --> test.toml:8:11
  |
8 | token = ********************
  |           ^^^^^ not a key of a spec
  |
  = help: accepted here: `env`, `file`"#,
    );
}

#[test]
fn an_empty_token() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = ""
"#,
        r#"error: the token is empty
 --> test.toml:8:9
  |
8 | token = **
  |         ^^ the token comes from here
  |
  = help: use 1 to 128 printable characters, such as from `openssl rand -base64 24`"#,
    );
}

#[test]
fn a_token_that_is_too_long_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = "MARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKERMARKER"
"#,
        r#"error: the token is longer than 128 characters
 --> test.toml:8:9
  |
8 | ... = **************************************************************************************************************************************
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ the token comes from here
  |
  = help: use 1 to 128 printable characters, such as from `openssl rand -base64 24`"#,
    );
}

#[test]
fn a_token_with_a_control_character_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = "MARKER\tx"
"#,
        r#"error: `provisioning.token` has a line break or another control character
 --> test.toml:8:9
  |
8 | token = ***********
  |         ^^^^^^^^^^^ not one line of text
  |
  = help: write it as one line"#,
    );
}

#[test]
fn a_token_that_is_a_number_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = 4711471147114711
"#,
        r#"error: `provisioning.token` has the wrong type
 --> test.toml:8:9
  |
8 | token = ****************
  |         ^^^^^^^^^^^^^^^^ expected a string, { env = "NAME" } or { file = "path" }"#,
    );
}

#[test]
fn a_token_in_broken_toml_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
token = "MARKER
"#,
        r#"error: the spec is not TOML
 --> test.toml:8:16
  |
8 | token =********
  |                ^ invalid basic string, expected `"`"#,
    );
}

#[test]
fn a_resolver_without_a_crate() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[resolver]
path = "none"
"#,
        r#"error: `resolver.crate` is missing
 --> test.toml:7:2
  |
7 | [resolver]
  |  ^^^^^^^^ in this table
  |
  = help: write the name of the crate, such as `crate = "static-targets"`

error: `resolver.path` has no crate: none/Cargo.toml is missing
 --> test.toml:8:8
  |
8 | path = "none"
  |        ^^^^^^ looked for here, relative to the spec
  |
  = help: name the folder that has the Cargo.toml of the crate

error: 2 problems in test.toml"#,
    );
}

#[test]
fn a_resolver_without_a_path() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[resolver]
crate = "static-targets"
"#,
        r#"error: `resolver` does not say where its crate is
 --> test.toml:7:2
  |
7 | [resolver]
  |  ^^^^^^^^ in this table
  |
  = help: write one of `path = "…"`, `git = "…"` with `rev = "…"`, or `version = "…"`"#,
    );
}

#[test]
fn a_resolver_with_an_impossible_name() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[resolver]
crate = "static targets"
path = "plug"
"#,
        r#"error: `resolver.crate` is refused
 --> test.toml:8:9
  |
8 | crate = "static targets"
  |         ^^^^^^^^^^^^^^^^ not the name of a crate
  |
  = help: use the `name` of its Cargo.toml"#,
    );
}

#[test]
fn a_package_without_a_format() {
    check(
        r#"[brand]
name = "acme"

[packages.el]
dist = "el9"
"#,
        r#"error: `packages.el.format` is missing
 --> test.toml:4:11
  |
4 | [packages.el]
  |           ^^ in this table
  |
  = help: write `format = "rpm"` or `format = "deb"`"#,
    );
}

#[test]
fn a_package_of_an_unknown_format() {
    check(
        r#"[brand]
name = "acme"

[packages.mac]
format = "dmg"
"#,
        r#"error: `dmg` is not a package format
 --> test.toml:5:10
  |
5 | format = "dmg"
  |          ^^^^^ unknown format
  |
  = help: write `rpm` or `deb`"#,
    );
}

#[test]
fn a_deb_with_a_dist() {
    check(
        r#"[brand]
name = "acme"

[packages.debian]
format = "deb"
dist = "el9"
"#,
        r#"error: `dist` is part of an rpm's release; a deb has none
 --> test.toml:6:8
  |
6 | dist = "el9"
  |        ^^^^^ not for a deb
  |
  = help: leave it out, or set `brand.release`"#,
    );
}

#[test]
fn a_dist_with_a_hyphen() {
    check(
        r#"[brand]
name = "acme"

[packages.el]
format = "rpm"
dist = "el-9"
"#,
        r#"error: `dist` is refused
 --> test.toml:6:8
  |
6 | dist = "el-9"
  |        ^^^^^^ not a release that rpm and deb both take
  |
  = help: use only `A-Z a-z 0-9 . + ~`, such as `1`"#,
    );
}

#[test]
fn two_packages_of_one_name() {
    check(
        r#"[brand]
name = "acme"

[packages.one]
format = "deb"

[packages.two]
format = "deb"
"#,
        r#"error: packages `one` and `two` would be the same file
 --> test.toml:7:11
  |
7 | [packages.two]
  |           ^^^ same format and same dist
  |
  = help: give one of them another `dist`, or leave it out"#,
    );
}

#[test]
fn all_problems_are_shown_together() {
    check(
        r#"[brand]
name = "Acme"
version = "1-2"

[path]
bindir = "/x"
"#,
        r#"error: `brand.name` is refused
 --> test.toml:2:8
  |
2 | name = "Acme"
  |        ^^^^^^ not a brand name
  |
  = help: use a lowercase letter and then up to 30 of `a-z`, `0-9` and `-`

error: `brand.version` is refused
 --> test.toml:3:11
  |
3 | version = "1-2"
  |           ^^^^^ `-` separates version and release in package names
  |
  = help: write a pre-release with `~`, such as `1.4.0~rc1`; it sorts before 1.4.0

error: unknown table `path` at the top
 --> test.toml:5:2
  |
5 | [path]
  |  ^^^^ did you mean `paths`?
  |
  = help: accepted here: `brand`, `paths`, `features`, `client`, `security`, `broker`, `provisioning`, `resolver`, `agents`, `targets`, `packages`, `signing`

error: 3 problems in test.toml"#,
    );
}

#[test]
fn a_missing_spec_says_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    let around = Surroundings { project_version: "0.1.0", environment: &|_| None };
    let error = super::load(&path, &around).unwrap_err();
    assert_eq!(
        format!("{error:#}").replace(&format!("{}/", folder.path().display()), ""),
        "cannot read the spec none.toml: No such file or directory (os error 2)\n  help: name one with `--spec FILE`; \
         buildspec.toml explains every key, examples/acme.toml is an example"
    );
}

#[test]
fn a_token_is_the_same_from_everywhere_and_never_kept() {
    let spec = |token: &str| {
        parsed(&format!(
            "[brand]\nname = \"acme\"\n[features]\nprovisioning = true\n[provisioning]\ntoken = {token}\n"
        ))
        .unwrap()
    };
    let literal = spec("\"K7!pVq2-wZ9m#Rt4\"");
    let variable = spec("{ env = \"GOOD_TOKEN\" }");
    let file = spec("{ file = \"good.token\" }");
    assert!(literal.provisioning.token.starts_with("$argon2id$"), "{literal:?}");
    assert_eq!(literal.provisioning.token, variable.provisioning.token);
    assert_eq!(literal.provisioning.token, file.provisioning.token);
    assert_eq!(variable.token_variable.as_deref(), Some("GOOD_TOKEN"));
    assert_eq!(literal.warnings, Vec::<String>::new());
    assert!(!format!("{literal:?}").contains("K7!"));
    let shown = literal.to_toml().unwrap();
    assert!(shown.contains("token = \"set\"") && !shown.contains("argon2"), "{shown}");
}

#[test]
fn a_weak_token_is_a_warning_that_does_not_show_it() {
    let spec = parsed(
        "[brand]\nname = \"acme\"\n[features]\nprovisioning = true\n[provisioning]\ntoken = \"hunter2\"\n",
    )
    .unwrap();
    assert_eq!(
        spec.warnings,
        [
            "the provisioning token of acme is WEAK: at most 36 bits, 64 are needed to resist guessing; make a better \
          one, such as with `openssl rand -base64 24`"
        ]
    );
}

#[test]
fn the_digest_changes_with_every_value_and_the_token() {
    let digest = |text: &str| {
        parsed(&format!("[features]\nprovisioning = true\n[brand]\nname = \"acme\"\n{text}"))
            .unwrap()
            .digest()
            .unwrap()
    };
    let plain = digest("");
    assert_eq!(
        plain,
        digest("[client]\ninterval = \"30m\"\n"),
        "a default that is written down changes nothing"
    );
    assert_ne!(plain, digest("[client]\ninterval = \"31m\"\n"));
    let token = digest("[provisioning]\ntoken = \"K7!pVq2-wZ9m#Rt4\"\n");
    assert_ne!(plain, token);
    assert_ne!(token, digest("[provisioning]\ntoken = \"K7!pVq2-wZ9m#Rt5\"\n"));
}

#[test]
fn packages_inherit_and_default_to_one_of_each_format() {
    let packages = |text: &str| parsed(&format!("[brand]\nname = \"acme\"\n{text}")).unwrap().packages;
    let formats: Vec<_> = packages("").into_iter().map(|package| (package.name, package.format)).collect();
    assert_eq!(formats, [("rpm".to_owned(), Format::Rpm), ("deb".to_owned(), Format::Deb)]);
    let inherited = packages(
        "[packages.defaults]\nmanage_conf = false\ndist = \"el8\"\n[packages.el]\nformat = \"rpm\"\n\
         [packages.el9]\nformat = \"rpm\"\ndist = \"el9\"\nmanage_conf = true\n[packages.debian]\nformat = \"deb\"\n",
    );
    let read: Vec<_> = inherited.iter().map(|package| (package.dist.as_str(), package.manage_conf)).collect();
    assert_eq!(read, [("el8", false), ("el9", true), ("", false)]);
}

#[test]
fn the_project_s_own_specs_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let around = Surroundings { project_version: "0.1.0", environment: &|_| None };
    for (path, binary) in [
        ("buildspec.toml", "disco"),
        ("examples/acme.toml", "acme-disco"),
        ("examples/umbra.toml", "umbra-disco"),
    ] {
        let spec = super::load(&root.join(path), &around).unwrap();
        assert_eq!(spec.brand.binary, binary);
        assert_eq!(spec.warnings, Vec::<String>::new(), "{path}");
    }
}

#[test]
fn the_reference_spec_writes_the_defaults() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let around = Surroundings { project_version: "0.1.0", environment: &|_| None };
    let reference = super::load(&root.join("buildspec.toml"), &around).unwrap();
    let minimal = parsed("[brand]\nname = \"disco\"\nbinary = \"disco\"\n").unwrap();
    assert_eq!(reference.to_toml().unwrap(), minimal.to_toml().unwrap());
}

#[test]
fn a_pinned_authority_is_baked_whole_and_shown_as_its_digest() {
    let spec = parsed(
        "[brand]\nname = \"acme\"\n[features]\nprovisioning = true\n[provisioning]\nca = \"good.pem\"\n",
    )
    .unwrap();
    assert_eq!(spec.provisioning.ca, GOOD_PEM);
    let digest = super::sha256_hex(GOOD_PEM);
    assert!(spec.to_toml().unwrap().contains(&format!("ca = \"sha256:{digest}\"")));
}

#[test]
fn a_feature_that_the_product_does_not_have_says_so() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioner = true
"#,
        r#"error: `features.provisioner` needs the provisioner daemon, which this version does not have
 --> test.toml:5:15
  |
5 | provisioner = true
  |               ^^^^ takes only `false` for now
  |
  = help: leave `provisioner` out"#,
    );
}

#[test]
fn a_feature_that_the_product_does_not_have_may_be_off() {
    parsed("[brand]\nname = \"acme\"\n[features]\nprovisioner = false\nrelease-update = false\n").unwrap();
    parsed(
        "[brand]\nname = \"acme\"\n[features]\nprovisioning = true\n[provisioning]\nagent = true\nreprovision = \
         false\nshutdown = false\nsrv_domain = \"\"\n",
    )
    .unwrap();
    let all = "[brand]\nname = \"acme\"\n[features]\nprovisioning = true\n[provisioning]\ndefault = true\n\
               reprovision = true\nshutdown = true\nsrv_domain = \"acme.example\"\n";
    let baked = parsed(all).unwrap().provisioning;
    assert!(baked.reprovision && baked.shutdown && baked.srv_domain == "acme.example");
}

#[test]
fn the_agent_of_provisioning_cannot_be_left_out() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
agent = false
"#,
        r#"error: `provisioning.agent` is off, and no crate brings an agent in its place
 --> test.toml:8:9
  |
8 | agent = false
  |         ^^^^^ nobody could provision this node
  |
  = help: name a crate in [[agents]] whose agent is called choria_provision, or leave `agent` on"#,
    );
}

#[test]
fn a_domain_of_brokers_is_a_name_and_the_only_way_to_them() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
srv_domain = "acme.example:4222"
"#,
        r#"error: `provisioning.srv_domain` is refused
 --> test.toml:8:14
  |
8 | srv_domain = "acme.example:4222"
  |              ^^^^^^^^^^^^^^^^^^^ not a domain
  |
  = help: write the domain alone; the records say the ports"#,
    );
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
srv_domain = "acme.example"
brokers = ["prov1.acme.example:4222"]
"#,
        r#"error: `provisioning.srv_domain` is set, but `brokers` lists them
 --> test.toml:8:14
  |
8 | srv_domain = "acme.example"
  |              ^^^^^^^^^^^^^^ this build would ignore it
  |
  = help: name the brokers in one way and leave the others out"#,
    );
}

#[test]
fn actions_that_the_agent_does_not_have_are_refused() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true
release-update = true

[provisioning]
agent = false
reprovision = true
shutdown = true

[[agents]]
crate = "agents"
version = "1"
"#,
        r#"error: `features.release-update` needs the action release_update, which this version does not have
 --> test.toml:6:18
  |
6 | release-update = true
  |                  ^^^^ takes only `false` for now
  |
  = help: leave `release-update` out

error: `provisioning.reprovision` is on, but `provisioning.agent` is off
  --> test.toml:10:15
   |
10 | reprovision = true
   |               ^^^^ an action of an agent that this build does not have
   |
   = help: leave `reprovision` out; the crate that brings the agent decides about its actions

error: `provisioning.shutdown` is on, but `provisioning.agent` is off
  --> test.toml:11:12
   |
11 | shutdown = true
   |            ^^^^ an action of an agent that this build does not have
   |
   = help: leave `shutdown` out; the crate that brings the agent decides about its actions

error: 3 problems in test.toml"#,
    );
}

#[test]
fn a_signing_key_is_a_place_and_never_shown() {
    check(
        r#"[brand]
name = "acme"

[signing]
rpm_key        = "MARKER-of-a-key"
repository_key = { agent = "fleet@acme.example" }
"#,
        r#"error: `signing.rpm_key` has the wrong type
 --> test.toml:5:18
  |
5 | rpm_key        = *****************
  |                  ^^^^^^^^^^^^^^^^^ expected { file = "path" } or { agent = "fingerprint" }
  |
  = help: a spec never holds a key, only where it is

error: `signing.repository_key` is refused
 --> test.toml:6:18
  |
6 | repository_key = { agent = "fleet@acme.example" }
  |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not a whole fingerprint
  |
  = help: write the 40 hexadecimal digits that `gpg --list-secret-keys` shows, without spaces

error: 2 problems in test.toml"#,
    );
}

#[test]
fn a_target_that_is_none() {
    check(
        r#"[brand]
name = "acme"

[targets.defaults]
glibc = "2.12"

[targets.far]
triple = "sparc-sun-solaris"
glibc = "newest"
output = "bin/{{binary}}"

[targets.near]
output = "{{binary}}.deb"
libc = "musl"
"#,
        r#"error: `glibc` is refused
 --> test.toml:5:9
  |
5 | glibc = "2.12"
  |         ^^^^^^ older than the 2.17 that Rust's own library needs
  |
  = help: write `2.17` or a newer one

error: `triple` is refused
 --> test.toml:8:10
  |
8 | triple = "sparc-sun-solaris"
  |          ^^^^^^^^^^^^^^^^^^^ not a machine that the product is built for
  |
  = help: write `x86_64-unknown-linux-gnu` or `aarch64-unknown-linux-gnu`

error: `glibc` is refused
 --> test.toml:9:9
  |
9 | glibc = "newest"
  |         ^^^^^^^^ not a release of the GNU C library
  |
  = help: write one such as `2.17`, in quotes; `ldd --version` tells that of a machine

error: `output` is refused
  --> test.toml:10:10
   |
10 | output = "bin/{{binary}}"
   |          ^^^^^^^^^^^^^^^^ not a name of a file
   |
   = help: use only `A-Z a-z 0-9 . _ + ~ -` and `{{binary}}`, `{{version}}`, `{{release}}`, `{{os}}`, `{{arch}}`

error: targets `far` and `near` would be the same file: acme-disco
  --> test.toml:12:10
   |
12 | [targets.near]
   |          ^^^^ same `output`
   |
   = help: write `output = "{{binary}}-{{version}}-{{os}}-{{arch}}"` under [targets.defaults], or names of your own

error: `output` is refused
  --> test.toml:13:10
   |
13 | output = "{{binary}}.deb"
   |          ^^^^^^^^^^^^^^^^ a name that other results have
   |
   = help: begin it with `{{binary}}`, and give it no ending

error: unknown key `libc` in [targets.near]
  --> test.toml:14:1
   |
14 | libc = "musl"
   | ^^^^ did you mean `glibc`?
   |
   = help: accepted here: `triple`, `glibc`, `output`

error: 7 problems in test.toml"#,
    );
}

#[test]
fn two_targets_of_one_name() {
    check(
        r#"[brand]
name = "acme"

[targets.old]
glibc = "2.17"

[targets.new]
"#,
        r#"error: targets `old` and `new` would be the same file: acme-disco
 --> test.toml:7:10
  |
7 | [targets.new]
  |          ^^^ same `output`
  |
  = help: write `output = "{{binary}}-{{version}}-{{os}}-{{arch}}"` under [targets.defaults], or names of your own"#,
    );
}

#[test]
fn a_package_of_a_target_that_is_not_there() {
    check(
        r#"[brand]
name = "acme"

[targets.intel]
triple = "x86_64-unknown-linux-gnu"
output = "{{binary}}-{{arch}}"

[targets.arm]
triple = "aarch64-unknown-linux-gnu"
output = "{{binary}}-{{arch}}"

[packages.deb]
format = "deb"
target = "mips"
"#,
        r#"error: there is no target `mips`
  --> test.toml:14:10
   |
14 | target = "mips"
   |          ^^^^^^ not in [targets]
   |
   = help: name one of these: `intel`, `arm`"#,
    );
    check(
        r#"[brand]
name = "acme"

[packages.deb]
format = "deb"
target = "linux"
"#,
        r#"error: there is no target `linux`
 --> test.toml:6:10
  |
6 | target = "linux"
  |          ^^^^^^^ not in [targets]
  |
  = help: leave it out, or describe the target in [targets]"#,
    );
}

#[test]
fn packages_of_two_targets_that_would_be_one_file() {
    check(
        r#"[brand]
name = "acme"

[targets.defaults]
triple = "x86_64-unknown-linux-gnu"

[targets.old]
glibc = "2.17"
output = "{{binary}}-old"

[targets.new]
glibc = "2.28"
output = "{{binary}}-new"

[packages.one]
format = "deb"
target = "old"

[packages.other]
format = "deb"
target = "new"

[packages.el]
format = "rpm"
"#,
        r#"error: packages `one` and `other` would be the same file
  --> test.toml:19:11
   |
19 | [packages.other]
   |           ^^^^^ same format and same dist
   |
   = help: give one of them another `dist`, or leave it out

error: the package `el` would be made twice under one name
  --> test.toml:23:11
   |
23 | [packages.el]
   |           ^^ targets `old` and `new` are of one machine
   |
   = help: say which it is for: `target = "old"` in its table or under [packages.defaults]

error: 2 problems in test.toml"#,
    );
    check(
        r#"[brand]
name = "acme"

[targets.old]
glibc = "2.17"
output = "{{binary}}-old"

[targets.new]
output = "{{binary}}-new"
"#,
        r#"error: the package `rpm` would be made twice under one name: targets `old` and `new` are of one machine
 --> test.toml
  = help: say which it is for: `target = "old"` in its table or under [packages.defaults]"#,
    );
}

#[test]
fn a_key_with_the_name_of_a_secret_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[provisioning]
broker_password = "MARKER"
"#,
        r#"error: `broker_password` in [provisioning] is a secret by its name
 --> test.toml:5:1
  |
5 | broker_password = ********
  | ^^^^^^^^^^^^^^^ not for a spec
  |
  = help: keep it in a file on the node that only root may read; what a spec says can be read out of the binary by everybody"#,
    );
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[client]
server = "rsync://disco:MARKER@universe.acme.example"
"#,
        r#"error: `client.server` has what looks like a password in an address
 --> test.toml:5:10
  |
5 | server = ********************************************
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not for a spec
  |
  = help: keep it in a file on the node that only root may read; what a spec says can be read out of the binary by everybody"#,
    );
}

#[test]
fn a_private_key_in_a_value_is_not_shown() {
    check(
        r#"[brand]
name = "acme"
summary = "-----BEGIN PRIVATE KEY----- MARKER"
"#,
        r#"error: `brand.summary` has what looks like a private key
 --> test.toml:3:11
  |
3 | summary = ************************************
  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not for a spec
  |
  = help: keep it in a file on the node that only root may read; what a spec says can be read out of the binary by everybody"#,
    );
}

#[test]
fn a_password_of_a_command_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[client]
rsync = "sshpass -p MARKER rsync -aWH"
"#,
        r#"error: `client.rsync` has what looks like a password on a command line
 --> test.toml:5:9
  |
5 | rsync = ******************************
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not for a spec
  |
  = help: keep it in a file on the node that only root may read; what a spec says can be read out of the binary by everybody"#,
    );
}

#[test]
fn a_random_value_is_not_shown() {
    check(
        r#"[brand]
name = "acme"
vendor = "ACME K7pVq2wZ9mRt4711xB8nLc3Yd6s"
"#,
        r#"error: `brand.vendor` has what looks like a random key or password
 --> test.toml:3:10
  |
3 | vendor = **********************************
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not for a spec
  |
  = help: keep it in a file on the node that only root may read; what a spec says can be read out of the binary by everybody"#,
    );
}

#[test]
fn the_seed_of_a_key_is_not_shown() {
    check(
        r#"[brand]
name = "acme"

[client]
server = "SUAM5YWNSFIVAYC4BZ4DVDX4ZYBEGPS4VCBGHDXHN3V6HVD2MARKERRWVQ"
"#,
        r#"error: `client.server` has what looks like the seed of an nkey
 --> test.toml:5:10
  |
5 | server = ************************************************************
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not for a spec
  |
  = help: keep it in a file on the node that only root may read; what a spec says can be read out of the binary by everybody"#,
    );
}

#[test]
fn a_crate_that_is_in_several_places() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[resolver]
crate = "plug"
path = "plug"
version = "1.2"
"#,
        r#"error: `resolver` says in 2 ways where its crate is
 --> test.toml:7:2
  |
7 | [resolver]
  |  ^^^^^^^^ in this table
  |
  = help: write one of `path = "…"`, `git = "…"` with `rev = "…"`, or `version = "…"`"#,
    );
}

#[test]
fn a_commit_without_its_repository_and_a_repository_without_its_commit() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[resolver]
crate = "plug"
git = "https://git.acme.example/plug"

[[agents]]
crate = "acme-agents"
version = "1"
rev = "main"
"#,
        r#"error: `resolver.rev` is missing
 --> test.toml:7:2
  |
7 | [resolver]
  |  ^^^^^^^^ in this table
  |
  = help: write the whole hash of the commit; branches and tags move

error: `agents.rev` is set without `agents.git`
  --> test.toml:14:1
   |
14 | rev = "main"
   | ^^^ a commit of which repository?
   |
   = help: write the repository's URL as `git`, or leave `rev` out

error: 2 problems in test.toml"#,
    );
}

#[test]
fn origins_that_do_not_say_for_sure_which_code_it_is() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[[agents]]
crate = "a"
git = "git.acme.example/a"
rev = "main"

[[agents]]
crate = "b"
version = "newest"
"#,
        r#"error: `agents.git` is refused
 --> test.toml:9:7
  |
9 | git = "git.acme.example/a"
  |       ^^^^^^^^^^^^^^^^^^^^ not a repository
  |
  = help: write a URL that begins with https://, ssh:// or file://

error: `agents.rev` is refused
  --> test.toml:10:7
   |
10 | rev = "main"
   |       ^^^^^^ not the whole hash of a commit
   |
   = help: write 40 hex digits: branches and tags move

error: `agents.version` is refused
  --> test.toml:14:11
   |
14 | version = "newest"
   |           ^^^^^^^^ not a requirement of a release
   |
   = help: write it as in a Cargo.toml, such as "1.2"

error: 3 problems in test.toml"#,
    );
}

#[test]
fn agents_need_the_feature_and_different_names() {
    check(
        r#"[brand]
name = "acme"

[[agents]]
crate = "a"
version = "1"

[[agents]]
crate = "a"
version = "1"
"#,
        r#"error: [[agents]] is set, but `features.provisioning` is off
 --> test.toml:4:1
  |
4 | [[agents]]
  | ^^^^^^^^^^ a build without provisioning serves nobody
  |
  = help: set `provisioning = true` under [features], or leave [[agents]] out

error: [[agents]] is set, but `features.provisioning` is off
 --> test.toml:8:1
  |
8 | [[agents]]
  | ^^^^^^^^^^ a build without provisioning serves nobody
  |
  = help: set `provisioning = true` under [features], or leave [[agents]] out

error: the crate `a` is in two tables of [[agents]]
 --> test.toml:8:1
  |
8 | [[agents]]
  | ^^^^^^^^^^ the second one
  |
  = help: name each crate once; one crate may bring several agents

error: 3 problems in test.toml"#,
    );
}

#[test]
fn agents_are_a_list_of_tables() {
    check(
        r#"[brand]
name = "acme"

[agents]
crate = "a"
version = "1"
"#,
        r#"error: `agents` is a table, it must be a list of tables
 --> test.toml:4:1
  |
4 | [agents]
  | ^^^^^^^^ expected a list of tables"#,
    );
}

#[test]
fn state_where_others_have_theirs() {
    check(
        r#"[brand]
name = "acme"

[paths]
vardir = "/var/lib/dpkg"
"#,
        r#"error: `paths.vardir` is refused
 --> test.toml:5:10
  |
5 | vardir = "/var/lib/dpkg"
  |          ^^^^^^^^^^^^^^^ a folder that may be somebody else's; purging the package would empty it
  |
  = help: name it after the brand, such as `/var/lib/acme-disco`"#,
    );
}

#[test]
fn state_in_a_folder_of_all_packages() {
    check(
        r#"[brand]
name = "acme"

[paths]
vardir = "/var/opt"
"#,
        r#"error: `paths.vardir` is refused
 --> test.toml:5:10
  |
5 | vardir = "/var/opt"
  |          ^^^^^^^^^^ a folder of the system; purging the package would empty it
  |
  = help: name a folder of the brand's own, such as `/var/opt/acme-disco`"#,
    );
}

#[test]
fn binaries_behind_a_link() {
    check(
        r#"[brand]
name = "acme"

[paths]
bindir = "/sbin"
"#,
        r#"error: `paths.bindir` is refused
 --> test.toml:5:10
  |
5 | bindir = "/sbin"
  |          ^^^^^^^ a folder behind a link on most systems
  |
  = help: write `/usr/sbin`"#,
    );
}

#[test]
fn a_binary_that_nodes_have() {
    check(
        r#"[brand]
name = "acme"
binary = "dpkg"
"#,
        r#"error: `brand.binary` is refused
 --> test.toml:3:10
  |
3 | binary = "dpkg"
  |          ^^^^^^ a name that something else on nodes or in cargo has
  |
  = help: name it after the brand, such as `acme-disco`"#,
    );
}

#[test]
fn an_address_that_is_none() {
    check(
        r#"[brand]
name = "acme"
url = "acme.example"
"#,
        r#"error: `brand.url` is refused
 --> test.toml:3:7
  |
3 | url = "acme.example"
  |       ^^^^^^^^^^^^^^ not a web address
  |
  = help: write one such as `https://acme.example/disco`"#,
    );
}

#[test]
fn a_universe_that_no_client_finds() {
    check(
        r#"[brand]
name = "acme"

[client]
server = "universe.acme.example:873"
"#,
        r#"error: `client.server` is refused
 --> test.toml:5:10
  |
5 | server = "universe.acme.example:873"
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^ no universe that a client finds
  |
  = help: write `user@host` (rsync modules over ssh), `rsync://host[:port]` or an absolute directory"#,
    );
}

#[test]
fn a_status_file_for_which_everything_would_be_writable() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[provisioning]
status_file = "/status.json"
"#,
        r#"error: `provisioning.status_file` is refused
 --> test.toml:8:15
  |
8 | status_file = "/status.json"
  |               ^^^^^^^^^^^^^^ a file in the root directory
  |
  = help: put it below `/run`, such as `/run/acme/status.json`"#,
    );
}

#[test]
fn one_crate_from_two_places() {
    check(
        r#"[brand]
name = "acme"

[features]
provisioning = true

[resolver]
crate = "plug"
path = "plug"

[[agents]]
crate = "plug"
version = "1.2"
"#,
        r#"error: the crate `plug` comes from two places
 --> test.toml
  = help: say the same in [resolver] and in [[agents]], or give one of the crates another name"#,
    );
}

#[test]
fn values_that_are_too_long_and_text_that_ends_in_the_next_line() {
    for (key, value, what) in [
        ("summary", "x".repeat(1001), "longer than 1000 bytes"),
        ("version", "1".repeat(65), "longer than 64 letters"),
        ("release", "1".repeat(65), "not a release that rpm and deb both take"),
        ("vendor", "ACME\\\\".to_owned(), "a text that ends with `\\`"),
    ] {
        let error = parsed(&format!("[brand]\nname = \"acme\"\n{key} = \"{value}\"\n")).unwrap_err();
        let drawn = error.downcast_ref::<Refused>().unwrap().draw(false);
        assert!(drawn.starts_with(&format!("error: `brand.{key}` is refused\n")), "{drawn}");
        assert!(drawn.contains(what), "{drawn}");
    }
}
