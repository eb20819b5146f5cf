// The part of emberflow that runs in Spark's driver and executors.
//
// The Rust program starts this through spark-submit and talks to it in frames over standard input and output. It knows
// stages, stores and pieces, and nothing of what is in them: for each task it takes the Rust program once more, as a
// worker process, gives it the stage and the pieces that the task reads, and takes the pieces that it makes. Spark schedules,
// shuffles, keeps, repeats and recovers.

package emberflow;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.apache.spark.ExceptionFailure;
import org.apache.spark.SparkConf;
import org.apache.spark.TaskFailedReason;
import org.apache.spark.TaskKilled;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerJobEnd;
import org.apache.spark.scheduler.SparkListenerJobStart;
import org.apache.spark.scheduler.SparkListenerStageCompleted;
import org.apache.spark.scheduler.SparkListenerStageSubmitted;
import org.apache.spark.scheduler.SparkListenerTaskEnd;
import org.apache.spark.storage.RDDInfo;
import scala.Option;

public final class Driver {
    /** Milliseconds between two tries to cancel a job. */
    private static final long CANCEL_AGAIN = 50;

    private final JavaSparkContext spark;
    private final OutputStream toRust;
    private final Flow flow;
    private final Set<Integer> running = ConcurrentHashMap.newKeySet();
    private final Failures failures = new Failures();
    private final Reports reports = new Reports();
    private final Counted counted = new Counted();
    private String program;

    private Driver(JavaSparkContext spark, OutputStream toRust) {
        this.spark = spark;
        flow = new Flow(spark);
        this.toRust = toRust;
        spark.sc().addSparkListener(failures);
        reports.arrived = this::arrived;
        reports.register(spark.sc(), Option.empty(), true);
    }

    public static void main(String[] arguments) throws Exception {
        // Nothing else may write between the frames.
        OutputStream out = new BufferedOutputStream(System.out);
        System.setOut(new PrintStream(System.err, true));
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
        SparkConf conf = new SparkConf();
        if (!conf.get("spark.master").startsWith("local")) {
            String open = unprotected(conf);
            if (open != null) {
                new Frame('N', 0, 0, open.getBytes(StandardCharsets.UTF_8)).write(out);
                out.flush();
                return;
            }
        }
        // Where it is not set, workers belong to executors, which are not on this machine or not alone on it.
        if (System.getenv("EMBERFLOW_MEMORY_BUDGET") == null) {
            giveMemory(conf);
        }
        try (JavaSparkContext spark = new JavaSparkContext(conf)) {
            Driver driver = new Driver(spark, out);
            driver.send(new Frame('H', 0, 0, spark.version().getBytes(StandardCharsets.UTF_8)));
            Frame frame;
            while ((frame = Frame.read(in)) != null) {
                driver.take(frame);
            }
        }
    }

    /** Says why others than the users of a cluster could read or change what goes through it; null if they could not. */
    private static String unprotected(SparkConf conf) {
        if (conf.getBoolean("spark.emberflow.insecure", false)) {
            return null;
        }
        boolean encrypts =
            conf.getBoolean("spark.network.crypto.enabled", false) || conf.getBoolean("spark.ssl.rpc.enabled", false);
        if (conf.getBoolean("spark.authenticate", false) && encrypts) {
            return null;
        }
        return "Spark's connections are open to everybody in its network, and plans are code: set spark.authenticate and "
            + "spark.network.crypto.enabled to true in Spark's properties, or say that you want it so by "
            + "spark.emberflow.insecure = true";
    }

    /** Tells executors how many bytes their workers share. */
    static final String WORKERS_BUDGET = "spark.emberflow.workersBudget";
    private static final String OVERHEAD = "spark.executor.memoryOverhead";
    private static final long LEAST_OVERHEAD = 384L << 20;

    /** Worker processes live beside the heap of their executor: they share as much again, unless told otherwise. */
    private static void giveMemory(SparkConf conf) {
        long heap = conf.getSizeAsBytes("spark.executor.memory", "1g");
        String told = System.getenv("EMBERFLOW_EXECUTOR_BUDGET");
        long budget = told != null ? Long.parseLong(told) : heap;
        conf.set(WORKERS_BUDGET, Long.toString(budget));
        if (!conf.contains(OVERHEAD)) {
            conf.set(OVERHEAD, ((Math.max(LEAST_OVERHEAD, heap / 10) + budget) >> 20) + "m");
        }
    }

    private void send(Frame frame) throws IOException {
        synchronized (toRust) {
            frame.write(toRust);
            toRust.flush();
        }
    }

    private void take(Frame frame) {
        ByteBuffer fields = ByteBuffer.wrap(frame.bytes).order(ByteOrder.LITTLE_ENDIAN);
        switch (frame.tag) {
            case 'F':
                String path = new String(frame.bytes, StandardCharsets.UTF_8);
                spark.addFile(path);
                program = new File(path).getName();
                break;
            case 'S':
                define(fields);
                break;
            case 'J':
                running.add(frame.a);
                Thread job = new Thread(() -> run(frame.a, fields), "emberflow-job-" + frame.a);
                job.setDaemon(true);
                job.start();
                break;
            case 'C':
                Thread cancel = new Thread(() -> cancel(frame.a), "emberflow-cancel-" + frame.a);
                cancel.setDaemon(true);
                cancel.start();
                break;
            case 'U':
                long released = fields.getLong();
                JavaRDD<Piece> store = flow.take(released);
                if (store != null) {
                    store.unpersist(false);
                }
                counted.forget(released);
                break;
            default:
                throw new IllegalStateException("a message with the unknown tag " + frame.tag);
        }
    }

    private static byte[] bytes(ByteBuffer fields) {
        byte[] bytes = new byte[fields.getInt()];
        fields.get(bytes);
        return bytes;
    }

    private static int[] numbers(ByteBuffer fields) {
        int[] numbers = new int[fields.getInt()];
        for (int at = 0; at < numbers.length; at++) {
            numbers[at] = fields.getInt();
        }
        return numbers;
    }

    private void define(ByteBuffer fields) {
        Stage stage = new Stage();
        stage.store = fields.getLong();
        stage.kind = fields.getInt();
        stage.partitions = fields.getInt();
        stage.plan = spark.broadcast(bytes(fields));
        stage.order = bytes(fields);
        stage.program = program;
        stage.reports = reports;
        String text = new String(bytes(fields), StandardCharsets.UTF_8);
        stage.inputs = new Input[fields.getInt()];
        stage.maps = new int[stage.inputs.length];
        for (int at = 0; at < stage.inputs.length; at++) {
            Input input = new Input();
            input.store = fields.getLong();
            input.shuffle = fields.getInt() != 0;
            int readers = fields.getInt();
            if (readers >= 0) {
                input.tasks = new int[readers][];
                for (int reader = 0; reader < readers; reader++) {
                    input.tasks[reader] = numbers(fields);
                }
            }
            stage.inputs[at] = input;
            stage.maps[at] = flow.partitions(input.store);
        }
        flow.add(stage, text + STORE + stage.store);
    }

    /** The failures of tasks, by the group of their job. One that would only repeat itself ends the job at once. */
    private final class Failures extends SparkListener {
        private static final long MOST_SECONDS = 5;

        /** The ends of jobs, by group until they are awaited, and by Spark's number once they have begun. */
        private final Map<String, CountDownLatch> expected = new ConcurrentHashMap<>();
        private final Map<Integer, CountDownLatch> ends = new ConcurrentHashMap<>();
        private final Map<Integer, String> groups = new ConcurrentHashMap<>();
        private final Map<String, List<String>> failures = new ConcurrentHashMap<>();
        /** The store that a stage of Spark's fills, or whose partitions are a result. */
        private final Map<Integer, Long> tops = new ConcurrentHashMap<>();

        @Override
        public void onJobStart(SparkListenerJobStart job) {
            String group = job.properties().getProperty(GROUP);
            if (group != null && expected.containsKey(group)) {
                ends.put(job.jobId(), expected.get(group));
                scala.collection.Iterator<Object> stages = job.stageIds().iterator();
                while (stages.hasNext()) {
                    groups.put((Integer) stages.next(), group);
                }
            }
        }

        @Override
        public void onJobEnd(SparkListenerJobEnd job) {
            CountDownLatch end = ends.remove(job.jobId());
            if (end != null) {
                end.countDown();
            }
        }

        /** Waits until all is told of a job that is over, which Spark's scheduler knows earlier than its listeners. */
        void awaitEnd(String group) throws InterruptedException {
            CountDownLatch end = expected.remove(group);
            // Of a job that could not even be planned, nothing is told.
            if (!end.await(MOST_SECONDS, TimeUnit.SECONDS)) {
                System.err.println("Spark has not told its listeners of the end of " + group);
            }
        }

        @Override
        public void onStageSubmitted(SparkListenerStageSubmitted stage) {
            scala.collection.Iterator<RDDInfo> infos = stage.stageInfo().rddInfos().iterator();
            int last = -1;
            while (infos.hasNext()) {
                RDDInfo info = infos.next();
                int named = info.name() == null ? -1 : info.name().lastIndexOf(STORE);
                if (named >= 0 && info.id() > last) {
                    last = info.id();
                    tops.put(stage.stageInfo().stageId(), Long.valueOf(info.name().substring(named + STORE.length())));
                }
            }
        }

        @Override
        public void onStageCompleted(SparkListenerStageCompleted stage) {
            groups.remove(stage.stageInfo().stageId());
            tops.remove(stage.stageInfo().stageId());
        }

        @Override
        public void onTaskEnd(SparkListenerTaskEnd task) {
            String group = groups.get(task.stageId());
            if (group == null || !(task.reason() instanceof TaskFailedReason) || task.reason() instanceof TaskKilled) {
                return;
            }
            tell(jobOf(group), task);
            if (!(task.reason() instanceof ExceptionFailure)) {
                return;
            }
            String text = ((ExceptionFailure) task.reason()).description();
            failures.computeIfAbsent(group, one -> Collections.synchronizedList(new ArrayList<>())).add(text);
            if (text.contains(TaskFailed.FOR_GOOD)) {
                spark.cancelJobGroup(group);
            }
        }

        private void tell(int job, SparkListenerTaskEnd task) {
            boolean failed = task.reason() instanceof ExceptionFailure;
            String reason = failed
                ? ((ExceptionFailure) task.reason()).description()
                : ((TaskFailedReason) task.reason()).toErrorString();
            byte[] text = reason.getBytes(StandardCharsets.UTF_8);
            ByteBuffer told = ByteBuffer.allocate(12 + text.length).order(ByteOrder.LITTLE_ENDIAN);
            told.putLong(tops.getOrDefault(task.stageId(), -1L)).putInt(task.taskInfo().attemptNumber() + 1).put(text);
            try {
                send(new Frame('Y', job, task.taskInfo().partitionId(), told.array()));
            } catch (IOException gone) {
                // The Rust program has ended. So does the loop that reads from it.
            }
        }

        /** Takes those of a group. */
        List<String> of(String group) {
            List<String> found = failures.remove(group);
            return found == null ? Collections.emptyList() : new ArrayList<>(found);
        }
    }

    static final String GROUP = "spark.jobGroup.id";
    private static final String GROUP_PREFIX = "emberflow-";
    /** Stands in the name of an RDD before the number of its store. */
    private static final String STORE = " in store ";

    private static String groupOf(int job) {
        return GROUP_PREFIX + job;
    }

    private static int jobOf(String group) {
        return Integer.parseInt(group.substring(GROUP_PREFIX.length()));
    }

    /** Cancels a job, which Spark may not have begun yet: so until it is over. */
    private void cancel(int job) {
        try {
            while (running.contains(job)) {
                spark.cancelJobGroup(groupOf(job));
                Thread.sleep(CANCEL_AGAIN);
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private void run(int job, ByteBuffer fields) {
        long result = fields.getLong();
        try {
            try {
                spark.setJobGroup(groupOf(job), new String(bytes(fields), StandardCharsets.UTF_8), true);
                long[] read = new long[fields.getInt()];
                Arrays.setAll(read, at -> fields.getLong());
                int[] wanted = numbers(fields);
                JavaRDD<Piece> values = flow.take(result);
                failures.expected.put(groupOf(job), new CountDownLatch(1));
                List<Piece>[] found;
                try {
                    found = values.collectPartitions(wanted);
                } finally {
                    failures.awaitEnd(groupOf(job));
                }
                for (long store : read) {
                    tellAdditions(job, store);
                }
                tellAdditions(job, result);
                for (int at = 0; at < wanted.length; at++) {
                    for (Piece value : found[at]) {
                        send(new Frame('R', job, wanted[at], value.bytes));
                    }
                }
                running.remove(job);
                send(new Frame('E', job, 0, Frame.NOTHING));
            } catch (Exception error) {
                running.remove(job);
                // Of all attempts; the last one stands in the error, too.
                String told = String.join("\n", failures.of(groupOf(job))) + "\n" + error.getMessage();
                send(new Frame('X', job, 0, told.getBytes(StandardCharsets.UTF_8)));
            }
        } catch (IOException gone) {
            // The Rust program has ended. So does the loop that reads from it.
        } finally {
            counted.forget(result);
        }
    }

    private void tellAdditions(int job, long store) throws IOException {
        for (Report report : counted.take(store)) {
            for (int at = 0; at < report.updates.length; at++) {
                byte[] update = report.updates[at];
                ByteBuffer told = ByteBuffer.allocate(16 + update.length).order(ByteOrder.LITTLE_ENDIAN);
                told.putLong(store).putLong(report.accumulators[at]).put(update);
                send(new Frame('A', job, report.partition, told.array()));
            }
        }
    }

    /** A task has succeeded. Spark's scheduler waits for this. */
    private void arrived(Report report) {
        counted.note(report);
        byte[] worker = report.worker.getBytes(StandardCharsets.UTF_8);
        ByteBuffer told = ByteBuffer.allocate(44 + worker.length + report.account.length).order(ByteOrder.LITTLE_ENDIAN);
        told.putLong(report.store).putInt(report.attempt).putLong(report.began).putLong(report.nanos);
        told.putLong(report.bytes).putInt(worker.length).put(worker);
        told.putInt(report.account.length).put(report.account);
        try {
            send(new Frame('K', jobOf(report.group), report.partition, told.array()));
        } catch (IOException gone) {
            // The Rust program has ended. So does the loop that reads from it.
        }
    }

}
