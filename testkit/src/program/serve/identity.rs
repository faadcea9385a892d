//! Who is who. Passwords come from files: what is on a command line, everybody can read.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use homing_testkit::{FakeServerBuilder, SaslConfig};

/// Users, and what they have to prove.
#[derive(Debug, Args)]
pub(super) struct Identity {
    /// Digest that makes a connection a super user (superDigest): `super:` and the hash, which
    /// `printf %s super:PASSWORD | openssl sha1 -binary | base64` prints.
    #[arg(long, value_name = "DIGEST", conflicts_with = "super_digest_file")]
    super_digest: Option<String>,

    /// The same, from a file.
    #[arg(long, value_name = "FILE")]
    super_digest_file: Option<PathBuf>,

    /// Let users in by SASL with DIGEST-MD5: a file with `user:password` on each line. Empty lines
    /// do not count, nor do those that begin with #.
    #[arg(long, value_name = "FILE")]
    sasl_users: Option<PathBuf>,

    /// The user of SASL that is a super user (zookeeper.superUser).
    #[arg(long, value_name = "USER", requires = "sasl_users")]
    sasl_super_user: Option<String>,

    /// Let those in, without an identity, whom SASL has refused (zookeeper.allowSaslFailedClients).
    #[arg(long, requires = "sasl_users")]
    sasl_allow_failed: bool,

    /// Schemes of which a client must have an identity before anything else
    /// (enforce.auth.schemes): digest, sasl, x509.
    #[arg(long, value_delimiter = ',', value_name = "SCHEMES")]
    require_auth: Vec<String>,
}

impl Identity {
    pub(super) fn apply(
        self,
        builder: FakeServerBuilder,
        seed: Option<u64>,
    ) -> Result<FakeServerBuilder, String> {
        let mut builder = builder.required_schemes(self.require_auth);
        if let Some(digest) = &self.super_digest {
            builder = builder.super_digest(super_digest(digest, "--super-digest")?);
        }
        if let Some(path) = &self.super_digest_file {
            let shown = path.display().to_string();
            builder = builder.super_digest(super_digest(read(path)?.trim(), &shown)?);
        }
        if let Some(path) = &self.sasl_users {
            let mut sasl = sasl_users(path)?;
            sasl.super_user = self.sasl_super_user;
            sasl.allow_failed = self.sasl_allow_failed;
            sasl.seed = seed.unwrap_or_default();
            builder = builder.sasl(sasl);
        }
        Ok(builder)
    }
}

/// The digest, if it can be one. It is not shown: a password can be guessed from it.
fn super_digest<'a>(digest: &'a str, source: &str) -> Result<&'a str, String> {
    // Twenty bytes in base64.
    let is_hash = |hash: &str| {
        let digits = hash.strip_suffix('=').unwrap_or_default();
        digits.len() == 27
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
    };
    match digest.strip_prefix("super:") {
        Some(hash) if is_hash(hash) => Ok(digest),
        _ => Err(format!(
            "cannot use the digest of {source}: it has to be super: and the 28 characters that \
             `printf %s super:PASSWORD | openssl sha1 -binary | base64` prints"
        )),
    }
}

fn sasl_users(path: &Path) -> Result<SaslConfig, String> {
    let text = read(path)?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let mut sasl = SaslConfig::new();
    for (index, line) in lines {
        sasl = match line.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                sasl.user(user, password)
            }
            _ => {
                let (shown, number) = (path.display(), index + 1);
                return Err(format!(
                    "cannot use {shown}: line {number} has to be user:password"
                ));
            }
        };
    }
    Ok(sasl)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
