//! A client's key, and what else is secret on a connection with TLS, is nowhere to be seen: not in
//! the log at its most talkative, not in `Debug`, not in errors; neither as it is nor in
//! hexadecimal or base64.

#[path = "../../client/tests/canary/find.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod find;
mod pki;

use std::fs;

use find::{Log, Prints, Secrets};
use homing::{Client, Sasl};
use homing_testkit::{FakeServer, SaslConfig};
use homing_transport_tls::ClientAuth;
use pki::{Authority, trusting, with_certificate};

#[test]
fn no_key_is_shown() {
    let log = Log::of_this_process();
    let prints = Prints::default();
    let mut secrets = Secrets::default();

    let authority = Authority::new("of the test");
    let pair = authority.server(|_| {});
    let mine = authority.client("bob");
    secrets.add("the client's key", &secret_part(&mine.key));
    secrets.add("the server's key", &secret_part(&pair.key));
    secrets.add("the password", b"correct horse battery");

    let acceptor = pair.acceptor_asking(ClientAuth::Need, &authority);
    prints.debug(&acceptor);
    let sasl = SaslConfig::new().user("bob", "correct horse battery");
    let server = FakeServer::builder()
        .tls(acceptor)
        .config(|config| config.sasl = Some(sasl))
        .start()
        .unwrap();
    prints.debug(&server);

    let folder = std::env::temp_dir().join(format!("homing-secrets-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (certificate_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&certificate_file, &mine.certificate).unwrap();
    fs::write(&key_file, &mine.key).unwrap();
    let from_files = trusting(&authority).client_certificate_files(&certificate_file, &key_file);
    let from_memory = with_certificate(trusting(&authority), &mine);
    let swapped = trusting(&authority).client_certificate_pem(&mine.key, &mine.certificate);
    for tls in [from_files, from_memory, swapped] {
        prints.debug(&tls);
        let servers = server.connect_string();
        let builder = Client::builder(&servers)
            .own_thread()
            .sasl(Sasl::digest_md5("bob", "correct horse battery"))
            .tls(tls);
        prints.debug(&builder);
        match builder.connect().wait() {
            Ok(client) => {
                prints.debug(&client);
                client
                    .add_auth("digest", b"bob:correct horse battery")
                    .wait()
                    .unwrap();
                client
                    .create("/a", b"")
                    .wait()
                    .map(drop)
                    .unwrap_or_default();
                prints.debug(client.state());
                prints.debug(client.stats());
                server.cut_connections();
                client.sync("/").wait().unwrap();
                client.close().wait().unwrap();
            }
            Err(error) => prints.error(&error),
        }
    }
    // A file that is none, named in the error.
    fs::write(&key_file, mine.key.replace("BEGIN", "BEGUN")).unwrap();
    let tls = trusting(&authority).client_certificate_files(&certificate_file, &key_file);
    let servers = server.connect_string();
    let error = Client::builder(&servers)
        .own_thread()
        .tls(tls)
        .connect()
        .wait()
        .unwrap_err();
    prints.error(&error);
    assert!(error.to_string().contains("key.pem"), "{error}");
    fs::remove_dir_all(&folder).unwrap();

    let (log, prints) = (log.text(), prints.text());
    assert!(log.contains("zookeeper_session"), "{log}");
    assert!(prints.contains("Builder") && prints.contains("Client"));
    for (what, text) in [("the log", &log), ("what was printed", &prints)] {
        assert_eq!(secrets.find(text), None, "in {what}:\n{text}");
    }
    // They would be found.
    let leak = format!("{log}{}", mine.key);
    assert!(secrets.find(&leak).is_some());
}

/// The number that makes the key: around it stand names of algorithms, and the public half, which
/// is in the certificate as well.
fn secret_part(pem: &str) -> Vec<u8> {
    let base64 = pem.lines().filter(|line| !line.contains("-----"));
    let der = pki::decode(&base64.collect::<String>());
    // PKCS #8 with an octet string of 32 bytes in an octet string: a key on P-256.
    let begin = der
        .windows(2)
        .position(|pair| pair == [0x04, 0x20])
        .unwrap()
        + 2;
    der[begin..begin + 32].to_vec()
}
