"""DuckDB: SQL over tables in memory."""

import duckdb

from rival import DAMPING, INPUTS, ITERATIONS, MASK, THREADS, WORKLOAD, check, column, order, pagerank, serve, words

db = duckdb.connect()
db.execute(f"SET threads = {THREADS}")


def load(name, **columns):
    loaded = {column_name: column(path) for column_name, path in columns.items()}
    db.register("loaded", loaded)
    db.execute(f"CREATE TABLE {name} AS SELECT * FROM loaded")
    db.unregister("loaded")


def query(sql, answer):
    """A run of a query that gives few rows."""

    def run():
        rows = db.execute(sql).fetchall()
        return lambda: answer(rows)

    return run


def w1():
    # No number exceeds 63 bits, and DuckDB adds them up in 128.
    return query(
        f"""SELECT sum(y) FROM (SELECT xor(range * 2654435761, range >> 7) AS y FROM range({INPUTS[0]}))
            WHERE y % 3 = 0""",
        lambda rows: str(int(rows[0][0] or 0) & MASK),
    )


def w2():
    return query(
        f"""SELECT word, count(*) AS n
            FROM (SELECT unnest(string_split(line, ' ')) AS word
                  FROM read_csv('{INPUTS[0]}', header = false, delim = '\x01', quote = '', escape = '',
                                columns = {{'line': 'VARCHAR'}}))
            GROUP BY word ORDER BY n DESC, word LIMIT 10""",
        words,
    )


def w3():
    load("t", k=INPUTS[0], v=INPUTS[1])
    return query(
        f"""SELECT count(*), sum(xor(k, s))
            FROM (SELECT k, (sum(v) & {MASK}::HUGEINT)::UBIGINT AS s FROM t GROUP BY k)""",
        lambda rows: check(*rows[0]),
    )


def w4():
    load("t", x=INPUTS[0])

    def run():
        db.execute("CREATE OR REPLACE TABLE ordered AS SELECT x FROM t ORDER BY x")
        return lambda: order(db.execute("SELECT x FROM ordered").fetchnumpy()["x"])

    return run


def w5():
    load("l", k=INPUTS[0], v=INPUTS[1])
    load("r", k=INPUTS[2], v=INPUTS[3])
    return query(
        "SELECT count(*), sum(xor(xor(k, l.v), r.v)) FROM l JOIN r USING (k)",
        lambda rows: check(*rows[0]),
    )


def w6():
    load("loaded_links", source=INPUTS[1], target=INPUTS[2])
    # Nothing for itself, so that a page that nobody links to has a sum.
    db.execute(
        f"""CREATE TABLE pages AS SELECT range::UINTEGER AS page FROM range({INPUTS[0]});
            CREATE TABLE links AS
            SELECT source::UINTEGER AS source, target::UINTEGER AS target, 1.0::DOUBLE / n AS share
            FROM loaded_links JOIN (SELECT source, count(*) AS n FROM loaded_links GROUP BY source) USING (source)
            UNION ALL SELECT page, page, 0.0::DOUBLE FROM pages;
            DROP TABLE loaded_links"""
    )

    def run():
        db.execute("CREATE OR REPLACE TABLE ranks AS SELECT page, 1.0::DOUBLE AS rank FROM pages")
        for _ in range(ITERATIONS):
            db.execute(
                f"""CREATE OR REPLACE TABLE ranks AS
                    SELECT target AS page, 1.0::DOUBLE - {DAMPING} + {DAMPING} * sum(rank * share) AS rank
                    FROM links JOIN ranks ON source = page GROUP BY target"""
            )
        best = db.execute("SELECT page, rank FROM ranks ORDER BY rank DESC, page LIMIT 10").fetchall()
        total = db.execute("SELECT sum(rank) FROM ranks").fetchone()[0]
        return lambda: pagerank(best, total)

    return run


serve({"W1": w1, "W2": w2, "W3a": w3, "W3b": w3, "W4": w4, "W5": w5, "W6": w6}[WORKLOAD]())
