#!/usr/bin/env python3
"""Writes fields.jsonl: the fields of every message a ZooKeeper-mode broker speaks, by name, one message a line.

    fields.py MESSAGES > fields.jsonl

MESSAGES is the folder of message schemas of Kafka 3.9 (clients/src/main/resources/common/message of its sources).
A field is [name, type, versions, versions where it may be null, [tag, versions] or null, default or null, fields or null].
The broker's own code never sees this file: the suite reads answers by another road than the one that wrote them.
"""
import glob, json, os, re, sys


def load(path):
    with open(path) as file:
        return json.loads(re.sub(r"^\s*//.*$", "", file.read(), flags=re.M))


def field(f, structs):
    element = f["type"].removeprefix("[]")
    inner = f.get("fields") or structs.get(element)
    name = f["name"][0].lower() + f["name"][1:]
    tag = [f["tag"], f["taggedVersions"]] if "tag" in f else None
    array = "[]" if f["type"].startswith("[]") else ""
    return [
        name,
        array + ("struct" if inner else element),
        f["versions"],
        f.get("nullableVersions", "none"),
        tag,
        f.get("default"),
        [field(i, structs) for i in inner] if inner else None,
    ]


def main():
    requests, responses = {}, {}
    for path in glob.glob(os.path.join(sys.argv[1], "*.json")):
        message = load(path)
        if message["type"] == "request" and "zkBroker" in message.get("listeners", []):
            requests[message["apiKey"]] = message
        if message["type"] == "response":
            responses[message["apiKey"]] = message
    for key in sorted(requests):
        for way, message in (("request", requests[key]), ("response", responses[key])):
            structs = {s["name"]: s["fields"] for s in message.get("commonStructs", [])}
            fields = [field(f, structs) for f in message["fields"]]
            print(json.dumps({"key": key, "way": way, "fields": fields}, separators=(",", ":")))


main()
