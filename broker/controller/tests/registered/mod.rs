//! What a broker of these tests says of itself in ZooKeeper.

use znodes::bodies::broker::{Broker, Endpoint, VERSION};

pub(crate) fn body(id: i32) -> Broker {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        protocol: "PLAINTEXT".to_owned(),
        host: "h".to_owned(),
        port: 9000 + id,
    };
    Broker {
        version: VERSION,
        endpoints: vec![endpoint],
        rack: None,
        features: vec![],
        jmx_port: -1,
        timestamp: 1,
    }
}
