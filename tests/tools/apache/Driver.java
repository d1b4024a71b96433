import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.*;
import java.lang.reflect.InvocationTargetException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.common.utils.Time;

/**
 * Runs Apache's tools, and the broker and ZooKeeper they ask, inside one JVM: a start of the JVM for
 * each of several hundred commands would take longer than all of them.
 *
 * One JSON object a line on standard input, one a line in answer:
 *   {"zookeeper": PORT, "dir": DIR}                         a ZooKeeper on that port
 *   {"broker": {"broker.id": "1", ...}}                     a broker with these properties
 *   {"stop": true}                                          every broker stops
 *   {"main": CLASS, "args": [...], "stdin": TEXT}           -> {"stdout", "stderr", "code"}
 */
public class Driver {
    /** What a tool meets instead of the end of the JVM. */
    static final class Ended extends Error {
        final int code;
        Ended(int code) { super(null, null, false, false); this.code = code; }
    }

    /** A stream whose end can be moved: Scala's Console holds on to the first one it sees. */
    static final class Movable extends OutputStream {
        volatile OutputStream to;
        Movable(OutputStream to) { this.to = to; }
        @Override public void write(int one) throws IOException { to.write(one); }
        @Override public void write(byte[] bytes, int from, int length) throws IOException { to.write(bytes, from, length); }
        @Override public void flush() throws IOException { to.flush(); }
    }

    static final ObjectMapper JSON = new ObjectMapper();
    static final List<Object> BROKERS = new ArrayList<>();
    static final List<Runnable> HOOKS = new CopyOnWriteArrayList<>();
    static volatile Integer ended;
    static volatile boolean over;
    static Runnable muted = () -> { };

    static Void end(int code) {
        if (ended == null) {
            ended = code;
            System.out.flush();
            System.err.flush();
            // What catches our throwable and complains would not have run after a true end.
            muted.run();
        }
        throw new Ended(code);
    }

    public static void main(String[] words) throws Exception {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8");
        OutputStream noise = new FileOutputStream(FileDescriptor.err);
        Movable out = new Movable(noise), err = new Movable(noise);
        System.setOut(new PrintStream(out, true, "UTF-8"));
        System.setErr(new PrintStream(err, true, "UTF-8"));
        // argparse4j ends the JVM itself where a command line makes no sense.
        java.security.Policy.setPolicy(new java.security.Policy() {
            @Override public boolean implies(java.security.ProtectionDomain any, java.security.Permission every) { return true; }
        });
        System.setSecurityManager(new SecurityManager() {
            @Override public void checkPermission(java.security.Permission any) { }
            @Override public void checkExit(int code) { if (!over) end(code); }
        });
        Exit.setExitProcedure((code, message) -> end(code));
        Exit.setHaltProcedure((code, message) -> end(code));
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        try {
            org.apache.zookeeper.util.ServiceUtils.setSystemExitProcedure(Driver::end);
        } catch (NoClassDefFoundError older) {
            // Kafka 2.8's ZooKeeper has no such door, and none of its shell is asked here.
        }
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = requests.readLine()) != null; ) {
            JsonNode request = JSON.readTree(line);
            ObjectNode answer = JSON.createObjectNode();
            try {
                if (request.has("zookeeper")) zookeeper(request);
                else if (request.has("broker")) broker(request.get("broker"));
                else if (request.has("stop")) stop();
                else run(request, answer, out, err, noise);
            } catch (Throwable failed) {
                failed.printStackTrace(new PrintStream(noise, true));
                answer.put("failed", String.valueOf(failed));
            }
            answers.println(JSON.writeValueAsString(answer));
        }
        stop();
        over = true;
        Runtime.getRuntime().halt(0);
    }

    static void zookeeper(JsonNode request) throws Exception {
        File dir = new File(request.get("dir").asText());
        var server = new org.apache.zookeeper.server.ZooKeeperServer(dir, dir, 2000);
        var door = org.apache.zookeeper.server.ServerCnxnFactory.createFactory();
        door.configure(new InetSocketAddress("127.0.0.1", request.get("zookeeper").asInt()), 0);
        door.startup(server);
    }

    static void broker(JsonNode properties) {
        Properties set = new Properties();
        properties.fields().forEachRemaining(one -> set.put(one.getKey(), one.getValue().asText()));
        var config = kafka.server.KafkaConfig.fromProps(set);
        var broker = new kafka.server.KafkaServer(config, Time.SYSTEM, scala.Option.empty(), false);
        broker.startup();
        BROKERS.add(broker);
    }

    static void stop() {
        for (int at = BROKERS.size() - 1; at >= 0; at--) ((kafka.server.KafkaServer) BROKERS.get(at)).shutdown();
        BROKERS.clear();
    }

    /** What the tool left with the JVM itself, taken from it. */
    static Collection<Thread> runtimeHooks() throws Exception {
        var field = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
        field.setAccessible(true);
        var hooks = new ArrayList<Thread>();
        for (Object hook : ((Map<?, ?>) field.get(null)).keySet()) {
            // Others, a logging library's, stay.
            if (((Thread) hook).getName().startsWith("verifiable")) hooks.add((Thread) hook);
        }
        for (Thread hook : hooks) Runtime.getRuntime().removeShutdownHook(hook);
        return hooks;
    }

    static void run(JsonNode request, ObjectNode answer, Movable out, Movable err, OutputStream noise) throws Exception {
        List<String> args = new ArrayList<>();
        request.get("args").forEach(one -> args.add(one.asText()));
        var said = new ByteArrayOutputStream();
        var complained = new ByteArrayOutputStream();
        System.setIn(new ByteArrayInputStream(request.path("stdin").asText("").getBytes(StandardCharsets.UTF_8)));
        HOOKS.clear();
        ended = null;
        var code = new CompletableFuture<Integer>();
        Thread main = new Thread(() -> {
            try {
                Class.forName(request.get("main").asText())
                    .getMethod("main", String[].class).invoke(null, (Object) args.toArray(new String[0]));
                code.complete(0);
            } catch (InvocationTargetException failed) {
                if (!(failed.getCause() instanceof Ended)) {
                    System.err.print("Exception in thread \"main\" ");
                    failed.getCause().printStackTrace();
                }
                code.complete(failed.getCause() instanceof Ended ? ((Ended) failed.getCause()).code : 1);
            } catch (Throwable failed) {
                failed.printStackTrace();
                code.complete(-3);
            }
        }, "main");
        main.setDaemon(true);
        out.to = said;
        err.to = complained;
        muted = () -> { out.to = OutputStream.nullOutputStream(); err.to = OutputStream.nullOutputStream(); };
        try {
            main.start();
            int made;
            try {
                made = code.get(90, TimeUnit.SECONDS);
            } catch (TimeoutException late) {
                made = -2;
                main.interrupt();
            }
            out.to = said;
            err.to = complained;
            HOOKS.addAll(runtimeHooks());
            for (Runnable hook : HOOKS) {
                Thread one = new Thread(() -> { try { hook.run(); } catch (Ended again) { /* it has ended */ } });
                one.setDaemon(true);
                one.start();
                one.join(5_000);
            }
            answer.put("code", ended != null ? ended : made);
        } finally {
            System.out.flush();
            System.err.flush();
            out.to = noise;
            err.to = noise;
        }
        answer.put("stdout", said.toString("UTF-8"));
        answer.put("stderr", complained.toString("UTF-8"));
    }
}
