//! Keys of vendors, made by a real gpg.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Makes a private key without a passphrase, in a file.
pub fn private_key(file: &Path) -> Result<()> {
    new_key(file, "--export-secret-keys")
}

/// Makes a key of which nobody keeps the private half; the public one, in a file.
pub fn public_key(file: &Path) -> Result<()> {
    new_key(file, "--export")
}

fn new_key(file: &Path, export: &str) -> Result<()> {
    // In the folder for temporary files, because the path of a socket is short.
    let home = tempfile::tempdir()?;
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", home.path()).args(arguments);
        let output = command.output().with_context(|| format!("cannot start {program}"))?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    };
    let make = ["--passphrase", "", "--quick-generate-key", "Fleet Team <fleet@acme.example>"];
    run("gpg", &[&["--batch", "--quiet"], &make[..], &["ed25519", "sign", "never"]].concat())?;
    fs::write(file, run("gpg", &["--batch", "--armor", export])?)?;
    run("gpgconf", &["--kill", "all"])?;
    Ok(())
}
