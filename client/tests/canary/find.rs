//! What was printed and logged, and how a secret is found in it in whatever form.

use std::fmt::{Debug, Display};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use homing::Error;
use tracing_subscriber::filter::LevelFilter;

/// All that is logged in this process, at all levels.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn of_this_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt()
                .with_max_level(LevelFilter::TRACE)
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .init();
            log
        })
    }

    pub(crate) fn text(&self) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// All that was printed by hand.
#[derive(Default)]
pub(crate) struct Prints(Mutex<String>);

impl Prints {
    pub(crate) fn debug(&self, thing: impl Debug) {
        self.add(&format!("{thing:?}\n{thing:#?}\n"));
    }

    pub(crate) fn error(&self, error: &Error) {
        self.debug(error);
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            self.add(&format!("{error}\n{error:?}\n"));
            cause = error.source();
        }
    }

    pub(crate) fn display(&self, thing: impl Display) {
        self.add(&format!("{thing}\n{thing:#}\n"));
    }

    pub(crate) fn add(&self, text: &str) {
        let mut prints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prints.push_str(text);
    }

    pub(crate) fn text(&self) -> String {
        let prints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prints.clone()
    }
}

/// What must not be found.
#[derive(Default)]
pub(crate) struct Secrets(pub(crate) Vec<(String, Vec<u8>)>);

impl Secrets {
    pub(crate) fn add(&mut self, what: &str, secret: &[u8]) {
        // Long enough not to be found by chance.
        assert!(secret.len() >= 12, "{what}");
        self.0.push((what.into(), secret.to_vec()));
    }

    /// The first that is found, and in which form.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        // Lists may stand on many lines.
        let words: Vec<_> = text.split_whitespace().collect();
        let text = &format!("{text}\n{}", words.join(" "));
        let lower = text.to_lowercase();
        for (what, secret) in &self.0 {
            // A part is too much already.
            for part in [secret, &secret[..12], &secret[secret.len() - 12..]] {
                for (form, needle) in forms(part) {
                    let is_found = match form {
                        "hexadecimal" => lower.contains(&needle),
                        _ => text.contains(&needle),
                    };
                    if is_found {
                        return Some(format!("{what}, {form}"));
                    }
                }
            }
        }
        None
    }
}

fn forms(secret: &[u8]) -> Vec<(&'static str, String)> {
    let join = |separator: &str, show: fn(&u8) -> String| {
        let shown: Vec<_> = secret.iter().map(show).collect();
        shown.join(separator)
    };
    let mut forms = vec![
        ("as it is", String::from_utf8_lossy(secret).into_owned()),
        ("escaped", secret.escape_ascii().to_string()),
        ("hexadecimal", join("", |byte| format!("{byte:02x}"))),
        ("hexadecimal", join(" ", |byte| format!("{byte:02x}"))),
        ("hexadecimal", join(", ", |byte| format!("{byte:02x}"))),
        ("hexadecimal", join(", ", |byte| format!("0x{byte:02x}"))),
        ("decimal", join(", ", u8::to_string)),
    ];
    // Wherever it begins in what was encoded.
    for before in 0..3 {
        let padded = [&vec![0; before][..], secret].concat();
        let whole = padded.len() / 3 * 3;
        let encoded = base64(&padded[..whole]);
        forms.push(("base64", encoded[if before > 0 { 4 } else { 0 }..].into()));
    }
    forms
}

/// Of a multiple of three bytes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
    text
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut secrets = Secrets::default();
    secrets.add("it", b"\x00\xffthe secret\"\n of it");
    let secret = &secrets.0[0].1;
    assert_eq!(secrets.find("nothing of the kind"), None);
    for shown in [
        format!("{secret:?}"),
        format!("{secret:#?}"),
        format!("{secret:02x?}"),
        format!("<{}>", secret.escape_ascii()),
        format!("{:?}", Bytes::from(secret.clone())),
        String::from_utf8_lossy(secret).into_owned(),
        base64(&[b"bob:", &secret[..], b"12"].concat()[..24]),
        base64(&[b"bob:1", &secret[..], b"12"].concat()[..24]),
        base64(&[b"bob:12", &secret[..], b"12"].concat()[..24]),
    ] {
        assert!(secrets.find(&shown).is_some(), "{shown}");
    }
}

impl Debug for Prints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prints")
    }
}
