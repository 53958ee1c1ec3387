//! axum over ALTS: the listener, and what handlers can know of a connection.
//!
//! `axum::serve(incoming, router.into_make_service_with_connect_info::<AltsConnectInfo>())` serves
//! an [`AltsIncoming`]; handlers take `ConnectInfo<AltsConnectInfo>`.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::TcpStream;

use crate::connect_info::{AltsConnectInfo, Transport};
use crate::incoming::AltsIncoming;
use crate::stream::AltsStream;

impl Listener for AltsIncoming {
    type Io = AltsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            match poll_fn(|cx| self.poll_established(cx)).await {
                Some(stream) => {
                    if let Some(address) = stream.get_ref().info().remote_addr() {
                        return (stream, address);
                    }
                    // It is already closed.
                }
                // Only a stream of connections that the caller has made can end.
                None => pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

impl Connected<IncomingStream<'_, AltsIncoming>> for AltsConnectInfo {
    fn connect_info(stream: IncomingStream<'_, AltsIncoming>) -> Self {
        Self::of(stream.io())
    }
}
