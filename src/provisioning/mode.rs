//! Should this node be provisioned? A pure decision, with the reason in words.

/// The configuration key that turns provisioning on or off for a node.
pub const SWITCH: &str = "plugin.choria.server.provision";

/// What the server should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Wait to be provisioned.
    Provisioning,
    /// Join the collective that the configuration names.
    Configured,
}

/// The mode and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub mode: Mode,
    /// Why, as a fragment that reads well after "because ".
    pub reason: String,
}

/// Why no mode can be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// The switch is set to something else than yes or no.
    #[error("`{SWITCH}` is `{value}`, which is neither true nor false")]
    Switch {
        /// Its value.
        value: String,
    },
    /// Nothing tells where to be provisioned.
    #[error("this build has neither brokers nor a resolver to be provisioned at")]
    NoBrokers,
}

/// Decides from the brand's default, whether the brand has a way to brokers, and the configuration's text, if any.
///
/// # Errors
/// The switch makes no sense, or provisioning is wanted and there is no way to a broker.
pub fn decide(default: bool, has_brokers: bool, configuration: Option<&str>) -> Result<Decision, ModeError> {
    let default_is = if default { "on" } else { "off" };
    let (wanted, reason) = match configuration.map(switch_in).transpose()? {
        Some(Some(wanted)) => (wanted, format!("the configuration sets `{SWITCH}` to {wanted}")),
        Some(None) => {
            (default, format!("the configuration does not say and the brand's default is {default_is}"))
        }
        None => (default, format!("there is no configuration and the brand's default is {default_is}")),
    };
    if wanted && !has_brokers {
        return Err(ModeError::NoBrokers);
    }
    let mode = if wanted { Mode::Provisioning } else { Mode::Configured };
    Ok(Decision { mode, reason })
}

/// The switch's value in a configuration of `key = value` lines; the last one counts, an empty one counts as absent.
fn switch_in(configuration: &str) -> Result<Option<bool>, ModeError> {
    let mut values = configuration.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once('=')?;
        (key.trim() == SWITCH).then(|| value.trim())
    });
    match values.next_back().map(str::to_lowercase).as_deref() {
        None | Some("") => Ok(None),
        Some("1" | "yes" | "true" | "y" | "t") => Ok(Some(true)),
        Some("0" | "no" | "false" | "n" | "f") => Ok(Some(false)),
        Some(other) => Err(ModeError::Switch { value: other.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_decides_where_it_says_and_the_brand_elsewhere() {
        let rows = [
            (true, None, Mode::Provisioning),
            (false, None, Mode::Configured),
            (true, Some(""), Mode::Provisioning),
            (false, Some("# nothing\n"), Mode::Configured),
            (true, Some("plugin.choria.server.provision = 0\n"), Mode::Configured),
            (true, Some("  plugin.choria.server.provision=No"), Mode::Configured),
            (false, Some("plugin.choria.server.provision = true\n"), Mode::Provisioning),
            (
                false,
                Some("plugin.choria.server.provision = 0\nplugin.choria.server.provision = 1"),
                Mode::Provisioning,
            ),
            (true, Some("#plugin.choria.server.provision = 0"), Mode::Provisioning),
            (true, Some("plugin.choria.server.provision ="), Mode::Provisioning),
        ];
        for (default, configuration, expected) in rows {
            let decision = decide(default, true, configuration).unwrap();
            assert_eq!(decision.mode, expected, "{default} {configuration:?}");
        }
    }

    #[test]
    fn the_reason_names_what_decided() {
        let reason = |configuration| decide(true, true, configuration).unwrap().reason;
        assert_eq!(reason(None), "there is no configuration and the brand's default is on");
        assert_eq!(
            reason(Some("plugin.choria.server.provision = 0")),
            "the configuration sets `plugin.choria.server.provision` to false"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(decide(true, false, None), Err(ModeError::NoBrokers));
        assert!(decide(false, false, None).is_ok());
        let maybe = decide(true, true, Some("plugin.choria.server.provision = maybe"));
        assert_eq!(maybe, Err(ModeError::Switch { value: "maybe".to_owned() }));
    }
}
