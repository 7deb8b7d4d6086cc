//! The provisioner lock: one provisioner at a time, for two minutes after its last call.

use std::time::{Duration, Instant};

/// How long a provisioner keeps the node after each of its calls; 2 minutes in the reference.
pub const HOLD: Duration = Duration::from_secs(120);

/// Who provisions this node at the moment. The caller brings the clock.
#[derive(Debug, Default)]
pub struct ProvisionerLock {
    holder: Option<(String, Instant)>,
}

impl ProvisionerLock {
    /// A lock that nobody holds.
    pub fn new() -> Self {
        ProvisionerLock::default()
    }

    /// Takes or renews the lock for a requester, named by sender and caller id as the reference names it. Returns
    /// whether that requester holds it now.
    pub fn take(&mut self, sender_id: &str, caller_id: &str, now: Instant) -> bool {
        let name = format!("{sender_id}.{caller_id}");
        let is_free = match &self.holder {
            None => true,
            Some((holder, since)) => *holder == name || now.saturating_duration_since(*since) >= HOLD,
        };
        if is_free {
            self.holder = Some((name, now));
        }
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_provisioner_waits_until_the_first_was_silent_for_two_minutes() {
        let mut lock = ProvisionerLock::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(lock.take("prov1", "choria=a", at(0)));
        assert!(!lock.take("prov2", "choria=a", at(1)), "another sender");
        assert!(!lock.take("prov1", "choria=b", at(1)), "another caller");
        assert!(lock.take("prov1", "choria=a", at(100)), "the holder renews");
        assert!(!lock.take("prov2", "choria=a", at(219)), "two minutes after the renewal are not over");
        assert!(lock.take("prov2", "choria=a", at(220)));
        assert!(!lock.take("prov1", "choria=a", at(221)));
    }
}
