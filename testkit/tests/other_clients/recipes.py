"""kazoo's recipes, one after the other, against the server at argv[1]. What it prints is the same
for any two servers that behave alike: no times, no session ids."""

import datetime
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.watchers import ChildrenWatch, DataWatch

WAIT = 20
hosts = sys.argv[1]


def connect():
    client = KazooClient(hosts=hosts, timeout=10)
    client.start(timeout=WAIT)
    return client


def say(*words):
    print(*words, flush=True)


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except KazooException as error:
        return type(error).__name__
    return "nothing"


def nodes(a, b):
    say("create", a.create("/n/x", b"1", makepath=True))
    say("exists error", refused(a.create, "/n/x", b"1"))
    data, stat = b.get("/n/x")
    say("get", data, stat.version, stat.dataLength, stat.numChildren)
    say("bad version", refused(b.set, "/n/x", b"2", version=7))
    transaction = a.transaction()
    transaction.check("/n/x", 0)
    transaction.create("/n/y", b"y")
    transaction.set_data("/n/x", b"2")
    say("transaction", [type(result).__name__ for result in transaction.commit()])
    transaction = a.transaction()
    transaction.create("/n/z")
    transaction.check("/n/x", 0)
    say("refused transaction", [type(result).__name__ for result in transaction.commit()])
    say("children", sorted(b.get_children("/n")))
    a.delete("/n", recursive=True)
    say("gone", b.exists("/n"))


def lock(a, b):
    first = a.Lock("/lock", "first")
    second = b.Lock("/lock", "second")
    say("first", first.acquire(timeout=WAIT))
    say("second without blocking", second.acquire(blocking=False))
    say("contenders", first.contenders())
    got = threading.Event()

    def wait():
        if second.acquire(timeout=WAIT):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while len(first.contenders()) < 2:
        pass
    say("contenders", first.contenders())
    first.release()
    say("second", got.wait(WAIT))
    thread.join(WAIT)
    second.release()
    say("contenders", first.contenders())


def election(a, b):
    led = []
    leading = threading.Event()
    resign = threading.Event()

    def lead(name):
        led.append(name)
        leading.set()
        resign.wait(WAIT)

    one = a.Election("/election", "one")
    two = b.Election("/election", "two")
    threads = [threading.Thread(target=one.run, args=(lead, "one"))]
    threads[0].start()
    say("leading", leading.wait(WAIT))
    threads.append(threading.Thread(target=two.run, args=(lead, "two")))
    threads[1].start()
    while len(one.contenders()) < 2:
        pass
    say("contenders", one.contenders())
    resign.set()
    for thread in threads:
        thread.join(WAIT)
    say("led", led)


def counter(a, b):
    ours, theirs = a.Counter("/counter"), b.Counter("/counter")
    for _ in range(5):
        ours += 2
        theirs -= 1
    say("counter", ours.value, theirs.value)


def barrier(a, b):
    wall = a.Barrier("/barrier")
    wall.create()
    say("held", b.Barrier("/barrier").wait(0.05))
    wall.remove()
    say("open", b.Barrier("/barrier").wait(WAIT))
    inside = []

    def enter(client, name):
        double = client.DoubleBarrier("/double", 2, name)
        double.enter()
        inside.append(name)
        double.leave()

    threads = [threading.Thread(target=enter, args=pair) for pair in ((a, "a"), (b, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    say("entered", sorted(inside))


def party(a, b):
    ours, theirs = a.Party("/party", "ours"), b.Party("/party", "theirs")
    ours.join()
    theirs.join()
    say("party", sorted(ours), len(theirs))
    theirs.leave()
    say("party", sorted(ours), len(ours))
    ours.leave()


def queue(a, b):
    put, take = a.Queue("/queue"), b.Queue("/queue")
    for item in (b"one", b"two", b"three"):
        put.put(item)
    put.put(b"first", priority=1)
    say("queue", len(take), [take.get() for _ in range(4)], take.get())
    locking = a.LockingQueue("/locking")
    locking.put_all([b"x", b"y"])
    other = b.LockingQueue("/locking")
    say("locking", other.get(timeout=WAIT), other.consume(), other.get(timeout=WAIT), other.consume())


def semaphore(a, b):
    first = a.Semaphore("/semaphore", "first", max_leases=2)
    second = b.Semaphore("/semaphore", "second", max_leases=2)
    third = b.Semaphore("/semaphore", "third", max_leases=2)
    say("semaphore", first.acquire(), second.acquire(), third.acquire(blocking=False))
    say("holders", sorted(first.lease_holders()))
    got = threading.Event()

    def wait():
        if third.acquire(timeout=WAIT):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    first.release()
    say("third", got.wait(WAIT), sorted(first.lease_holders()))
    thread.join(WAIT)
    say("other size", refused_value(a.Semaphore("/semaphore", "odd", max_leases=5).acquire))
    second.release()
    third.release()


def refused_value(call):
    try:
        call()
    except ValueError:
        return "ValueError"
    return "nothing"


def shared_locks(a, b):
    readers = [a.ReadLock("/shared", "a"), b.ReadLock("/shared", "b")]
    writer = b.WriteLock("/shared", "writer")
    say("readers", [reader.acquire(timeout=WAIT) for reader in readers])
    say("writer", writer.acquire(blocking=False))
    for reader in readers:
        reader.release()
    say("writer", writer.acquire(timeout=WAIT))
    say("reader", readers[0].acquire(blocking=False))
    writer.release()


def lease(a, b):
    hour = datetime.timedelta(hours=1)
    ours = a.NonBlockingLease("/lease", hour, identifier="ours")
    theirs = b.NonBlockingLease("/lease", hour, identifier="theirs")
    again = a.NonBlockingLease("/lease", hour, identifier="ours")
    say("lease", bool(ours), bool(theirs), bool(again))
    held = [
        bool(client.MultiNonBlockingLease(2, "/leases", hour, identifier=str(number)))
        for number, client in enumerate((a, b, a))
    ]
    say("leases", held)


def partitioner(a, b):
    items = ("one", "two", "three", "four")
    boundary = 0.2  # seconds without a change, before anybody has a share
    shares = [
        client.SetPartitioner("/partitions", items, identifier=name, time_boundary=boundary)
        for client, name in ((a, "a"), (b, "b"))
    ]

    def settle(members):
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            for share in members:
                if share.release:
                    share.release_set()
                elif share.allocating:
                    share.wait_for_acquire(0.1)
            if all(share.acquired for share in members):
                found = [sorted(share) for share in members]
                if sum(map(len, found)) == len(items):
                    return found
        return "never"

    say("partitions", settle(shares))
    shares[0].finish()
    say("the rest", settle(shares[1:]))
    shares[1].finish()


def watches(a, b):
    seen = []
    changed = threading.Condition()

    def until(count):
        with changed:
            return changed.wait_for(lambda: len(seen) >= count, WAIT)

    def note(what):
        with changed:
            seen.append(what)
            changed.notify_all()

    a.create("/watched", b"0")
    DataWatch(a, "/watched", lambda data, stat: note((data, stat and stat.version)))
    until(1)
    for value in (b"1", b"2"):
        before = len(seen)
        b.set("/watched", value)
        until(before + 1)
    ChildrenWatch(a, "/watched", lambda names: note(sorted(names)))
    until(4)
    for name in ("x", "y"):
        before = len(seen)
        b.create("/watched/" + name)
        until(before + 1)
    b.delete("/watched/x")
    until(7)
    say("watched", seen)


def tree(a, b):
    events = []
    ready = threading.Condition()
    cache = TreeCache(a, "/tree")

    def listen(event):
        with ready:
            path = event.event_data.path if event.event_data else None
            events.append((event.event_type, path))
            ready.notify_all()

    def until(what):
        with ready:
            return ready.wait_for(lambda: what in events, WAIT)

    cache.listen(listen)
    b.create("/tree/a/b", b"deep", makepath=True)
    cache.start()
    say("initialized", until((TreeEvent.INITIALIZED, None)))
    say("cached", cache.get_data("/tree/a/b").data, sorted(cache.get_children("/tree")))
    b.set("/tree/a/b", b"new")
    say("updated", until((TreeEvent.NODE_UPDATED, "/tree/a/b")), cache.get_data("/tree/a/b").data)
    b.create("/tree/c")
    say("added", until((TreeEvent.NODE_ADDED, "/tree/c")))
    b.delete("/tree/a/b")
    say("removed", until((TreeEvent.NODE_REMOVED, "/tree/a/b")), cache.get_data("/tree/a/b"))
    cache.close()


def access(*_):
    from kazoo.security import make_digest_acl

    # Connections with nothing else on their way: kazoo takes the answer to an authentication for
    # that to an earlier request, which servers are free to answer later.
    a, b = connect(), connect()
    a.add_auth("digest", "bob:pw")
    a.create("/mine", b"secret", acl=[make_digest_acl("bob", "pw", all=True)])
    say("stranger", refused(b.get, "/mine"))
    b.add_auth("digest", "bob:pw")
    say("friend", b.get("/mine")[0])
    acls, stat = b.get_acls("/mine")
    say("acl", [(acl.perms, acl.id.scheme, acl.id.id) for acl in acls], stat.aversion)
    for client in (a, b):
        client.stop()
        client.close()


def ephemerals(a, b):
    other = connect()
    other.create("/here", ephemeral=True)
    gone = threading.Event()
    say("here", b.exists("/here", watch=lambda event: gone.set()) is not None)
    other.stop()
    other.close()
    say("gone", gone.wait(WAIT), b.exists("/here"))


def main():
    a, b = connect(), connect()
    recipes = (lock, election, counter, barrier, party, queue, semaphore, shared_locks, lease)
    for part in (nodes, *recipes, partitioner, watches, tree, access, ephemerals):
        say("==", part.__name__)
        part(a, b)
    for client in (a, b):
        client.stop()
        client.close()
    say("done")


main()
