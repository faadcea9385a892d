//! Access control lists: what they hold, whom they let do what, and what else is refused.

use homing::{Acl, Client, Error, ErrorCode, permission};

use crate::env::Env;

/// What a server makes of `bob:pw`, as a real one shows it.
const BOB: &str = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";

async fn connect_as(env: &Env, credentials: &str) -> Client {
    let client = env.connect().await;
    let proof = credentials.as_bytes();
    client.add_auth("digest", proof).await.unwrap();
    client
}

fn refused(error: Option<Error>, code: ErrorCode, hint: &str) {
    let error = error.expect("a refusal");
    assert_eq!(error.code(), Some(code), "{error}");
    assert!(!error.may_have_been_applied(), "{error}");
    assert!(error.to_string().ends_with(hint), "{error}");
}

pub(crate) async fn a_new_node_is_open(env: &Env) {
    let client = env.connect().await;
    let made = client.create("/a", b"").await.unwrap();
    let acl = client.acl("/a").await.unwrap();
    assert_eq!(acl.entries, [Acl::open()]);
    assert_eq!(Some(acl.stat), made.stat);
    assert!(!acl.is_redacted());
    let missing = client.acl("/b").await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::NoNode), "{missing}");
}

pub(crate) async fn lists_come_back_as_they_were_set(env: &Env) {
    let client = env.connect().await;
    let everything = vec![
        Acl::open(),
        Acl::read_only(),
        Acl::digest("bob", "pw").permissions(permission::READ | permission::WRITE),
        Acl::digest("ä:ö", "with:colons"),
        Acl::ip("10.1.0.0/16"),
        Acl::ip(std::net::Ipv4Addr::LOCALHOST).permissions(permission::DELETE),
        Acl::new("digest", "somebody:else").permissions(0),
    ];
    // One entry, borrowed or not, slices, arrays, vectors.
    let both = [Acl::open(), Acl::read_only()];
    client
        .create("/1", b"")
        .acl(Acl::read_only())
        .await
        .unwrap();
    client.create("/2", b"").acl(&both[1]).await.unwrap();
    client.create("/3", b"").acl(&everything).await.unwrap();
    client
        .create("/4", b"")
        .acl(&everything[..2])
        .await
        .unwrap();
    client.create("/5", b"").acl(&both).await.unwrap();
    client
        .create("/6", b"")
        .acl(everything.clone())
        .await
        .unwrap();
    let lists = [
        &[Acl::read_only()],
        &[Acl::read_only()],
        &everything[..],
        &both,
        &both,
        &everything,
    ];
    for (path, list) in ["/1", "/2", "/3", "/4", "/5", "/6"].into_iter().zip(lists) {
        let acl = client.acl(path).await.unwrap();
        assert_eq!((acl.stat.version, acl.stat.aversion), (0, 0), "{path}");
        assert_eq!(acl.entries, list, "{path}");
    }
    // Exact duplicates are taken for one.
    let twice = vec![Acl::open(), Acl::open(), Acl::open()];
    client.set_acl("/5", twice).await.unwrap();
    assert_eq!(client.acl("/5").await.unwrap().entries, [Acl::open()]);
}

pub(crate) async fn a_list_is_set_at_its_own_version(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let stat = client.set("/a", b"data").await.unwrap();
    assert_eq!((stat.version, stat.aversion), (1, 0));
    let list = [Acl::open(), Acl::digest("bob", "pw")];
    let stat = client.set_acl("/a", &list).version(0).await.unwrap();
    assert_eq!((stat.version, stat.aversion, stat.cversion), (1, 1, 0));
    let late = client.set_acl("/a", Acl::open()).version(0).await;
    refused(
        late.err(),
        ErrorCode::BadVersion,
        "; the list was set meanwhile: read it again (`acl`) for its `aversion`",
    );
    let acl = client.acl("/a").await.unwrap();
    assert_eq!((acl.entries, acl.stat), (list.to_vec(), stat));
    // Without a version it does not matter, and neither does setting the same again.
    for aversion in [2, 3] {
        let stat = client.set_acl("/a", Acl::open()).await.unwrap();
        assert_eq!(stat.aversion, aversion);
    }
    let missing = client.set_acl("/b", Acl::open()).await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::NoNode), "{missing}");
    // What is asked behind its answer is checked against the new list.
    let before = client.set("/a", b"1").submit().unwrap();
    let set = client.set_acl("/a", Acl::read_only()).submit().unwrap();
    before.await.unwrap();
    set.await.unwrap();
    let error = client.set("/a", b"2").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
}

pub(crate) async fn whoever_is_named_may_do_it(env: &Env) {
    let bob = connect_as(env, "bob:pw").await;
    let eve = connect_as(env, "eve:pw").await;
    let nobody = env.connect().await;
    // The creator's own identities stand in the place of the scheme `auth`.
    bob.create("/mine", b"")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    // Somebody else can give a node to Bob who knows name and password.
    eve.create("/gift", b"")
        .acl(Acl::digest("bob", "pw"))
        .await
        .unwrap();
    for path in ["/mine", "/gift"] {
        let acl = bob.acl(path).await.unwrap();
        assert_eq!(acl.entries, [Acl::new("digest", BOB)], "{path}");
        bob.set(path, b"x").await.unwrap();
        for other in [&eve, &nobody] {
            let error = other.get(path).await.err();
            let hint = "; it takes READ on the node: add an identity (`add_auth`) that has it in the access control list (`acl`)";
            refused(error, ErrorCode::NoAuth, hint);
        }
    }
    // Both identities of a connection count, and each is in the list of its next node.
    eve.add_auth("digest", b"bob:pw").await.unwrap();
    eve.get("/mine").await.unwrap();
    eve.create("/ours", b"")
        .acl(Acl::creator_all().permissions(permission::READ))
        .await
        .unwrap();
    let list = eve.acl("/ours").await.unwrap();
    assert!(list.is_redacted());
    let readers = ["eve:x", "bob:x"].map(|id| Acl::new("digest", id).permissions(permission::READ));
    for reader in readers {
        assert!(list.entries.contains(&reader), "{list:?}");
    }
    // Everybody comes from this machine.
    nobody
        .create("/here", b"")
        .acl(Acl::ip("127.0.0.0/8"))
        .await
        .unwrap();
    nobody
        .create("/elsewhere", b"")
        .acl(Acl::ip("10.0.0.1"))
        .await
        .unwrap();
    nobody.get("/here").await.unwrap();
    let error = nobody.get("/elsewhere").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth));
}

/// Each operation, with the permission that it takes and the node on which it is checked.
pub(crate) async fn every_operation_has_its_permission(env: &Env) {
    let bob = connect_as(env, "bob:pw").await;
    let all = [
        permission::READ,
        permission::WRITE,
        permission::CREATE,
        permission::DELETE,
        permission::ADMIN,
    ];
    let needed = [
        ("get", permission::READ, "READ on the node"),
        ("children", permission::READ, "READ on the node"),
        ("set", permission::WRITE, "WRITE on the node"),
        ("create", permission::CREATE, "CREATE on the parent"),
        ("delete", permission::DELETE, "DELETE on the parent"),
        ("set_acl", permission::ADMIN, "ADMIN on the node"),
    ];
    for granted in all {
        let path = format!("/p{granted}");
        let (child, new) = (format!("{path}/child"), format!("{path}/new"));
        let free = [Acl::open()];
        let list = [
            Acl::digest("bob", "pw"),
            Acl::open().permissions(granted),
            Acl::digest("eve", "pw").permissions(permission::ALL & !granted),
        ];
        bob.create(&path, b"").acl(&free).await.unwrap();
        bob.create(&child, b"").acl(&free).await.unwrap();
        bob.set_acl(&path, &list).await.unwrap();
        let nobody = env.connect().await;
        for (op, permission, text) in needed {
            let result = match op {
                "get" => nobody.get(&path).await.map(drop),
                "children" => nobody.children(&path).await.map(drop),
                "set" => nobody.set(&path, b"").await.map(drop),
                "create" => nobody.create(&new, b"").await.map(drop),
                "delete" => nobody.delete(&child).await,
                _ => nobody.set_acl(&path, &list).await.map(drop),
            };
            match (permission == granted, result) {
                (true, Ok(())) => {}
                (false, Err(error)) => {
                    let text = format!(
                        "NoAuth (-102); it takes {text}: add an identity (`add_auth`) that has it in the access control list (`acl`)"
                    );
                    refused(Some(error), ErrorCode::NoAuth, &text);
                }
                (_, result) => panic!("{op} with {granted}: {result:?}"),
            }
        }
        let acl = nobody.acl(&path).await;
        let may = granted == permission::READ || granted == permission::ADMIN;
        assert_eq!(acl.is_ok(), may, "{granted}: {acl:?}");
        if let Ok(acl) = acl {
            // Whoever may change the list sees all of it.
            assert_eq!(acl.is_redacted(), granted == permission::READ);
            let bobs = &acl.entries[0].id.id;
            assert_eq!(bobs, if acl.is_redacted() { "bob:x" } else { BOB });
        }
    }
}

pub(crate) async fn children_inherit_nothing(env: &Env) {
    let bob = connect_as(env, "bob:pw").await;
    bob.create("/a", b"").acl(Acl::creator_all()).await.unwrap();
    bob.create("/a/b", b"").await.unwrap();
    let nobody = env.connect().await;
    nobody.get("/a/b").await.unwrap();
    nobody.create("/a/b/c", b"").await.unwrap();
    nobody.delete("/a/b/c").await.unwrap();
    let error = nobody.delete("/a/b").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoAuth), "{error}");
}

pub(crate) async fn lists_that_no_server_accepts(env: &Env) {
    let client = env.connect().await;
    client.create("/a", b"").await.unwrap();
    let lists = [
        vec![],
        vec![Acl::creator_all()],
        vec![Acl::open(), Acl::creator_all()],
        vec![Acl::new("world", "somebody")],
        vec![Acl::new("nonsense", "x")],
        vec![Acl::ip("10.0.0.256")],
        vec![Acl::ip("10.0.0.0/33")],
        vec![Acl::new("digest", "no-hash")],
    ];
    let hint = "; the access control list is empty, or has a scheme or an id that the server does not accept; scheme `auth` takes an identity that was added before (`add_auth`)";
    for list in lists {
        let create = client.create("/b", b"").acl(&list).await.err();
        refused(create, ErrorCode::InvalidAcl, hint);
        let set = client.set_acl("/a", &list).await.err();
        refused(set, ErrorCode::InvalidAcl, hint);
    }
    let acl = client.acl("/a").await.unwrap();
    assert_eq!((acl.entries, acl.stat.aversion), (vec![Acl::open()], 0));
    assert_eq!(client.exists("/b").await.unwrap(), None);
}

pub(crate) async fn a_client_has_a_default_list(env: &Env) {
    let builder = env.builder().default_acl(Acl::creator_all());
    let bob = builder.connect().await.unwrap();
    // Nobody was added yet.
    let early = bob.create("/early", b"").await.unwrap_err();
    assert_eq!(early.code(), Some(ErrorCode::InvalidAcl));
    bob.add_auth("digest", b"bob:pw").await.unwrap();
    let made = [
        bob.create("/plain", b"").await.unwrap(),
        bob.create("/short", b"").ephemeral().await.unwrap(),
        bob.create("/row-", b"").sequential().await.unwrap(),
    ];
    for made in made {
        let acl = bob.acl(&made.path).await.unwrap();
        assert_eq!(acl.entries, [Acl::digest("bob", "pw")], "{}", made.path);
    }
    // Each node can have another one, and other handles of the client have the same default.
    bob.create("/open", b"").acl(Acl::open()).await.unwrap();
    assert_eq!(bob.acl("/open").await.unwrap().entries, [Acl::open()]);
    let below = bob.chroot("/plain").unwrap();
    below.create("/x", b"").await.unwrap();
    let acl = bob.acl("/plain/x").await.unwrap();
    assert_eq!(acl.entries, [Acl::digest("bob", "pw")]);
    // An empty one is seen to be wrong from the beginning.
    let error = env.builder().default_acl(vec![]).start().unwrap_err();
    assert!(matches!(error, Error::Misuse { .. }), "{error}");
}

pub(crate) async fn no_password_is_kept(env: &Env) {
    let client = env.connect().await;
    let entry = Acl::digest("bob", "p4ssw0rd");
    let hash = entry.id.id.split_once(':').unwrap().1.to_owned();
    client.create("/a", b"").acl(&entry).await.unwrap();
    let acl = client.acl("/a").await.unwrap_err();
    client.add_auth("digest", b"bob:p4ssw0rd").await.unwrap();
    let seen = client.acl("/a").await.unwrap();
    assert_eq!(seen.entries, std::slice::from_ref(&entry));
    let texts = [
        format!("{entry:?} {:?}", client.create("/b", b"").acl(&entry)),
        format!("{seen:?} {:?}", client.set_acl("/a", &entry)),
        format!("{:?}", env.builder().default_acl(&entry)),
        format!("{acl} {acl:?}"),
    ];
    for text in texts {
        assert!(!text.contains("p4ssw0rd"), "{text}");
        assert!(!text.contains(&hash), "{text}");
    }
}
