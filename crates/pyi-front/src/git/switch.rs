//! `PYI_GIT_NATIVE`: what may run here.

/// What the user wants.
pub(crate) enum Switch {
    /// What can, runs here.
    Auto,
    /// Git runs everything.
    Off,
    /// What cannot run here fails.
    Only,
    /// These commands may run here; git runs the others.
    Some(Vec<String>),
    /// Both run; git's answer counts, a difference is reported.
    Shadow,
}

impl Switch {
    pub(crate) fn from_environment() -> Self {
        let value = std::env::var_os("PYI_GIT_NATIVE").unwrap_or_default();
        Self::parse(value.to_str().unwrap_or("off"))
    }

    /// A word that nobody knows is no reason to be anything but git.
    fn parse(value: &str) -> Self {
        match value {
            "" | "auto" => Switch::Auto,
            "only" => Switch::Only,
            "shadow" => Switch::Shadow,
            other => match other.strip_prefix("only=") {
                Some(names) => Switch::Some(names.split(',').map(|name| name.trim().to_owned()).collect()),
                None => Switch::Off,
            },
        }
    }

    pub(crate) fn allows(&self, command: &str) -> bool {
        match self {
            Switch::Auto | Switch::Only | Switch::Shadow => true,
            Switch::Off => false,
            Switch::Some(names) => names.iter().any(|name| name == command),
        }
    }

    pub(crate) fn is_only(&self) -> bool {
        matches!(self, Switch::Only)
    }

    pub(crate) fn is_shadow(&self) -> bool {
        matches!(self, Switch::Shadow)
    }
}

#[cfg(test)]
mod tests {
    use super::Switch;

    #[test]
    fn words_switch() {
        assert!(Switch::parse("").allows("log") && Switch::parse("auto").allows("log"));
        assert!(!Switch::parse("off").allows("log") && !Switch::parse("On").allows("log"));
        let some = Switch::parse("only=diff, log");
        assert!(some.allows("log") && !some.allows("status") && !some.is_only());
        assert!(Switch::parse("only").is_only() && Switch::parse("shadow").is_shadow());
    }
}
