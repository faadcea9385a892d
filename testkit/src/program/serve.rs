//! `homing-testkit serve`: a server until it is interrupted.

use std::io::{self, Write};
use std::net::SocketAddr;
#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
#[cfg(feature = "tls")]
use homing_testkit::{ClientAuth, TlsServer};
use homing_testkit::{FakeServer, FakeServerBuilder};

/// The subcommand `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:2181", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,

    /// Unit of the session clock, in milliseconds: sessions expire on its multiples.
    #[arg(long, default_value_t = 2000, value_name = "MS", value_parser = positive())]
    tick_time_ms: u64,

    /// Shortest session time-out that is granted, in milliseconds [default: 2 ticks].
    #[arg(long, value_name = "MS")]
    min_session_timeout_ms: Option<u64>,

    /// Longest session time-out that is granted, in milliseconds [default: 20 ticks].
    #[arg(long, value_name = "MS")]
    max_session_timeout_ms: Option<u64>,

    /// Largest request in bytes (jute.maxbuffer).
    #[arg(long, default_value_t = 0xF_FFFF, value_name = "BYTES")]
    max_request: usize,

    /// Connections that one address may have (maxClientCnxns); 0 is no limit.
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_client_connections: usize,

    /// Four-letter words that are answered: ruok, srvr, isro, mntr, or * for all.
    #[arg(
        long,
        default_value = "srvr",
        value_delimiter = ',',
        value_name = "WORDS"
    )]
    four_letter_words: Vec<String>,

    /// Allow nodes with a time to live (zookeeper.extendedTypesEnabled).
    #[arg(long)]
    extended_types: bool,

    /// How often containers and nodes with a time to live are reaped, in milliseconds.
    #[arg(long, default_value_t = 60_000, value_name = "MS", value_parser = positive())]
    container_check_interval_ms: u64,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: Tls,

    /// Digest that makes a connection a super user: `super:` and the hash (superDigest).
    #[arg(long, value_name = "DIGEST")]
    super_digest: Option<String>,
}

/// Speak TLS, and nothing else.
#[cfg(feature = "tls")]
#[derive(Debug, Args)]
struct Tls {
    /// Speak TLS with the certificates in this PEM file, the server's own first.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// Whether clients have to show a certificate (ssl.clientAuth): none, want or need.
    #[arg(
        long,
        value_name = "MODE",
        default_value = "none",
        requires = "tls_certificate"
    )]
    tls_client_auth: ClientAuth,

    /// The authorities whose certificates clients may have, in PEM.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        required_if_eq_any = [("tls_client_auth", "want"), ("tls_client_auth", "need")]
    )]
    tls_client_ca: Option<PathBuf>,
}

#[cfg(feature = "tls")]
impl Tls {
    fn server(&self) -> Result<Option<TlsServer>, String> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let refused = |error| format!("cannot speak TLS: {error}");
        let mut server = TlsServer::from_files(certificate, key).map_err(refused)?;
        if let Some(path) = &self.tls_client_ca {
            let pem = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            server = server
                .client_auth(self.tls_client_auth, pem)
                .map_err(refused)?;
        }
        Ok(Some(server))
    }
}

fn positive() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), String> {
        let (interrupt, interrupted) = mpsc::channel();
        // Before the line is printed: who reads it may interrupt at once.
        ctrlc::set_handler(move || {
            let _ = interrupt.send(());
        })
        .map_err(|error| format!("cannot wait for an interrupt: {error}"))?;

        let listen = self.listen;
        let server = self
            .builder()?
            .start()
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let (address, connect) = (server.addr(), server.connect_string());
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "serving ZooKeeper on {address}, connect string {connect}"
        )
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot say where it listens: {error}"))?;
        drop(out);

        // The handler keeps its end for as long as the process lives.
        let _ = interrupted.recv();
        Ok(())
    }

    fn builder(self) -> Result<FakeServerBuilder, String> {
        let builder = FakeServer::builder().listen(self.listen);
        #[cfg(feature = "tls")]
        let builder = match self.tls.server()? {
            Some(tls) => builder.tls(tls),
            None => builder,
        };
        let builder = builder.tick_time(Duration::from_millis(self.tick_time_ms));
        Ok(builder.config(|config| {
            config.min_session_timeout = self.min_session_timeout_ms.map(Duration::from_millis);
            config.max_session_timeout = self.max_session_timeout_ms.map(Duration::from_millis);
            config.request_len_max = self.max_request;
            config.max_client_connections = self.max_client_connections;
            config.four_letter_words = self.four_letter_words;
            config.extended_types_enabled = self.extended_types;
            config.container_check_interval =
                Duration::from_millis(self.container_check_interval_ms);
            config.super_digest = self.super_digest;
        }))
    }
}
