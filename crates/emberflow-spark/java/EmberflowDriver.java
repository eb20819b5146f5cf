// The part of emberflow that runs in Spark's driver and executors.
//
// The Rust program starts this through spark-submit and talks to it in frames over standard input and output. It knows
// stages, stores and pieces, and nothing of what is in them: for each task it takes the Rust program once more, as a
// worker process, gives it the stage and the pieces that the task reads, and takes the pieces that it makes. Spark schedules,
// shuffles, keeps, repeats and recovers.

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collections;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedDeque;

import org.apache.spark.ExceptionFailure;
import org.apache.spark.Partitioner;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkEnv;
import org.apache.spark.SparkFiles;
import org.apache.spark.TaskContext;
import org.apache.spark.TaskKilledException;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerJobStart;
import org.apache.spark.scheduler.SparkListenerStageCompleted;
import org.apache.spark.scheduler.SparkListenerTaskEnd;
import org.apache.spark.storage.StorageLevel;
import org.apache.spark.util.AccumulatorV2;
import org.apache.spark.util.TaskCompletionListener;
import scala.Option;
import scala.Tuple2;

public final class EmberflowDriver {
    /** A message: a tag, two numbers, bytes. The same on the link to the Rust program and on those to workers. */
    static final class Frame {
        static final int HEAD = 17;

        final byte tag;
        final int a;
        final int b;
        final byte[] bytes;

        Frame(char tag, int a, int b, byte[] bytes) {
            this.tag = (byte) tag;
            this.a = a;
            this.b = b;
            this.bytes = bytes;
        }

        static Frame read(DataInputStream in) throws IOException {
            byte[] head = new byte[HEAD];
            int first = in.read();
            if (first < 0) {
                return null;
            }
            head[0] = (byte) first;
            in.readFully(head, 1, HEAD - 1);
            ByteBuffer fields = ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN);
            char tag = (char) fields.get();
            int a = fields.getInt();
            int b = fields.getInt();
            byte[] bytes = new byte[Math.toIntExact(fields.getLong())];
            in.readFully(bytes);
            return new Frame(tag, a, b, bytes);
        }

        void write(OutputStream out) throws IOException {
            ByteBuffer head = ByteBuffer.allocate(HEAD).order(ByteOrder.LITTLE_ENDIAN);
            head.put(tag).putInt(a).putInt(b).putLong(bytes.length);
            out.write(head.array());
            out.write(bytes);
        }
    }

    private static final byte[] NOTHING = new byte[0];

    /** The reader of a piece that every reader gets. */
    private static final int EVERY_READER = -1;

    /** A piece that a task has made, or its value. */
    static final class Piece implements Serializable {
        final int reader;
        final byte[] bytes;

        Piece(int reader, byte[] bytes) {
            this.reader = reader;
            this.bytes = bytes;
        }
    }

    /** A piece on its way to a task: the number of the store among those of the stage, and the partition of the store. */
    static final class Arriving implements Serializable {
        final int store;
        final int partition;
        final byte[] bytes;

        Arriving(int store, int partition, byte[] bytes) {
            this.store = store;
            this.partition = partition;
            this.bytes = bytes;
        }
    }

    /** The order in which a task gets its pieces: by store, by the partition that made them, as they were made. */
    static final class Place implements Serializable, Comparable<Place> {
        final int task;
        final int store;
        final int partition;
        final int number;

        Place(int task, int store, int partition, int number) {
            this.task = task;
            this.store = store;
            this.partition = partition;
            this.number = number;
        }

        @Override
        public int compareTo(Place other) {
            int order = Integer.compare(task, other.task);
            order = order != 0 ? order : Integer.compare(store, other.store);
            order = order != 0 ? order : Integer.compare(partition, other.partition);
            return order != 0 ? order : Integer.compare(number, other.number);
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Place && compareTo((Place) other) == 0;
        }

        @Override
        public int hashCode() {
            return ((task * 31 + store) * 31 + partition) * 31 + number;
        }
    }

    static final class ByTask extends Partitioner {
        private final int tasks;

        ByTask(int tasks) {
            this.tasks = tasks;
        }

        @Override
        public int numPartitions() {
            return tasks;
        }

        @Override
        public int getPartition(Object place) {
            return ((Place) place).task;
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof ByTask && ((ByTask) other).tasks == tasks;
        }

        @Override
        public int hashCode() {
            return tasks;
        }
    }

    /** A store that a stage reads. */
    static final class Input implements Serializable {
        long store;
        boolean shuffle;
        /** For each reader, or for each partition of a persisted RDD, the tasks that read it; null: its own alone. */
        int[][] tasks;
    }

    /** A stage, as tasks need it. */
    static final class Stage implements Serializable {
        long store;
        int kind;
        int partitions;
        byte[] order;
        Input[] inputs;
        /** The numbers of map outputs of the shuffles among the inputs. */
        int[] maps;
        Broadcast<byte[]> plan;
        String program;
        Additions additions;
    }

    /** What the task of a partition has added to accumulators of the Rust program: messages with their ids. */
    static final class Addition implements Serializable {
        final long store;
        final int partition;
        final long[] accumulators;
        final byte[][] updates;

        Addition(long store, int partition, List<Frame> frames) {
            this.store = store;
            this.partition = partition;
            accumulators = frames.stream().mapToLong(frame -> (frame.a & 0xffffffffL) | (long) frame.b << 32).toArray();
            updates = frames.stream().map(frame -> frame.bytes).toArray(byte[][]::new);
        }
    }

    /**
     * The additions of tasks on their way to the driver. Those of an attempt that fails are sent, too: a partition that it
     * had computed before may be kept, and the next attempt then reads it.
     */
    static final class Additions extends AccumulatorV2<Addition, Integer> {
        /** Heartbeats write it while tasks add to it. */
        private final List<Addition> list = Collections.synchronizedList(new ArrayList<>());

        @Override
        public boolean isZero() {
            return list.isEmpty();
        }

        @Override
        public Additions copy() {
            Additions copy = new Additions();
            synchronized (list) {
                copy.list.addAll(list);
            }
            return copy;
        }

        @Override
        public void reset() {
            list.clear();
        }

        @Override
        public void add(Addition addition) {
            list.add(addition);
        }

        @Override
        public void merge(AccumulatorV2<Addition, Integer> other) {
            list.addAll(((Additions) other).copy().list);
        }

        /** Their number: the page and the event log of Spark show it. */
        @Override
        public Integer value() {
            return list.size();
        }

        List<Addition> takeAll() {
            synchronized (list) {
                List<Addition> all = new ArrayList<>(list);
                list.clear();
                return all;
            }
        }
    }

    /** The additions of each partition of a store: those of the first attempt that tells of it, until a job takes them. */
    private static final class Counted {
        private static final Addition TAKEN = null;

        private final Map<Long, Map<Integer, Addition>> stores = new TreeMap<>();

        synchronized void note(List<Addition> additions) {
            for (Addition addition : additions) {
                Map<Integer, Addition> partitions = stores.computeIfAbsent(addition.store, store -> new TreeMap<>());
                if (!partitions.containsKey(addition.partition)) {
                    partitions.put(addition.partition, addition);
                }
            }
        }

        /** In the order of partitions. */
        synchronized List<Addition> take(long store) {
            List<Addition> taken = new ArrayList<>();
            stores.getOrDefault(store, Collections.emptyMap()).replaceAll((partition, addition) -> {
                if (addition != TAKEN) {
                    taken.add(addition);
                }
                return TAKEN;
            });
            return taken;
        }

        synchronized void forget(long store) {
            stores.remove(store);
        }
    }

    private static final int PERSIST = 1;

    /** Milliseconds between two tries to cancel a job. */
    private static final long CANCEL_AGAIN = 50;

    private final JavaSparkContext spark;
    private final OutputStream toRust;
    private final Map<Long, JavaRDD<Piece>> stores = new ConcurrentHashMap<>();
    private final Set<Integer> running = ConcurrentHashMap.newKeySet();
    private final Failures failures = new Failures();
    private final Additions additions = new Additions();
    private final Counted counted = new Counted();
    private String program;

    private EmberflowDriver(JavaSparkContext spark, OutputStream toRust) {
        this.spark = spark;
        this.toRust = toRust;
        spark.sc().addSparkListener(failures);
        additions.register(spark.sc(), Option.empty(), true);
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
        if (!conf.get("spark.master").matches("local(\\[.*)?")) {
            giveMemory(conf);
        }
        try (JavaSparkContext spark = new JavaSparkContext(conf)) {
            EmberflowDriver driver = new EmberflowDriver(spark, out);
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

    private static final String WORKERS_BUDGET = "spark.emberflow.workersBudget";
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
                JavaRDD<Piece> store = stores.remove(released);
                if (store != null) {
                    store.unpersist(false);
                }
                counted.note(additions.takeAll());
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
        stage.additions = additions;
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
            stage.maps[at] = stores.get(input.store).getNumPartitions();
        }
        JavaRDD<Piece> pieces = build(stage);
        if (stage.kind == PERSIST) {
            pieces.persist(StorageLevel.MEMORY_AND_DISK());
        }
        stores.put(stage.store, pieces);
    }

    /** The pieces that the tasks of a stage make. */
    private JavaRDD<Piece> build(Stage stage) {
        if (stage.partitions == 0) {
            return spark.emptyRDD();
        }
        JavaRDD<Arriving> inputs = null;
        JavaPairRDD<Place, byte[]> shuffled = null;
        for (int at = 0; at < stage.inputs.length; at++) {
            Input input = stage.inputs[at];
            JavaRDD<Piece> from = stores.get(input.store);
            boolean inPlace = !input.shuffle && input.tasks == null && from.getNumPartitions() == stage.partitions;
            int store = at;
            if (inPlace) {
                JavaRDD<Arriving> kept =
                    from.mapPartitionsWithIndex((partition, pieces) -> arriving(store, partition, pieces), true);
                inputs = inputs == null ? kept : inputs.zipPartitions(kept, EmberflowDriver::after);
            } else {
                int tasks = stage.partitions;
                JavaPairRDD<Place, byte[]> sent = JavaPairRDD.fromJavaRDD(from.mapPartitionsWithIndex(
                    (partition, pieces) -> placed(store, partition, input, tasks, pieces), true));
                shuffled = shuffled == null ? sent : shuffled.union(sent);
            }
        }
        if (shuffled != null) {
            JavaRDD<Arriving> sorted = shuffled
                .repartitionAndSortWithinPartitions(new ByTask(stage.partitions))
                .map(piece -> new Arriving(piece._1.store, piece._1.partition, piece._2));
            inputs = inputs == null ? sorted : sorted.zipPartitions(inputs, EmberflowDriver::after);
        }
        if (inputs == null) {
            inputs = spark.parallelize(Collections.<Arriving>emptyList(), stage.partitions);
        }
        // Spark may compute a partition inside of another stage's task: its number is not that of the task.
        return inputs.mapPartitionsWithIndex((partition, arriving) -> new Task(stage, partition, arriving), true);
    }

    private static Iterator<Arriving> arriving(int store, int partition, Iterator<Piece> pieces) {
        return new Iterator<Arriving>() {
            @Override
            public boolean hasNext() {
                return pieces.hasNext();
            }

            @Override
            public Arriving next() {
                return new Arriving(store, partition, pieces.next().bytes);
            }
        };
    }

    private static Iterator<Arriving> after(Iterator<Arriving> first, Iterator<Arriving> second) {
        return new Iterator<Arriving>() {
            @Override
            public boolean hasNext() {
                return first.hasNext() || second.hasNext();
            }

            @Override
            public Arriving next() {
                return first.hasNext() ? first.next() : second.next();
            }
        };
    }

    /** Each piece once for each task that reads it. */
    private static Iterator<Tuple2<Place, byte[]>> placed(
            int store, int partition, Input input, int tasks, Iterator<Piece> pieces) {
        return new Iterator<Tuple2<Place, byte[]>>() {
            private final ArrayDeque<Tuple2<Place, byte[]>> waiting = new ArrayDeque<>();
            private int number = 0;

            @Override
            public boolean hasNext() {
                while (waiting.isEmpty() && pieces.hasNext()) {
                    Piece piece = pieces.next();
                    if (!input.shuffle) {
                        give(piece, partition);
                    } else if (piece.reader == EVERY_READER) {
                        for (int task : everyTask()) {
                            waiting.add(new Tuple2<>(new Place(task, store, partition, number), piece.bytes));
                        }
                    } else {
                        give(piece, piece.reader);
                    }
                    number++;
                }
                return !waiting.isEmpty();
            }

            private void give(Piece piece, int reader) {
                if (input.tasks == null) {
                    waiting.add(new Tuple2<>(new Place(reader, store, partition, number), piece.bytes));
                } else if (reader < input.tasks.length) {
                    for (int task : input.tasks[reader]) {
                        waiting.add(new Tuple2<>(new Place(task, store, partition, number), piece.bytes));
                    }
                }
            }

            private List<Integer> everyTask() {
                Set<Integer> all = new TreeSet<>();
                if (input.tasks == null) {
                    for (int task = 0; task < tasks; task++) {
                        all.add(task);
                    }
                } else {
                    for (int[] readers : input.tasks) {
                        for (int task : readers) {
                            all.add(task);
                        }
                    }
                }
                return new ArrayList<>(all);
            }

            @Override
            public Tuple2<Place, byte[]> next() {
                if (!hasNext()) {
                    throw new NoSuchElementException();
                }
                return waiting.remove();
            }
        };
    }

    /** The failures of tasks, by the group of their job. One that would only repeat itself ends the job at once. */
    private final class Failures extends SparkListener {
        private final Map<Integer, String> groups = new ConcurrentHashMap<>();
        private final Map<String, List<String>> failures = new ConcurrentHashMap<>();

        @Override
        public void onJobStart(SparkListenerJobStart job) {
            String group = job.properties().getProperty("spark.jobGroup.id");
            if (group != null) {
                scala.collection.Iterator<Object> stages = job.stageIds().iterator();
                while (stages.hasNext()) {
                    groups.put((Integer) stages.next(), group);
                }
            }
        }

        @Override
        public void onStageCompleted(SparkListenerStageCompleted stage) {
            groups.remove(stage.stageInfo().stageId());
        }

        @Override
        public void onTaskEnd(SparkListenerTaskEnd task) {
            String group = groups.get(task.stageId());
            if (group == null || !(task.reason() instanceof ExceptionFailure)) {
                return;
            }
            String text = ((ExceptionFailure) task.reason()).description();
            failures.computeIfAbsent(group, one -> Collections.synchronizedList(new ArrayList<>())).add(text);
            if (text.contains(FAILED_FOR_GOOD)) {
                spark.cancelJobGroup(group);
            }
        }

        /** Takes those of a group. */
        List<String> of(String group) {
            List<String> found = failures.remove(group);
            return found == null ? Collections.emptyList() : new ArrayList<>(found);
        }
    }

    private static String groupOf(int job) {
        return "emberflow-" + job;
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
                JavaRDD<Piece> values = stores.remove(result);
                List<Piece>[] found = values.collectPartitions(wanted);
                counted.note(additions.takeAll());
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
                send(new Frame('E', job, 0, NOTHING));
            } catch (Exception error) {
                running.remove(job);
                // Of all attempts, as far as they are known by now; the last one stands in the error, too.
                String told = String.join("\n", failures.of(groupOf(job))) + "\n" + error.getMessage();
                send(new Frame('X', job, 0, told.getBytes(StandardCharsets.UTF_8)));
            }
        } catch (IOException gone) {
            // The Rust program has ended. So does the loop that reads from it.
        } finally {
            counted.note(additions.takeAll());
            counted.forget(result);
        }
    }

    private void tellAdditions(int job, long store) throws IOException {
        for (Addition addition : counted.take(store)) {
            for (int at = 0; at < addition.updates.length; at++) {
                byte[] update = addition.updates[at];
                ByteBuffer told = ByteBuffer.allocate(16 + update.length).order(ByteOrder.LITTLE_ENDIAN);
                told.putLong(store).putLong(addition.accumulators[at]).put(update);
                send(new Frame('A', job, addition.partition, told.array()));
            }
        }
    }

    /** The beginning of a failure in a text: of one that may be tried again, and of one that would only repeat itself. */
    private static final String FAILED = "<emberflow:again:";
    private static final String FAILED_FOR_GOOD = "<emberflow:never:";

    /** A failure that the Rust program understands, with its text for people. */
    static final class TaskFailed extends RuntimeException {
        TaskFailed(Stage stage, int partition, int attempt, boolean again, byte[] failure, String text) {
            super((again ? FAILED : FAILED_FOR_GOOD) + stage.store + ":" + partition + ":" + attempt + ":"
                + Base64.getEncoder().encodeToString(failure) + "> " + text);
        }
    }

    /** The Rust program as a worker. It runs one task at a time, and as many as there are, one after the other. */
    static final class Worker {
        private static final int LAST_LINES = 50;
        private static final int BUFFER = 1 << 16;

        /** Workers of this process that wait for a task. They end with it, where their input does. */
        private static final Deque<Worker> IDLE = new ConcurrentLinkedDeque<>();

        private final String program;
        private final Process process;
        private final DataInputStream from;
        private final OutputStream to;
        private final ArrayDeque<String> lines = new ArrayDeque<>();
        private final Thread listener;
        /** The store of the stage that it has. */
        private long stage = -1;

        private Worker(String program) throws IOException {
            this.program = program;
            ProcessBuilder builder = new ProcessBuilder(SparkFiles.get(program));
            builder.environment().put("EMBERFLOW_WORKER", "pipes");
            SparkConf conf = SparkEnv.get().conf();
            if (conf.contains(WORKERS_BUDGET)) {
                int cores = conf.getInt("spark.executor.cores", Runtime.getRuntime().availableProcessors());
                int slots = Math.max(1, cores / conf.getInt("spark.task.cpus", 1));
                long share = Long.parseLong(conf.get(WORKERS_BUDGET)) / slots;
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

        private void give(Stage stage, int partition, int attempt, Iterator<Arriving> inputs) throws IOException {
            if (this.stage != stage.store) {
                new Frame('P', 0, 0, stage.plan.value()).write(to);
                this.stage = stage.store;
            }
            new Frame('T', partition, attempt, stage.order).write(to);
            for (int at = 0; at < stage.inputs.length; at++) {
                if (stage.inputs[at].shuffle) {
                    new Frame('S', at, stage.maps[at], NOTHING).write(to);
                }
            }
            while (inputs.hasNext()) {
                Arriving piece = inputs.next();
                new Frame('B', piece.store, piece.partition, piece.bytes).write(to);
            }
            new Frame('G', 0, 0, NOTHING).write(to);
            to.flush();
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

        private RuntimeException died(Exception cause) {
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

    /** One task. Gives the pieces that it makes. */
    static final class Task implements Iterator<Piece> {
        private final TaskContext context = TaskContext.get();
        private final Stage stage;
        private final int partition;
        private final Worker worker;
        private final List<Frame> updates = new ArrayList<>();
        private Piece next;
        private boolean over = false;

        Task(Stage stage, int partition, Iterator<Arriving> inputs) throws IOException {
            this.stage = stage;
            this.partition = partition;
            worker = Worker.take(stage.program);
            // Whatever ends the task before its worker has ended it, also ends the worker.
            TaskCompletionListener kill = ended -> {
                if (!over) {
                    worker.process.destroyForcibly();
                }
            };
            context.addTaskCompletionListener(kill);
            try {
                worker.give(stage, partition, attempt(), inputs);
            } catch (IOException broken) {
                throw worker.died(broken);
            }
        }

        private int attempt() {
            return context.attemptNumber() + 1;
        }

        @Override
        public boolean hasNext() {
            try {
                while (next == null && !over) {
                    read();
                }
            } catch (IOException broken) {
                throw worker.died(broken);
            }
            return next != null;
        }

        private void read() throws IOException {
            Frame frame = Frame.read(worker.from);
            if (frame == null) {
                throw new EOFException();
            }
            if (context.isInterrupted()) {
                throw new TaskKilledException();
            }
            switch (frame.tag) {
                case 'W':
                    break;
                case 'D':
                    next = new Piece(frame.a, frame.bytes);
                    break;
                case 'R':
                    next = new Piece(0, frame.bytes);
                    break;
                case 'A':
                    updates.add(frame);
                    break;
                case 'E':
                    if (!updates.isEmpty()) {
                        stage.additions.add(new Addition(stage.store, partition, updates));
                    }
                    end();
                    break;
                case 'X':
                    end();
                    int length = (int) ByteBuffer.wrap(frame.bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
                    String text = new String(frame.bytes, 8, length, StandardCharsets.UTF_8);
                    throw new TaskFailed(stage, partition, attempt(), frame.a != 0, frame.bytes, text);
                default:
                    throw new IOException("a message with the unknown tag " + frame.tag);
            }
        }

        private void end() {
            over = true;
            Worker.IDLE.push(worker);
        }

        @Override
        public Piece next() {
            if (!hasNext()) {
                throw new NoSuchElementException();
            }
            Piece piece = next;
            next = null;
            return piece;
        }
    }
}
