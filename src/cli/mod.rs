//! The command line of `tidings`: one file for each command, and the helpers that they share.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 on success, 1 on failure, 2 on wrong usage (by clap). `interrupt` has
//! the rule for Ctrl-C and SIGTERM.
//! Shared helpers: `remote` (`--token-file`), `daemon_flags` (`--url`, `--context`), `secret_input` (files and prompts), `flags` (the settings of the daemon), `fields` (`FIELD=VALUE`), `number`, `output`
//! and `printer` (stdout), `failure` (errors and stderr), `generate` (commands that write files).

mod auth;
mod bench;
mod candidates;
mod cascade;
mod channels;
mod codegen;
mod completions;
mod config;
mod config_check;
mod context;
mod daemon_flags;
mod doctor;
mod failure;
mod fields;
mod flags;
mod flow;
mod follow;
mod generate;
mod grant;
mod health;
mod history;
mod interrupt;
mod latest;
mod man;
mod nodes;
mod number;
mod output;
mod printer;
mod program;
mod progress;
mod publish;
mod reload;
mod remote;
mod reporter;
mod schema;
mod secret_input;
mod serve;
mod shape;
mod shown;
mod signals;
mod tail;
mod token;
mod top;
mod trigger;
mod usage;
mod webhook;

use std::future::Future;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;
use grant::Grant;

/// A typed event bus: publish over HTTP, subscribe over WebSocket; events are kept in memory, in files or in Redis.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Publish(publish::Publish),
    Trigger(trigger::Trigger),
    Tail(tail::Tail),
    Top(top::Top),
    History(history::History),
    Latest(latest::Latest),
    Channels(channels::Channels),
    Nodes(nodes::Nodes),
    Webhooks(webhook::Webhooks),
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    Health(health::Health),
    Doctor(doctor::Doctor),
    #[command(subcommand)]
    Schema(schema::Schema),
    #[command(subcommand)]
    Codegen(codegen::Codegen),
    #[command(subcommand)]
    Cascade(cascade::Cascade),
    #[command(subcommand)]
    Bridge(flow::Bridge),
    #[command(subcommand)]
    Sink(flow::Sink),
    Bench(bench::Bench),
    #[command(subcommand)]
    Auth(auth::Auth),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[command(subcommand)]
    Context(context::Context),
    Completions(completions::Completions),
    Man(man::Man),
}

/// The commands with their flags and texts. The documents list them, and a test parses the commands of the documents.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments of the process, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = completions::answer() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` write to stdout, as a command does.
        Err(message) if !message.use_stderr() => {
            return message.print().map_or_else(|error| output::unwritten(error).report(), |()| ExitCode::SUCCESS);
        }
        Err(mistake) => mistake.exit(),
    };
    let grant = Grant::of(&cli.command);
    let outcome = match cli.command {
        Command::Serve(serve) => run_on_all_cores(serve.run()),
        Command::Publish(publish) => run_on_one_core(publish.run()),
        Command::Trigger(trigger) => run_on_one_core(trigger.run()),
        Command::Tail(tail) => run_on_one_core(tail.run()),
        Command::Top(top) => run_on_one_core(top.run()),
        Command::History(history) => run_on_one_core(history.run()),
        Command::Latest(latest) => run_on_one_core(latest.run()),
        Command::Channels(channels) => run_on_one_core(channels.run()),
        Command::Nodes(nodes) => run_on_one_core(nodes.run()),
        Command::Webhooks(webhooks) => run_on_one_core(webhooks.run()),
        Command::Webhook(webhook) => run_on_one_core(webhook.run()),
        Command::Health(health) => run_on_one_core(health.run()),
        Command::Doctor(doctor) => run_on_one_core(doctor.run()),
        Command::Schema(schema) => schema.run(),
        Command::Codegen(codegen) => codegen.run(),
        Command::Cascade(cascade) => cascade.run(),
        Command::Bridge(bridge) => run_on_one_core(bridge.run()),
        Command::Sink(sink) => run_on_one_core(sink.run()),
        Command::Bench(bench) => run_on_all_cores(bench.run()),
        Command::Auth(auth) => auth.run(),
        Command::Token(token) => run_on_one_core(token.run()),
        Command::Config(config) => run_on_one_core(config.run()),
        Command::Context(context) => context.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report_with(grant.as_ref()),
    }
}

fn run_on_all_cores(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    block_on(tokio::runtime::Builder::new_multi_thread(), command)
}

fn run_on_one_core(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    block_on(tokio::runtime::Builder::new_current_thread(), command)
}

fn block_on(
    mut runtime: tokio::runtime::Builder,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    runtime.enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_valid_and_every_command_has_an_example() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() {
                command.get_subcommands().for_each(check);
            } else {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("tidings "), "{} has no example", command.get_name());
            }
        }
        Cli::command().debug_assert();
        check(&Cli::command());
    }
}
