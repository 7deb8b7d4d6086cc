//! A complete target resolver: one broker a line, `host:port`, in a file that the site's installer wrote.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use disco_sdk::{Node, ResolveError, Settings, Target, TargetResolver};

/// What a spec's `[resolver]` table calls.
pub fn target_resolver() -> impl TargetResolver {
    FileTargets { path: PathBuf::from("/etc/provisioning-targets") }
}

struct FileTargets {
    path: PathBuf,
}

impl TargetResolver for FileTargets {
    fn name(&self) -> &str {
        "static-targets"
    }

    fn targets(&self, _: &Node, _: &Settings, _: Instant) -> Result<Vec<Target>, ResolveError> {
        let text = fs::read_to_string(&self.path)
            .map_err(|why| ResolveError::new(format!("cannot read {}: {why}", self.path.display())))?;
        parse(&text)
    }
}

fn parse(text: &str) -> Result<Vec<Target>, ResolveError> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            line.rsplit_once(':')
                .and_then(|(host, port)| Some(Target::new(host, port.parse().ok()?)))
                .ok_or_else(|| ResolveError::new(format!("`{line}` is not host:port")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_targets() {
        let targets = parse("# site A\n\nprov1.example:4222\nprov2.example:4223\n").unwrap();
        assert_eq!(targets, [Target::new("prov1.example", 4222), Target::new("prov2.example", 4223)]);
    }

    #[test]
    fn a_line_without_a_port_is_refused() {
        assert!(parse("prov1.example").unwrap_err().to_string().contains("host:port"));
    }
}
