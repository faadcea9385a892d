//! A layer between an engine's bytes and a stream's: TLS, say.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::engine::{Down, Engine};
use crate::outgoing::Outgoing;

/// Makes a layer for each connection that is to have one.
///
/// ```
/// use homing_transport::{Secure, SecureError, SecureStream};
///
/// /// Lets nobody connect.
/// #[derive(Debug)]
/// struct Paranoia;
/// impl Secure for Paranoia {
///     fn begin(&self, host: &str) -> Result<Box<dyn SecureStream>, SecureError> {
///         Err(SecureError::new(format!("{host} cannot be trusted")))
///     }
/// }
/// assert_eq!(Paranoia.begin("zk1").unwrap_err().to_string(), "zk1 cannot be trusted");
/// ```
pub trait Secure: fmt::Debug + Send + Sync {
    /// Begins a connection to `host`, which is the name or address that the user gave, and that
    /// the peer has to prove. Called by the driver before each dial, so that settings which live
    /// in files can be read anew.
    ///
    /// # Errors
    /// The settings are unusable. The connection is not attempted then.
    fn begin(&self, host: &str) -> Result<Box<dyn SecureStream>, SecureError>;
}

/// One connection's layer: bytes in, bytes out. *Plain* are the bytes above it, *wire* those
/// below it.
///
/// Drivers use it through a [`Passage`]. It is the same on both ends of a connection.
///
/// ```
/// use homing_transport::{SecureError, SecureStream};
/// /// Says what it is asked to send, and takes what comes.
/// fn send_all(layer: &mut dyn SecureStream, plain: &[u8]) -> Result<Vec<u8>, SecureError> {
///     let taken = layer.send(plain)?;
///     assert_eq!(taken, plain.len());
///     let wire = layer.pending().to_vec();
///     layer.advance(wire.len());
///     Ok(wire)
/// }
/// ```
pub trait SecureStream: fmt::Debug + Send {
    /// Takes all of `wire`, which has arrived, and appends what it says to `plain`. What comes
    /// before an error counts.
    ///
    /// # Errors
    /// The peer is not who it should be, or does not keep to the rules. There may be something
    /// [pending](Self::pending) that tells it so. The stream is of no use any more.
    fn receive(&mut self, wire: &[u8], plain: &mut BytesMut) -> Result<(), SecureError>;

    /// Takes bytes from the front of `plain`, which are handed over thereby, and says how many:
    /// none before the handshake is done, none while something is pending, and never so many
    /// that memory is a concern.
    ///
    /// # Errors
    /// It can take nothing ever again.
    fn send(&mut self, plain: &[u8]) -> Result<usize, SecureError>;

    /// What is to be written to the stream next.
    fn pending(&self) -> &[u8];

    /// Notes that the stream accepted the next `count` bytes.
    fn advance(&mut self, count: usize);

    /// Whether the handshake is done: the peer is who it should be.
    fn is_open(&self) -> bool;

    /// Whether the peer has said that it sends no more.
    fn is_ended(&self) -> bool;

    /// Says that nothing more will be sent, in what is pending.
    fn close(&mut self);

    /// What it means that the stream below has ended, with an error or without one, where this
    /// means more than just that: the peer may have refused the handshake this way.
    fn ended(&self, error: Option<&io::Error>) -> Option<SecureError>;

    /// The certificate that the peer has proved to be its own, in DER; `None` if it has shown
    /// none.
    fn peer_certificate(&self) -> Option<&[u8]> {
        None
    }
}

/// The other end of [`Secure`]: makes a layer for each connection that is accepted.
///
/// ```
/// fn serve(layer: &dyn homing_transport::SecureAccept) -> Result<(), homing_transport::SecureError> {
///     let stream = layer.accept()?;
///     assert!(!stream.is_open(), "the peer has the first word");
///     Ok(())
/// }
/// ```
pub trait SecureAccept: fmt::Debug + Send + Sync {
    /// Begins a connection that was accepted.
    ///
    /// # Errors
    /// The settings are unusable.
    fn accept(&self) -> Result<Box<dyn SecureStream>, SecureError>;
}

/// A layer failed. The text names the reason and no secret.
///
/// ```
/// let error = homing_transport::SecureError::new("its certificate has expired");
/// assert_eq!(error.to_string(), "its certificate has expired");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecureError {
    message: String,
}

impl SecureError {
    /// With a sentence about the peer ("its …") or about the settings.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for SecureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SecureError {}

/// Which layer a connection is to have, and who the peer has to be.
///
/// ```
/// # use std::sync::Arc;
/// # use homing_transport::{Layer, Secure};
/// fn layer(secure: &Arc<dyn Secure>) -> Layer {
///     Layer { secure: Arc::clone(secure), host: "zk1".into() }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Layer {
    /// What makes it.
    pub secure: Arc<dyn Secure>,
    /// The name or address that the user gave.
    pub host: String,
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.secure, &other.secure) && self.host == other.host
    }
}

impl Eq for Layer {}

/// How the bytes of one stream pass between it and its engine: as they are, or through a layer.
///
/// It is what all drivers have in common about layers. A driver begins one for each
/// [`DialSecure`](crate::Action::DialSecure); then, in place of speaking to the engine and to
/// its [`Outgoing`] buffer,
///
/// * when the stream has opened, it calls [`opened`](Self::opened);
/// * what was read goes through [`receive`](Self::receive);
/// * [`transmit`](Self::transmit) says what to write, and [`advance`](Self::advance) takes what
///   was written;
/// * when the stream is to be closed or has ended, [`farewell`](Self::farewell) has the last
///   bytes to write, and [`why`](Self::why) the reason to tell the engine.
///
/// The engine hears that it is connected when the layer's handshake is done, and not before.
///
/// ```
/// use homing_transport::{Outgoing, Passage};
/// let mut passage = Passage::plain();
/// let mut out = Outgoing::new();
/// out.put_control(|buffer| buffer.extend_from_slice(b"ping"));
/// passage.advance(&mut out, 3);
/// assert_eq!(out.pending(), b"g");
/// ```
#[derive(Debug, Default)]
pub struct Passage {
    /// `None` for bytes as they are.
    layer: Option<Box<dyn SecureStream>>,
    /// The engine was told that it is connected.
    is_open: bool,
    /// What the layer has made of the wire's bytes, and the engine has not taken.
    plain: BytesMut,
}

impl Passage {
    /// Bytes as they are.
    pub fn plain() -> Self {
        Self::default()
    }

    /// Through a layer, which is begun.
    ///
    /// # Errors
    /// It cannot be begun: the dial has failed, with [`Down::Secure`].
    pub fn secure(layer: &Layer) -> Result<Self, SecureError> {
        Ok(Self {
            layer: Some(layer.secure.begin(&layer.host)?),
            ..Self::default()
        })
    }

    /// The stream has opened.
    pub fn opened(&mut self, now: Instant, engine: &mut dyn Engine) {
        if self.layer.is_none() {
            self.is_open = true;
            engine.handle_connected(now);
        }
    }

    /// Bytes have been read; they are at the end of `input`, behind what the engine has left of
    /// those before.
    ///
    /// # Errors
    /// How the stream has ended. Write what [`farewell`](Self::farewell) has, and tell it.
    pub fn receive(
        &mut self,
        now: Instant,
        engine: &mut dyn Engine,
        input: &mut BytesMut,
    ) -> Result<(), Down> {
        let Some(layer) = &mut self.layer else {
            engine.handle_bytes(now, input);
            return Ok(());
        };
        let before = self.plain.len();
        let received = layer.receive(input, &mut self.plain);
        input.clear();
        if layer.is_open() && !mem::replace(&mut self.is_open, true) {
            engine.handle_connected(now);
        }
        if self.plain.len() > before {
            engine.handle_bytes(now, &mut self.plain);
        }
        received.map_err(Down::Secure)?;
        if layer.is_ended() {
            return Err(self.why(Down::Closed));
        }
        Ok(())
    }

    /// Asks the engine for what it has, and says what to write to the stream next.
    ///
    /// # Errors
    /// How the stream has ended.
    pub fn transmit<'a>(
        &'a mut self,
        now: Instant,
        engine: &mut dyn Engine,
        out: &'a mut Outgoing,
    ) -> Result<&'a [u8], Down> {
        if self.is_open {
            engine.poll_transmit(now, out);
        }
        let Some(layer) = &mut self.layer else {
            return Ok(out.pending());
        };
        if self.is_open && !out.is_empty() {
            let count = layer.send(out.pending()).map_err(Down::Secure)?;
            out.advance(count);
        }
        Ok(layer.pending())
    }

    /// Notes that the stream accepted the next `count` bytes of what
    /// [`transmit`](Self::transmit) or [`farewell`](Self::farewell) said.
    pub fn advance(&mut self, out: &mut Outgoing, count: usize) {
        match &mut self.layer {
            Some(layer) => layer.advance(count),
            None => out.advance(count),
        }
    }

    /// What to write before the stream is closed from this side, as far as it takes it at once:
    /// the layer says that this is the end, and no cut.
    pub fn farewell(&mut self) -> &[u8] {
        match &mut self.layer {
            Some(layer) => {
                layer.close();
                layer.pending()
            }
            None => &[],
        }
    }

    /// The reason to tell the engine for the end of the stream, given what the stream itself
    /// says: before the layer's handshake was done the dial has failed.
    #[must_use]
    pub fn why(&self, why: Down) -> Down {
        let Some(layer) = &self.layer else {
            return why;
        };
        let error = match &why {
            Down::Failed(error) => Some(error),
            Down::Closed => None,
            Down::Dial(_) | Down::Secure(_) | Down::HungUp => return why,
        };
        match layer.ended(error) {
            Some(error) => Down::Secure(error),
            None => why,
        }
    }
}
