//! The shell that a server belongs to.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The shell that owns the folder and the JVM, and outlives this process just long enough to
/// put both away.
#[derive(Debug)]
pub(super) struct Shell {
    child: Child,
    /// Its end is the shell's sign to put everything away. `None` only while dropping.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(super) folder: PathBuf,
}

impl Shell {
    pub(super) fn spawn(command_line: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "homing-zookeeper"]);
        command.arg(env::temp_dir()).args(command_line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Whoever reads the output of the tests must not have to wait for the shell's end.
        command.stderr(Stdio::null());
        // What a terminal or `timeout` does to the tests (Ctrl-C) ends them, and only thereby
        // the shell.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped");
        };
        let mut shell = Self {
            child,
            commands: Some(commands),
            answers: BufReader::new(answers),
            folder: PathBuf::new(),
        };
        shell.folder = shell.answer()?.into();
        Ok(shell)
    }

    /// Starts a JVM, after the end of the one before, and tells its process id.
    pub(super) fn start(&mut self) -> io::Result<u32> {
        self.send("start")?;
        let pid = self.answer()?;
        pid.parse().map_err(io::Error::other)
    }

    pub(super) fn tell(&mut self, command: &str) {
        let done = self.send(command).and_then(|()| self.answer());
        done.expect("the shell of a ZooKeeper was ended by somebody");
    }

    fn send(&mut self, command: &str) -> io::Result<()> {
        let commands = self.commands.as_mut();
        let mut commands = commands.ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(&mut commands, "{command}")
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(answer) => Ok(answer.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) fn jvm_exited(&self) -> bool {
        self.folder.join("exited").exists()
    }

    pub(super) fn log_len(&self) -> u64 {
        fs::metadata(self.folder.join("log")).map_or(0, |log| log.len())
    }

    pub(super) fn log_from(&self, start: u64) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.commands = None;
        // What could fail here has been put away by somebody else.
        let _ = self.child.wait();
    }
}

/// Arguments: where temporary folders are made, and the command line of the JVM.
///
/// Each command is answered with one line; the first line is the folder. A subshell waits for
/// each JVM and writes the file `exited`, so that no signal goes to a process id that is free
/// again. The signals of a terminal are ignored, and a closed pipe is no reason to die early.
const SCRIPT: &str = r#"
trap '' HUP INT TERM PIPE
folder=$(mktemp -d "$1/homing-zookeeper.XXXXXXXXXX") || exit 1
shift
cd "$folder" || exit 1
echo "$folder"

keeper=
signal() {
    [ -z "$keeper" ] || [ -e exited ] || kill -"$1" "$jvm"
}
stop() {
    signal KILL
    [ -z "$keeper" ] || wait "$keeper"
}
start() {
    rm -f pid exited
    { "$@" & echo "$!" >pid; wait "$!"; echo "$?" >exited; } </dev/null >>log 2>&1 &
    keeper=$!
    until [ -s pid ]; do sleep 0.01; done
    read -r jvm <pid
    echo "$jvm"
}

while read -r command; do
    case $command in
    start) stop; start "$@" ;;
    kill) stop; echo ;;
    pause) signal STOP; echo ;;
    resume) signal CONT; echo ;;
    esac
done
stop
cd /
rm -rf "$folder"
"#;
