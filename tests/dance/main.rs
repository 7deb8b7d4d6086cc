//! The dance as a user sees it: the built brand on a throw-away node, a real rsync daemon, and a look at the node's files
//! before and after.

mod refusals;
mod sandbox;
mod user;

use testbed::lab::{self, Lab};
use testbed::universe::Universe;

const NOOP: &str = "\
error: othermodule-3.2: rsync: link_stat \"/files/*\" (in othermodule-3.2) failed: No such file or directory (2)
error: testmodule-1.0: rsync: link_stat \"/files/*\" (in testmodule-1.0) failed: No such file or directory (2)
info: Processing othermodule-3.2
info: File: file: /etc/othermodule/stuff.cfg : Created : type=[regular file] device=[_] mode=[81a4] selinux=[?] md5=[77b20e4840b1be13a577e152edc6b443] perms=[root:root 644]
0a1,2
> HOST=localhost.localdomain
> KEY_VALUE=LOLTHISKEYMEANSNOTHING
info: Processing testmodule-1.0
Hello, disco
warning: Would execute : service postgresql stop
noop: 2 modules, 1 created, 0 modified, 0 deleted, 1 command held back, 0 failed (_ s)
";

#[test]
fn the_example_universe_is_danced_in_noop_and_then_live() {
    let lab = Lab::on_disk(Universe::example().unwrap());
    lab.shell("service postgresql start");
    let running = "kill -0 $(cat /run/postgresql.pid) 2>/dev/null && echo running";
    assert_eq!(lab.shell(running), "running\n");

    let before = lab.files();
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!((noop.code, noop.normal().as_str(), noop.stderr.as_str()), (0, NOOP, ""));
    lab.assert_unchanged(&before);
    assert_eq!(lab.shell(running), "running\n", "a noop must not stop a service");
    assert_eq!(lab.acme(&["dance", "--noop", "--detailed-exitcodes"]).code, 2);

    let live = lab.acme(&["dance"]);
    let expected = NOOP
        .replace(
            "warning: Would execute : service postgresql stop\n",
            "info: Deferred : service postgresql stop\ninfo: Executed : service postgresql stop\n",
        )
        .replace("noop: ", "live: ")
        .replace("1 command held back, ", "1 command deferred, ");
    assert_eq!((live.code, live.normal().as_str(), live.stderr.as_str()), (0, expected.as_str(), ""));
    assert_eq!(
        lab.shell(
            "cat /etc/othermodule/stuff.cfg; stat -c '%A %U %G' /etc/othermodule/stuff.cfg /etc/othermodule"
        ),
        "HOST=localhost.localdomain\nKEY_VALUE=LOLTHISKEYMEANSNOTHING\n-rw-r--r-- root root\ndrwxr-xr-x root root\n"
    );
    assert_eq!(lab.shell(running), "", "the live run stops the service for real");

    let report = lab.acme(&["report"]);
    assert_eq!(report.code, 0);
    for step in
        ["_internal: fetch_params", "_internal: merge", "testmodule-1.0: exec", "   10-service_stop.sh :"]
    {
        assert!(report.stdout.contains(&format!("report: {step}")), "{step} is not in {}", report.stdout);
    }
    assert!(report.stdout.contains("time_real") && report.stdout.contains("mem_max"), "{}", report.stdout);

    // A host that is as it should be shows no change, and says so by its exit code.
    let converged = lab.files();
    let again = lab.acme(&["dance", "--noop", "--detailed-exitcodes"]);
    assert_eq!(again.code, 0, "{again:#?}");
    assert!(!again.stdout.contains("File: file:"), "{}", again.stdout);
    lab.assert_unchanged(&converged);
}

#[test]
fn the_whole_run_can_be_had_as_json() {
    let lab = Lab::with(Universe::example().unwrap());
    let noop = lab.acme(&["dance", "--noop", "--json"]);
    let run: serde_json::Value = serde_json::from_str(&noop.stdout).unwrap();
    assert_eq!(run["schema"], "disco.run.v1");
    assert_eq!(run["mode"], "noop");
    assert_eq!(run["held_back"][0]["argv"], serde_json::json!(["service", "postgresql", "stop"]));
    assert_eq!(run["held_back"][0]["step"], "10-service_stop.sh");
    let paths: Vec<_> = run["changes"].as_array().unwrap().iter().map(|change| &change["path"]).collect();
    assert_eq!(paths, ["/etc/othermodule", "/etc/othermodule/stuff.cfg"]);
    let report = lab.acme(&["report", "--json"]);
    let kept: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(kept["started"], run["started"]);
}

#[test]
fn every_kind_of_change_is_reported_in_noop_and_merged_live() {
    let universe = Universe::empty().unwrap();
    universe
        .add("kinds-1/files/etc/shipped.conf", "shipped\n")
        .unwrap()
        .add("kinds-1/templates/etc/motd", "echo \"welcome to $DISCO_NODE, $DISCO_MODULE\"\n")
        .unwrap()
        .add(
            "kinds-1/scripts/10-changes.sh",
            "#!/bin/sh -e
rm /etc/gone.txt
rm -r /etc/gone.d
chmod 600 /etc/mode.txt
echo second >> /etc/grown.txt
mkdir -m 0700 /etc/private.d
ln -s grown.txt /etc/link
mkfifo /etc/pipe
rm /etc/was.d/inside; rmdir /etc/was.d; echo now a file > /etc/was.d
rm /etc/was.txt; mkdir /etc/was.txt; echo x > /etc/was.txt/inside
mv /etc/old.d /etc/new.d
rm -r /etc/again.d; mkdir /etc/again.d; echo b > /etc/again.d/b
chown 1:2 /etc/owner.txt
printf 'a\\nb' > '/etc/odd name\\'
",
        )
        .unwrap();
    let lab = Lab::on_disk(universe);
    let prepare = "cd /etc; rm -f motd; echo old > motd; chmod 640 motd; chown 0:4 motd
        echo x > gone.txt; mkdir -p gone.d/deep; echo y > gone.d/deep/y; echo m > mode.txt; echo first > grown.txt
        mkdir was.d; echo i > was.d/inside; echo f > was.txt; mkdir old.d; echo o > old.d/o; echo w > owner.txt
        mkdir again.d; echo a > again.d/a; echo b > again.d/b";
    lab.shell(prepare);
    let before = lab.files();
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}");
    lab.assert_unchanged(&before);
    for line in [
        "/etc/shipped.conf : Created : type=[regular file]",
        "/etc/motd : Modified : md5=[",
        "/etc/gone.txt : Deleted\n1d0\n< x\n",
        "/etc/gone.d : Deleted\n",
        "/etc/gone.d/deep/y : Deleted\n1d0\n< y\n",
        "/etc/mode.txt : Modified : perms=[root:root 644 => root:root 600] mode=[81a4 => 8180]\n",
        "1a2\n> second\n",
        "/etc/private.d : Created : type=[directory]",
        "/etc/link : Created : type=[symbolic link]",
        "target=[grown.txt]",
        "/etc/pipe : Created : type=[fifo]",
        "/etc/was.d : Modified : type=[directory => regular file]",
        "/etc/was.d/inside : Deleted",
        "/etc/was.txt : Modified : type=[regular file => directory]",
        "/etc/was.txt/inside : Created",
        "/etc/old.d : Deleted",
        "/etc/old.d/o : Deleted",
        "/etc/new.d/o : Created",
        "/etc/again.d/a : Deleted",
        "/etc/owner.txt : Modified : perms=[root:root 644 => daemon:bin 644]\n",
        "/etc/odd name\\\\ : Created",
    ] {
        assert!(noop.stdout.contains(line), "{line:?} is not in\n{}", noop.stdout);
    }
    assert!(!noop.stdout.contains("/etc/again.d/b :"), "the same content under the same name is no change");

    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    let look = "cd /etc; cat motd shipped.conf grown.txt was.d was.txt/inside new.d/o again.d/b
        stat -c '%n %A %u:%g' motd mode.txt private.d link pipe owner.txt 'odd name\\'
        ls -d gone.txt gone.d old.d again.d/a 2>/dev/null; ls -A | grep '^\\.disco'";
    assert_eq!(
        lab.shell(look),
        "welcome to localhost.localdomain, kinds-1\nshipped\nfirst\nsecond\nnow a file\nx\no\nb\n\
         motd -rw-r----- 0:4\nmode.txt -rw------- 0:0\nprivate.d drwx------ 0:0\nlink lrwxrwxrwx 0:0\n\
         pipe prw-r--r-- 0:0\nowner.txt -rw-r--r-- 1:2\nodd name\\ -rw-r--r-- 0:0\n"
    );
}

#[test]
fn modules_run_in_the_order_of_their_requires_and_a_failing_one_stops_the_merge() {
    let universe = Universe::empty().unwrap();
    universe
        .add("a-1/requires", "# the base first\nafter c-1\n")
        .unwrap()
        .add("a-1/scripts/1.sh", "echo a; echo a > /etc/a")
        .unwrap()
        .add("b-1/scripts/1.sh", "#!/bin/sh\necho b; echo b > /etc/b; exit 3\n")
        .unwrap()
        .add("c-1/scripts/1.sh", "echo c; echo c > /etc/c")
        .unwrap()
        .add("d-1/requires", "b-1\n")
        .unwrap()
        .add("d-1/scripts/1.sh", "echo d")
        .unwrap()
        .add("parameters/README", "only the modules of the node are wanted")
        .unwrap();
    // Nobody but a-1 asks for c-1.
    std::fs::remove_file(universe.path().join("parameters/localhost.localdomain/modules/c-1")).unwrap();
    let lab = Lab::with(universe);
    let before = lab.files();
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 1, "{live:#?}");
    let told: Vec<_> = live.stdout.lines().filter(|line| !line.contains("link_stat")).collect();
    let order: Vec<_> = told.iter().copied().filter(|line| line.len() == 1).collect();
    assert_eq!(order, ["b", "c", "a"], "{told:#?}");
    assert!(told.contains(&"info: Discovered dependency : c-1 (required by a-1)"), "{told:#?}");
    assert!(told.contains(&"error: b-1: script b-1/scripts/1.sh failed: it ended with code 3"), "{told:#?}");
    assert!(told.contains(&"warning: Skipping d-1 : it requires b-1, which failed"), "{told:#?}");
    let verdict = told.last().unwrap();
    assert!(
        verdict.starts_with("live, nothing merged: 4 modules, 3 created, 0 modified, 0 deleted, 2 failed"),
        "{verdict}"
    );
    lab.assert_unchanged(&before);
    assert_eq!(lab.acme(&["dance", "--noop", "--detailed-exitcodes"]).code, 6);
}

#[test]
fn a_failing_template_never_replaces_its_target() {
    let universe = Universe::empty().unwrap();
    universe.add("t-1/templates/etc/motd", "echo half; exit 1\n").unwrap();
    let lab = Lab::with(universe);
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 1);
    let line =
        "error: t-1: template t-1/templates/etc/motd failed, not replacing /etc/motd: it ended with code 1\n";
    assert!(noop.stdout.contains(line), "{}", noop.stdout);
    assert!(!noop.stdout.contains("File: file:"), "{}", noop.stdout);
}

#[test]
fn the_node_itself_can_say_where_the_universe_is() {
    let universe = Universe::example().unwrap();
    let lab = Lab::with(universe);
    lab.node.write("/etc/hosts", "127.0.0.1 localhost\n", 0o644).unwrap();
    lab.acme(&["dance", "--noop"]).failed_with(&["universe.acme.example", "from the brand"]);
    lab.node.write(lab::CONFIGURATION, "plugin.disco.server.uri = rsync://127.0.0.1\n", 0o644).unwrap();
    assert_eq!(lab.acme(&["dance", "--noop"]).code, 0);
    lab.node.write(lab::CONFIGURATION, "plugin.disco.server.uri = rsync://127.0.0.1:1\n", 0o644).unwrap();
    lab.acme(&["dance", "--noop"])
        .failed_with(&["rsync://127.0.0.1:1", "from plugin.disco.server.uri in server.conf"]);
}

#[test]
fn modules_ask_for_parameters_by_the_commands_of_the_original() {
    let universe = Universe::empty().unwrap();
    universe
        .add("parameters/localhost.localdomain/port", "2222\n")
        .unwrap()
        .add("p-1/parameters/user", "default\n")
        .unwrap()
        .add("p-1/templates/etc/p.conf", "echo \"port $(disco-param get $DISCO_NODE/port)\"\n")
        .unwrap()
        .add(
            "p-1/scripts/1.sh",
            "disco-param dump; disco-param get $DISCO_NODE; disco-param get $DISCO_NODE/none || echo none\n",
        )
        .unwrap();
    let lab = Lab::with(universe);
    for mode in [&["dance", "--noop"][..], &["dance"][..]] {
        let ended = lab.acme(mode);
        assert_eq!(ended.code, 0, "{ended:#?}");
        let node = "localhost.localdomain";
        for line in [
            "0a1\n> port 2222\n",
            &format!("{node} = {{}}\n"),
            &format!("{node}/port = 2222\n"),
            "\n{}\n",
            "\nnone\n",
        ] {
            assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
        }
        assert!(ended.stdout.contains(&format!("{node}/user = default\n")), "{}", ended.stdout);
        assert_eq!(
            lab.shell("ls -d /var/disco 2>/dev/null"),
            "",
            "the original's folder is the sandbox's own"
        );
    }
}

#[test]
fn the_parameter_tree_is_edited_on_the_node() {
    let lab = Lab::alone();
    let param = |line: &str| lab.shell(&format!("PATH=$PATH:/opt/acme/sbin; {line} 2>&1; echo \"=$?\""));
    assert_eq!(param("echo 22 | acme-disco param set n/ssh/port"), "=0\n");
    assert_eq!(param("printf 'n/a=1\\nn/m={}\\n\\n' | acme-disco param set -"), "=0\n");
    assert_eq!(
        param("acme-disco param dump"),
        "n = {}\nn/a = 1\nn/m = {}\nn/ssh = {}\nn/ssh/port = 22\n=0\n"
    );
    assert_eq!(param("acme-disco param keys n"), "a\nm\nssh\n=0\n");
    assert_eq!(param("acme-disco param get /etc/passwd"), "error: Pathnames cannot start with /\n=1\n");
    assert!(param("acme-disco param get n/../../lock").ends_with("leads out of the parameters\n=1\n"));
    assert!(
        param("printf 'n/a=2\\nnonsense\\n' | acme-disco param set -")
            .contains("line 2: `nonsense` is not KEY=VALUE")
    );
    assert_eq!(param("acme-disco param get n/a"), "1\n=0\n", "a bad line leaves everything as it was");
    assert!(param("acme-disco param delete n").contains("cannot delete /var/lib/acme-disco/parameters/n"));
    assert_eq!(param("acme-disco param delete n -r; acme-disco param keys"), "=0\n");
}
