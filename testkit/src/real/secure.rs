//! What a real server needs to speak TLS.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// How it is set up; all is PEM.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) key_store: String,
    pub(super) trust_store: String,
    pub(super) client_auth: String,
}

/// What the manifest of the server's jar leaves out, and Netty needs. They come with the
/// library that the server depends on.
pub(super) const JARS: &str = ":/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar\
    :/usr/share/java/netty-transport-native-unix-common.jar";

const KEY_STORE: &str = "tls-key-store.pem";
const TRUST_STORE: &str = "tls-trust-store.pem";

impl Tls {
    /// Puts the files where [`config`](Self::config) says they are.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(KEY_STORE), &self.key_store)?;
        fs::write(folder.join(TRUST_STORE), &self.trust_store)
    }

    /// Lines of `zoo.cfg`.
    pub(super) fn config(&self, addr: SocketAddr) -> String {
        format!(
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
secureClientPort={}
secureClientPortAddress={}
ssl.keyStore.location={KEY_STORE}
ssl.keyStore.type=PEM
ssl.trustStore.location={TRUST_STORE}
ssl.trustStore.type=PEM
ssl.clientAuth={}
",
            addr.port(),
            addr.ip(),
            self.client_auth
        )
    }
}

/// Without the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("client_auth", &self.client_auth)
            .finish_non_exhaustive()
    }
}
