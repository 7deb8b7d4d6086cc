//! Plans that must not be applied: the host moved, the file is damaged, or somebody wrote it with bad intent.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testbed::lab::{Lab, STATE};
use testbed::universe::Universe;

use super::{BEFORE, PLAN, lab, tree};

#[test]
fn a_host_that_moved_is_left_alone() {
    let lab = lab();
    assert_eq!(lab.acme(&["dance", "--noop", "--out", PLAN]).code, 0);
    for (moving, back, words) in [
        ("echo other > grown.txt", "echo first > grown.txt", "/etc/grown.txt (has another content)"),
        ("chmod 640 mode.txt", "chmod 644 mode.txt", "/etc/mode.txt (has another mode)"),
        ("chown 7 owner.txt", "chown 0 owner.txt", "/etc/owner.txt (has another owner)"),
        ("rm gone.txt", "echo x > gone.txt", "/etc/gone.txt (is gone)"),
        ("rm one; ln -s mode.txt one", "rm one; echo h > one", "/etc/one (has another type)"),
        ("echo mine > shipped.conf", "rm shipped.conf", "/etc/shipped.conf (was not there)"),
        ("echo new > gone.d/deep/new", "rm gone.d/deep/new", "/etc/gone.d/deep/new (was not there)"),
        (
            "mv gone.d moved.d; ln -s moved.d gone.d",
            "rm gone.d; mv moved.d gone.d",
            "/etc/gone.d (has another type), /etc/gone.d/deep (is gone)",
        ),
    ] {
        lab.shell(&format!("cd /etc; {moving}"));
        let before = tree(&lab);
        lab.acme(&["plan", "apply", PLAN]).failed_with(&["the host moved since the plan was made: ", words]);
        assert_eq!(tree(&lab), before, "{moving}");
        lab.shell(&format!("cd /etc; {back}"));
    }
    // With everything as it was, the same plan fits again.
    let applied = lab.acme(&["plan", "apply", PLAN]);
    assert_eq!(applied.code, 0, "{applied:#?}");
}

#[test]
fn a_damaged_plan_is_refused_and_changes_nothing() {
    let lab = lab();
    assert_eq!(lab.acme(&["dance", "--noop", "--out", PLAN]).code, 0);
    let before = tree(&lab);
    let whole = std::fs::read(lab.node.path(PLAN)).unwrap();
    let try_with = |bytes: &[u8], word: &str| {
        std::fs::write(lab.node.path("/root/bad.plan"), bytes).unwrap();
        for command in ["show", "apply"] {
            lab.acme(&["plan", command, "/root/bad.plan"]).failed_with(&["/root/bad.plan", word]);
        }
    };
    for length in [15, 30, 200, whole.len() / 2, whole.len() - 33] {
        try_with(&whole[..length], "truncated");
    }
    try_with(b"", "is no plan");
    try_with(b"disco.plan.v2\nand more", "is no plan");
    for at in [40, whole.len() / 2, whole.len() - 40, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        try_with(&bytes, "was altered");
    }
    let mut longer = whole.clone();
    longer.push(0);
    try_with(&longer, "was altered");
    assert_eq!(tree(&lab), before);
}

/// Writes a plan again with another head and a right checksum: whoever can write a plan can do this.
fn forge(whole: &[u8], change: &dyn Fn(&mut Value)) -> Vec<u8> {
    let (magic, rest) = whole.split_at("disco.plan.v1\n".len());
    let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
    let mut head: Value = serde_json::from_slice(&rest[8..8 + length]).unwrap();
    change(&mut head);
    let text = serde_json::to_vec(&head).unwrap();
    let contents = &rest[8 + length..rest.len() - 32];
    let mut bytes = [magic, &(text.len() as u64).to_le_bytes(), &text, contents].concat();
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

#[test]
fn a_forged_plan_is_refused_by_name_and_writes_nowhere() {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/files/etc/new.d/file", "content\n").unwrap();
    universe.add("m-1/files/etc/z", "z\n").unwrap();
    let lab = Lab::with(universe);
    lab.shell(BEFORE);
    assert_eq!(lab.acme(&["dance", "--noop", "--out", PLAN]).code, 0);
    let whole = std::fs::read(lab.node.path(PLAN)).unwrap();
    let forged = format!("{STATE}/forged.plan");
    let before = lab.files();
    let try_with = |change: &dyn Fn(&mut Value), words: &[&str]| {
        std::fs::write(lab.node.path(&forged), forge(&whole, change)).unwrap();
        lab.acme(&["plan", "apply", &forged]).failed_with(words);
    };
    let path = |at: usize, path: &'static str| {
        move |head: &mut Value| head["run"]["changes"][at]["path"] = json!(path)
    };
    try_with(&path(2, "/etc/../etc/zz"), &["/etc/../etc/zz is no absolute path"]);
    try_with(&path(2, "zz"), &["zz is no absolute path"]);
    try_with(&path(0, "/zz"), &["is not in order"]);
    try_with(
        &|head| {
            // The directory becomes a link that leads out, and the file below it would go where it leads.
            head["run"]["changes"][0]["after"]["mode"] = json!(0o120_777);
            head["run"]["changes"][0]["after"]["target"] = json!("/tmp");
        },
        &["/etc/new.d/file would lie below /etc/new.d, which it makes no directory"],
    );
    try_with(
        &|head| head["run"]["changes"][1]["after"]["md5"] = json!("0".repeat(32)),
        &["what it carries for /etc/new.d/file is not what it shows"],
    );
    try_with(
        &|head| head["run"]["changes"][1]["after"]["owner"] = json!("daemon"),
        &["what it carries for /etc/new.d/file is not what it shows"],
    );
    try_with(&|head| head["states"] = json!([]), &["is longer than its contents"]);
    try_with(&|head| head["states"][1]["data"]["data"] = json!([[u64::MAX, 8]]), &["does not fit its entry"]);
    try_with(&|head| head["states"][1]["data"]["data"] = json!([[0, u64::MAX]]), &["truncated"]);
    try_with(&|head| head["states"][0] = json!({"link": 2}), &["does not fit its entry"]);
    try_with(&|head| head["run"] = json!(1), &["its head is not understood"]);
    try_with(
        &|head| head["binary"] = json!("other-disco"),
        &["is for the binary other-disco, and this is acme-disco"],
    );
    try_with(&|head| head["before"][0] = json!(0), &["what it carries of /etc/new.d does not fit its entry"]);
    lab.assert_unchanged(&before);

    // A way that became a link on the host is not followed.
    lab.shell("mkdir /srv/trap; ln -s /srv/trap /etc/new.d");
    lab.acme(&["plan", "apply", PLAN]).failed_with(&["/etc/new.d (was not there)"]);
    assert_eq!(lab.shell("ls -A /srv/trap; ls /etc/z 2> /dev/null"), "");

    let forged = forge(&whole, &|head| head["run"]["node"] = json!("\u{1b}[2Jcleared"));
    std::fs::write(lab.node.path(PLAN), forged).unwrap();
    let shown = lab.acme(&["plan", "show", PLAN]);
    assert!(shown.code == 0 && !shown.stdout.contains('\u{1b}'), "{shown:#?}");
}

#[test]
fn a_plan_has_nothing_executed_but_what_this_host_puts_off_by_plain_names() {
    let universe = Universe::empty().unwrap();
    universe
        .add(
            "m-1/scripts/1.sh",
            "#!/bin/sh\necho x > /etc/merged\nservice web restart\nDISCO_NOW=1 service now stop\n",
        )
        .unwrap();
    let lab = Lab::with(universe);
    for name in ["web", "now", "evil"] {
        lab.node
            .write(&format!("/etc/init.d/{name}"), "#!/bin/sh\necho ${0##*/} $1 >> /root/log\n", 0o755)
            .unwrap();
    }
    lab.node.write("/srv/evil", "#!/bin/sh\ntouch /root/mark\n", 0o755).unwrap();
    assert_eq!(lab.acme(&["dance", "--noop", "--out", PLAN]).code, 0);
    let whole = std::fs::read(lab.node.path(PLAN)).unwrap();
    let call = |line: &str| {
        let argv: Vec<_> = line.split(' ').collect();
        json!({"module": "m-1", "step": "1.sh", "argv": argv, "directory": "/", "told": true, "deferred": true})
    };
    let hostile = [
        "touch /root/mark",
        "service ../../srv/evil restart",
        "../../srv/evil restart",
        "systemctl --root=/srv restart evil",
        "service web\u{1b}[2J restart",
        "service evil frobnicate",
    ];
    let forged = forge(&whole, &|head| {
        let calls = head["run"]["held_back"].as_array_mut().unwrap();
        calls.extend(hostile.iter().map(|line| call(line)));
        let mut queued = call("touch /root/mark");
        queued["ended"] = Value::Null;
        head["run"]["deferred"] = json!([queued]);
        head["run"]["merged"] = json!(true);
    });
    std::fs::write(lab.node.path(PLAN), forged).unwrap();
    let applied = lab.acme(&["plan", "apply", PLAN]);
    assert_eq!(applied.code, 0, "{applied:#?}");
    assert_eq!(lab.shell("ls /root; cat /root/log"), "log\ntoday.plan\nweb restart\n", "{applied:#?}");
    assert_eq!(
        applied.stdout.matches(" : not put off by commands.d, so not executed\n").count(),
        1 + hostile.len(),
        "{applied:#?}"
    );
    assert!(
        !applied.stdout.contains('\u{1b}') && applied.stdout.contains(", 1 command deferred, "),
        "{applied:#?}"
    );

    // What this host does not put off is not executed either.
    lab.shell("rm /etc/merged /root/log; mkdir -p /opt/acme/etc/disco/commands.d");
    lab.node.write("/opt/acme/etc/disco/commands.d/10-ours.conf", "report service\n", 0o644).unwrap();
    let applied = lab.acme(&["plan", "apply", PLAN]);
    assert_eq!(applied.code, 0, "{applied:#?}");
    assert_eq!(lab.shell("cat /etc/merged; ls /root"), "x\ntoday.plan\n", "{applied:#?}");
}

#[test]
fn what_a_forged_plan_says_of_its_contents_is_not_believed() {
    let universe = Universe::empty().unwrap();
    let script = "#!/bin/sh\nmkdir -p /srv/made/deep\necho evil >> /srv/made/deep/file\necho evil >> /srv/changed\nrm /srv/gone\n";
    universe.add("m-1/scripts/1.sh", script).unwrap();
    let lab = Lab::with(universe);
    lab.shell("echo good | tee /srv/changed > /srv/gone");
    assert_eq!(lab.acme(&["dance", "--noop", "--out", PLAN]).code, 0);
    let whole = std::fs::read(lab.node.path(PLAN)).unwrap();
    let honest = lab.acme(&["plan", "show", PLAN]).stdout;
    for line in [
        "/srv/changed : Modified",
        "\n1a2\n> evil\n",
        "/srv/made/deep/file : Created",
        "\n0a1\n> evil\n",
        "\n1d0\n< good\n",
    ] {
        assert!(honest.contains(line), "{line:?} is not in {honest}");
    }
    let forged = forge(&whole, &|head| {
        for change in head["run"]["changes"].as_array_mut().unwrap() {
            change["noise"] = json!(true);
            change["implied"] = json!(true);
            change["content"] = json!({"is": "text", "text": "1a2\n> harmless\n"});
        }
    });
    std::fs::write(lab.node.path("/root/forged"), &forged).unwrap();
    let shown = lab.acme(&["plan", "show", "/root/forged"]);
    assert_eq!(shown.stdout, honest);
    let applied = lab.acme(&["plan", "apply", "/root/forged"]);
    assert!(applied.code == 0 && applied.stdout.contains("\n1a2\n> evil\n"), "{applied:#?}");
    assert!(applied.stdout.contains("/srv/made/deep/file : Created"), "{applied:#?}");

    // What it carries of the old content is what the host must have.
    let at = forged.windows(5).rposition(|bytes| bytes == b"good\n").unwrap();
    let mut other = forged.clone();
    other[at..at + 5].copy_from_slice(b"evil\n");
    let other = forge(&other, &|_| {});
    std::fs::write(lab.node.path("/root/forged"), other).unwrap();
    lab.acme(&["plan", "show", "/root/forged"])
        .failed_with(&["what it carries for /srv/", "is not what it shows"]);
}
