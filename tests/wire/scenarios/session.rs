//! What a client asks before anything else: versions, SASL where there is none.

use std::time::Duration;

use harness::wait;
use serde_json::json;

use crate::script::{ALL, Script, opening};

pub(crate) fn play(s: &mut Script) {
    let named = |name: &str, version: &str| json!({"clientSoftwareName": name, "clientSoftwareVersion": version});
    s.each("ApiVersions", ALL, "as clients ask", |_| {
        named("wire", "1.0")
    });
    for (case, name, version) in [
        ("an empty name", "", "1.0"),
        ("a name that begins with a dash", "-wire", "1.0"),
        ("a name that ends with a dot", "wire.", "1.0"),
        ("a name with a blank", "wi re", "1.0"),
        ("an empty version", "wire", ""),
        ("a version that is a dash", "wire", "-"),
        ("a name of one letter", "w", "1"),
    ] {
        s.each("ApiVersions", 3..=4, case, |_| named(name, version));
    }
    for version in [5, 99, -1, i16::MAX] {
        let mut frame = opening(18, version, 77);
        frame.extend(b"\0\x04wire\0\x05wire\x041.0\0");
        s.frame(
            "ApiVersions",
            0,
            &format!("asked with version {version}"),
            &frame,
        );
    }
    for (case, rest) in [
        ("no client", &b""[..]),
        ("a client longer than the frame", b"\0\x50wire"),
        ("a client and no tags", b"\0\x04wire"),
    ] {
        let mut frame = opening(18, 99, 77);
        frame.extend(rest);
        let case = format!("asked with version 99 and {case}");
        s.frame("ApiVersions", 0, &case, &frame);
    }
    s.each(
        "SaslHandshake",
        ALL,
        "where there is no SASL",
        |_| json!({"mechanism": "PLAIN"}),
    );
    s.each(
        "SaslHandshake",
        ALL,
        "a mechanism nobody knows",
        |_| json!({"mechanism": "NONE"}),
    );
    s.each(
        "SaslAuthenticate",
        ALL,
        "where there is no SASL",
        |_| json!({"authBytes": "00"}),
    );
    s.each(
        "SaslAuthenticate",
        ALL,
        "without bytes",
        |_| json!({"authBytes": ""}),
    );
    // The first block of producer ids is fetched when somebody asks; whoever asks meanwhile is told to come again.
    wait::until("producer ids", Duration::from_secs(90), || {
        let answer = s.quietly(
            "InitProducerId",
            0,
            json!({"transactionalId": null, "transactionTimeoutMs": 1}),
        );
        (answer["errorCode"] == 0).then_some(())
    });
}
