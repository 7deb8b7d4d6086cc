//! A nats-server of the test's own: a real one, on loopback, gone when the guard is dropped.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::wire::fresh_id;

/// How long the broker may take until it answers.
const START: Duration = Duration::from_secs(10);

/// The broker of Debian's package, which also lies outside of an ordinary user's path.
const PROGRAM: &str = "/usr/sbin/nats-server";

/// How a broker is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Port on loopback; `None`: any free one.
    pub port: Option<u16>,
    /// Words before the broker's own command line, such as `nsenter --net=…`.
    pub prefix: Vec<String>,
    /// Serve TLS with this pair of files.
    pub tls: Option<ServerCertificate>,
    /// Largest message in bytes; `None`: the broker's default of 1 MiB.
    pub max_payload: Option<u32>,
}

/// A running broker; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    child: Child,
    directory: TempDir,
}

impl Broker {
    /// Starts a broker without TLS on a free loopback port.
    pub fn start() -> Result<Self> {
        Broker::start_with(&Options::default())
    }

    /// Starts a broker and waits until it answers. With a prefix, only until its process says that it listens:
    /// it may be in a network that this process is not in.
    pub fn start_with(options: &Options) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let config = directory.path().join("nats-server.conf");
        fs::write(&config, configuration(port, options))?;

        let mut words = options.prefix.iter().map(OsStr::new).chain([OsStr::new(PROGRAM)]);
        let program = words.next().expect("the broker's own name is there");
        let log = directory.path().join("log");
        let child = Command::new(program)
            .args(words)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {} (package nats-server)", program.display()))?;
        let mut broker = Broker { port, child, directory };
        let deadline = Instant::now() + START;
        while !broker.answers(options) {
            if let Some(status) = broker.child.try_wait()? {
                bail!("nats-server ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            if Instant::now() > deadline {
                bail!("nats-server does not answer on port {port}: {}", fs::read_to_string(&log)?);
            }
            // Asking costs a connection; the broker needs some tens of milliseconds.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(broker)
    }

    fn answers(&self, options: &Options) -> bool {
        if options.prefix.is_empty() {
            greeting(self.port).is_ok_and(|line| line.starts_with("INFO "))
        } else {
            fs::read_to_string(self.directory.path().join("log"))
                .is_ok_and(|log| log.contains("Server is ready"))
        }
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on at this moment, below those that the kernel gives to outgoing connections: nobody
/// takes it while a broker is down between two starts.
pub fn free_port() -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let start = u16::from_str_radix(&fresh_id()[..4], 16)? % 10_000;
    (0..10_000).map(|step| 20_000 + (start + step) % 10_000).find(is_free).context("no free port on loopback")
}

fn configuration(port: u16, options: &Options) -> String {
    let mut text = format!("listen: \"127.0.0.1:{port}\"\n");
    if let Some(size) = options.max_payload {
        text.push_str(&format!("max_payload: {size}\n"));
    }
    if let Some(tls) = &options.tls {
        let (certificate, key) = (tls.certificate.display(), tls.key.display());
        text.push_str(&format!("tls {{\n  cert_file: \"{certificate}\"\n  key_file: \"{key}\"\n}}\n"));
    }
    text
}

fn greeting(port: u16) -> Result<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The certificate in PEM.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_answers_with_a_prefix_and_without_and_is_gone_when_dropped() {
        for prefix in [Vec::new(), vec!["env".to_owned()]] {
            let broker = Broker::start_with(&Options { prefix, ..Options::default() }).unwrap();
            assert!(greeting(broker.port()).unwrap().starts_with("INFO "));
            let port = broker.port();
            drop(broker);
            assert!(greeting(port).is_err(), "the broker outlived its guard");
        }
    }
}
