//! Deadlines, and the limits of what is on its way. The fake server stands still for this.

use std::future::IntoFuture;
use std::time::Duration;

use homing::{Client, Error, Fate, Usage};

use crate::env::{Env, SOON, until};
use crate::support::{bytes_of, on_plain_thread, poll_once};

const MOMENT: Duration = Duration::from_millis(50);

fn is_deadline(error: &Error, fate: Fate) {
    let Error::Deadline { fate: found, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*found, fate);
    assert_eq!(error.may_have_been_applied(), fate == Fate::MaybeApplied);
}

fn is_busy(error: &Error) {
    assert!(matches!(error, Error::Busy { .. }), "{error:?}");
    assert!(!error.may_have_been_applied());
    let text = error.to_string();
    assert!(
        text.ends_with("too many requests are on their way; it was not sent"),
        "{text}"
    );
}

pub(crate) async fn a_deadline_ends_one_request_alone(env: &Env) {
    let client = env.connect().await;
    for path in ["/a", "/b", "/c"] {
        client.create(path, path).await.unwrap();
    }
    env.fake().pause();
    let before = client.get("/a").submit().unwrap();
    let hurried = client.get("/b").deadline(MOMENT).submit().unwrap();
    let awaited = client.get("/b").deadline(MOMENT);
    let behind = client.get("/c").submit().unwrap();
    let error = hurried.await.unwrap_err();
    is_deadline(&error, Fate::MaybeApplied);
    assert_eq!(
        error.to_string(),
        "get \"/b\": the deadline passed; it may have been applied or not"
    );
    is_deadline(&awaited.await.unwrap_err(), Fate::MaybeApplied);
    let waited = on_plain_thread(|| client.get("/b").deadline(MOMENT).wait());
    is_deadline(&waited.unwrap_err(), Fate::MaybeApplied);
    // They keep their places until their replies come.
    assert_eq!(client.in_flight().requests, 5);
    let session_id = client.credentials().unwrap().session_id();
    env.fake().resume();
    assert_eq!(before.await.unwrap().data, "/a");
    assert_eq!(behind.await.unwrap().data, "/c");
    assert_eq!(client.get("/b").await.unwrap().data, "/b");
    assert_eq!(client.in_flight(), Usage::default());
    // The connection never broke.
    assert_eq!(client.credentials().unwrap().session_id(), session_id);
    assert_eq!(env.fake().connections_accepted(), 2);
}

pub(crate) async fn a_deadline_without_a_connection(env: &Env) {
    let client = env.builder().deadline(MOMENT).connect().await.unwrap();
    env.fake().stop();
    until("the loss was noticed", || {
        !matches!(client.state(), homing::SessionState::Connected(_))
    });
    let patient = client.create("/patient", b"").deadline(None);
    let patient = patient.submit().unwrap();
    let late = client.create("/late", b"").await.unwrap_err();
    is_deadline(&late, Fate::NotSent);
    assert_eq!(
        late.to_string(),
        "create \"/late\": the deadline passed; it was not sent"
    );
    env.fake().restart().unwrap();
    patient.await.unwrap();
    // What was not sent by then is not sent later.
    let names = client.children("/").deadline(SOON).await.unwrap();
    assert_eq!(names.sorted(), ["patient"]);
}

pub(crate) async fn too_many_requests_are_refused(env: &Env) {
    let client = env.builder().requests_in_flight(2).connect().await.unwrap();
    env.fake().pause();
    let first = client.create("/1", b"").submit().unwrap();
    let second = client.create("/2", b"").submit().unwrap();
    is_busy(&client.create("/3", b"").submit().unwrap_err());
    assert_eq!(client.in_flight().requests, 2);
    // To drop a request that was sent makes no room: its answer is still to come.
    drop(second);
    is_busy(&client.create("/3", b"").submit().unwrap_err());
    env.fake().resume();
    first.await.unwrap();
    until("the second is answered", || {
        client.in_flight().requests == 0
    });
    client.create("/4", b"").submit().unwrap().await.unwrap();
    let names = client.children("/").await.unwrap();
    assert_eq!(names.sorted(), ["1", "2", "4"]);
}

pub(crate) async fn too_many_bytes_are_refused(env: &Env) {
    let client = env
        .builder()
        .bytes_in_flight(10_000)
        .connect()
        .await
        .unwrap();
    env.fake().pause();
    let data = bytes_of(4_000, 1);
    let first = client.create("/1", &data).submit().unwrap();
    let second = client.create("/2", &data).submit().unwrap();
    is_busy(&client.create("/3", &data).submit().unwrap_err());
    // A smaller one still fits.
    let small = client.get("/1").submit().unwrap();
    let in_flight = client.in_flight();
    assert_eq!(in_flight.requests, 3);
    assert!((8_000..10_000).contains(&in_flight.bytes), "{in_flight:?}");
    env.fake().resume();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(small.await.unwrap().data, data);
    assert_eq!(client.in_flight(), Usage::default());
}

pub(crate) async fn one_large_request_always_fits(env: &Env) {
    let client = env
        .builder()
        .bytes_in_flight(1_000)
        .connect()
        .await
        .unwrap();
    let data = bytes_of(5_000, 1);
    client.create("/large", &data).await.unwrap();
    env.fake().pause();
    let small = client.get("/large").submit().unwrap();
    // But not beside another.
    is_busy(&client.set("/large", &data).submit().unwrap_err());
    let mut patient = client.set("/large", &data).into_future();
    assert!(poll_once(&mut patient).is_pending());
    env.fake().resume();
    assert_eq!(small.await.unwrap().data, data);
    assert_eq!(patient.await.unwrap().version, 1);
}

pub(crate) async fn waiting_for_room_is_fair(env: &Env) {
    let client = env.builder().requests_in_flight(3).connect().await.unwrap();
    client.create("/q", b"").await.unwrap();
    env.fake().pause();
    let mut waiting: Vec<_> = (0..50)
        .map(|_| client.create("/q/", b"").sequential().into_future())
        .collect();
    for create in &mut waiting {
        assert!(poll_once(create).is_pending());
    }
    assert_eq!(client.in_flight().requests, 3);
    env.fake().resume();
    let mut sequences = Vec::new();
    for (create, left) in waiting.into_iter().zip((1..=50).rev()) {
        // Nobody overtakes those who wait, whenever they are polled next.
        if left > 3 {
            is_busy(&client.exists("/q").submit().unwrap_err());
        }
        sequences.push(create.await.unwrap().sequence.unwrap());
    }
    assert!(sequences.is_sorted(), "{sequences:?}");
    assert_eq!(sequences.len(), 50);
}

pub(crate) async fn waiting_for_room_has_a_deadline(env: &Env) {
    let client = env.builder().requests_in_flight(1).connect().await.unwrap();
    env.fake().pause();
    let first = client.create("/1", b"").submit().unwrap();
    let late = client.create("/2", b"").deadline(MOMENT).await;
    is_deadline(&late.unwrap_err(), Fate::NotSent);
    env.fake().resume();
    first.await.unwrap();
    client.create("/3", b"").await.unwrap();
    assert_eq!(client.exists("/2").await.unwrap(), None);
}

pub(crate) async fn whoever_gives_up_waiting_makes_room(env: &Env) {
    let client = env
        .builder()
        .bytes_in_flight(2_000)
        .connect()
        .await
        .unwrap();
    env.fake().pause();
    let first = client.create("/1", &[0; 500]).submit().unwrap();
    let mut large = client.create("/2", &[0; 1_800]).into_future();
    assert!(poll_once(&mut large).is_pending());
    let mut small = client.create("/3", &[0; 100]).into_future();
    // It would fit, but others were there first …
    assert!(poll_once(&mut small).is_pending());
    assert_eq!(client.in_flight().requests, 1);
    is_busy(&client.exists("/").submit().unwrap_err());
    // … until they give up.
    drop(large);
    assert!(poll_once(&mut small).is_pending(), "the server is paused");
    assert_eq!(client.in_flight().requests, 2);
    let behind = client.exists("/3").submit().unwrap();
    env.fake().resume();
    first.await.unwrap();
    small.await.unwrap();
    assert!(behind.await.unwrap().is_some());
    assert_eq!(client.exists("/2").await.unwrap(), None);
}

pub(crate) async fn a_blocked_thread_waits_for_room(env: &Env) {
    let client = env.builder().requests_in_flight(1).connect().await.unwrap();
    env.fake().pause();
    let first = client.create("/1", b"").submit().unwrap();
    let blocked = |client: Client| client.create("/2", b"").wait().map(|made| made.path);
    std::thread::scope(|scope| {
        let thread = scope.spawn({
            let client = client.clone();
            move || blocked(client)
        });
        until("the server has the first one", || {
            client.in_flight().requests == 1
        });
        env.fake().resume();
        assert_eq!(thread.join().unwrap().unwrap(), "/2");
    });
    first.await.unwrap();
}

pub(crate) async fn replies_over_the_limit_cost_one_request(env: &Env) {
    let client = env.builder().reply_len_max(50_000).connect().await.unwrap();
    let data = bytes_of(200_000, 3);
    client.create("/large", &data).await.unwrap();
    client.create("/small", b"small").await.unwrap();
    let small = client.get("/small").submit().unwrap();
    let large = client.get("/large").submit().unwrap();
    let behind = client.get("/small").submit().unwrap();
    let error = large.await.unwrap_err();
    let Error::ReplyTooLarge { len, limit, .. } = &error else {
        panic!("{error:?}");
    };
    // Header, length, data, stat.
    assert_eq!((*len, *limit), (16 + 4 + 200_000 + 68, 50_000));
    assert_eq!(
        error.to_string(),
        "get \"/large\": the reply has 200088 bytes, over the limit of 50000 (`reply_len_max`)"
    );
    assert_eq!(small.await.unwrap().data, "small");
    assert_eq!(behind.await.unwrap().data, "small");
    // Over the same connection.
    assert_eq!(env.fake().connections_accepted(), 2);
}
