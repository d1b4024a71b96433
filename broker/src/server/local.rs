//! Orders of a controller in this very process: the same doors that serve the wire.

use std::future::Future;
use std::pin::Pin;

use protocol::messages::{RequestKind, ResponseKind};

use crate::api::peers::authority::Orders;
use crate::api::table;
use crate::peer::LocalBroker;

#[derive(Debug)]
pub(crate) struct Local {
    orders: Orders,
}

impl Local {
    pub(crate) fn new(orders: Orders) -> Self {
        Local { orders }
    }
}

impl LocalBroker for Local {
    fn obey(
        &self,
        version: i16,
        request: RequestKind,
    ) -> Pin<Box<dyn Future<Output = Option<ResponseKind>> + Send + '_>> {
        Box::pin(table::obey(&self.orders, version, request))
    }
}
