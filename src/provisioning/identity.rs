//! The node's name: its host name, completed by the resolver where it has no domain.

use std::time::Duration;

use dns_lookup::{AddrInfoHints, getaddrinfo};

use crate::choria::subject::{Identity, NameError};

/// How long the resolver may take to complete a short host name; the short name is used after that.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(5);

/// `AI_CANONNAME` of getaddrinfo(3): return the official name of the host.
const CANONICAL_NAME: i32 = 0x2;

/// Why this node has no name.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system does not tell its host name.
    #[error("the system does not tell its host name")]
    HostName(#[source] nix::Error),
    /// The host name cannot be part of a subject.
    #[error("the host name cannot serve as identity")]
    Name(#[from] NameError),
}

/// Finds the name of this node. May ask the network's resolver, on a blocking thread.
///
/// # Errors
/// There is no host name, or it cannot be part of a subject.
pub async fn find() -> Result<Identity, IdentityError> {
    let host = nix::unistd::gethostname().map_err(IdentityError::HostName)?;
    let host = host.to_string_lossy().into_owned();
    if host.contains('.') {
        return Ok(Identity::new(host)?);
    }
    let asked = host.clone();
    let lookup = tokio::task::spawn_blocking(move || canonical_name(&asked));
    let full = tokio::time::timeout(RESOLVER_TIMEOUT, lookup).await.ok().and_then(Result::ok).flatten();
    // A resolver may answer with anything; only a longer form of the same host is an improvement.
    let full = full.filter(|full| full.strip_prefix(&host).is_some_and(|rest| rest.starts_with('.')));
    Ok(Identity::new(full.as_deref().map_or(host.as_str(), |full| full.trim_end_matches('.')))?)
}

fn canonical_name(host: &str) -> Option<String> {
    let hints = AddrInfoHints { flags: CANONICAL_NAME, ..AddrInfoHints::default() };
    let mut answers = getaddrinfo(Some(host), None, Some(hints)).ok()?;
    answers.find_map(|answer| answer.ok()?.canonname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_has_a_name() {
        let identity = find().await.unwrap();
        let host = nix::unistd::gethostname().unwrap();
        assert!(identity.as_str().starts_with(host.to_str().unwrap()));
    }
}
