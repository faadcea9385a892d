//! The ZooKeeper of this machine, and what becomes of tests where there is none.

use std::env;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Whether tests against a real ZooKeeper are to run, by the environment variable
/// `HOMING_ZOOKEEPER`:
///
/// | value | installed | not installed |
/// | --- | --- | --- |
/// | `required` | they run | a panic |
/// | `optional`, or unset | they run | `None`, and a line on stderr says what is left out |
/// | `off` | `None`, and a line on stderr | `None`, and a line on stderr |
///
/// The line is written past the test harness, which would swallow it, once in a process.
///
/// ```no_run
/// use homing_testkit::real;
/// if real::requirement().is_some() {
///     let server = real::ZooKeeper::start()?;
/// }
/// # Ok::<(), real::StartError>(())
/// ```
///
/// # Panics
/// It is required and not installed, or the variable has another value.
pub fn requirement() -> Option<Installation> {
    static SAID: Once = Once::new();
    let setting = env::var_os("HOMING_ZOOKEEPER").unwrap_or_default();
    match decide(&setting.to_string_lossy(), Installation::find()) {
        Decision::Run(installation) => Some(installation),
        Decision::LeaveOut(why) => {
            SAID.call_once(|| {
                let line = format!("LEFT OUT: tests against a real ZooKeeper: {why}\n");
                // Without a place to say it there is nothing to do about it.
                let _ = io::stderr().write_all(line.as_bytes());
            });
            None
        }
        Decision::Fail(why) => panic!("{why}"),
    }
}

enum Decision {
    Run(Installation),
    LeaveOut(String),
    Fail(String),
}

/// The table of [`requirement`].
fn decide(setting: &str, found: Result<Installation, NotInstalled>) -> Decision {
    match (setting, found) {
        ("off", _) => Decision::LeaveOut("HOMING_ZOOKEEPER=off".into()),
        ("" | "optional" | "required", Ok(installation)) => Decision::Run(installation),
        ("" | "optional", Err(missing)) => Decision::LeaveOut(missing.to_string()),
        ("required", Err(missing)) => {
            Decision::Fail(format!("HOMING_ZOOKEEPER=required: {missing}"))
        }
        (other, _) => Decision::Fail(format!(
            "HOMING_ZOOKEEPER is {other:?}: it can be required, optional or off"
        )),
    }
}

/// What it takes to run a ZooKeeper, found on this machine.
///
/// ```no_run
/// use homing_testkit::real::Installation;
/// match Installation::find() {
///     Ok(installation) => println!("{}", installation.java().display()),
///     Err(missing) => println!("{missing}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    java: PathBuf,
    class_path: String,
}

impl Installation {
    /// Looks for Debian's jars, and for a `java` in `JAVA_HOME` and on the `PATH`.
    ///
    /// Where the environment variable `HOMING_ZOOKEEPER_CLASSPATH` is set, it is the class path of
    /// the server to run, whatever its version: the server, all that it needs, and somewhere to
    /// log to, such as slf4j-simple. `scripts/build-zookeeper` builds a server from its source and
    /// prints such a class path.
    ///
    /// # Errors
    /// Something is missing; the error says what.
    pub fn find() -> Result<Self, NotInstalled> {
        let chosen = env::var(CLASS_PATH).ok();
        let not_installed = |missing| NotInstalled {
            missing,
            is_chosen: chosen.is_some(),
        };
        // The manifest of the first names all that it needs but a place for the log.
        let debian = || format!("{ZOOKEEPER_JAR}:{LOG_JAR}");
        let class_path = chosen.clone().unwrap_or_else(debian);
        if let Some(missing) = missing_in(&class_path) {
            return Err(not_installed(missing));
        }
        let java = find_java().ok_or_else(|| not_installed("java".into()))?;
        Ok(Self { java, class_path })
    }

    /// The Java runtime.
    pub fn java(&self) -> &Path {
        &self.java
    }

    /// The class path that has the server.
    pub fn class_path(&self) -> &str {
        &self.class_path
    }
}

/// The environment variable that has a server of one's own run.
const CLASS_PATH: &str = "HOMING_ZOOKEEPER_CLASSPATH";

/// What a class path names, and is not there.
fn missing_in(class_path: &str) -> Option<String> {
    let there = |entry: &str| entry.is_empty() || Path::new(entry).exists();
    let missing = class_path.split(':').find(|entry| !there(entry))?;
    Some(missing.into())
}

const ZOOKEEPER_JAR: &str = "/usr/share/java/zookeeper.jar";
/// What the server logs through: plain lines on stderr, set up by system properties alone.
const LOG_JAR: &str = "/usr/share/java/slf4j-simple.jar";

fn find_java() -> Option<PathBuf> {
    let home = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = home.into_iter().chain(env::split_paths(&path));
    folders.find_map(|folder| Some(folder.join("java")).filter(|java| java.is_file()))
}

/// There is no ZooKeeper on this machine.
///
/// ```no_run
/// use homing_testkit::real::Installation;
/// let missing = Installation::find().unwrap_err();
/// assert!(missing.to_string().contains("apt-get install zookeeper"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotInstalled {
    missing: String,
    /// By whoever set the class path.
    is_chosen: bool,
}

impl fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = &self.missing;
        match self.is_chosen {
            false => write!(
                f,
                "real ZooKeeper is not installed: apt-get install zookeeper ({missing} is missing)"
            ),
            true => write!(
                f,
                "the ZooKeeper of {CLASS_PATH} cannot be run: {missing} is missing"
            ),
        }
    }
}

impl std::error::Error for NotInstalled {}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() -> Result<Installation, NotInstalled> {
        Ok(Installation {
            java: "/usr/bin/java".into(),
            class_path: ZOOKEEPER_JAR.into(),
        })
    }

    fn missing() -> Result<Installation, NotInstalled> {
        Err(NotInstalled {
            missing: "java".into(),
            is_chosen: false,
        })
    }

    #[test]
    fn the_environment_decides() {
        for setting in ["", "optional", "required"] {
            assert!(
                matches!(decide(setting, installed()), Decision::Run(_)),
                "{setting}"
            );
        }
        for setting in ["", "optional"] {
            let Decision::LeaveOut(why) = decide(setting, missing()) else {
                panic!("{setting}");
            };
            assert_eq!(
                why,
                "real ZooKeeper is not installed: apt-get install zookeeper (java is missing)"
            );
        }
        assert!(matches!(decide("off", installed()), Decision::LeaveOut(_)));
        assert!(matches!(decide("off", missing()), Decision::LeaveOut(_)));
        assert!(matches!(decide("required", missing()), Decision::Fail(_)));
        assert!(matches!(decide("yes", installed()), Decision::Fail(_)));
    }

    #[test]
    fn a_class_path_names_what_is_there() {
        assert_eq!(missing_in("/usr::/dev/null"), None);
        let missing = missing_in("/usr:/no/such.jar:/nor/this").unwrap();
        assert_eq!(missing, "/no/such.jar");
        let error = NotInstalled {
            missing,
            is_chosen: true,
        };
        assert_eq!(
            error.to_string(),
            "the ZooKeeper of HOMING_ZOOKEEPER_CLASSPATH cannot be run: /no/such.jar is missing"
        );
    }
}
