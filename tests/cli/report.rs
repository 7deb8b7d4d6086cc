//! `report` and `history`: figures, comparison, the page, past runs.

use std::fs;

use testbed::lab::{BINARY, Lab};
use testbed::universe::Universe;

/// A page stays below `target/`, so that a person can look at it after the test.
fn kept(name: &str, page: &str) {
    fs::write(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), page).unwrap();
}

/// Sixty modules in layers, each with a template or a script; one fails, one hides behind hostile names.
fn sixty() -> Universe {
    let universe = Universe::empty().unwrap();
    for number in 0..58 {
        let name = format!("site-module-number-{number}-1.{}", number % 7);
        let earlier = |back: usize| {
            let other = number - back;
            format!("after site-module-number-{other}-1.{}\n", other % 7)
        };
        let mut requires = String::new();
        if number >= 10 && number % 4 != 3 {
            requires.push_str(&earlier(9));
        }
        if number >= 20 && number % 5 == 0 {
            requires.push_str(&earlier(13));
        }
        universe.add(&format!("{name}/requires"), &requires).unwrap();
        let text = format!("echo \"module {number}\"; sleep 0.0{}\n", number % 6);
        universe.add(&format!("{name}/templates/etc/sixty/{number}.conf"), &text).unwrap();
    }
    universe
        .add("broken-1/scripts/10-fails.sh", "echo '<b>no</b>' >&2; service ssh '<script>' restart; exit 3\n")
        .unwrap()
        .add("after-broken-1/requires", "after broken-1\n")
        .unwrap()
        .add("after-broken-1/scripts/1.sh", "true\n")
        .unwrap()
        .add(
            "hostile-1/scripts/1-\"><script>alert(1)<.sh",
            "mkdir -p /etc/h; echo '</pre><script>alert(2)</script>' > '/etc/h/<img src=x onerror=alert(3)>'\n",
        )
        .unwrap();
    universe
}

#[test]
fn a_report_ends_with_the_total_and_the_slowest_steps_and_can_be_compared() {
    let universe = Universe::empty().unwrap();
    universe
        .add("m-1/scripts/10-slow.sh", "sleep 0.3\n")
        .unwrap()
        .add("m-1/scripts/20-quick.sh", "[ -e /etc/again ] || echo x > /etc/again\n")
        .unwrap();
    let lab = Lab::with(universe);
    lab.acme(&["report"]).failed_with(&["no dance has been run here yet", "dance --noop"]);
    assert_eq!(lab.acme(&["history"]).stdout, "");
    assert_eq!(lab.acme(&["dance", "--noop"]).code, 0);
    lab.acme(&["report", "--compare"]).failed_with(&["no run of the same mode before run 1 is kept"]);
    assert_eq!(lab.acme(&["dance"]).code, 0);
    assert_eq!(lab.acme(&["dance", "--noop"]).code, 0);

    let report = lab.acme(&["report", "--slowest", "2"]).stdout;
    let lines: Vec<_> = report.lines().collect();
    let total = lines.iter().position(|line| *line == "report: _total: 5 steps").expect(&report);
    assert!(lines[total + 1].starts_with("report:    time_real "), "{report}");
    assert_eq!(lines[total + 4], "report:    exit: 0");
    assert_eq!(lines[total + 5], "report: _slowest:");
    assert!(lines[total + 6].ends_with(" s : m-1: exec 10-slow.sh"), "{report}");
    assert_eq!(lines.len(), total + 9, "two slow steps and the verdict: {report}");

    // By number, by distance, and refused by name.
    assert!(lab.acme(&["report", "2"]).stdout.contains("_internal: merge"));
    assert!(lab.acme(&["report", "-1"]).stdout.contains("_internal: merge"));
    lab.acme(&["report", "7"]).failed_with(&["there is no such run: 1 to 3 are kept", "history"]);
    assert_eq!(lab.acme(&["report", "last"]).code, 2);

    let compared = lab.acme(&["report", "--compare"]).stdout;
    assert!(compared.starts_with("report: _compare: run 3 with run 1\n"), "{compared}");
    assert!(
        compared.contains(" s : m-1: exec 10-slow.sh") || compared.contains(": the whole run"),
        "{compared}"
    );
    let other = lab.acme(&["report", "--compare=2", "--json"]).stdout;
    let other: serde_json::Value = serde_json::from_str(&other).unwrap();
    assert_eq!((&other["schema"], &other["before"]["id"]), (&"disco.comparison.v1".into(), &2.into()));
    let merge =
        other["steps"].as_array().unwrap().iter().find(|step| step["step"] == "_internal: merge").unwrap();
    assert!(merge["before"].is_f64() && merge["after"].is_null(), "{merge}");

    // Steps tell when they began: what comes later began later, and lies inside the run.
    let run: serde_json::Value = serde_json::from_str(&lab.acme(&["report", "--json"]).stdout).unwrap();
    let began: Vec<f64> = run["modules"][0]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["began"].as_f64().unwrap())
        .collect();
    assert!(began.is_sorted() && began[0] > 0.0, "{began:?}");
    assert!(*began.last().unwrap() >= 0.3 && *began.last().unwrap() < run["seconds"].as_f64().unwrap());

    let history = lab.acme(&["history"]).stdout;
    let rows: Vec<Vec<&str>> = history.lines().map(|line| line.split('\t').collect()).collect();
    let told: Vec<_> = rows.iter().map(|row| [row[0], row[3], row[4], row[5], row[6]]).collect();
    assert_eq!(
        told,
        [
            ["3", "noop", "converged", "+0 ~0 -0", "0"],
            ["2", "live", "merged", "+1 ~0 -0", "0"],
            ["1", "noop", "pending", "+1 ~0 -0", "0"]
        ]
    );
    assert_eq!(lab.acme(&["history", "-n", "1"]).stdout.lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&lab.acme(&["history", "--json"]).stdout).unwrap();
    assert_eq!(json["schema"], "disco.history.v1");
    assert_eq!((&json["runs"][1]["merged"], &json["runs"][1]["created"]), (&true.into(), &1.into()));
    lab.shell("echo broken > /var/lib/acme-disco/history/2.json");
    let left = lab.acme(&["history"]);
    assert_eq!(left.stdout.lines().count(), 2);
    assert!(left.stderr.contains("warning: ") && left.stderr.contains("history/2.json"), "{}", left.stderr);
}

#[test]
fn the_page_of_a_run_holds_everything_and_nothing_hostile() {
    let lab = Lab::with(sixty());
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 1, "{noop:#?}");
    let page = lab.acme(&["report", "--html"]).stdout;
    kept("sixty-modules.html", &page);
    for part in [
        "<svg class=\"timeline\"",
        "<svg class=\"graph\"",
        "script broken-1/scripts/10-fails.sh failed: it ended with code 3",
        "skipped: it requires broken-1, which failed",
        "<code>service ssh &lt;script&gt; restart</code>",
        "<code>/etc/h/&lt;img src=x onerror=alert(3)&gt;</code>",
        "&gt; &lt;/pre&gt;&lt;script&gt;alert(2)&lt;/script&gt;",
        "default-src &#39;none&#39;",
        "prefers-color-scheme: dark",
    ] {
        let part = part.replace("&#39;none&#39;", "'none'");
        assert!(page.contains(&part), "{part} is not in the page");
    }
    for hostile in ["<script", "<img", "onerror=\"", "http://", "https://", "url(h", "<b>no"] {
        assert!(!page.contains(hostile), "{hostile} is in the page");
    }
    // Every lane and every node is there: 61 modules and the run itself.
    assert_eq!(page.matches("text-anchor=\"end\"").count(), 62);
    let opened = page.matches("<details").count();
    assert_eq!(opened, page.matches("</details>").count());
    let told: usize = noop.stdout.matches("File: file:").count();
    assert!(opened > told, "{opened} of {told}");
}

#[test]
fn a_run_tells_its_figures_at_its_end_where_that_is_asked_for_by_either_name() {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/scripts/10.sh", "true\n").unwrap();
    let lab = Lab::with(universe);
    let by_option = lab.acme(&["dance", "--noop", "--report"]).stdout;
    let by_variable = lab.node.command(BINARY).env("REPORT", "true").args(["dance", "--noop"]).output();
    let by_variable = String::from_utf8(by_variable.unwrap().stdout).unwrap();
    for told in [by_option, by_variable] {
        let total = told.find("report: _total: 4 steps\n").expect(&told);
        assert!(told[total..].contains("\nnoop: 1 module, 0 created"), "{told}");
    }
    assert!(!lab.acme(&["dance", "--noop"]).stdout.contains("report:"));
}

#[test]
fn the_page_of_a_small_run_is_a_page_too_and_is_not_written_to_a_terminal() {
    let lab = Lab::with(Universe::example().unwrap());
    lab.node.write("/etc/othermodule/stuff.cfg", "HOST=other\nKEPT=1\n", 0o644).unwrap();
    assert_eq!(lab.acme(&["dance", "--noop", "--diff=unified"]).code, 0);
    let page = lab.acme(&["report", "--html"]);
    assert_eq!((page.code, page.stderr.as_str()), (0, ""));
    kept("two-modules.html", &page.stdout);
    assert!(page.stdout.contains("class=\"badge pending\"") && !page.stdout.contains("<svg class=\"graph\""));
    assert!(
        page.stdout.contains("<span class=\"new\">+HOST=localhost.localdomain</span>"),
        "{}",
        page.stdout
    );
    let refused = lab.shell("script -qec '/opt/acme/sbin/acme-disco report --html' /dev/null 2>&1");
    assert!(refused.contains("a page is no good on a terminal"), "{refused}");
}
