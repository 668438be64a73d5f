//! `epr completions SHELL`

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::output::Output;
use crate::{Arguments, Outcome};

#[derive(Args)]
#[command(after_help = "For bash: epr completions bash > ~/.local/share/bash-completion/completions/epr")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, out: &mut Output) -> Outcome {
        // Into memory first: the generator panics when its reader closes the pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "epr", &mut script);
        out.bytes(&script)?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
