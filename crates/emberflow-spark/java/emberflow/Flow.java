// Shuffles and persisted RDDs, as Spark's operators.

package emberflow;

import java.io.Serializable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;

import org.apache.spark.Partitioner;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.storage.StorageLevel;
import scala.Tuple2;

/** How pieces get from the tasks of a stage to those of the next one. */
final class Flow {
    /** The reader of a piece that every reader gets. */
    private static final int EVERY_READER = -1;

    private final JavaSparkContext spark;
    /** The pieces of each store. */
    private final Map<Long, JavaRDD<Piece>> stores = new ConcurrentHashMap<>();
    /** Shuffles that several stages may read: those whose readers are tasks each. Spark keeps what it has shuffled once. */
    private final Map<Long, JavaRDD<Arriving>> shuffles = new ConcurrentHashMap<>();

    Flow(JavaSparkContext spark) {
        this.spark = spark;
    }

    void add(Stage stage, String name) {
        JavaRDD<Piece> pieces = build(stage).setName(name);
        if (stage.kind == Stage.PERSIST) {
            pieces.persist(StorageLevel.MEMORY_AND_DISK());
        }
        stores.put(stage.store, pieces);
    }

    int partitions(long store) {
        return stores.get(store).getNumPartitions();
    }

    /** Takes the pieces of a store out: nothing is added that reads them. */
    JavaRDD<Piece> take(long store) {
        shuffles.remove(store);
        return stores.remove(store);
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
                inputs = inputs == null ? kept : inputs.zipPartitions(kept, Flow::after);
                continue;
            }
            int tasks = stage.partitions;
            if (input.shuffle && input.tasks == null) {
                JavaRDD<Arriving> arrived = shuffles
                    .computeIfAbsent(input.store, any -> sorted(sent(0, input, tasks, from), tasks))
                    .map(piece -> new Arriving(store, piece.partition, piece.bytes));
                inputs = inputs == null ? arrived : inputs.zipPartitions(arrived, Flow::after);
                continue;
            }
            JavaPairRDD<Place, byte[]> sent = sent(store, input, tasks, from);
            shuffled = shuffled == null ? sent : shuffled.union(sent);
        }
        if (shuffled != null) {
            JavaRDD<Arriving> arrived = sorted(shuffled, stage.partitions);
            inputs = inputs == null ? arrived : arrived.zipPartitions(inputs, Flow::after);
        }
        if (inputs == null) {
            inputs = spark.parallelize(Collections.<Arriving>emptyList(), stage.partitions);
        }
        // Spark may compute a partition inside of another stage's task: its number is not that of the task.
        return inputs.mapPartitionsWithIndex((partition, arriving) -> new Task(stage, partition, arriving), true);
    }

    /** The pieces of a store as the tasks of a stage get them. */
    private static JavaPairRDD<Place, byte[]> sent(int store, Input input, int tasks, JavaRDD<Piece> from) {
        return JavaPairRDD.fromJavaRDD(from.mapPartitionsWithIndex(
            (partition, pieces) -> placed(store, partition, input, tasks, pieces), true));
    }

    private static JavaRDD<Arriving> sorted(JavaPairRDD<Place, byte[]> sent, int tasks) {
        return sent
            .repartitionAndSortWithinPartitions(new ByTask(tasks))
            .map(piece -> new Arriving(piece._1.store, piece._1.partition, piece._2));
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
}

/** A piece that a task has made, or its value. */
final class Piece implements Serializable {
    final int reader;
    final byte[] bytes;

    Piece(int reader, byte[] bytes) {
        this.reader = reader;
        this.bytes = bytes;
    }
}

/** A piece on its way to a task: the number of the store among those of the stage, and the partition of the store. */
final class Arriving implements Serializable {
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
final class Place implements Serializable, Comparable<Place> {
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

final class ByTask extends Partitioner {
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
