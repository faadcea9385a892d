//! The crate `zookeeper-client`, unchanged, over TLS.

use homing_compat::{Server, Servers};
use homing_testkit::{ClientAuth, TlsServer};
use zookeeper_client::{Acls, Client, CreateMode, Error, TlsOptions};

const CERTIFICATE: &str = include_str!("../../testkit/tests/tls_files/certificate.pem");
const KEY: &str = include_str!("../../testkit/tests/tls_files/key.pem");

async fn connect(server: &Server, tls: TlsOptions) -> Result<Client, Error> {
    let connector = Client::connector().with_tls(tls).with_fail_eagerly();
    connector
        .secure_connect(&server.secure_connect_string())
        .await
}

#[test]
fn who_shows_a_certificate_has_its_identity() {
    // There are two in this process: neither is the default by itself.
    let ring = rustls::crypto::ring::default_provider();
    ring.install_default().unwrap();
    let servers = Servers::alike().and(
        |fake| {
            let tls = TlsServer::new(CERTIFICATE, KEY).unwrap();
            fake.tls(tls.client_auth(ClientAuth::Need, CERTIFICATE).unwrap())
        },
        |real| real.tls(&format!("{CERTIFICATE}{KEY}"), CERTIFICATE, "need"),
    );
    servers.agree(async |server, notes| {
        let trusting = || TlsOptions::new().with_pem_ca(CERTIFICATE).unwrap();
        let known = trusting().with_pem_identity(CERTIFICATE, KEY).unwrap();
        let client = connect(server, known).await.unwrap();
        let mut who = client.list_auth_users().await.unwrap();
        who.sort_by_key(|user| user.scheme().to_owned());
        notes.note("who", who);
        let mine = CreateMode::Persistent.with_acls(Acls::creator_all());
        let made = client.create("/mine", b"hidden", &mine).await;
        notes.note("made", made.is_ok());
        let acl = client.get_acl("/mine").await.unwrap().0;
        notes.note("acl", acl);
        let stranger = connect(server, trusting()).await;
        notes.note("stranger", stranger.is_err());
    });
}
