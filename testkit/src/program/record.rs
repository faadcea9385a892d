//! `homing-testkit record`: a proxy that writes down what goes through it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use clap::Args;
use homing_testkit::recording::{Recorder, Recording};
use homing_testkit::{Observed, Proxy, Sight};

use super::address;
use super::interrupt::on_interrupt;
use super::lines::Lines;

/// How long the line that is being written may take at the end.
const GRACE: Duration = Duration::from_secs(5);

/// The subcommand `record`.
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// Address and port to listen on for clients; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:2182", value_name = "ADDRESS:PORT")]
    #[arg(value_parser = address::listen)]
    listen: SocketAddr,

    /// The server, to which each client is connected.
    #[arg(long, value_name = "HOST:PORT", value_parser = address::server)]
    upstream: String,

    /// File for the recording, which is overwritten [default: standard output]. No line is ever
    /// left out: while nobody reads what was written, as from a pipe, clients and server wait.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Leave out the bytes behind each line: enough to read, not to replay.
    #[arg(long)]
    no_raw: bool,

    /// Keep passwords, credentials and hashes among the bytes, as it takes to replay a client that
    /// authenticates. Whoever can read the file has them too.
    #[arg(long, conflicts_with = "no_raw")]
    with_secrets: bool,
}

/// What ends it.
enum End {
    Interrupted,
    /// The recording cannot be written any more.
    Failed(io::Error),
}

/// Where the recording goes.
enum Out {
    Standard,
    /// What was in it is still there.
    File(File),
}

/// The same, when it has begun.
type Sheet = Box<dyn Write + Send>;

impl Record {
    pub(crate) fn run(self) -> Result<(), String> {
        let (sender, ended) = mpsc::channel();
        let interrupt = sender.clone();
        // Before the line is printed: who reads it may interrupt at once.
        on_interrupt(move || {
            let _ = interrupt.send(End::Interrupted);
        })?;

        let addresses = address::upstream(&self.upstream)?;
        let out = self.open()?;
        let (begin, begun) = mpsc::channel();
        let mut sheet = None::<Sheet>;
        let sink = move |entry| {
            // There is none where it could not be begun.
            if sheet.is_none() {
                sheet = begun.recv().ok();
            }
            let Some(out) = &mut sheet else { return };
            // Each line at once: who looks on sees it, and a crash cuts off the last one at most.
            if let Err(error) = writeln!(out, "{entry}").and_then(|()| out.flush()) {
                let _ = sender.send(End::Failed(error));
            }
        };
        let mut record = self.recorder().observer(sink);
        let lines = Lines::new()?;
        let complaints = lines.clone();
        let listen = self.listen;
        let proxy = Proxy::builder()
            .listen(listen)
            .observe(move |seen| {
                complain(&complaints, seen);
                record(seen);
            })
            .start(&addresses[..])
            .map_err(|error| format!("{error}{}", address::advice(listen, &error)))?;
        // Until here it could come to nothing, and what was in the file would be lost for that.
        out.begin(begin)
            .map_err(|error| self.cannot_write(&error))?;
        self.announce(&proxy)?;
        let result = match ended.recv() {
            Ok(End::Failed(error)) => Err(self.cannot_write(&error)),
            // The handler keeps its end for as long as the process lives.
            Ok(End::Interrupted) | Err(_) => self.end(proxy),
        };
        lines.finish(None);
        result
    }

    /// Ends the proxy, which waits for a line that is being written: not forever, where nobody
    /// reads it.
    fn end(&self, proxy: Proxy) -> Result<(), String> {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            drop(proxy);
            let _ = done.send(());
        });
        is_done.recv_timeout(GRACE).map_err(|_| {
            let path = self.out.as_ref().map(|path| path.display().to_string());
            let out = path.as_deref().unwrap_or("standard output");
            format!("nobody reads {out}: the end of the recording is missing")
        })
    }

    fn recorder(&self) -> Recorder {
        let recorder = Recorder::new();
        match (self.no_raw, self.with_secrets) {
            (true, _) => recorder.without_raw(),
            (false, true) => recorder.with_secrets(),
            (false, false) => recorder,
        }
    }

    fn open(&self) -> Result<Out, String> {
        let Some(path) = &self.out else {
            return Ok(Out::Standard);
        };
        let file = open(path, self.with_secrets)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(Out::File(file))
    }

    fn cannot_write(&self, error: &io::Error) -> String {
        match &self.out {
            Some(path) => format!("cannot write {}: {error}", path.display()),
            None => format!("cannot write to standard output: {error}"),
        }
    }

    /// On standard error where the recording itself is on standard output.
    fn announce(&self, proxy: &Proxy) -> Result<(), String> {
        let (address, connect) = (proxy.addr(), proxy.connect_string());
        let upstream = &self.upstream;
        let line = format!("recording ZooKeeper {upstream} on {address}, connect string {connect}");
        let said = match self.out {
            Some(_) => writeln!(io::stdout(), "{line}"),
            None => writeln!(io::stderr(), "{line}"),
        };
        said.map_err(|error| format!("cannot say where it listens: {error}"))
    }
}

/// Says on standard error what no recording has: why a connection came to nothing.
fn complain(lines: &Lines, seen: &Observed<'_>) {
    let number = seen.connection;
    match seen.what {
        Sight::NotAccepted(error) => lines.say(format_args!(
            "connection {number}: cannot accept it yet: {error}"
        )),
        Sight::Unreachable(address, error) => lines.say(format_args!(
            "connection {number}: cannot connect to {address}: {error}"
        )),
        _ => {}
    }
}

impl Out {
    /// Writes the first line, in place of what there was, and hands on where the next ones go:
    /// whoever waits for that does no longer, whatever comes of it.
    fn begin(self, hand_on: Sender<Sheet>) -> io::Result<()> {
        let mut sheet: Sheet = match self {
            Self::Standard => Box::new(io::stdout()),
            Self::File(file) => {
                // A pipe or a terminal has no length.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                Box::new(BufWriter::new(file))
            }
        };
        writeln!(sheet, "{}", Recording::head())?;
        sheet.flush()?;
        // Nobody writes to it where the proxy is gone.
        let _ = hand_on.send(sheet);
        Ok(())
    }
}

/// Opens a file, with all that is in it. One with secrets is for its owner alone.
fn open(path: &Path, has_secrets: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    if has_secrets {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = options.mode(0o600).open(path)?;
        // One that was there already had others.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        return Ok(file);
    }
    #[cfg(not(unix))]
    let _ = has_secrets;
    options.open(path)
}
