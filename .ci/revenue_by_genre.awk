# Revenue per genre of a film list, without emberflow: the second opinion on the `movies` example.
#
#     awk -f .ci/revenue_by_genre.awk examples/data/films.csv
#
# Prints `genre revenue`, the highest revenue first; equal revenues by genre. Rows without a genre are left out, a
# missing revenue counts as nothing. Fields may stand in double quotes ("" inside is one quote) but hold no line break.
# Plain POSIX awk.

# Cuts `line` into field[1..n], returns n.
function cut(line,    n, rest, at) {
    split("", field)
    n = 0
    rest = line
    while (1) {
        n++
        if (substr(rest, 1, 1) == "\"") {
            field[n] = ""
            rest = substr(rest, 2)
            while ((at = index(rest, "\"")) > 0) {
                field[n] = field[n] substr(rest, 1, at - 1)
                rest = substr(rest, at + 1)
                if (substr(rest, 1, 1) != "\"") break
                field[n] = field[n] "\""
                rest = substr(rest, 2)
            }
            if (at == 0) fail("a quote is never closed")
            if (rest == "") return n
            if (substr(rest, 1, 1) != ",") fail("text after a closing quote")
            rest = substr(rest, 2)
        } else {
            at = index(rest, ",")
            if (at == 0) {
                field[n] = rest
                return n
            }
            field[n] = substr(rest, 1, at - 1)
            rest = substr(rest, at + 1)
        }
    }
}

function fail(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what > "/dev/stderr"
    failed = 1
    exit 1
}

{ sub(/\r$/, "") }

NR == 1 {
    columns = cut($0)
    for (i = 1; i <= columns; i++) column[field[i]] = i
    if (!("genre" in column) || !("revenue" in column)) fail("the header names no genre or no revenue")
    next
}

$0 != "" {
    if (cut($0) != columns) fail("expected " columns " fields")
    genre = field[column["genre"]]
    if (genre != "") total[genre] += field[column["revenue"]]
}

END {
    if (failed) exit 1
    # The number goes first while sorting, since a genre may hold a space.
    sort = "LC_ALL=C sort -t '\t' -k1,1nr -k2,2 | " \
        "while IFS='\t' read -r sum genre; do printf '%s %s\\n' \"$genre\" \"$sum\"; done"
    for (genre in total) printf "%.0f\t%s\n", total[genre], genre | sort
    if (close(sort) != 0) exit 1
}
