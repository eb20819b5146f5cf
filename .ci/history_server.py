#!/usr/bin/env python3
"""Spark's own History Server shows an application of ours: its REST answers are held against our event log.

Takes a directory of event logs. Needs Java and PyPI's pyspark, whose jars hold the server.
"""

import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import pyspark

DEADLINE_SECONDS = 120


def main(logs):
    log = next(path for path in pathlib.Path(logs).iterdir() if not path.name.endswith(".inprogress"))
    told = [line["told"]["Event"] for line in map(json.loads, log.open()) if "Event" in line.get("told", {})]
    port = free_port()
    command = [
        "java",
        "-Xmx1g",
        "-cp",
        str(pathlib.Path(pyspark.__file__).parent / "jars" / "*"),
        f"-Dspark.history.fs.logDirectory={pathlib.Path(logs).resolve().as_uri()}",
        f"-Dspark.history.ui.port={port}",
        "-Dspark.history.fs.update.interval=1s",
        "org.apache.spark.deploy.history.HistoryServer",
    ]
    with open(pathlib.Path(logs).parent / "history-server.log", "w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={"SPARK_LOCAL_IP": "127.0.0.1"} | env())
        try:
            check(f"http://127.0.0.1:{port}/api/v1/applications", log.name, told, server)
        finally:
            server.terminate()
            server.wait()


def env():
    import os

    return dict(os.environ)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def wait_for(url, server):
    """The list of applications, once the server has read the logs."""
    until = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, "the History Server has ended; see history-server.log"
        try:
            found = ask(url)
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError("the History Server shows no application in time; see history-server.log")


def check(base, name, told, server):
    apps = wait_for(base, server)
    same("applications", [(app["id"], app["attempts"][0]["completed"]) for app in apps], [(name, True)])
    base = f"{base}/{name}"

    def events(kind):
        return [event[kind] for event in told if kind in event]

    jobs = ask(f"{base}/jobs")
    ends = {job["job"]: job["end"] for job in events("JobFinished")}
    wanted = {job: "SUCCEEDED" if end == "Succeeded" else "FAILED" for job, end in ends.items()}
    same("jobs", {job["jobId"]: job["status"] for job in jobs}, wanted)
    labels = {job["job"]: job["labels"]["description"] for job in events("JobLabelled")}
    same("descriptions", {job["jobId"]: job.get("description") for job in jobs if job["jobId"] in labels}, labels)

    # Each run of a stage is an attempt; those that never ran are skipped.
    stages = [stage for stage in ask(f"{base}/stages") if stage["status"] != "SKIPPED"]
    same("runs of stages", len(stages), len(events("StageStarted")))
    same("tasks that succeeded", sum(stage["numCompleteTasks"] for stage in stages), len(events("TaskFinished")))
    same("tasks that failed", sum(stage["numFailedTasks"] for stage in stages), len(events("TaskFailed")))
    records = sum(stage["outputRecords"] + stage["shuffleWriteRecords"] for stage in stages)
    same("rows", records, sum(task["rows"] for task in events("TaskFinished")))
    spilled = sum(stage["memoryBytesSpilled"] for stage in stages)
    same("bytes spilled", spilled, sum(partition["bytes"] for partition in events("PartitionSpilled")))

    # What is kept at the end, of which the example's budget lets half be in memory.
    persisted = {
        stage["store"]: stage["rdd"]
        for job in events("JobPlanned")
        for stage in job["stages"]
        if stage["kind"] == "Persist"
    }
    kept, spilled = {}, {}
    for kind, event in ((kind, event) for line in told for kind, event in line.items()):
        if kind == "StoreDropped":
            kept = {key: value for key, value in kept.items() if key[0] != event["store"]}
        if event.get("store") not in persisted or "partition" not in event:
            continue
        key = (event["store"], event["partition"])
        if kind == "PartitionSpilled":
            spilled[event["task"]] = event["file_bytes"]
        elif kind == "PartitionStored":
            kept[key] = (event["bytes"], spilled.get(event["task"], 0))
        elif kind in ("PartitionLost", "PartitionDropped"):
            kept.pop(key, None)
    ours = {}
    for (store, _), (memory, disk) in kept.items():
        partitions, in_memory, on_disk = ours.get(persisted[store], (0, 0, 0))
        ours[persisted[store]] = (partitions + 1, in_memory + memory, on_disk + disk)
    assert any(memory and disk for _, memory, disk in ours.values()), f"nothing is kept both in memory and on disk: {ours}"
    storage = ask(f"{base}/storage/rdd")
    theirs = {rdd["id"]: (rdd["numCachedPartitions"], rdd["memoryUsed"], rdd["diskUsed"]) for rdd in storage}
    same("storage", theirs, ours)
    read = sum(stage["inputRecords"] + stage["shuffleReadRecords"] for stage in stages)
    # Of tasks that failed, too: so Spark adds it up.
    ended = {task["task"] for task in events("TaskFinished") + events("TaskFailed")}
    reads = [task["ran"]["reads"] for task in events("TaskRan") if task["task"] in ended]
    same("rows read", read, sum(task["rows"] + task["shuffle_rows"] for task in reads))

    def known(stage):
        return f"{base}/stages/{stage['stageId']}/{stage['attemptId']}"

    for stage in stages:
        tasks = ask(f"{known(stage)}/taskList?length=100000")
        same(f"tasks of stage {stage['stageId']}", len(tasks), stage["numCompleteTasks"] + stage["numFailedTasks"])
    print(
        f"the History Server shows {len(jobs)} jobs, {len(stages)} runs of stages, {read} rows read, {records} written "
        f"and {sum(partitions for partitions, _, _ in ours.values())} partitions kept as we do"
    )


def same(what, theirs, ours):
    assert theirs == ours, f"{what}: the History Server says {theirs}, our events say {ours}"


main(sys.argv[1])
