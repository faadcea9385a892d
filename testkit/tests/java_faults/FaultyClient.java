import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Java's client under faults: writes and reads a node a few times, and says what it was told.
 *
 * Arguments: the session time-out in milliseconds, the rounds, the milliseconds after which a
 * client counts as hung, and for each client a connect string, a node that is there, and the
 * milliseconds that it is to be idle for behind its first round. All clients run side by side.
 *
 * One line comes for each, in the order of the arguments:
 *
 *   node TAB outcome TAB errors TAB written TAB done TAB unsure TAB wrong
 *
 * The outcome is lives, another session, expires, breaks or hangs; errors are names of codes, comma-separated; written is
 * the last value that was reported as written, done how many writes were, unsure how many ended
 * without an answer, and wrong how many reads gave what cannot have been there.
 *
 * FaultyClient.class is committed, since a Java runtime without a compiler is all that the tests
 * ask for. It is built by
 *
 *   javac --release 8 -Xlint:-options -g:none -cp '/usr/share/java/*' FaultyClient.java
 */
public final class FaultyClient extends Thread {
    private final String connect;
    private final String node;
    private final int timeout;
    private final int rounds;
    private final int idle;
    private final Map<String, Integer> errors = new TreeMap<>();
    private String outcome = "hangs";
    private int written;
    private int done;
    private int unsure;
    private int wrong;

    private FaultyClient(String connect, String node, int timeout, int rounds, int idle) {
        this.connect = connect;
        this.node = node;
        this.timeout = timeout;
        this.rounds = rounds;
        this.idle = idle;
        setDaemon(true);
    }

    public static void main(String[] arguments) throws Exception {
        int timeout = Integer.parseInt(arguments[0]);
        int rounds = Integer.parseInt(arguments[1]);
        long giveUp = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(Long.parseLong(arguments[2]));
        List<FaultyClient> clients = new ArrayList<>();
        for (int at = 3; at + 2 < arguments.length; at += 3) {
            int idle = Integer.parseInt(arguments[at + 2]);
            clients.add(new FaultyClient(arguments[at], arguments[at + 1], timeout, rounds, idle));
        }
        for (FaultyClient client : clients) {
            client.start();
        }
        for (FaultyClient client : clients) {
            long left = TimeUnit.NANOSECONDS.toMillis(giveUp - System.nanoTime());
            client.join(Math.max(left, 1));
        }
        for (FaultyClient client : clients) {
            System.out.println(client.line());
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private synchronized String line() {
        return node + "\t" + outcome + "\t" + String.join(",", errors.keySet()) + "\t" + written
            + "\t" + done + "\t" + unsure + "\t" + wrong;
    }

    @Override
    public void run() {
        try {
            CountDownLatch connected = new CountDownLatch(1);
            ZooKeeper client = new ZooKeeper(connect, timeout, event -> {
                if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                    connected.countDown();
                }
            });
            connected.await();
            long session = client.getSessionId();
            for (int round = 1; round <= rounds; round++) {
                write(client, round);
                read(client, round);
                if (round == 1) {
                    Thread.sleep(idle);
                }
                if (!client.getState().isAlive()) {
                    end("expires");
                    return;
                }
            }
            end(client.getSessionId() == session ? "lives" : "another session");
            client.close();
        } catch (Exception other) {
            end("breaks");
            note(other.getClass().getSimpleName());
        }
    }

    private void write(ZooKeeper client, int round) throws InterruptedException {
        try {
            client.setData(node, Integer.toString(round).getBytes(StandardCharsets.UTF_8), -1);
            synchronized (this) {
                written = round;
                done++;
            }
        } catch (KeeperException error) {
            note(error);
            synchronized (this) {
                unsure++;
            }
        } catch (RuntimeException unexpected) {
            note(unexpected.getClass().getSimpleName());
        }
    }

    private void read(ZooKeeper client, int round) throws InterruptedException {
        try {
            byte[] data = client.getData(node, false, new Stat());
            if (!isPossible(data, round)) {
                synchronized (this) {
                    wrong++;
                }
            }
        } catch (KeeperException error) {
            note(error);
        } catch (RuntimeException unexpected) {
            note(unexpected.getClass().getSimpleName());
        }
    }

    private synchronized boolean isPossible(byte[] data, int round) {
        try {
            int value = Integer.parseInt(new String(data, StandardCharsets.UTF_8));
            return written <= value && value <= round;
        } catch (RuntimeException unreadable) {
            return false;
        }
    }

    private synchronized void end(String outcome) {
        this.outcome = outcome;
    }

    private void note(KeeperException error) {
        note(error.code() == null ? "null" : error.code().toString());
    }

    private synchronized void note(String error) {
        errors.merge(error, 1, Integer::sum);
    }
}
