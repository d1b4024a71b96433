"""kazoo's recipes against one server: locks, elections, queues, barriers, counters, watches."""
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError
from kazoo.recipe.watchers import ChildrenWatch, DataWatch

WITHIN = 60
hosts = sys.argv[1]


def client():
    one = KazooClient(hosts=hosts, timeout=30)
    one.start(timeout=WITHIN)
    return one


first, second = client(), client()


def together(*works):
    failures = []

    def run(work):
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
        assert not thread.is_alive(), "a recipe hangs"
    if failures:
        raise failures[0]


def locks():
    inside, most, done = [0], [0], [0]

    def work(one):
        for _ in range(10):
            with one.Lock("/recipes/lock", "somebody"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                done[0] += 1
                inside[0] -= 1

    together(lambda: work(first), lambda: work(second))
    assert (most[0], done[0]) == (1, 20), (most, done)
    semaphore = first.Semaphore("/recipes/semaphore", max_leases=2)
    with semaphore, second.Semaphore("/recipes/semaphore", max_leases=2):
        assert len(semaphore.lease_holders()) == 2
        assert not client().Semaphore("/recipes/semaphore", max_leases=2).acquire(blocking=False)
    read = first.ReadLock("/recipes/shared", "reader")
    also = second.ReadLock("/recipes/shared", "reader")
    write = second.WriteLock("/recipes/shared", "writer")
    assert read.acquire() and also.acquire()
    assert not write.acquire(blocking=False)
    read.release()
    also.release()
    assert write.acquire(timeout=WITHIN)
    write.release()


def elections():
    led = []
    together(*[
        lambda one=one, name=name: one.Election("/recipes/election", name).run(led.append, name)
        for one, name in ((first, "first"), (second, "second"))
    ])
    assert sorted(led) == ["first", "second"], led
    # The one that leads dies; the other follows.
    leader, follows = client(), threading.Event()
    leads = threading.Event()
    hold = threading.Event()

    def lead_until_dead():
        try:
            leader.Election("/recipes/heir", "old").run(lambda: (leads.set(), hold.wait(WITHIN)))
        except ConnectionClosedError:
            pass  # It was stopped while it led, which is the test.

    threading.Thread(target=lead_until_dead, daemon=True).start()
    assert leads.wait(WITHIN)
    threading.Thread(
        target=lambda: second.Election("/recipes/heir", "new").run(follows.set), daemon=True
    ).start()
    leader.stop()
    assert follows.wait(WITHIN), "nobody follows"
    hold.set()


def queues():
    queue = first.Queue("/recipes/queue")
    for number in range(20):
        queue.put(b"%d" % number, priority=50)
    queue.put(b"urgent", priority=1)
    other = second.Queue("/recipes/queue")
    got = [other.get() for _ in range(21)]
    assert got == [b"urgent"] + [b"%d" % number for number in range(20)], got
    locking = first.LockingQueue("/recipes/locking")
    locking.put_all([b"a", b"b"])
    taken = locking.get(timeout=WITHIN)
    assert second.LockingQueue("/recipes/locking").get(timeout=WITHIN) == b"b"
    assert taken == b"a" and locking.consume()


def barriers():
    barrier = first.Barrier("/recipes/barrier")
    barrier.create()
    assert not second.Barrier("/recipes/barrier").wait(timeout=0.2)
    together(lambda: second.Barrier("/recipes/barrier").wait(WITHIN), barrier.remove)
    double = [one.DoubleBarrier("/recipes/double", num_clients=2) for one in (first, second)]
    together(*[each.enter for each in double])
    together(*[each.leave for each in double])


def others():
    together(*[lambda one=one: [one.Counter("/recipes/counter").__add__(1) for _ in range(10)]
               for one in (first, second)])
    assert first.Counter("/recipes/counter").value == 20
    party = first.Party("/recipes/party", "a")
    party.join()
    assert list(second.Party("/recipes/party", "b")) == ["a"]
    seen, changed = threading.Event(), threading.Event()
    first.ensure_path("/recipes/watched")
    DataWatch(second, "/recipes/watched", lambda data, stat: seen.set() if data == b"new" else None)
    ChildrenWatch(second, "/recipes/watched", lambda names: changed.set() if "x" in names else None)
    first.set("/recipes/watched", b"new")
    first.create("/recipes/watched/x")
    assert seen.wait(WITHIN) and changed.wait(WITHIN)
    transaction = first.transaction()
    transaction.create("/recipes/t", b"1")
    transaction.check("/recipes/watched", version=99)
    failed = transaction.commit()
    assert all(isinstance(result, Exception) for result in failed), failed
    assert first.exists("/recipes/t") is None


for recipe in (locks, elections, queues, barriers, others):
    recipe()
    print(recipe.__name__, flush=True)
for one in (first, second):
    one.stop()
print("done")
