//! The transport: how commands reach a server. Everything above it is the same over both transports: a connection of the
//! Redis protocol, which a [`link`](super::link) opened, and the [REST interface](super::rest) of Upstash.

use async_trait::async_trait;
use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::{ClusterHash, CustomCommand, Key, RespVersion, Value};

use super::BrokerError;
use super::errors::{from_fred, from_reply};

/// A script's KEYS and ARGV.
pub(super) type Arguments = (Vec<Key>, Vec<Value>);

/// A command's name and arguments.
pub(super) type Command = (&'static str, Vec<Value>);

/// Sends commands to one server. The caller limits the time of a call.
#[async_trait]
pub(super) trait Transport: Send + Sync {
    /// The protocol, for people.
    fn protocol(&self) -> &'static str;

    /// Runs the script that the server has cached under this SHA-1. The error `NOSCRIPT` says that it has none: nothing ran.
    async fn evalsha(&self, hash: &Str, arguments: Arguments) -> Result<Value, CallError>;

    /// Runs a script, and has the server cache it.
    async fn eval(&self, source: &Str, arguments: Arguments) -> Result<Value, CallError>;

    /// Runs a command.
    async fn call(&self, command: Command) -> Result<Value, CallError>;

    /// Runs several commands in one round trip. Returns a reply for each.
    ///
    /// # Errors
    /// The server was sent none of them, or sent no replies.
    async fn call_each(&self, commands: Vec<Command>) -> Result<Vec<Result<Value, CallError>>, CallError>;
}

/// Why a call failed.
#[derive(Debug, Clone)]
pub(super) struct CallError {
    /// The text of the transport, or that of the server, which begins with a code.
    pub text: String,
    pub cause: BrokerError,
    /// No answer came within the time that the transport waits.
    pub timed_out: bool,
}

impl CallError {
    /// An error reply of the server.
    pub fn reply(text: String) -> Self {
        Self { cause: from_reply(&text), text, timed_out: false }
    }

    /// The error reply of a server that has not cached a script.
    pub fn no_script() -> Self {
        Self::reply("NOSCRIPT No matching script".into())
    }
}

impl From<BrokerError> for CallError {
    fn from(cause: BrokerError) -> Self {
        Self { text: cause.to_string(), cause, timed_out: false }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        let timed_out = *error.kind() == ErrorKind::Timeout;
        Self { text: error.details().to_owned(), cause: from_fred(&error), timed_out }
    }
}

#[async_trait]
impl Transport for Client {
    fn protocol(&self) -> &'static str {
        match self.protocol_version() {
            RespVersion::RESP3 => "RESP3",
            RespVersion::RESP2 => "RESP2",
        }
    }

    async fn evalsha(&self, hash: &Str, (keys, args): Arguments) -> Result<Value, CallError> {
        Ok(LuaInterface::evalsha(self, hash.clone(), keys, args).await?)
    }

    async fn eval(&self, source: &Str, (keys, args): Arguments) -> Result<Value, CallError> {
        Ok(LuaInterface::eval(self, source.clone(), keys, args).await?)
    }

    async fn call(&self, (name, args): Command) -> Result<Value, CallError> {
        Ok(self.custom(custom(name), args).await?)
    }

    async fn call_each(&self, commands: Vec<Command>) -> Result<Vec<Result<Value, CallError>>, CallError> {
        let pipeline = self.pipeline();
        for (name, args) in commands {
            // In a pipeline this only queues the command.
            pipeline.custom::<(), _>(custom(name), args).await?;
        }
        Ok(pipeline.try_all::<Value>().await.into_iter().map(|reply| reply.map_err(CallError::from)).collect())
    }
}

fn custom(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Random, false)
}
