//! Starting and dropping servers leaves no thread and no descriptor behind. Alone in its file,
//! so that nothing else opens any meanwhile.
#![cfg(target_os = "linux")]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use homing_testkit::FakeServer;

#[test]
fn servers_take_their_sockets_and_threads_with_them() {
    let count = |folder| std::fs::read_dir(folder).unwrap().count();
    let used = || (count("/proc/self/fd"), count("/proc/self/task"));
    // Whatever is set up once in a process is set up by the first one.
    drop(FakeServer::start());
    let before = used();

    let servers: Vec<_> = (0..200).map(|_| FakeServer::start()).collect();
    let clients: Vec<_> = servers
        .iter()
        .map(|server| TcpStream::connect(server.addr()).unwrap())
        .collect();
    servers[0].stop();
    servers[1].restart().unwrap();
    assert!(used().0 > before.0 + 200);
    drop(servers);
    drop(clients);

    // A joined thread may take a moment to leave the kernel's list.
    let give_up = Instant::now() + Duration::from_secs(5);
    while used() != before && Instant::now() < give_up {
        std::thread::yield_now();
    }
    assert_eq!(used(), before);
}
