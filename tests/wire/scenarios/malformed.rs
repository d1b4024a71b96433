//! Frames that are no requests, and requests cut short or followed by more: what Apache closes, we close.

use protocol::kafka::apis::ROWS;

use crate::script::{Client, Script, opening};

pub(crate) fn play(s: &mut Script) {
    for (case, key, version) in [
        ("an API nobody knows", 99, 0),
        ("a negative API", -1, 0),
        ("an API of KRaft: Vote", 52, 0),
        ("an API of KRaft: DescribeTopicPartitions", 75, 0),
        ("telemetry", 71, 0),
        ("a share group's fetch", 78, 0),
        ("too new a version", 3, 13),
        ("a negative version", 3, -1),
        ("too new a version of Produce", 0, 12),
    ] {
        let mut frame = opening(key, version, 1);
        frame.extend(b"\xff\xff\0\0\0");
        s.frame("Metadata", 0, case, &frame);
    }
    s.frame("Metadata", 0, "an empty frame", b"");
    s.frame("Metadata", 0, "seven bytes", &[0, 3, 0, 0, 0, 0, 0]);
    s.frame(
        "Metadata",
        1,
        "no client id",
        b"\0\x03\0\x01\0\0\0\x09\xff\xff\0\0\0\0",
    );
    s.frame(
        "Metadata",
        1,
        "a client id of minus two",
        b"\0\x03\0\x01\0\0\0\x09\xff\xfe\0\0\0\0",
    );
    s.frame(
        "Metadata",
        1,
        "a client id longer than the frame",
        b"\0\x03\0\x01\0\0\0\x09\0\x50\0\0\0\0",
    );
    s.frame(
        "Metadata",
        1,
        "a client id that is no UTF-8",
        b"\0\x03\0\x01\0\0\0\x09\0\x02\xc3\x28\0\0\0\0",
    );
    s.frame(
        "Metadata",
        9,
        "a tag in the header",
        b"\0\x03\0\x09\0\0\0\x09\0\0\x01\x07\x02ab\x01\0\0\0\0",
    );
    s.frame(
        "Metadata",
        9,
        "a tag longer than the header",
        b"\0\x03\0\x09\0\0\0\x09\0\0\x01\x07\x7fab\x01\0\0\0\0",
    );
    s.frame(
        "Metadata",
        9,
        "a tag in the body",
        b"\0\x03\0\x09\0\0\0\x09\0\0\0\x01\0\0\0\x01\x07\x02ab",
    );
    for row in &ROWS {
        for version in row.version_min..=row.version_max {
            for (case, body) in [
                ("nothing behind the header", &[][..]),
                ("seventeen bytes of 0xff", &[0xff; 17]),
            ] {
                let mut client = Client::default();
                let asked = s.ask_bytes(&mut client, row.api, version, body);
                s.answer(&mut client, asked, &format!("malformed: {case}"));
            }
        }
    }
}
