//! Files are read for every connection.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use homing::{Acl, Client, Failure};
use homing_transport_tls::{ClientAuth, Tls};

use crate::pki::Pair;
use crate::server::{Kind, World};
use crate::{Backend, until};

crate::everywhere! {
    a_certificate_is_replaced_under_a_running_client
}

crate::on_each_backend! {
    a_file_that_cannot_be_read_fails_the_attempt_and_not_the_client
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("homing-tls-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// As administrators do it: written elsewhere, and renamed.
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn put_pair(&self, pair: &Pair) {
        // Both in one file, which is replaced at once.
        self.put("client.pem", &pair.key_store());
    }

    fn tls(&self) -> Tls {
        let own = self.path("client.pem");
        Tls::new()
            .ca_file(self.path("ca.pem"))
            .client_certificate_files(&own, &own)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Who made this node, by what the server says.
async fn maker(client: &Client, path: &str) -> String {
    let create = client.create(path, b"").acl(Acl::creator_all());
    create.await.unwrap();
    client.acl(path).await.unwrap().entries[0].id.id.clone()
}

async fn a_certificate_is_replaced_under_a_running_client(backend: Backend, kind: Kind) {
    let mut world = World::new(kind, ClientAuth::Need);
    let folder = Folder::new();
    folder.put("ca.pem", &world.authority.pem());
    folder.put_pair(&world.authority.client("old"));
    let builder = backend.builder(&world.connect_string());
    let client = builder.tls(folder.tls()).connect().await.unwrap();
    assert_eq!(maker(&client, "/first").await, "O=Homing,CN=old");
    folder.put_pair(&world.authority.client("new"));
    assert_eq!(maker(&client, "/second").await, "O=Homing,CN=old");
    world.kill();
    world.restart();
    // One that was on its way may be lost with the connection.
    while client.exists("/").await.is_err() {}
    assert_eq!(maker(&client, "/third").await, "O=Homing,CN=new");
    client.close().await.unwrap();
}

async fn a_file_that_cannot_be_read_fails_the_attempt_and_not_the_client(backend: Backend) {
    let world = World::new(Kind::Fake, ClientAuth::Need);
    let folder = Folder::new();
    folder.put_pair(&world.authority.client("bob"));
    let builder = backend.builder(&world.connect_string());
    let client = builder.tls(folder.tls()).start().unwrap();
    let accepted = world.fake().connections_accepted();
    let failed_for = |what: &str| {
        until(what, || {
            let failures = client.failures();
            let failure = failures.first().map(|attempt| attempt.failure.clone())?;
            matches!(&failure, Failure::Tls(why) if why.contains(what)).then_some(failure)
        })
    };
    let ca = folder.path("ca.pem");
    let failure = failed_for("cannot read the file");
    assert!(
        failure.to_string().contains(&*ca.to_string_lossy()),
        "{failure}"
    );
    // Nobody was bothered for that.
    assert_eq!(world.fake().connections_accepted(), accepted);
    folder.put("ca.pem", "half a certif");
    failed_for("ca.pem has no certificate in PEM format");
    folder.put("ca.pem", &world.authority.pem());
    client.connected().await.unwrap();

    folder.put("client.pem", "nothing");
    world.fake().cut_connections();
    failed_for("client.pem has no certificate in PEM format");
    folder.put_pair(&world.authority.client("bob"));
    client.connected().await.unwrap();
    client.close().await.unwrap();
}
