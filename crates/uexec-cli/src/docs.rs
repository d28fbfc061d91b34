//! Manual pages and completions, generated from the command line's own definition.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use crate::args::Cli;

/// Prints the manual page of the command, or writes it and those of the subcommands to `dir`.
pub(crate) fn man(dir: Option<&Path>) -> u8 {
    let command = Cli::command();
    let done = match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .and_then(|()| std::io::stdout().write_all(&page))
        }
    };
    status(done)
}

/// Prints the completion script for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "uexec", &mut script);
    status(std::io::stdout().write_all(&script))
}

fn status(done: std::io::Result<()>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            crate::report::say(format_args!("{error}"));
            crate::OWN_FAILURE
        }
    }
}
