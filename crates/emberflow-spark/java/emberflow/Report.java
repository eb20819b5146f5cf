// What tasks that have succeeded tell the driver.

package emberflow;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;

import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.apache.spark.util.AccumulatorV2;

/** A task that has succeeded: where, when, and what it has added to accumulators of the Rust program, with their ids. */
final class Report implements Serializable {
    final String group = TaskContext.get().getLocalProperty(Driver.GROUP);
    final String worker;
    final long store;
    final int partition;
    final int attempt;
    final long began;
    final long nanos;
    final long bytes;
    /** The Rust program's own account of rows and reads. */
    final byte[] account;
    final long[] accumulators;
    final byte[][] updates;

    Report(Task task, byte[] account) {
        worker = SparkEnv.get().executorId() + "/" + task.worker.process.pid();
        store = task.stage.store;
        partition = task.partition;
        attempt = task.attempt();
        began = task.began;
        nanos = System.nanoTime() - task.beganNanos;
        bytes = task.bytes;
        this.account = account;
        List<Frame> frames = task.updates;
        accumulators = frames.stream().mapToLong(frame -> (frame.a & 0xffffffffL) | (long) frame.b << 32).toArray();
        updates = frames.stream().map(frame -> frame.bytes).toArray(byte[][]::new);
    }
}

/**
 * The reports of tasks on their way to the driver. Those within an attempt of Spark's that fails are sent, too: a
 * partition that it had computed before may be kept, and the next attempt then reads it.
 */
final class Reports extends AccumulatorV2<Report, Integer> {
    /** Heartbeats write it while tasks add to it. */
    private final List<Report> list = Collections.synchronizedList(new ArrayList<>());
    /** Takes them in the driver. */
    transient Consumer<Report> arrived;

    @Override
    public boolean isZero() {
        return list.isEmpty();
    }

    @Override
    public Reports copy() {
        Reports copy = new Reports();
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
    public void add(Report report) {
        list.add(report);
    }

    @Override
    public void merge(AccumulatorV2<Report, Integer> other) {
        ((Reports) other).copy().list.forEach(arrived);
    }

    /** Their number: the page and the event log of Spark show it. */
    @Override
    public Integer value() {
        return list.size();
    }
}

/** The reports with additions of each partition of a store: the first that tells of it, until a job takes it. */
final class Counted {
    private static final Report TAKEN = null;

    private final Map<Long, Map<Integer, Report>> stores = new TreeMap<>();

    synchronized void note(Report report) {
        if (report.updates.length == 0) {
            return;
        }
        Map<Integer, Report> partitions = stores.computeIfAbsent(report.store, store -> new TreeMap<>());
        if (!partitions.containsKey(report.partition)) {
            partitions.put(report.partition, report);
        }
    }

    /** In the order of partitions. */
    synchronized List<Report> take(long store) {
        List<Report> taken = new ArrayList<>();
        stores.getOrDefault(store, Collections.emptyMap()).replaceAll((partition, report) -> {
            if (report != TAKEN) {
                taken.add(report);
            }
            return TAKEN;
        });
        return taken;
    }

    synchronized void forget(long store) {
        stores.remove(store);
    }
}
