//! Who is who. Passwords come from files: what is on a command line, everybody can read.

use std::collections::BTreeSet;
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
        has_tls: bool,
    ) -> Result<FakeServerBuilder, String> {
        let schemes = self.required_schemes(has_tls)?;
        let mut builder = builder.required_schemes(schemes);
        if let Some(digest) = &self.super_digest {
            builder = builder.super_digest(super_digest(digest, "--super-digest")?);
        }
        if let Some(path) = &self.super_digest_file {
            let shown = path.display().to_string();
            builder = builder.super_digest(super_digest(read(path)?.trim(), &shown)?);
        }
        if let Some(path) = &self.sasl_users {
            let mut sasl = sasl_users(path, self.sasl_super_user.as_deref())?;
            sasl.super_user = self.sasl_super_user;
            sasl.allow_failed = self.sasl_allow_failed;
            sasl.seed = seed.unwrap_or_default();
            builder = builder.sasl(sasl);
        }
        Ok(builder)
    }

    /// The schemes, if a client can have an identity of each: a real server does not start
    /// otherwise.
    fn required_schemes(&self, has_tls: bool) -> Result<Vec<String>, String> {
        let schemes = self.require_auth.iter().map(|scheme| scheme.trim());
        let check = |scheme| match scheme {
            "sasl" if self.sasl_users.is_none() => Err("sasl takes --sasl-users as well".into()),
            "x509" if !has_tls => Err("x509 takes TLS as well".into()),
            "digest" | "sasl" | "x509" => Ok(String::from(scheme)),
            _ => Err(format!(
                "there is no scheme {scheme:?}, they are digest, sasl and x509"
            )),
        };
        let schemes: Result<_, String> = schemes.map(check).collect();
        schemes.map_err(|why| format!("cannot use --require-auth: {why}"))
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

/// The users, among them the one that is to be a super user.
fn sasl_users(path: &Path, super_user: Option<&str>) -> Result<SaslConfig, String> {
    let shown = path.display();
    let text = read(path)?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let mut sasl = SaslConfig::new();
    let mut users = BTreeSet::new();
    for (index, line) in lines {
        let number = index + 1;
        sasl = match line.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                if !users.insert(user) {
                    return Err(format!(
                        "cannot use {shown}: line {number} has the user {user} again"
                    ));
                }
                sasl.user(user, password)
            }
            _ => {
                return Err(format!(
                    "cannot use {shown}: line {number} has to be user:password"
                ));
            }
        };
    }
    match super_user {
        _ if users.is_empty() => Err(format!(
            "cannot use {shown}: it has no user, who would be user:password on a line"
        )),
        Some(user) if !users.contains(user) => Err(format!(
            "cannot use --sasl-super-user: {shown} has no user {user}"
        )),
        _ => Ok(sasl),
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
