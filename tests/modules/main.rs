//! The standard modules of the example universe on a real node, and a universe of two hundred modules.

mod rules;

use std::time::Instant;

use testbed::lab::{Ended, Lab};
use testbed::universe::{EXAMPLE_NODE, Universe};

/// The example universe, with these parameters of its node.
fn universe(parameters: &[(&str, &str)]) -> Universe {
    let universe = Universe::example().unwrap();
    for (key, value) in parameters {
        universe.add(&format!("parameters/{EXAMPLE_NODE}/{key}"), value).unwrap();
    }
    universe
}

#[track_caller]
fn dance(lab: &Lab, module: &str, arguments: &[&str]) -> Ended {
    let ended = lab.acme(&[&["dance", "--module", module, "--detailed-exitcodes"], arguments].concat());
    assert!([0, 2].contains(&ended.code), "{ended:#?}");
    ended
}

/// Dances again, noop and live, and panics if there is anything left to change.
#[track_caller]
fn assert_converged(lab: &Lab, module: &str) {
    let before = lab.files();
    for arguments in [&["--noop"][..], &[]] {
        let again = dance(lab, module, arguments);
        assert_eq!(again.code, 0, "{again:#?}");
        assert!(!again.stdout.contains("File: file:"), "{again:#?}");
        lab.assert_unchanged(&before);
    }
}

#[test]
fn users_and_groups_are_made_changed_and_removed_as_the_parameters_say() {
    let lab = Lab::with(universe(&[
        ("groups/present/crew", "--gid 1500\n"),
        ("groups/present/night", "--gid 1501"),
        ("groups/absent/gone", ""),
        (
            "users/present/alice",
            "--uid 1600 --gid crew --groups night --shell /bin/bash --create-home --comment 'Alice A.'",
        ),
        ("users/present/bob", "-u 1601 -s /bin/sh"),
        ("users/absent/mallory", ""),
    ]));
    lab.shell("groupadd gone; useradd mallory; useradd --uid 1601 --shell /bin/false bob");
    let before = lab.files();
    let noop = dance(&lab, "groups-1.0", &["--noop"]);
    assert_eq!(noop.code, 2, "{noop:#?}");
    // What a real useradd does, seen in the sandbox: it comes after the groups that it names.
    for line in [
        "> alice:x:1600:1500:Alice A.:/home/alice:/bin/bash",
        "> crew:x:1500:",
        "> night:x:1501:alice",
        "< mallory:x:",
    ] {
        assert!(noop.stdout.contains(line), "{line}: {noop:#?}");
    }
    assert!(noop.stdout.contains("File: file: /home/alice/.profile : Created"), "{noop:#?}");
    assert!(
        noop.stdout.contains("\n> bob:x:1601:1602::/home/bob:/bin/sh\n")
            || noop.stdout.contains(":/home/bob:/bin/sh\n"),
        "{noop:#?}"
    );
    lab.assert_unchanged(&before);

    let live = dance(&lab, "groups-1.0", &[]);
    assert_eq!(live.code, 2, "{live:#?}");
    assert_eq!(
        lab.shell("getent passwd alice; id -nG alice; getent group gone; getent passwd mallory; getent passwd bob | cut -d: -f3,7; stat -c '%U %G' /home/alice"),
        "alice:x:1600:1500:Alice A.:/home/alice:/bin/bash\ncrew night\n1601:/bin/sh\nalice crew\n"
    );
    assert_converged(&lab, "groups-1.0");
}

#[test]
fn flags_that_mean_nothing_fail_the_module_and_change_nothing() {
    let lab = Lab::with(universe(&[("users/present/alice", "--frobnicate")]));
    let before = lab.files();
    let live = lab.acme(&["dance", "--module", "users-1.0"]);
    assert_eq!(live.code, 1, "{live:#?}");
    assert!(live.stdout.contains("error: user alice: these flags are not understood"), "{live:#?}");
    lab.assert_unchanged(&before);
}

/// Makes a repository of one small package on the node's disk, and apt know it.
const REPOSITORY: &str = r#"set -e
mkdir -p /root/build/DEBIAN /root/build/usr/share/greeting /srv/repository
printf 'Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: says hello\n' > /root/build/DEBIAN/control
printf '#!/bin/sh\necho configured > /etc/greeting.conf\n' > /root/build/DEBIAN/postinst
printf '#!/bin/sh\nrm -f /etc/greeting.conf\n' > /root/build/DEBIAN/postrm
chmod 755 /root/build/DEBIAN/post*
echo hello > /root/build/usr/share/greeting/hello
dpkg-deb --root-owner-group --build /root/build /srv/repository/greeting.deb > /dev/null
cd /srv/repository
{ cat /root/build/DEBIAN/control
  echo "Filename: ./greeting.deb"
  echo "Size: $(stat -c %s greeting.deb)"
  echo "SHA256: $(sha256sum greeting.deb | cut -d' ' -f1)"; } > Packages
rm -rf /root/build /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list
apt-get --quiet=2 update > /dev/null
echo ready
"#;

#[test]
fn a_noop_shows_what_installing_a_package_would_change() {
    let lab = Lab::with(universe(&[("packages/present/greeting", "")]));
    assert_eq!(lab.shell(REPOSITORY), "ready\n");
    let before = lab.files();
    let noop = dance(&lab, "packages-1.0", &["--noop"]);
    assert_eq!(noop.code, 2, "{noop:#?}");
    for path in ["/usr/share/greeting/hello", "/etc/greeting.conf", "/var/lib/dpkg/info/greeting.list"] {
        assert!(noop.stdout.contains(&format!("File: file: {path} : Created")), "{path}: {noop:#?}");
    }
    assert!(noop.stdout.contains("/var/lib/dpkg/status : Modified"), "{noop:#?}");
    lab.assert_unchanged(&before);

    dance(&lab, "packages-1.0", &[]);
    assert_eq!(lab.shell("cat /etc/greeting.conf; dpkg-query -W greeting"), "configured\ngreeting\t1.0\n");
    assert_converged(&lab, "packages-1.0");
}

#[test]
fn a_package_that_would_have_to_be_downloaded_is_told() {
    let lab = Lab::with(universe(&[("packages/present/nowhere-to-be-found", "")]));
    let noop = dance(&lab, "packages-1.0", &["--noop"]);
    assert!(
        noop.stdout
            .contains("warning: Would execute : apt-get --yes --quiet=2 install nowhere-to-be-found\n"),
        "{noop:#?}"
    );
    let live = lab.acme(&["dance", "--module", "packages-1.0"]);
    assert_eq!(live.code, 1, "{live:#?}");
}

#[test]
fn the_commands_of_the_package_manager_are_parameters() {
    let lab = Lab::with(universe(&[
        ("packages/present/thing", ""),
        ("packages/absent/other", ""),
        ("packages/commands/present", "touch --date=@1\n"),
        ("packages/commands/absent", "rm\n"),
        ("packages/commands/check", "test -e\n"),
    ]));
    lab.shell("touch /other");
    let noop = dance(&lab, "packages-1.0", &["--noop"]);
    assert!(noop.stdout.contains("File: file: /thing : Created"), "{noop:#?}");
    assert!(noop.stdout.contains("File: file: /other : Deleted"), "{noop:#?}");
    dance(&lab, "packages-1.0", &[]);
    assert_eq!(lab.shell("ls -d /thing /other 2>/dev/null"), "/thing\n");
    assert_converged(&lab, "packages-1.0");
}

/// A universe in which module N requires some of those before it, under a name that sorts otherwise.
fn large(modules: usize) -> (Universe, Vec<Vec<usize>>) {
    let universe = Universe::empty().unwrap();
    let name = |number: usize| format!("m{:03}-1", (number * 37) % modules);
    let mut needs = Vec::new();
    for number in 0..modules {
        let mut wanted: Vec<usize> =
            [number / 2, number.saturating_sub(1), number / 3].into_iter().filter(|&n| n < number).collect();
        wanted.dedup();
        let requires: String = wanted.iter().map(|&other| format!("after {}\n", name(other))).collect();
        let module = name(number);
        universe.add(&format!("{module}/requires"), &format!("# made\n{requires}")).unwrap();
        universe.add(&format!("{module}/parameters/{module}/value"), &format!("{number}\n")).unwrap();
        universe
            .add(&format!("{module}/files/etc/large/{module}.txt"), &format!("file of {number}\n"))
            .unwrap()
            .add(
                &format!("{module}/templates/etc/large/{module}.conf"),
                "echo \"value $(cat /var/disco/parameters/$DISCO_NODE/$DISCO_MODULE/value)\"\n",
            )
            .unwrap()
            .add(&format!("{module}/scripts/10.sh"), &format!("echo {number} >> /etc/large/order\n"))
            .unwrap();
        needs.push(wanted);
    }
    (universe, needs)
}

/// Dances a universe of so many modules in noop, directly from its directory; returns the run and its wall clock.
fn noop_of(modules: usize) -> (serde_json::Value, f64, Vec<Vec<usize>>) {
    let (universe, needs) = large(modules);
    let source = universe.path().to_owned();
    let lab = Lab::with(universe);
    let copied =
        std::process::Command::new("cp").arg("-a").arg(source.join(".")).arg(lab.node.path("/srv")).status();
    assert!(copied.unwrap().success());
    let started = Instant::now();
    let noop = lab.acme(&["dance", "--noop", "--json", "--server", "/srv"]);
    let took = started.elapsed().as_secs_f64();
    assert_eq!(noop.code, 0, "{}", noop.stderr);
    (serde_json::from_str(&noop.stdout).unwrap(), took, needs)
}

#[test]
fn two_hundred_modules_are_danced_in_their_order_in_a_time_that_grows_with_their_number() {
    let (run, took, needs) = noop_of(200);
    let names: Vec<_> =
        run["modules"].as_array().unwrap().iter().map(|module| module["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 200);
    let place = |number: usize| {
        names.iter().position(|name| *name == format!("m{:03}-1", (number * 37) % 200)).unwrap()
    };
    for (number, wanted) in needs.iter().enumerate() {
        assert!(
            wanted.iter().all(|&other| place(other) < place(number)),
            "{number} comes before what it requires"
        );
    }
    let changes = run["changes"].as_array().unwrap();
    let files =
        changes.iter().filter(|change| change["path"].as_str().unwrap().starts_with("/etc/large/")).count();
    assert_eq!(files, 401);
    let order = changes.iter().find(|change| change["path"] == "/etc/large/order").unwrap();
    let expected: String = {
        let mut numbers: Vec<usize> = (0..200).collect();
        numbers.sort_by_key(|&number| place(number));
        numbers.iter().map(|number| format!("{number}\n")).collect()
    };
    assert_eq!(order["after"]["size"].as_u64().unwrap() as usize, expected.len());

    // A quarter of the modules in no less than a tenth of the time: the work of a module does not grow with the others.
    let (_, quarter, _) = noop_of(50);
    let of_diffs: f64 = run["modules"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|module| module["steps"].as_array().unwrap())
        .filter(|step| step["kind"] == "diff")
        .map(|step| step["usage"]["real"].as_f64().unwrap())
        .sum();
    eprintln!("200 modules: {took:.2} s, of which {of_diffs:.2} s for the diffs; 50 modules: {quarter:.2} s");
    assert!(took < 10.0 * quarter, "200 modules took {took:.2} s, 50 took {quarter:.2} s");
}
