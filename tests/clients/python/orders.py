"""Reads orders, calls the client, writes what it says. See ../README.md."""
import sys


def absent(word):
    return None if word == "-" else word


def encoded(word):
    return None if word == "-" else word.encode()


def headers_of(word):
    if word == "-":
        return []
    return [(name, value.encode()) for name, value in (pair.split("=") for pair in word.split(","))]


class Record:
    def __init__(self, words):
        self.partition = int(words[0])
        self.key = encoded(words[1])
        self.value = encoded(words[2])
        self.timestamp = int(words[3])
        self.headers = headers_of(words[4])


def say(*words):
    sys.stdout.write("\t".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def tell(partition, offset, key, value, timestamp, headers):
    text = lambda held: "-" if held is None else bytes(held).decode()
    pairs = ",".join(f"{name}={bytes(value).decode()}" for name, value in headers or []) or "-"
    say(partition, offset, text(key), text(value), timestamp, pairs)


def serve(client):
    for line in sys.stdin:
        order, *words = line.rstrip("\n").split("\t")
        try:
            if order == "produce":
                records = [Record(sys.stdin.readline().rstrip("\n").split("\t")) for _ in range(int(words[2]))]
                client.produce(words[0], absent(words[1]), records)
            elif order == "read":
                client.read(words[0], int(words[1]), int(words[2]), int(words[3]))
            elif order == "join":
                client.join(words[0], words[1], absent(words[2]))
            elif order == "poll":
                client.poll(int(words[0]))
            elif order == "commit":
                client.commit(int(words[0]), int(words[1]))
            elif order == "seek":
                client.seek(int(words[0]), int(words[1]))
            elif order == "leave":
                client.leave()
            elif order == "stream":
                client.stream(words[0], int(words[1]))
            else:
                raise ValueError("no such order: " + order)
            say("ok")
        except Exception as e:
            say("error", repr(e).replace("\n", " ").replace("\t", " "))
