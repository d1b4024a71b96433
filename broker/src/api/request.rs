//! What a handler knows of its caller besides the body.

use std::net::IpAddr;
use std::sync::Arc;

use crate::api::slow_lane::Drawn;

/// Who asks, and how. One a request; cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The version of the API that was asked, inside the range we announce.
    pub version: i16,
    pub correlation_id: i32,
    /// Empty where the client sent none.
    pub client_id: Arc<str>,
    /// Who is asking, as `Type:name`; `User:ANONYMOUS` on a listener without authentication.
    pub principal: Arc<str>,
    /// The name of the listener the connection came in by.
    pub listener: Arc<str>,
    pub peer: IpAddr,
    /// What a large one was decoded into is paid for with this.
    pub drawn: Drawn,
}

impl Context {
    /// For what this broker asks itself.
    pub(crate) fn of_this_broker(version: i16) -> Self {
        Context {
            version,
            correlation_id: 0,
            client_id: "".into(),
            principal: "User:ANONYMOUS".into(),
            listener: "".into(),
            peer: IpAddr::from([127, 0, 0, 1]),
            drawn: Drawn::default(),
        }
    }
}
