// The Rust program as a worker process.

package emberflow;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.concurrent.ConcurrentLinkedDeque;

import org.apache.spark.SparkConf;
import org.apache.spark.SparkEnv;
import org.apache.spark.SparkFiles;

/** The Rust program as a worker. It runs one task at a time, and as many as there are, one after the other. */
final class Worker {
    private static final int LAST_LINES = 50;
    private static final int BUFFER = 1 << 16;

    /** By this variable Spark gives executors the secret of the cluster, which is not the Rust program's business. */
    private static final String SECRET = "_SPARK_AUTH_SECRET";

    /** Workers of this process that wait for a task. They end with it, where their input does. */
    private static final Deque<Worker> IDLE = new ConcurrentLinkedDeque<>();

    private final String program;
    final Process process;
    final DataInputStream from;
    private final OutputStream to;
    private final ArrayDeque<String> lines = new ArrayDeque<>();
    private final Thread listener;
    /** The store of the stage that it has. */
    private long stage = -1;

    private Worker(String program) throws IOException {
        this.program = program;
        ProcessBuilder builder = new ProcessBuilder(SparkFiles.get(program));
        builder.environment().put("EMBERFLOW_WORKER", "pipes");
        builder.environment().remove(SECRET);
        SparkConf conf = SparkEnv.get().conf();
        if (conf.contains(Driver.WORKERS_BUDGET)) {
            int cores = conf.getInt("spark.executor.cores", Runtime.getRuntime().availableProcessors());
            int slots = Math.max(1, cores / conf.getInt("spark.task.cpus", 1));
            long share = Long.parseLong(conf.get(Driver.WORKERS_BUDGET)) / slots;
            builder.environment().putIfAbsent("EMBERFLOW_MEMORY_BUDGET", Long.toString(share));
        }
        process = builder.start();
        from = new DataInputStream(new BufferedInputStream(process.getInputStream(), BUFFER));
        to = new BufferedOutputStream(process.getOutputStream(), BUFFER);
        listener = new Thread(this::listen, "emberflow-worker-errors");
        listener.setDaemon(true);
        listener.start();
    }

    static Worker take(String program) throws IOException {
        Worker idle;
        while ((idle = IDLE.poll()) != null) {
            if (idle.program.equals(program) && idle.process.isAlive()) {
                return idle;
            }
            idle.process.destroyForcibly();
        }
        return new Worker(program);
    }

    void give(Stage stage, int partition, int attempt, Iterator<Arriving> inputs) throws IOException {
        if (this.stage != stage.store) {
            new Frame('P', 0, 0, stage.plan.value()).write(to);
            this.stage = stage.store;
        }
        new Frame('T', partition, attempt, stage.order).write(to);
        for (int at = 0; at < stage.inputs.length; at++) {
            if (stage.inputs[at].shuffle) {
                new Frame('S', at, stage.maps[at], Frame.NOTHING).write(to);
            }
        }
        while (inputs.hasNext()) {
            Arriving piece = inputs.next();
            new Frame('B', piece.store, piece.partition, piece.bytes).write(to);
        }
        new Frame('G', 0, 0, Frame.NOTHING).write(to);
        to.flush();
    }

    /** It waits for its next task. */
    void rest() {
        IDLE.push(this);
    }

    private void listen() {
        InputStream errors = process.getErrorStream();
        try (BufferedReader reader = new BufferedReader(new InputStreamReader(errors, StandardCharsets.UTF_8))) {
            String line;
            while ((line = reader.readLine()) != null) {
                System.err.println(line);
                synchronized (lines) {
                    lines.add(line);
                    if (lines.size() > LAST_LINES) {
                        lines.remove();
                    }
                }
            }
        } catch (IOException closed) {
            // The process has ended.
        }
    }

    RuntimeException died(Exception cause) {
        process.destroyForcibly();
        try {
            int status = process.waitFor();
            listener.join(1000);
            synchronized (lines) {
                String how = status > 128 ? "signal " + (status - 128) : "status " + status;
                return new RuntimeException("the worker process died (" + how + "): " + String.join("\n", lines), cause);
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            return new RuntimeException(interrupted);
        }
    }
}
