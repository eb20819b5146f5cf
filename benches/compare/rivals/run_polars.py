"""Polars: lazy frames, as its guide writes them."""

import polars as pl

from rival import DAMPING, INPUTS, ITERATIONS, WORKLOAD, check, column, order, pagerank, serve, words


def frame(keys, values):
    return pl.DataFrame({"k": column(keys), "v": column(values)})


def w1():
    n = int(INPUTS[0])

    def run():
        x = pl.col("x")
        rows = pl.LazyFrame().select(x=pl.int_range(n, dtype=pl.UInt64))
        rows = rows.select(y=(x * 2654435761) ^ (x // 128)).filter(pl.col("y") % 3 == 0)
        total = rows.select(pl.col("y").sum()).collect(engine="streaming").item()
        return lambda: str(total)

    return run


def w2():
    def run():
        lines = pl.scan_csv(INPUTS[0], has_header=False, separator="\x01", quote_char=None, new_columns=["line"])
        counts = lines.select(word=pl.col("line").str.split(" ").explode()).group_by("word").len()
        best = counts.sort(["len", "word"], descending=[True, False]).head(10).collect(engine="streaming")
        return lambda: words(best.rows())

    return run


def w3():
    rows = frame(*INPUTS)

    def run():
        sums = rows.lazy().group_by("k").agg(pl.col("v").sum())
        result = sums.select(n=pl.len(), s=(pl.col("k") ^ pl.col("v")).sum()).collect(engine="streaming")
        return lambda: check(*result.row(0))

    return run


def w4():
    rows = pl.DataFrame({"x": column(INPUTS[0])})

    def run():
        ordered = rows.lazy().sort("x").collect()
        return lambda: order(ordered["x"].to_numpy())

    return run


def w5():
    left, right = frame(*INPUTS[:2]), frame(*INPUTS[2:])

    def run():
        joined = left.lazy().join(right.lazy(), on="k")
        mixed = pl.col("k") ^ pl.col("v") ^ pl.col("v_right")
        result = joined.select(n=pl.len(), s=mixed.sum()).collect(engine="streaming")
        return lambda: check(*result.row(0))

    return run


def w6():
    links = pl.DataFrame({"from": column(INPUTS[1]), "to": column(INPUTS[2])}).cast(pl.UInt32)
    links = links.with_columns(share=1.0 / pl.len().over("from"))
    pages = pl.DataFrame({"page": pl.int_range(int(INPUTS[0]), dtype=pl.UInt32, eager=True)})
    # Nothing for itself, so that a page that nobody links to has a sum.
    own = pages.select(pl.col("page").alias("from"), pl.col("page").alias("to"), share=pl.lit(0.0))
    links = pl.concat([links, own])

    def run():
        ranks = pages.with_columns(rank=pl.lit(1.0))
        for _ in range(ITERATIONS):
            gifts = links.lazy().join(ranks.lazy(), left_on="from", right_on="page")
            sums = gifts.group_by(pl.col("to").alias("page")).agg(sum=(pl.col("rank") * pl.col("share")).sum())
            ranks = sums.select("page", rank=1 - DAMPING + DAMPING * pl.col("sum")).collect(engine="streaming")
        best = ranks.sort(["rank", "page"], descending=[True, False]).head(10)
        return lambda: pagerank(best.rows(), ranks["rank"].sum())

    return run


serve({"W1": w1, "W2": w2, "W3a": w3, "W3b": w3, "W4": w4, "W5": w5, "W6": w6}[WORKLOAD]())
