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

/// What the node's configuration says about [`SWITCH`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// There is no configuration.
    Unconfigured,
    /// There is one, and it does not say.
    Silent,
    /// It says this, as it is written.
    Set(String),
}

/// Decides from the brand's default, whether the brand has a way to brokers, and what the configuration says.
///
/// # Errors
/// The switch makes no sense, or provisioning is wanted and there is no way to a broker.
pub fn decide(default: bool, has_brokers: bool, switch: &Switch) -> Result<Decision, ModeError> {
    let default_is = if default { "on" } else { "off" };
    let (wanted, reason) = match switch {
        Switch::Set(value) => {
            let wanted = truth_of(value)?;
            (wanted, format!("the configuration sets `{SWITCH}` to {wanted}"))
        }
        Switch::Silent => {
            (default, format!("the configuration does not say and the brand's default is {default_is}"))
        }
        Switch::Unconfigured => {
            (default, format!("there is no configuration and the brand's default is {default_is}"))
        }
    };
    if wanted && !has_brokers {
        return Err(ModeError::NoBrokers);
    }
    let mode = if wanted { Mode::Provisioning } else { Mode::Configured };
    Ok(Decision { mode, reason })
}

fn truth_of(value: &str) -> Result<bool, ModeError> {
    match value.to_lowercase().as_str() {
        "1" | "yes" | "true" | "y" | "t" => Ok(true),
        "0" | "no" | "false" | "n" | "f" => Ok(false),
        _ => Err(ModeError::Switch { value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: &str) -> Switch {
        Switch::Set(value.to_owned())
    }

    #[test]
    fn the_configuration_decides_where_it_says_and_the_brand_elsewhere() {
        let rows = [
            (true, Switch::Unconfigured, Mode::Provisioning),
            (false, Switch::Unconfigured, Mode::Configured),
            (true, Switch::Silent, Mode::Provisioning),
            (false, Switch::Silent, Mode::Configured),
            (true, set("0"), Mode::Configured),
            (true, set("No"), Mode::Configured),
            (false, set("true"), Mode::Provisioning),
            (false, set("1"), Mode::Provisioning),
        ];
        for (default, switch, expected) in rows {
            let decision = decide(default, true, &switch).unwrap();
            assert_eq!(decision.mode, expected, "{default} {switch:?}");
        }
    }

    #[test]
    fn the_reason_names_what_decided() {
        let reason = |switch| decide(true, true, &switch).unwrap().reason;
        assert_eq!(reason(Switch::Unconfigured), "there is no configuration and the brand's default is on");
        assert_eq!(reason(set("0")), "the configuration sets `plugin.choria.server.provision` to false");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(decide(true, false, &Switch::Unconfigured), Err(ModeError::NoBrokers));
        assert!(decide(false, false, &Switch::Unconfigured).is_ok());
        assert_eq!(decide(true, true, &set("Maybe")), Err(ModeError::Switch { value: "Maybe".to_owned() }));
    }
}
