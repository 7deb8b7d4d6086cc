//! How the universe is reached, and what a server can do to a run: a real sshd with an unprivileged account, and servers
//! that are silent, die, drip or are not there. Whatever happens, the run ends by itself, says why, and changes nothing.

use std::time::{Duration, Instant};

use testbed::lab::{CONFIGURATION, Ended, Lab, STATE};
use testbed::universe::Universe;

/// Longer than any time-out that these tests set, shorter than what a person would call hanging.
const PATIENCE: Duration = Duration::from_secs(40);

/// A node that is its own server: an account `disco` without rights serves the universe from its home, over ssh only.
fn ssh_lab() -> Lab {
    let universe = Universe::example().unwrap();
    let source = universe.path().to_owned();
    let lab = Lab::alone();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(source.join("."))
        .arg(lab.node.path("/srv"))
        .status()
        .unwrap();
    assert!(copied.success());
    let said = lab.shell(
        "set -e
        chmod -R a+rX /srv
        useradd --create-home --shell /bin/sh --password '*' disco
        cd /home/disco
        { echo 'use chroot = no'; echo 'read only = yes'
          for module in /srv/*; do echo \"[${module##*/}]\"; echo \"path = $module\"; done; } > rsyncd.conf
        mkdir -m 700 .ssh /root/.ssh
        ssh-keygen -q -t ed25519 -N '' -f /opt/acme/etc/disco/id_ed25519
        cp /opt/acme/etc/disco/id_ed25519.pub .ssh/authorized_keys
        chown -R disco: .ssh
        ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/host_key
        echo \"universe.acme.example $(cut -d' ' -f1,2 /etc/ssh/host_key.pub)\" > /root/.ssh/known_hosts
        mkdir -p /run/sshd
        /usr/sbin/sshd -f /dev/null -o HostKey=/etc/ssh/host_key -o ListenAddress=127.0.0.1 \\
            -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o PidFile=/run/sshd.pid -E /run/sshd/log
        echo up 2>&1",
    );
    assert!(said.ends_with("up\n"), "{said}");
    set(&lab, "server.uri", "disco@universe.acme.example");
    set(&lab, "client.rsync", "rsync -aWH -e \"ssh -i /opt/acme/etc/disco/id_ed25519\"");
    lab
}

fn set(lab: &Lab, key: &str, value: &str) {
    let conf = std::fs::read_to_string(lab.node.path(CONFIGURATION)).unwrap();
    lab.node.write(CONFIGURATION, &format!("{conf}plugin.disco.{key} = {value}\n"), 0o644).unwrap();
}

/// Dances, and panics unless that fails by itself in time, leaves no process, and changes nothing.
#[track_caller]
fn fails(lab: &Lab, words: &[&str]) -> Duration {
    let before = lab.files();
    let started = Instant::now();
    let ended: Ended = lab.acme(&["dance"]);
    let took = started.elapsed();
    ended.failed_with(words);
    assert!(ended.stderr.contains("hint: ") && ended.stderr.contains("Nothing was changed"), "{ended:#?}");
    assert!(took < PATIENCE, "it took {took:?}");
    lab.assert_unchanged(&before);
    let left = lab.shell("grep -lzE '^(rsync|ssh)$' /proc/[0-9]*/cmdline 2>/dev/null | xargs -r -n1 dirname");
    assert_eq!(left, "", "transfers were left running");
    assert_eq!(lab.shell(&format!("ls {STATE}/scratch")), "");
    took
}

/// Starts a server in Python on the node, at rsync's port, and waits until it listens.
fn python_server(lab: &Lab, body: &str) {
    let program = format!(
        "import socket, time\nlisten = socket.create_server(('127.0.0.1', 873))\nopen('/root/listens', 'w').close()\nkept = []\n{body}"
    );
    lab.node.write("/root/server.py", &program, 0o644).unwrap();
    let said = lab.shell(
        "python3 /root/server.py > /root/server.log 2>&1 & \
         for i in $(seq 500); do [ -e /root/listens ] && break; sleep 0.02; done; \
         [ -e /root/listens ] && echo up",
    );
    assert_eq!(said, "up\n");
}

#[test]
fn an_unprivileged_account_serves_the_universe_over_ssh() {
    let lab = ssh_lab();
    let noop = lab.acme(&["dance", "--noop"]);
    assert_eq!(noop.code, 0, "{noop:#?}\n{}", lab.shell("cat /run/sshd/log"));
    assert!(noop.stdout.contains("/etc/othermodule/stuff.cfg : Created"), "{}", noop.stdout);
    let live = lab.acme(&["dance"]);
    assert_eq!(live.code, 0, "{live:#?}");
    assert!(lab.shell("cat /etc/othermodule/stuff.cfg").contains("LOLTHISKEYMEANSNOTHING"));
}

#[test]
fn an_unknown_host_key_is_not_asked_about() {
    let lab = ssh_lab();
    lab.shell("rm /root/.ssh/known_hosts");
    fails(
        &lab,
        &[
            "cannot fetch the parameters of localhost.localdomain from disco@universe.acme.example::parameters/",
            "the connection ended before the server spoke",
            "Host key verification failed",
            "/root/.ssh/known_hosts",
        ],
    );
    assert_eq!(lab.shell("ls /root/.ssh"), "", "nobody may come to trust a key by a run");
}

#[test]
fn a_changed_host_key_is_refused() {
    let lab = ssh_lab();
    lab.shell("ssh-keygen -q -t ed25519 -N '' -f /root/k; echo \"universe.acme.example $(cat /root/k.pub)\" > /root/.ssh/known_hosts");
    fails(&lab, &["Host key verification failed"]);
}

#[test]
fn a_key_that_the_account_does_not_know_is_no_reason_to_ask_for_a_password() {
    let lab = ssh_lab();
    lab.shell("echo > /home/disco/.ssh/authorized_keys");
    fails(&lab, &["Permission denied", "authorized_keys"]);
}

#[test]
fn an_ssh_server_that_never_speaks() {
    let lab = ssh_lab();
    lab.shell("kill $(cat /run/sshd.pid)");
    set(&lab, "client.timeout", "2");
    set(&lab, "client.rsync", "rsync -aWH -e \"ssh -p 873 -i /opt/acme/etc/disco/id_ed25519\"");
    python_server(&lab, "while True: kept.append(listen.accept())\n");
    fails(
        &lab,
        &["the connection ended before the server spoke", "the universe is disco@universe.acme.example"],
    );
}

#[test]
fn a_server_that_accepts_and_never_speaks() {
    let lab = Lab::alone();
    set(&lab, "client.timeout", "2");
    python_server(&lab, "while True: kept.append(listen.accept())\n");
    let took = fails(
        &lab,
        &[
            "cannot fetch the parameters of localhost.localdomain from rsync://universe.acme.example/parameters/",
            "the server fell silent",
        ],
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_server_that_is_never_silent_and_never_done() {
    let lab = Lab::alone();
    set(&lab, "client.timeout", "5");
    set(&lab, "client.deadline", "3");
    python_server(
        &lab,
        "connection, _ = listen.accept()\nconnection.sendall(b'@RSYNCD: 31.0 sha512\\n')\n\
         while True:\n    connection.sendall(b'still here\\n')\n    time.sleep(0.2)\n",
    );
    let took =
        fails(&lab, &["not done after 3 s, the most that all fetching may take", "disco/client/deadline"]);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_module() {
    let universe = Universe::example().unwrap();
    let big = "x".repeat(4 << 20);
    universe.add("big-1/files/srv/big", &big).unwrap();
    let lab = Lab::with(universe);
    // Between the client and the real daemon: lets the first connection pass, and cuts every other one after 64 KiB.
    lab.node
        .write(
            "/etc/hosts",
            "127.0.0.1 localhost localhost.localdomain\n127.0.0.2 universe.acme.example\n",
            0o644,
        )
        .unwrap();
    lab.node
        .write(
            "/root/cut.py",
            r#"
import socket, threading
listen = socket.create_server(('127.0.0.2', 873))
open('/root/listens', 'w').close()
def pump(source, target, most):
    try:
        while most > 0:
            data = source.recv(min(65536, most))
            if not data: break
            target.sendall(data)
            most -= len(data)
    except OSError:
        pass
    for end in (source, target):
        try: end.shutdown(socket.SHUT_RDWR)
        except OSError: pass
while True:
    client, _ = listen.accept()
    server = socket.create_connection(('127.0.0.1', 873))
    threading.Thread(target=pump, args=(client, server, 1 << 40)).start()
    threading.Thread(target=pump, args=(server, client, 1 << 17)).start()
"#,
            0o644,
        )
        .unwrap();
    let said = lab.shell(
        "python3 /root/cut.py > /root/cut.log 2>&1 & \
         for i in $(seq 500); do [ -e /root/listens ] && break; sleep 0.02; done; echo up",
    );
    assert_eq!(said, "up\n");
    fails(&lab, &["cannot fetch module big-1 from rsync://universe.acme.example/big-1/"]);
    assert_eq!(lab.shell("ls /srv"), "");
}

#[test]
fn a_network_that_swallows_everything() {
    let lab = Lab::alone();
    set(&lab, "client.timeout", "2");
    // A full queue of connections that nobody accepts: the kernel drops whatever else knocks.
    python_server(
        &lab,
        "listen.listen(0)\nfor _ in range(4):\n    one = socket.socket()\n    one.setblocking(False)\n    \
         one.connect_ex(('127.0.0.1', 873))\n    kept.append(one)\ntime.sleep(1000)\n",
    );
    let took = fails(&lab, &["cannot fetch the parameters", "the server did not answer in time"]);
    assert!(took < Duration::from_secs(15), "{took:?}");
    // The same over ssh.
    set(&lab, "server.uri", "disco@universe.acme.example");
    set(&lab, "client.rsync", "rsync -aWH -e \"ssh -p 873\"");
    fails(&lab, &["the connection ended before the server spoke", "timed out"]);
}

#[test]
fn a_limit_that_is_none_is_named() {
    let lab = Lab::alone();
    set(&lab, "client.parallel", "many");
    lab.acme(&["dance"]).failed_with(&["`many` is no number of transfers at once", "server.conf"]);
}

#[test]
fn an_edit_of_the_same_size_within_the_same_second_is_fetched() {
    let universe = Universe::empty().unwrap();
    universe.add("m-1/files/etc/edited", "one\n").unwrap();
    let file = universe.path().join("m-1/files/etc/edited");
    let second = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let stamp = |nanoseconds: u64| {
        let time = second + Duration::from_nanos(nanoseconds);
        std::fs::File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    stamp(100);
    let lab = Lab::with(universe);
    assert_eq!(lab.acme(&["dance"]).code, 0);
    std::fs::write(&file, "two\n").unwrap();
    stamp(200);
    assert_eq!(lab.acme(&["dance"]).code, 0);
    assert_eq!(lab.shell("cat /etc/edited"), "two\n");
}
