#!/usr/bin/env python3
"""Writes shapes.txt: the shape of every message a ZooKeeper-mode broker speaks, one line a message.

    shapes.py MESSAGES > shapes.txt

MESSAGES is the folder of message schemas of Kafka 3.9 (clients/src/main/resources/common/message
of its sources). A line reads

    KEY NAME > MIN-MAX FLEXIBLE  FIELDS...      (`>` a request, `<` a response)

FLEXIBLE is the first flexible version or `-`. A field is a kind, then the versions that have it,
then, where they differ from none, `?` and the versions in which it may be null, and `#TAG:` and
the versions in which it is a tagged field (then it is not among the others).

    1 2 4 8 16   so many bytes          s   a string      y   bytes      r   records
    [KIND        an array of a kind     ( FIELDS... )     a struct

Versions are `N+` or `N-M`; names and meanings are left out: only what takes up bytes counts here.
"""
import glob, json, os, re, sys

FIXED = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "int64": 8, "float64": 8, "uuid": 16}
VARIABLE = {"string": "s", "bytes": "y", "records": "r"}


def load(path):
    with open(path) as file:
        return json.loads(re.sub(r"^\s*//.*$", "", file.read(), flags=re.M))


def bounds(text, top):
    if text in (None, "none"):
        return None
    if text.endswith("+"):
        return int(text[:-1]), top
    first, _, last = text.partition("-")
    return int(first), min(int(last or first), top)


def both(one, other):
    if not one or not other:
        return None
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else None


def show(range_, top):
    low, high = range_
    return f"{low}+" if high == top else f"{low}-{high}"


def kind(type_, fields, structs, top, allowed):
    if type_.startswith("[]"):
        return "[" + kind(type_[2:], fields, structs, top, allowed)
    if type_ in FIXED:
        return str(FIXED[type_])
    if type_ in VARIABLE:
        return VARIABLE[type_]
    inner = fields or structs[type_]
    return "( " + "".join(field(f, structs, top, allowed) for f in inner) + ")"


def field(f, structs, top, allowed):
    here = both(bounds(f["versions"], top), allowed)
    if not here:
        return ""
    if f.get("flexibleVersions") == "none":
        raise SystemExit(f"{f['name']}: a field that is never flexible needs a kind of its own")
    text = kind(f["type"], f.get("fields"), structs, top, here) + " " + show(here, top)
    null = both(bounds(f.get("nullableVersions"), top), here)
    if null:
        text += "?" + show(null, top)
    tagged = both(bounds(f.get("taggedVersions"), top), here)
    if tagged:
        text += f"#{f['tag']}:" + show(tagged, top)
    return text + " "


def main():
    folder = sys.argv[1]
    requests, responses = {}, {}
    for path in glob.glob(os.path.join(folder, "*.json")):
        message = load(path)
        if message["type"] == "request" and "zkBroker" in message.get("listeners", []):
            requests[message["apiKey"]] = message
        if message["type"] == "response":
            responses[message["apiKey"]] = message
    for key in sorted(requests):
        for sign, message in ((">", requests[key]), ("<", responses[key])):
            low, high = bounds(message["validVersions"], 10**6)
            if message.get("latestVersionUnstable"):
                raise SystemExit(f"{message['name']}: the latest version is not stable")
            flexible = bounds(message.get("flexibleVersions"), 10**6)
            structs = {s["name"]: s["fields"] for s in message.get("commonStructs", [])}
            name = message["name"].removesuffix("Request").removesuffix("Response")
            fields = "".join(field(f, structs, high, (low, high)) for f in message["fields"])
            print(f"{key} {name} {sign} {low}-{high} {flexible[0] if flexible else '-'} {fields}".rstrip())


main()
