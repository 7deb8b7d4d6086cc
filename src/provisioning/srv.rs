//! Brokers from the domain name system: the SRV records of `_choria-provisioner._tcp` in the brand's domain.
//!
//! Whoever can forge an answer can name any broker; it is the brand's certificate authorities that keep a node from
//! speaking to it.

use domain::base::name::{Name, RelativeName};
use domain::resolv::StubResolver;
use domain::resolv::lookup::lookup_srv;

/// The service and its protocol, as the reference looks for them.
const SERVICE: &str = "_choria-provisioner._tcp";

/// Port of a record that leads nowhere.
const NOWHERE: u16 = 0;

/// Why there are no brokers at the moment.
#[derive(Debug, thiserror::Error)]
pub enum SrvError {
    /// Together they are longer than a name may be, or the domain is none.
    #[error("`{SERVICE}.{domain}` is not a domain name")]
    Name {
        /// What was baked.
        domain: String,
    },
    /// Nobody answered, or in a way that cannot be understood.
    #[error("cannot look up the SRV records of `{SERVICE}.{domain}`")]
    LookUp {
        /// Where.
        domain: String,
        /// What went wrong.
        #[source]
        source: domain::resolv::lookup::srv::SrvError,
    },
    /// There is an answer, and no broker in it.
    #[error("`{SERVICE}.{domain}` has no SRV record that names a broker")]
    None {
        /// Where.
        domain: String,
    },
}

/// Where the brokers of a domain come from, in words for the log.
pub(super) fn origin(domain: &str) -> String {
    format!("the SRV records of {SERVICE}.{domain}")
}

/// The brokers of a domain as `host:port`: by priority, those of the same one at random by their weight. Asks the servers
/// that `/etc/resolv.conf` names at this moment.
///
/// # Errors
/// There are none at the moment.
pub(super) async fn look_up(domain: &str) -> Result<Vec<String>, SrvError> {
    let not_a_name = || SrvError::Name { domain: domain.to_owned() };
    let service: RelativeName<Vec<u8>> = SERVICE.parse().map_err(|_| not_a_name())?;
    let name: Name<Vec<u8>> = domain.parse().map_err(|_| not_a_name())?;
    let resolver = StubResolver::new();
    let found = lookup_srv(&resolver, service, name, NOWHERE)
        .await
        .map_err(|source| SrvError::LookUp { domain: domain.to_owned(), source })?;
    let records = found.into_iter().flat_map(|found| found.into_srvs());
    let brokers: Vec<_> =
        records.filter_map(|record| broker(&record.target().to_string(), record.port())).collect();
    if brokers.is_empty() {
        return Err(SrvError::None { domain: domain.to_owned() });
    }
    Ok(brokers)
}

/// A broker as the list of a spec would have it; none where a record leads nowhere or has no host's name.
fn broker(host: &str, port: u16) -> Option<String> {
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    (is_name && host != "." && port != NOWHERE).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_names_no_host_and_port_is_no_broker() {
        assert_eq!(broker("prov1.acme.example", 4222).as_deref(), Some("prov1.acme.example:4222"));
        for (host, port) in [("prov1.acme.example", 0), (".", 4222), ("a\\032b", 4222), ("u@h", 4222)] {
            assert_eq!(broker(host, port), None, "{host}:{port}");
        }
    }
}
