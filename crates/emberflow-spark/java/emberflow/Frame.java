// The form of all messages.

package emberflow;

import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A message: a tag, two numbers, bytes. The same on the link to the Rust program and on those to workers. */
final class Frame {
    static final int HEAD = 17;
    static final byte[] NOTHING = new byte[0];

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
