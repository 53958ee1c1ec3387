//! The connections that are compared: none, ALTS and TLS, over any I/O object.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alts_handshaker::dev::Authority;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_alts::{AltsAcceptor, AltsConnector, AltsStream, HandshakerService, StreamOptions};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::Outcome;

const CLIENT: &str = "client@bench.test";
const SERVER: &str = "server@bench.test";
const HOST: &str = "bench.test";

/// What tokio reads from and writes to.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// An established connection of any kind. All kinds pay the same for the indirection.
pub enum Stream<IO = TcpStream> {
    /// Not secured.
    Plain(Box<IO>),
    /// By tokio-alts.
    Alts(Box<AltsStream<IO>>),
    /// By tokio-rustls.
    Tls(Box<TlsStream<IO>>),
}

impl<IO: Duplex> Stream<IO> {
    fn inner(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Plain(io) => Pin::new(io),
            Self::Alts(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream),
        }
    }
}

/// How a connection is secured.
#[derive(Clone)]
pub enum Security {
    /// Not at all.
    Plain,
    /// By tokio-alts.
    Alts(Box<Alts>),
    /// By tokio-rustls.
    Tls(Tls),
}

/// Both ends of connections over ALTS.
#[derive(Clone)]
pub struct Alts {
    /// The clients' end.
    pub connector: AltsConnector,
    /// The servers' end.
    pub acceptor: AltsAcceptor,
}

/// Both ends of connections over TLS.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    host: ServerName<'static>,
}

impl Alts {
    /// With the handshaker in this process.
    ///
    /// # Errors
    /// When no identities can be made.
    pub fn in_process(options: StreamOptions) -> Outcome<Self> {
        let authority = Authority::new()?;
        Self::with(authority.handshaker(CLIENT)?, authority.handshaker(SERVER)?, options)
    }

    /// With any handshaker services for the accounts of [`identities`].
    ///
    /// # Errors
    /// When a configuration is refused.
    pub fn with(
        client: impl HandshakerService,
        server: impl HandshakerService,
        options: StreamOptions,
    ) -> Outcome<Self> {
        Self::of_clients(1, client, server, options)
    }

    /// The same, where one connector stands for that many clients: their handshakes do not wait for
    /// each other.
    ///
    /// # Errors
    /// When a configuration is refused.
    pub fn of_clients(
        count: usize,
        client: impl HandshakerService,
        server: impl HandshakerService,
        options: StreamOptions,
    ) -> Outcome<Self> {
        let mine = tokio_alts::ClientConfig::builder().expect_peer(SERVER).stream_options(options);
        let mine = mine.max_concurrent_handshakes(count.max(100));
        let theirs = tokio_alts::ServerConfig::builder().any_peer().stream_options(options);
        Ok(Self {
            connector: AltsConnector::new(mine.build()?, client),
            acceptor: AltsAcceptor::new(theirs.build()?, server),
        })
    }
}

/// The client's and the server's handshaker.
///
/// # Errors
/// When no identities can be made.
pub fn identities() -> Outcome<(alts_handshaker::Handshaker, alts_handshaker::Handshaker)> {
    let authority = Authority::new()?;
    Ok((authority.handshaker(CLIENT)?, authority.handshaker(SERVER)?))
}

impl Tls {
    /// Mutual TLS 1.3, AES-128-GCM, with certificates, key exchange and signatures like those of
    /// the in-process handshaker, and like it without tickets.
    ///
    /// # Errors
    /// When no certificates can be made.
    pub fn new() -> Outcome<Self> {
        let (authority, roots) = authority()?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
        let provider = Arc::new(provider);
        let (chain, key) = leaf(&authority)?;
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain, key)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        let (chain, key) = leaf(&authority)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        server.send_tls13_tickets = 0;
        Ok(Self {
            connector: Arc::new(client).into(),
            acceptor: Arc::new(server).into(),
            host: HOST.try_into()?,
        })
    }
}

type Certificate = rustls::pki_types::CertificateDer<'static>;
type Issuer = rcgen::Issuer<'static, rcgen::KeyPair>;

fn authority() -> Outcome<(Issuer, Arc<RootCertStore>)> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new([])?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let mut roots = RootCertStore::empty();
    roots.add(params.self_signed(&key)?.der().clone())?;
    Ok((rcgen::Issuer::new(params, key), roots.into()))
}

fn leaf(issuer: &Issuer) -> Outcome<(Vec<Certificate>, PrivateKeyDer<'static>)> {
    let key = rcgen::KeyPair::generate()?;
    let params = rcgen::CertificateParams::new([HOST.to_owned()])?;
    let certificate = params.signed_by(&key, issuer)?.der().clone();
    Ok((vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into())))
}

impl Security {
    /// The client's end of a connection.
    ///
    /// # Errors
    /// Those of the handshake.
    pub async fn connect<IO: Duplex>(&self, io: IO) -> Outcome<Stream<IO>> {
        Ok(match self {
            Self::Plain => Stream::Plain(Box::new(io)),
            Self::Alts(alts) => {
                let stream =
                    alts.connector.connect(io).await.map_err(|failed| failed.to_string())?;
                Stream::Alts(Box::new(stream))
            }
            Self::Tls(tls) => {
                let stream = tls.connector.connect(tls.host.clone(), io).await?;
                Stream::Tls(Box::new(stream.into()))
            }
        })
    }

    /// The server's end of a connection.
    ///
    /// # Errors
    /// Those of the handshake.
    pub async fn accept<IO: Duplex>(&self, io: IO) -> Outcome<Stream<IO>> {
        Ok(match self {
            Self::Plain => Stream::Plain(Box::new(io)),
            Self::Alts(alts) => {
                let stream = alts.acceptor.accept(io).await.map_err(|failed| failed.to_string())?;
                Stream::Alts(Box::new(stream))
            }
            Self::Tls(tls) => Stream::Tls(Box::new(tls.acceptor.accept(io).await?.into())),
        })
    }

    /// Both ends of a connection, in one task.
    ///
    /// # Errors
    /// Those of the handshake.
    pub async fn both<IO: Duplex>(&self, ends: (IO, IO)) -> Outcome<(Stream<IO>, Stream<IO>)> {
        tokio::try_join!(self.connect(ends.0), self.accept(ends.1))
    }
}

impl<IO: Duplex> AsyncRead for Stream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buf)
    }
}

impl<IO: Duplex> AsyncWrite for Stream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Alts(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}
