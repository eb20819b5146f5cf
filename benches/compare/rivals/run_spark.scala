// Spark's RDDs, for spark-shell: the workloads as its guide writes them, on rows cached as they are (MEMORY_ONLY).

import java.io.{BufferedReader, InputStreamReader, PrintWriter}
import java.net.Socket
import java.nio.{ByteOrder, LongBuffer}
import java.nio.channels.FileChannel
import java.nio.file.{Paths, StandardOpenOption}
import java.util.Locale
import org.apache.spark.HashPartitioner
import org.apache.spark.rdd.RDD

object Compare extends Serializable {
  val workload = sys.env("COMPARE_WORKLOAD")
  val inputs = sys.env("COMPARE_INPUTS").split(":")
  val partitions = 4 * sys.env("COMPARE_THREADS").toInt

  // A share of a file of numbers of eight bytes, `width` of them a row.
  def share(path: String, at: Int, of: Int, width: Int = 1): LongBuffer = {
    val file = FileChannel.open(Paths.get(path), StandardOpenOption.READ)
    val row = 8L * width
    val rows = file.size / row
    val (from, to) = (rows * at / of, rows * (at + 1) / of)
    val bytes = file.map(FileChannel.MapMode.READ_ONLY, row * from, row * (to - from)).order(ByteOrder.LITTLE_ENDIAN)
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
    case "W6" =>
      val partitioner = new HashPartitioner(partitions)
      val links = cached(table(sc, inputs(1), inputs(2)).groupByKey(partitioner).mapValues(_.toArray))
      () => {
        var ranks = links.mapValues(_ => 1.0)
        for (_ <- 1 to 10) {
          val gifts = links.join(ranks).flatMap { case (page, (to, rank)) =>
            val share = rank / to.length
            // Nothing for itself, so that a page that nobody links to has a sum.
            Iterator((page, 0.0)) ++ to.iterator.map((_, share))
          }
          ranks = gifts.reduceByKey(partitioner, _ + _).mapValues(0.15 + 0.85 * _)
        }
        ranks.cache()
        val best = ranks.takeOrdered(10)(Ordering.by { case (page, rank) => (-rank, page) })
        val all = ranks.values.sum()
        ranks.unpersist()
        best.map { case (page, rank) => s"$page: ${"%.5f".formatLocal(Locale.ROOT, rank)}" }.mkString(", ") +
          s"; all: ${"%.3f".formatLocal(Locale.ROOT, all)}"
      }
    case "W7" =>
      val (of, path, k, dimensions) = (partitions, inputs(0), 10, 10)
      val points = cached(sc.parallelize(0 until of, of).flatMap { at =>
        val numbers = share(path, at, of, dimensions)
        Iterator.range(0, numbers.limit() / dimensions).map { row =>
          Array.tabulate(dimensions)(d => java.lang.Double.longBitsToDouble(numbers.get(row * dimensions + d)))
        }
      })
      () => {
        var centres = points.take(k)
        for (_ <- 1 to 10) {
          val now = centres
          val zero = (Array.ofDim[Double](k, dimensions), new Array[Long](k))
          val (sums, counts) = points.aggregate(zero)(
            { case ((sums, counts), point) =>
              var (best, least, at) = (0, Double.PositiveInfinity, 0)
              while (at < k) {
                var (far, d) = (0.0, 0)
                while (d < dimensions) { val off = point(d) - now(at)(d); far += off * off; d += 1 }
                if (far < least) { least = far; best = at }
                at += 1
              }
              var d = 0
              while (d < dimensions) { sums(best)(d) += point(d); d += 1 }
              counts(best) += 1
              (sums, counts)
            },
            { case ((sums, counts), (others, more)) =>
              for (at <- 0 until k) {
                for (d <- 0 until dimensions) sums(at)(d) += others(at)(d)
                counts(at) += more(at)
              }
              (sums, counts)
            }
          )
          centres = Array.tabulate(k)(at => if (counts(at) == 0) now(at) else sums(at).map(_ / counts(at)))
        }
        centres.map(_.map("%.6f".formatLocal(Locale.ROOT, _)).mkString(" ")).mkString("; ")
      }
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
