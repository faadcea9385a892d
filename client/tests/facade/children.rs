//! Lists of children, and sync.

use homing::ErrorCode;

use crate::env::Env;

pub(crate) async fn children_of_nobody_and_somebody(env: &Env) {
    let client = env.connect().await;
    let made = client.create("/parent", b"xyz").await.unwrap();
    let none = client.children("/parent").await.unwrap();
    assert!(none.is_empty());
    assert_eq!((none.len(), none.iter().next()), (0, None));
    assert_eq!(Some(*none.stat()), made.stat);

    for name in ["b", "c", "a"] {
        let path = format!("/parent/{name}");
        client.create(path, b"").await.unwrap();
    }
    client.create("/parent/a/deeper", b"").await.unwrap();
    let children = client.children("/parent").await.unwrap();
    assert_eq!(children.sorted(), ["a", "b", "c"]);
    assert_eq!((children.len(), children.iter().len()), (3, 3));
    let mut names: Vec<&str> = (&children).into_iter().collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
    let stat = client.exists("/parent").await.unwrap();
    assert_eq!(Some(*children.stat()), stat);
    assert_eq!(children.stat().num_children, 3);

    let error = client.children("/nowhere").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoNode));
}

pub(crate) async fn a_thousand_children(env: &Env) {
    let client = env.connect().await;
    client.create("/many", b"").await.unwrap();
    let paths: Vec<_> = (0..1_000).map(|n| format!("/many/child-{n:04}")).collect();
    let creates: Vec<_> = paths
        .iter()
        .map(|path| client.create(path, b"").submit().unwrap())
        .collect();
    for (create, path) in creates.into_iter().zip(&paths) {
        assert_eq!(create.await.unwrap().path, *path);
    }
    let children = client.children("/many").await.unwrap();
    assert_eq!(
        (children.len(), children.stat().num_children),
        (1_000, 1_000)
    );
    let expected: Vec<_> = paths.iter().map(|path| &path["/many/".len()..]).collect();
    assert_eq!(children.sorted(), expected);
}

pub(crate) async fn names_of_any_alphabet(env: &Env) {
    let client = env.connect().await;
    client.create("/words", b"").await.unwrap();
    let mut names = ["grüße", "дом", "鳩", "a b", "%20", "..a", "a.", "\u{FFEF}"];
    for name in names {
        let path = format!("/words/{name}");
        assert_eq!(client.create(&path, name).await.unwrap().path, path);
        assert_eq!(client.get(&path).await.unwrap().data, name);
    }
    names.sort_unstable();
    let children = client.children("/words").await.unwrap();
    assert_eq!(children.sorted(), names);
}

pub(crate) async fn sync_then_read_sees_what_others_wrote(env: &Env) {
    let (writer, reader) = (env.connect().await, env.connect().await);
    writer.create("/news", b"0").await.unwrap();
    for round in 1..20 {
        let news = round.to_string();
        writer.set("/news", &news).await.unwrap();
        let synced = reader.sync("/news").submit().unwrap();
        let read = reader.get("/news").submit().unwrap();
        synced.await.unwrap();
        assert_eq!(read.await.unwrap().data, news);
    }
    // Whether the node is there makes no difference.
    reader.sync("/nowhere").await.unwrap();
    reader.sync("/").await.unwrap();
}
