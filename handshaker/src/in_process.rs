//! A handshaker as the service of tokio-alts, without a daemon and without a socket.
//!
//! Every handshake uses the certificate's own account: in one process there is one caller. The
//! computation (about a millisecond for each side) is done where the future is polled.

use std::time::{Duration, Instant};

use tokio_alts::{BoxFuture, HandshakerCall, HandshakerService, ServiceError, ServiceMessage};

use crate::handshaker::Handshaker;
use crate::service::Call;

impl HandshakerService for Handshaker {
    fn open(&self) -> Box<dyn HandshakerCall> {
        Box::new(InProcess { call: self.begin(Duration::ZERO), began: Instant::now() })
    }

    fn address(&self) -> &'static str {
        "this process"
    }
}

#[cfg(feature = "files")]
impl HandshakerService for crate::files::Watched {
    fn open(&self) -> Box<dyn HandshakerCall> {
        self.handshaker().open()
    }

    fn address(&self) -> &'static str {
        "this process"
    }
}

/// One dialogue; its clock starts with it.
struct InProcess {
    call: Call,
    began: Instant,
}

impl HandshakerCall for InProcess {
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        Box::pin(async move {
            // As over gRPC: the dialogue has ended right behind the result.
            let over = self.call.is_finished();
            Ok((!over).then(|| self.call.handle(&request, self.began.elapsed()).encode()))
        })
    }
}
