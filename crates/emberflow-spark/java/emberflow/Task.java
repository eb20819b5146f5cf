// A task of Spark's, which is run by the Rust program as a worker process.

package emberflow;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;

import org.apache.spark.TaskContext;
import org.apache.spark.TaskKilledException;
import org.apache.spark.util.TaskCompletionListener;

/** One task. Gives the pieces that it makes. */
final class Task implements Iterator<Piece> {
    private final TaskContext context = TaskContext.get();
    final Stage stage;
    final int partition;
    final Worker worker;
    final List<Frame> updates = new ArrayList<>();
    final long began = System.currentTimeMillis();
    final long beganNanos = System.nanoTime();
    long bytes = 0;
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

    int attempt() {
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
                bytes += frame.bytes.length;
                next = new Piece(frame.a, frame.bytes);
                break;
            case 'R':
                next = new Piece(0, frame.bytes);
                break;
            case 'A':
                updates.add(frame);
                break;
            case 'E':
                stage.reports.add(new Report(this, frame.bytes));
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
        worker.rest();
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

/** A failure that the Rust program understands, with its text for people. */
final class TaskFailed extends RuntimeException {
    /** The beginning of a failure in a text: of one that may be tried again, and of one that would only repeat itself. */
    private static final String AGAIN = "<emberflow:again:";
    static final String FOR_GOOD = "<emberflow:never:";

    TaskFailed(Stage stage, int partition, int attempt, boolean again, byte[] failure, String text) {
        super((again ? AGAIN : FOR_GOOD) + stage.store + ":" + partition + ":" + attempt + ":"
            + Base64.getEncoder().encodeToString(failure) + "> " + text);
    }
}
