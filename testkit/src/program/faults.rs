//! The options that say what goes wrong, for every subcommand that has them.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use homing_testkit::faults::Faults;

/// What goes wrong.
#[derive(Debug, Args)]
pub(crate) struct FaultArgs {
    /// What goes wrong, such as "delay 50ms; cut to client at write 2"; see below.
    #[arg(long, value_name = "SCRIPT", conflicts_with = "faults_file")]
    faults: Option<String>,

    /// A file with such a script, best one fault on a line.
    #[arg(long, value_name = "FILE")]
    faults_file: Option<PathBuf>,

    /// Dice for what is left to chance; the same seed gives the same [default: the script's, or
    /// 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl FaultArgs {
    /// The seed, if there is one.
    pub(crate) fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The script, or what is wrong with it and where the subcommand tells of scripts.
    pub(crate) fn script(&self, subcommand: &str) -> Result<Faults, String> {
        let (text, origin) = match (&self.faults, &self.faults_file) {
            (Some(script), _) => (script.clone(), "--faults".to_owned()),
            (None, Some(path)) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                (text, path.display().to_string())
            }
            (None, None) => return Ok(self.seeded(Faults::new())),
        };
        let faults = text.parse::<Faults>();
        let faults = faults.map_err(|error| {
            let help = format!("homing-testkit {subcommand} --help");
            format!("{origin}: {error}\n\"{help}\" has an example of each")
        })?;
        Ok(self.seeded(faults))
    }

    fn seeded(&self, faults: Faults) -> Faults {
        match self.seed {
            Some(seed) => faults.seed(seed),
            None => faults,
        }
    }
}
