// What tasks need of a stage of the Rust program.

package emberflow;

import java.io.Serializable;

import org.apache.spark.broadcast.Broadcast;

/** A stage, as tasks need it. */
final class Stage implements Serializable {
    /** The kind of a stage whose pieces are kept. */
    static final int PERSIST = 1;

    long store;
    int kind;
    int partitions;
    byte[] order;
    Input[] inputs;
    /** The numbers of map outputs of the shuffles among the inputs. */
    int[] maps;
    Broadcast<byte[]> plan;
    String program;
    Reports reports;
}

/** A store that a stage reads. */
final class Input implements Serializable {
    long store;
    boolean shuffle;
    /** For each reader, or for each partition of a persisted RDD, the tasks that read it; null: its own alone. */
    int[][] tasks;
}
