// Records what ZooKeeper's own Java client sends: one line for each kind of request, its name and
// the whole frame in hex. `record` compiles it and runs it; `requests.hex` is what it printed, and
// `../java_client.rs` builds the same requests with this crate.
//
// There is no ZooKeeper server in this: a listener plays one that knows just enough to keep the
// client going.

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.login.Configuration;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.Version;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

public class Record {
    static final int PING = 11, AUTH = 100, SET_WATCHES = 101, SASL = 102, SET_WATCHES2 = 105;
    static final int CLOSE = -11;
    /** What the listener answers with success and a body, for the client to set its watches. */
    static final List<Integer> READS = Arrays.asList(4, 8, 12, 106);

    /** A frame that the client sent, with its length. */
    static final BlockingQueue<byte[]> frames = new LinkedBlockingQueue<>();
    static final List<Socket> connections = new ArrayList<>();
    static final Watcher watcher = event -> {};

    public static void main(String[] args) throws Exception {
        try (ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            Thread thread = new Thread(() -> listen(listener));
            thread.setDaemon(true);
            thread.start();
            String servers = "127.0.0.1:" + listener.getLocalPort();
            System.out.println("# ZooKeeper " + Version.getVersion());
            requests(servers);
            resumed(servers);
            sasl(servers);
        }
        System.exit(0);
    }

    static void requests(String servers) throws Exception {
        byte[] hi = "hi".getBytes();
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        ZooKeeperAdmin zk = new ZooKeeperAdmin(servers, 30_000, watcher);
        print("connect", next(0));
        print("ping", next(PING));

        record("create persistent", 1, () -> zk.create("/a", hi, open, CreateMode.PERSISTENT));
        record("create ephemeral", 1, () -> zk.create("/a", hi, open, CreateMode.EPHEMERAL));
        record("create persistent sequential", 1,
            () -> zk.create("/a", hi, open, CreateMode.PERSISTENT_SEQUENTIAL));
        record("create ephemeral sequential", 1,
            () -> zk.create("/a", hi, open, CreateMode.EPHEMERAL_SEQUENTIAL));
        record("create with a list", 1, () -> zk.create("/a", new byte[0], Arrays.asList(
            new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE),
            new ACL(Perms.ALL, new Id("digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="))),
            CreateMode.PERSISTENT));
        Stat stat = new Stat();
        record("create2 persistent", 15,
            () -> zk.create("/a", hi, open, CreateMode.PERSISTENT, stat));
        record("create2 ephemeral", 15,
            () -> zk.create("/a", hi, open, CreateMode.EPHEMERAL, stat));
        record("create2 persistent sequential", 15,
            () -> zk.create("/a", hi, open, CreateMode.PERSISTENT_SEQUENTIAL, stat));
        record("create2 ephemeral sequential", 15,
            () -> zk.create("/a", hi, open, CreateMode.EPHEMERAL_SEQUENTIAL, stat));
        record("createContainer", 19, () -> zk.create("/a", hi, open, CreateMode.CONTAINER));
        record("createTTL", 21,
            () -> zk.create("/a", hi, open, CreateMode.PERSISTENT_WITH_TTL, stat, 1000));
        record("createTTL sequential", 21, () -> zk.create("/a", hi, open,
            CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, stat, (1L << 40) - 1));
        record("delete", 2, () -> { zk.delete("/a", -1); return null; });
        record("delete at a version", 2, () -> { zk.delete("/\u00e9", 7); return null; });
        record("exists", 3, () -> zk.exists("/a", false));
        record("exists with a watch", 3, () -> zk.exists("/exist", watcher));
        record("getData", 4, () -> zk.getData("/a", false, stat));
        record("getData with a watch", 4, () -> zk.getData("/data", watcher, stat));
        record("setData", 5, () -> zk.setData("/a", hi, 3));
        record("getACL", 6, () -> zk.getACL("/a", stat));
        record("setACL", 7, () -> zk.setACL("/a", open, 2));
        record("getChildren", 8, () -> zk.getChildren("/a", false));
        record("getChildren2", 12, () -> zk.getChildren("/a", false, stat));
        record("getChildren2 with a watch", 12, () -> zk.getChildren("/child", watcher, stat));
        record("sync", 9, () -> { zk.sync("/a", (rc, path, ctx) -> {}, null); return null; });
        record("auth", AUTH, () -> { zk.addAuthInfo("digest", "bob:pw".getBytes()); return null; });
        record("getEphemerals", 103, () -> zk.getEphemerals("/a"));
        record("getAllChildrenNumber", 104, () -> zk.getAllChildrenNumber("/a"));
        record("whoAmI", 107, () -> zk.whoAmI());

        record("multi", 14, () -> zk.multi(Arrays.asList(
            Op.check("/a", 1),
            Op.create("/a/p", hi, open, CreateMode.PERSISTENT),
            Op.create("/a/es-", hi, open, CreateMode.EPHEMERAL_SEQUENTIAL),
            Op.create("/a/c", hi, open, CreateMode.CONTAINER),
            Op.create("/a/t", hi, open, CreateMode.PERSISTENT_WITH_TTL, 1000),
            Op.setData("/a", hi, -1),
            Op.delete("/b", 4))));
        record("multiRead", 22,
            () -> zk.multi(Arrays.asList(Op.getData("/a"), Op.getChildren("/b"))));
        record("reconfig incremental", 16, () -> zk.reconfigure(
            "server.4=d:2888:3888:participant;2181,server.5=e:2888:3888:observer;2181", "1,2",
            null, -1, stat));
        record("reconfig in full", 16, () -> zk.reconfigure(
            (String) null, null, "server.1=a:2888:3888:participant;2181", 0x100000001L, stat));

        // What is set again over the next connection, without persistent watches and with them.
        drop();
        print("setWatches", next(SET_WATCHES));
        record("addWatch", 106, () -> {
            zk.addWatch("/persistent", watcher, AddWatchMode.PERSISTENT);
            return null;
        });
        record("addWatch recursive", 106, () -> {
            zk.addWatch("/recursive", watcher, AddWatchMode.PERSISTENT_RECURSIVE);
            return null;
        });
        drop();
        print("setWatches2", next(SET_WATCHES2));

        record("checkWatches data", 17, () -> {
            zk.removeWatches("/data", watcher, WatcherType.Data, false);
            return null;
        });
        record("removeWatches children", 18, () -> {
            zk.removeAllWatches("/child", WatcherType.Children, false);
            return null;
        });
        record("removeWatches any", 18, () -> {
            zk.removeAllWatches("/exist", WatcherType.Any, false);
            return null;
        });
        record("closeSession", CLOSE, () -> { zk.close(); return null; });
    }

    /** The handshake of a client that goes on with a session. */
    static void resumed(String servers) throws Exception {
        byte[] password = new byte[16];
        for (int i = 0; i < 16; i++) {
            password[i] = (byte) (i + 1);
        }
        frames.clear();
        ZooKeeper zk = new ZooKeeper(servers, 30_000, watcher, 0x0102030405060708L, password);
        print("connect again", next(0));
        zk.close();
    }

    /** The first token of DIGEST-MD5 is empty. All that follow depend on chance. */
    static void sasl(String servers) throws Exception {
        Map<String, String> user = new HashMap<>();
        user.put("username", "bob");
        user.put("password", "pw");
        AppConfigurationEntry entry = new AppConfigurationEntry(
            "org.apache.zookeeper.server.auth.DigestLoginModule",
            AppConfigurationEntry.LoginModuleControlFlag.REQUIRED, user);
        Configuration.setConfiguration(new Configuration() {
            @Override
            public AppConfigurationEntry[] getAppConfigurationEntry(String name) {
                return name.equals("Client") ? new AppConfigurationEntry[] {entry} : null;
            }
        });
        System.setProperty("java.security.auth.login.config", "set in the program");
        frames.clear();
        new ZooKeeper(servers, 30_000, watcher);
        print("sasl", next(SASL));
    }

    // What the above is made of.

    /** Runs a request and prints the frame that it was. What becomes of it does not matter. */
    static void record(String name, int op, Callable<Object> request) throws Exception {
        frames.clear();
        try {
            request.call();
        } catch (KeeperException expected) {
            // The listener has no nodes.
        }
        print(name, next(op));
    }

    static void print(String name, byte[] frame) {
        StringBuilder line = new StringBuilder(name.replace(' ', '_')).append(' ');
        for (byte b : frame) {
            line.append(String.format("%02x", b));
        }
        System.out.println(line);
    }

    /** The next frame with this operation; 0 stands for a handshake. */
    static byte[] next(int op) throws Exception {
        while (true) {
            byte[] frame = frames.poll(30, TimeUnit.SECONDS);
            if (frame == null) {
                throw new IOException("the client sent no request with the code " + op);
            }
            // A handshake has the last zxid where others have the operation.
            boolean isHandshake = frame.length == 49 && ByteBuffer.wrap(frame).getInt(4) == 0;
            if (op == 0 ? isHandshake : !isHandshake && ByteBuffer.wrap(frame).getInt(8) == op) {
                return frame;
            }
        }
    }

    /** Hangs up on the client, which then comes again. */
    static void drop() throws IOException {
        frames.clear();
        synchronized (connections) {
            for (Socket socket : connections) {
                socket.close();
            }
            connections.clear();
        }
    }

    // The listener.

    static void listen(ServerSocket listener) {
        while (true) {
            try {
                Socket socket = listener.accept();
                socket.setTcpNoDelay(true);
                synchronized (connections) {
                    connections.add(socket);
                }
                Thread thread = new Thread(() -> serve(socket));
                thread.setDaemon(true);
                thread.start();
            } catch (IOException closed) {
                return;
            }
        }
    }

    static void serve(Socket socket) {
        try (socket) {
            DataInputStream in = new DataInputStream(socket.getInputStream());
            DataOutputStream out = new DataOutputStream(socket.getOutputStream());
            take(in);
            // A short time-out, so that a ping is soon due.
            ByteBuffer accepted = ByteBuffer.allocate(37);
            accepted.putInt(0).putInt(4_000).putLong(0x0102030405060708L).putInt(16);
            send(out, accepted);
            while (true) {
                ByteBuffer request = ByteBuffer.wrap(take(in)).position(4);
                int xid = request.getInt();
                int op = request.getInt();
                send(out, answer(xid, op));
            }
        } catch (EOFException gone) {
            // The client has hung up.
        } catch (IOException gone) {
            // Or was hung up on.
        }
    }

    static ByteBuffer answer(int xid, int op) {
        boolean isFine = op == PING || op == AUTH || op == CLOSE || op == SET_WATCHES
            || op == SET_WATCHES2 || READS.contains(op);
        // Behind the header: data or names that are empty, and a stat of zeros. No node is there.
        ByteBuffer answer = ByteBuffer.allocate(READS.contains(op) ? 16 + 4 + 68 : 16);
        return answer.putInt(xid).putLong(7).putInt(isFine ? 0 : -101);
    }

    static byte[] take(DataInputStream in) throws IOException {
        int len = in.readInt();
        ByteBuffer frame = ByteBuffer.allocate(4 + len).putInt(len);
        in.readFully(frame.array(), 4, len);
        frames.add(frame.array());
        return frame.array();
    }

    static void send(DataOutputStream out, ByteBuffer frame) throws IOException {
        out.writeInt(frame.array().length);
        out.write(frame.array());
        out.flush();
    }
}
