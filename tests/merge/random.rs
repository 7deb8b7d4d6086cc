//! Random trees and random operations: what a script makes of a tree on the host itself is what a merge makes of a copy
//! of it, attribute by attribute; and a rollback leaves every attribute as it was.
//!
//! The same calls with the same arguments run in both trees. How each of them ended is compared, too: a program must not
//! feel that it runs in a sandbox. One dance does many cases; when one of them fails, each runs by itself, and the first
//! that fails is made as small as it gets.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use testbed::lab::Lab;
use testbed::universe::Universe;

use crate::tree::fingerprint;
use crate::{kinds, make_image};

/// Cases in the test that always runs.
const FEW: usize = 400;
/// Cases of one dance.
const BATCH: usize = 40;
/// Dances under `DISCO_FULL`.
const MANY_BATCHES: usize = 100;
/// Everything is this old before the operations; times that an operation sets are a little younger.
const OLD: u64 = 1_000_000_000;
/// Times from here on are those of the run itself.
const NOW: u64 = 1_500_000_000;

/// What the operations are made of, and what carries them out.
const CARRY_OUT: &str = r#"
import errno, sys
def regular(path):
    try: found = os.stat(path)
    except FileNotFoundError: return
    if not stat.S_ISREG(found.st_mode): raise OSError(errno.EINVAL, '')
def put(path, text, how):
    regular(path)
    with open(path, how) as file: file.write(text)
def replace(path, text):
    with open(b'.temporary', 'wb') as file: file.write(text)
    try: os.rename(b'.temporary', path)
    except OSError:
        os.remove(b'.temporary')
        raise
def again(path):
    regular(path)
    with open(path, 'rb') as file: text = file.read()
    found = os.stat(path)
    replace(path, text)
    os.chown(path, found.st_uid, found.st_gid)
    os.chmod(path, stat.S_IMODE(found.st_mode))
def hole(path, at):
    regular(path)
    with open(path, 'r+b') as file: file.truncate(400000); file.seek(at); file.write(b'end')
def cut(path, length):
    regular(path)
    os.truncate(path, length)
def touch(path, time): os.utime(path, (time, time), follow_symlinks=False)
def look_inside(path):
    regular(path)
    open(path, 'r+').close()
RENAMEAT2 = 276 if os.uname().machine == 'aarch64' else 316
EXCHANGE = f'exit(syscall({RENAMEAT2}, -100, $ARGV[0], -100, $ARGV[1], 2) ? $! : 0)'
def exchange(one, two):
    why = os.spawnv(os.P_WAIT, '/usr/bin/perl', ['perl', '-e', EXCHANGE, '--', one, two])
    if why: raise OSError(why, '')
def clear(path): rmtree(os.fsdecode(path))
def opaque(path, name):
    clear(path); os.mkdir(path); put(path + b'/' + name, b'new', 'wb')
def mode_and_back(path):
    mode = stat.S_IMODE(os.stat(path).st_mode)
    os.chmod(path, mode ^ 0o111); os.chmod(path, mode)
def device(path, number): os.mknod(path, stat.S_IFCHR | 0o620, os.makedev(7, number))
def socket(path): os.mknod(path, stat.S_IFSOCK | 0o700)
def attribute(path, name, value): os.setxattr(path, name, value, follow_symlinks=False)
def no_attribute(path, name): os.removexattr(path, name, follow_symlinks=False)
def no_access_list(path):
    # An overlay fails where there is none; other file systems do not.
    if 'system.posix_acl_access' in os.listxattr(path): os.removexattr(path, 'system.posix_acl_access')
def access(path, which, rights): os.setxattr(path, 'system.posix_acl_' + which, acl(1234, rights))
def capability(path): os.setxattr(path, 'security.capability', CAPABILITY)
def own(path, user): os.chown(path, user, user + 1, follow_symlinks=False)
def old(top):
    for where, directories, files in os.walk(top, topdown=False):
        for name in directories + files:
            os.utime(where + '/' + name, (OLD, OLD), follow_symlinks=False)
    os.utime(top, (OLD, OLD))
def do(operations, said):
    for function, *arguments in operations:
        try:
            function(*arguments)
            said.append(function.__name__ + ' ok')
        except OSError as error: said.append(function.__name__ + ' ' + errno.errorcode[error.errno])
what, top = sys.argv[1:]
if what == 'make':
    if os.path.exists(top): rmtree(top)
    os.makedirs(top)
for number, (make, change) in enumerate(CASES):
    at = f'{top}/{number}'
    if what == 'make': os.mkdir(at)
    os.chdir(at)
    said = []
    do(make if what == 'make' else change, said)
    if what == 'change': write(f'{top}/{number}.said', '\n'.join(said))
if what == 'make': old(top)
"#;

/// A tree and what becomes of it: calls of [`CARRY_OUT`]'s functions.
#[derive(Debug, Clone)]
struct Case {
    make: Vec<String>,
    change: Vec<String>,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just("a"),
        5 => Just("b"),
        2 => Just("c"),
        1 => Just(r"-rf \n\xff\x1b[31m\\"),
        1 => Just("long-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ]
}

/// A path below the case's directory, as Python writes bytes.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(1_usize), 3 => Just(2), 1 => Just(3)]
        .prop_flat_map(|depth| prop::collection::vec(name(), depth))
        .prop_map(|names| format!("b'{}'", names.join("/")))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(0_u16), 1..40_u16, 5000..5003_u16].prop_map(|length| format!("b'x' * {length}"))
}

/// What puts something into a tree.
fn making() -> BoxedStrategy<String> {
    let mode = || prop::sample::select(vec!["0o755", "0o700", "0o2775", "0o1777", "0o4711", "0o0", "0o644"]);
    prop_oneof![
        6 => (path(), mode()).prop_map(|(at, mode)| format!("os.mkdir, {at}, {mode}")),
        8 => (path(), text()).prop_map(|(at, text)| format!("put, {at}, {text}, 'wb'")),
        4 => (path(), path()).prop_map(|(from, to)| format!("os.link, {from}, {to}")),
        2 => (name(), path()).prop_map(|(to, at)| format!("os.symlink, b'{to}', {at}")),
        1 => path().prop_map(|at| format!("os.mkfifo, {at}")),
        1 => path().prop_map(|at| format!("socket, {at}")),
        1 => (path(), 1..300_u16).prop_map(|(at, number)| format!("device, {at}, {number}")),
        2 => (path(), mode()).prop_map(|(at, mode)| format!("os.chmod, {at}, {mode}")),
        2 => (path(), 1..5_u8).prop_map(|(at, user)| format!("own, {at}, {user}")),
        2 => (path(), 0..3_u8, text())
            .prop_map(|(at, n, text)| format!("attribute, {at}, 'user.{n}', ({text})[:1000]")),
        1 => (path(), 0..8_u8).prop_map(|(at, rights)| format!("access, {at}, 'access', {rights}")),
        1 => (path(), 0..8_u8).prop_map(|(at, rights)| format!("access, {at}, 'default', {rights}")),
        1 => path().prop_map(|at| format!("capability, {at}")),
        1 => (path(), 0..390_000_u32).prop_map(|(at, offset)| format!("hole, {at}, {offset}")),
    ]
    .boxed()
}

/// What changes a tree.
fn changing() -> BoxedStrategy<String> {
    let two = || (path(), path());
    prop_oneof![
        12 => making(),
        2 => (path(), text()).prop_map(|(at, text)| format!("put, {at}, {text}, 'ab'")),
        2 => (path(), text()).prop_map(|(at, text)| format!("replace, {at}, {text}")),
        1 => path().prop_map(|at| format!("again, {at}")),
        3 => path().prop_map(|at| format!("os.remove, {at}")),
        2 => path().prop_map(|at| format!("os.rmdir, {at}")),
        2 => path().prop_map(|at| format!("clear, {at}")),
        8 => two().prop_map(|(from, to)| format!("os.rename, {from}, {to}")),
        2 => two().prop_map(|(one, two)| format!("exchange, {one}, {two}")),
        1 => (path(), name()).prop_map(|(at, name)| format!("opaque, {at}, b'{name}'")),
        1 => (path(), 0..6000_u16).prop_map(|(at, length)| format!("cut, {at}, {length}")),
        2 => (path(), 1..9_u64).prop_map(|(at, later)| format!("touch, {at}, {}", OLD + later)),
        1 => path().prop_map(|at| format!("look_inside, {at}")),
        1 => path().prop_map(|at| format!("mode_and_back, {at}")),
        1 => (path(), 0..3_u8).prop_map(|(at, n)| format!("no_attribute, {at}, 'user.{n}'")),
        1 => path().prop_map(|at| format!("no_access_list, {at}")),
    ]
    .boxed()
}

/// What a noop's scripts may not do, but find.
fn privileged() -> BoxedStrategy<String> {
    (path(), text()).prop_map(|(at, text)| format!("attribute, {at}, 'trusted.t', ({text})[:1000]")).boxed()
}

fn case() -> impl Strategy<Value = Case> {
    let make = prop::collection::vec(prop_oneof![20 => making(), 1 => privileged()], 4..24);
    let change = prop::collection::vec(changing(), 1..14);
    (make, change).prop_map(|(make, change)| Case { make, change })
}

/// A node on which cases are tried, each with the same calls in `/srv/live` and, through a dance, in `/srv/merged`.
struct Bench {
    lab: Lab,
    is_apart: bool,
}

impl Bench {
    /// With `is_apart`, the trees lie on another file system than the client's state.
    fn new(is_apart: bool) -> Bench {
        let universe = Universe::empty().unwrap();
        let script = "#!/bin/sh\nexec python3 /root/cases.py change /srv/merged\n";
        universe.add("cases-1/scripts/1.sh", script).unwrap();
        let lab = Lab::on_disk(universe);
        if is_apart {
            let image = lab.node.path("/srv.image");
            make_image(&image, "ext4", 512 << 20);
            assert_eq!(lab.shell("mount -o loop /srv.image /srv && echo mounted"), "mounted\n");
        }
        Bench { lab, is_apart }
    }

    fn both() -> [Bench; 2] {
        [false, true].map(Bench::new)
    }

    fn carry_out(&self, what: &str, top: &str) {
        let said = self.lab.node.shell(&format!("python3 /root/cases.py {what} {top}")).unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    fn look(&self, top: &str) -> BTreeMap<String, String> {
        let lines = fingerprint(&self.lab.node.path(top));
        let split = |line: String| {
            let (look, time) = line.rsplit_once(" modified ").unwrap();
            let name = look.split_once("\" ").unwrap().0.to_owned();
            // What counts of a time of the run is that it is one.
            let is_now = time.split_once('.').unwrap().0.parse::<u64>().unwrap() > NOW;
            (name, format!("{look} modified {}", if is_now { "now" } else { time }))
        };
        lines.into_iter().map(split).collect()
    }

    /// Tries cases in one go. What differs is the error.
    fn try_out(&self, cases: &[Case]) -> Result<(), String> {
        let calls = |calls: &[String]| calls.iter().map(|call| format!("({call}),")).collect::<String>();
        let cases: String = cases
            .iter()
            .map(|case| format!("([{}], [{}]),\n", calls(&case.make), calls(&case.change)))
            .collect();
        let script = format!("{}OLD = {OLD}\n", kinds::PRELUDE);
        let (functions, run) = CARRY_OUT.split_once("what, top").unwrap();
        let script = format!("{script}{functions}CASES = [\n{cases}]\nwhat, top{run}");
        self.lab.node.write("/root/cases.py", &script, 0o755).unwrap();
        self.carry_out("make", "/srv/live");
        self.carry_out("make", "/srv/merged");
        self.lab.shell(&format!("touch -d @{OLD} /srv"));
        let before = self.look("/srv/merged");
        expect_same("the same calls make two trees", &self.look("/srv/live"), &before, None)?;
        self.carry_out("change", "/srv/live");
        let expected = self.look("/srv/live");

        let plan = self.lab.acme(&["dance", "--noop", "--no-diff", "--out", "/root/plan"]);
        if plan.code != 0 {
            return Err(format!("the noop failed: {}{}", plan.stdout, plan.stderr));
        }
        expect_same("a noop changes nothing", &self.look("/srv/merged"), &before, None)?;
        for (what, arguments) in
            [("live run", &["dance", "--no-diff"][..]), ("plan", &["plan", "apply", "/root/plan"])]
        {
            let ended = self.lab.acme(arguments);
            if ended.code != 0 {
                return Err(format!("the {what} failed: {}{}", ended.stdout, ended.stderr));
            }
            let merged = self.look("/srv/merged");
            expect_same(&format!("after the {what}"), &merged, &expected, Some(&before))?;
            // A run that changes nothing leaves nothing to undo.
            if merged == before {
                continue;
            }
            let back = self.lab.acme(&["rollback", "--no-diff"]);
            if back.code != 0 {
                return Err(format!("the rollback of the {what} failed: {}{}", back.stdout, back.stderr));
            }
            expect_same(
                &format!("after the rollback of the {what}"),
                &self.look("/srv/merged"),
                &before,
                None,
            )?;
        }
        self.lab.shell("rm /root/plan");
        Ok(())
    }
}

/// What a line says of a file apart from its names.
fn parts(line: &str) -> Option<(&str, &str)> {
    let (front, rest) = line.split_once(" names ")?;
    let (_, looks) = front.split_once("\" ")?;
    let (_, others) = rest.split_once(" of \"")?;
    Some((looks, others.split_once("\" ")?.1))
}

/// Compares two trees. Where nothing but the time of a file changed, a merge leaves the time that was there before: that is
/// no change, and a new name of the file makes it none.
fn expect_same(
    when: &str,
    now: &BTreeMap<String, String>,
    expected: &BTreeMap<String, String>,
    before: Option<&BTreeMap<String, String>>,
) -> Result<(), String> {
    let mut differences = String::new();
    for name in now.keys().chain(expected.keys().filter(|name| !now.contains_key(*name))) {
        let (is, should) = (now.get(name), expected.get(name));
        let kept = before.and_then(|before| before.get(name));
        let look =
            |line: Option<&String>| line.and_then(|line| Some(line.rsplit_once(" modified ")?.0.to_owned()));
        if is == should || is == kept && look(should) == look(kept) {
            continue;
        }
        // By which of its names it was known then, nobody can tell here.
        let is_left_as_it_was = || {
            let now = parts(is?)?;
            Some(look(is) == look(should) && before?.values().any(|line| parts(line).as_ref() == Some(&now)))
        };
        if is_left_as_it_was() == Some(true) {
            continue;
        }
        let or_nothing = |line: Option<&String>| line.map_or("nothing", String::as_str).to_owned();
        differences.push_str(&format!(
            "    is        {}\n    should be {}\n    was       {}\n",
            or_nothing(is),
            or_nothing(should),
            or_nothing(kept)
        ));
    }
    if differences.is_empty() { Ok(()) } else { Err(format!("{when}:\n{differences}")) }
}

/// Tries one case. A failure may leave anything behind, so the next case gets a node of its own.
fn try_alone(bench: &mut Bench, case: Case) -> Result<(), String> {
    bench.try_out(&[case]).inspect_err(|_| *bench = Bench::new(bench.is_apart))
}

/// The smallest case that fails as well, and how.
fn smallest(bench: &mut Bench, mut tree: impl ValueTree<Value = Case>) -> Option<(Case, String)> {
    let mut found = (tree.current(), try_alone(bench, tree.current()).err()?);
    for _ in 0..60 {
        if !tree.simplify() {
            break;
        }
        loop {
            if let Err(why) = try_alone(bench, tree.current()) {
                found = (tree.current(), why);
                break;
            }
            if !tree.complicate() {
                return Some(found);
            }
        }
    }
    Some(found)
}

#[test]
fn what_random_operations_leave_is_what_a_merge_of_them_leaves() {
    let full = std::env::var_os("DISCO_FULL").is_some();
    let seed = std::env::var("DISCO_SEED").ok().map(|seed| seed.parse().expect("DISCO_SEED is a number"));
    let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    // The same cases each time, unless there is time for others.
    let seed = seed.unwrap_or_else(|| if full { clock() } else { 1 });
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() });
    let mut benches = Bench::both();
    let cases = if full { BATCH * MANY_BATCHES } else { FEW };
    for number in 0..cases / BATCH {
        let bench = &mut benches[number % 2];
        let batch: Vec<_> = (0..BATCH).map(|_| case().new_tree(&mut runner).unwrap()).collect();
        let values: Vec<_> = batch.iter().map(ValueTree::current).collect();
        let Err(together) = bench.try_out(&values) else { continue };
        println!("with DISCO_SEED={seed}: {together}");
        *bench = Bench::new(bench.is_apart);
        match batch.into_iter().find_map(|tree| smallest(bench, tree)) {
            Some((case, why)) => panic!("with DISCO_SEED={seed}: {why}\n{case:#?}"),
            None => panic!("with DISCO_SEED={seed}, only together: {together}"),
        }
    }
    println!("{cases} cases with DISCO_SEED={seed}");
}

#[test]
fn a_file_that_is_changed_by_a_name_that_goes_then_is_changed_by_its_other_names_too() {
    let calls = |calls: &[&str]| calls.iter().map(|call| (*call).to_owned()).collect();
    let make = [
        "os.mkdir, b'd', 0o755",
        "put, b'd/a', b'x' * 3, 'wb'",
        "os.link, b'd/a', b'b'",
        "os.mkdir, b'e', 0o700",
        "os.link, b'd/a', b'e/c'",
    ];
    let changes: [&[&str]; 8] = [
        &["put, b'd/a', b'y', 'ab'", "os.remove, b'd/a'"],
        &["put, b'd/a', b'y', 'ab'", "os.rename, b'd/a', b'e/a'"],
        &["os.chmod, b'd/a', 0o600", "os.remove, b'd/a'"],
        &["own, b'd/a', 3", "replace, b'd/a', b'z'"],
        &["put, b'b', b'y', 'ab'", "os.remove, b'd/a'", "os.remove, b'b'"],
        &["put, b'd/a', b'y', 'ab'", "clear, b'd'"],
        &["os.remove, b'd/a'", "os.remove, b'b'"],
        &["attribute, b'd/a', 'user.0', b'x'", "replace, b'd/a', b'z'"],
    ];
    let case = |change: &&[&str]| Case { make: calls(&make), change: calls(change) };
    for bench in Bench::both() {
        // One by one, then together: a file must not be taken for another one.
        for change in &changes {
            bench.try_out(&[case(change)]).unwrap_or_else(|why| panic!("{change:?}: {why}"));
        }
        bench.try_out(&changes.iter().map(case).collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn what_was_made_before_its_directory_got_a_default_list_has_none() {
    let calls = |calls: &[&str]| calls.iter().map(|call| (*call).to_owned()).collect();
    let change = ["put, b'a/c', b'x', 'wb'", "os.mkdir, b'a/d', 0o700", "access, b'a', 'default', 6"];
    let case = Case { make: calls(&["os.mkdir, b'a', 0o755"]), change: calls(&change) };
    Bench::new(false).try_out(&[case]).unwrap();
}

#[test]
fn a_file_that_only_moves_keeps_its_names_that_nobody_touched() {
    let calls = |calls: &[&str]| calls.iter().map(|call| (*call).to_owned()).collect();
    let kinds = ["put, b'c', b'x' * 3, 'wb'", "os.mkfifo, b'c'"];
    let changes: [&[&str]; 6] = [
        &["os.rename, b'c', b'new'"],
        &["os.rename, b'c', b'a'"],
        &["os.rename, b'c', b'd/new'", "put, b'c', b'another', 'wb'"],
        &["os.rename, b'c', b'new'", "os.link, b'new', b'd/again'"],
        &["os.rename, b'd', b'e'", "os.rename, b'e/b', b'new'"],
        &["os.rename, b'c', b'new'", "os.remove, b'd/b'"],
    ];
    let benches = Bench::both();
    for (kind, bench) in kinds.iter().flat_map(|kind| benches.iter().map(move |bench| (kind, bench))) {
        let make = [
            kind,
            "os.mkdir, b'd', 0o755",
            "os.link, b'c', b'd/b'",
            "os.link, b'c', b'd/f'",
            "put, b'a', b'y', 'wb'",
        ];
        let case = |change: &&[&str]| Case { make: calls(&make), change: calls(change) };
        for change in &changes {
            bench.try_out(&[case(change)]).unwrap_or_else(|why| panic!("{kind}: {change:?}: {why}"));
        }
        bench.try_out(&changes.iter().map(case).collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn a_directory_takes_the_place_of_a_link_to_another() {
    let calls = |calls: &[&str]| calls.iter().map(|call| (*call).to_owned()).collect();
    let make = [
        "os.mkdir, b'd', 0o755",
        "put, b'd/a', b'x', 'wb'",
        "os.mkdir, b'd/e', 0o755",
        "put, b'd/e/a', b'x', 'wb'",
        "os.symlink, b'd', b'b'",
        "os.symlink, b'c', b'c'",
    ];
    let changes: [&[&str]; 5] = [
        &["os.remove, b'b'", "os.mkdir, b'b', 0o755", "put, b'b/a', b'x', 'wb'"],
        &["os.remove, b'b'", "os.mkdir, b'b', 0o755", "os.mkdir, b'b/e', 0o755", "put, b'b/e/a', b'y', 'wb'"],
        &["os.remove, b'b'", "os.rename, b'd', b'b'"],
        &["os.remove, b'c'", "os.mkdir, b'c', 0o755", "put, b'c/a', b'x', 'wb'"],
        &["os.remove, b'b'", "os.rename, b'd', b'b'", "os.symlink, b'b', b'd'", "os.remove, b'b/e/a'"],
    ];
    let case = |change: &&[&str]| Case { make: calls(&make), change: calls(change) };
    let bench = Bench::new(true);
    for change in &changes {
        bench.try_out(&[case(change)]).unwrap_or_else(|why| panic!("{change:?}: {why}"));
    }
}
