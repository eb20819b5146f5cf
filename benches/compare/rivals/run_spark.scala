// Spark's RDDs, for spark-shell: the workloads as its guide writes them, on rows cached as they are (MEMORY_ONLY).

import java.io.{BufferedReader, InputStreamReader, PrintWriter}
import java.net.Socket
import java.nio.{ByteOrder, LongBuffer}
import java.nio.channels.FileChannel
import java.nio.file.{Paths, StandardOpenOption}
import org.apache.spark.rdd.RDD

object Compare extends Serializable {
  val workload = sys.env("COMPARE_WORKLOAD")
  val inputs = sys.env("COMPARE_INPUTS").split(":")
  val partitions = 4 * sys.env("COMPARE_THREADS").toInt

  // A share of a column of a file, whose numbers are of eight bytes.
  def share(path: String, at: Int, of: Int): LongBuffer = {
    val file = FileChannel.open(Paths.get(path), StandardOpenOption.READ)
    val rows = file.size / 8
    val (from, to) = (rows * at / of, rows * (at + 1) / of)
    val bytes = file.map(FileChannel.MapMode.READ_ONLY, 8 * from, 8 * (to - from)).order(ByteOrder.LITTLE_ENDIAN)
    file.close()
    bytes.asLongBuffer
  }

  def cached[T](rows: RDD[T]): RDD[T] = { rows.cache().count(); rows }

  def column(sc: org.apache.spark.SparkContext, path: String): RDD[Long] = {
    val of = partitions
    cached(sc.parallelize(0 until of, of).flatMap { at =>
      val rows = share(path, at, of)
      Iterator.range(0, rows.limit()).map(rows.get(_))
    })
  }

  def table(sc: org.apache.spark.SparkContext, keys: String, values: String): RDD[(Long, Long)] = {
    val of = partitions
    cached(sc.parallelize(0 until of, of).flatMap { at =>
      val (k, v) = (share(keys, at, of), share(values, at, of))
      Iterator.range(0, k.limit()).map(row => (k.get(row), v.get(row)))
    })
  }

  def check(mixed: RDD[Long]): String = {
    val (rows, sum) = mixed.aggregate((0L, 0L))((c, m) => (c._1 + 1, c._2 + m), (a, b) => (a._1 + b._1, a._2 + b._2))
    s"$rows ${java.lang.Long.toUnsignedString(sum)}"
  }

  def prepare(sc: org.apache.spark.SparkContext): () => String = workload match {
    case "W1" =>
      val n = inputs(0).toLong
      () => {
        // No number exceeds 63 bits, so that signs do not matter.
        val sum = sc.range(0, n).map(x => (x * 2654435761L) ^ (x >>> 7)).filter(_ % 3 == 0).fold(0L)(_ + _)
        java.lang.Long.toUnsignedString(sum)
      }
    case "W2" => () => {
      val counts = sc.textFile(inputs(0)).flatMap(_.split(' ')).map((_, 1L)).reduceByKey(_ + _)
      val best = counts.takeOrdered(10)(Ordering.by { case (word, count) => (-count, word) })
      best.map { case (word, count) => s"$word:$count" }.mkString(" ")
    }
    case "W3a" | "W3b" =>
      val rows = table(sc, inputs(0), inputs(1))
      () => check(rows.reduceByKey(_ + _).map { case (key, sum) => key ^ sum })
    case "W4" =>
      val rows = column(sc, inputs(0))
      () => {
        // Unsigned order is the signed one of numbers whose first bit is turned.
        val parts = rows.sortBy(_ ^ Long.MinValue).mapPartitions { rows =>
          var (count, sum, weighted) = (0L, 0L, 0L)
          rows.foreach { row => weighted += row * count; sum += row; count += 1 }
          Iterator((count, sum, weighted))
        }.collect()
        val (count, sum, weighted) = parts.fold((0L, 0L, 0L)) { case ((n, s, w), (count, sum, weighted)) =>
          (n + count, s + sum, w + weighted + n * sum)
        }
        s"$count ${java.lang.Long.toUnsignedString(sum)} ${java.lang.Long.toUnsignedString(weighted)}"
      }
    case "W5" =>
      val left = table(sc, inputs(0), inputs(1))
      val right = table(sc, inputs(2), inputs(3))
      () => check(left.join(right).map { case (key, (v, w)) => key ^ v ^ w })
  }

  def serve(sc: org.apache.spark.SparkContext): Unit = {
    val socket = new Socket("127.0.0.1", sys.env("COMPARE_PORT").toInt)
    val in = new BufferedReader(new InputStreamReader(socket.getInputStream))
    val out = new PrintWriter(socket.getOutputStream, true)
    try {
      val run = prepare(sc)
      out.println("ready")
      Iterator.continually(in.readLine()).takeWhile(_ != null).foreach { _ =>
        val began = System.nanoTime()
        val answer = run()
        out.println(s"${(System.nanoTime() - began) / 1e9}\t$answer")
      }
    } finally socket.close()
  }
}

Compare.serve(sc)
System.exit(0)
